"""Writes expected-averages.jsonl: what examples/city-temperatures.toml must put out, computed without Dirigo.

Run from anywhere, after a change to the example:

    python3 tests/delivery/expected.py

The test `real_data` compares the output of the pipeline with the committed file. The scale, the offset, the threshold and
the window are read from the pipeline file; everything else is done here, with exact sums.
"""

import datetime
import fractions
import json
import pathlib
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
DAY_MS = 86_400_000
EXAMPLE = HERE.parent.parent / "examples" / "city-temperatures.toml"


def milliseconds(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1000)


def averages(pipeline, readings):
    celsius, warm, average = (operator for operator in pipeline["operator"])
    scale, offset = celsius["config"]["scale"], celsius["config"]["offset"]
    threshold = warm["config"]["threshold"]
    assert average["window"] == {"tumbling": "1d"}
    windows = {}
    for reading in readings:
        temperature = reading["temp_f"] * scale + offset
        if not temperature > threshold:
            continue
        start = milliseconds(reading["time"]) // DAY_MS * DAY_MS
        windows.setdefault((start, reading["station"]), []).append(temperature)
    for (start, station), window in sorted(windows.items()):
        mean = sum(map(fractions.Fraction, window)) / len(window)
        yield {"key": station, "avg": float(mean), "count": len(window), "start": start, "end": start + DAY_MS}


def main():
    pipeline = tomllib.loads(EXAMPLE.read_text())
    data = EXAMPLE.parent / pipeline["source"][0]["path"]
    readings = [json.loads(line) for line in data.read_text().splitlines()]
    lines = [json.dumps(average) for average in averages(pipeline, readings)]
    (HERE / "expected-averages.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

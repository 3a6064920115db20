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
EXAMPLE = HERE.parent.parent / "examples" / "city-temperatures.toml"


def milliseconds(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round(moment.timestamp() * 1000)


def averages(pipeline, readings):
    celsius, warm, average = (operator for operator in pipeline["operator"])
    scale, offset = celsius["config"]["scale"], celsius["config"]["offset"]
    threshold, size = warm["config"]["threshold"], average["window"]["count"]
    windows = {}
    for reading in readings:
        temperature = reading["temp_f"] * scale + offset
        if not temperature > threshold:
            continue
        window = windows.setdefault(reading["station"], [])
        window.append((temperature, milliseconds(reading["time"])))
        if len(window) == size:
            mean = sum(fractions.Fraction(value) for value, _ in window) / size
            start, end = window[0][1], window[-1][1]
            yield {"key": reading["station"], "avg": float(mean), "count": size, "start": start, "end": end}
            window.clear()


def main():
    pipeline = tomllib.loads(EXAMPLE.read_text())
    data = EXAMPLE.parent / pipeline["source"][0]["path"]
    readings = [json.loads(line) for line in data.read_text().splitlines()]
    lines = [json.dumps(average) for average in averages(pipeline, readings)]
    (HERE / "expected-averages.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

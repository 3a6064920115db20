"""Writes expected-time/*.jsonl: what windows in time over examples/city-temperatures.jsonl must put out, computed by DuckDB.

Run from anywhere, with the package `duckdb` installed:

    python3 tests/delivery/expected_time.py

The test `real_time` compares the outputs of its pipelines with the committed files.
"""

import datetime
import json
import pathlib

import duckdb

HERE = pathlib.Path(__file__).resolve().parent
READINGS = HERE.parent.parent / "examples" / "city-temperatures.jsonl"

HOUR = 3_600_000

DAILY = f"""
    SELECT station, max(temp_f) AS max, count(*) AS count, min(ts) // {24 * HOUR} * {24 * HOUR} AS start
    FROM readings GROUP BY station, ts // {24 * HOUR} ORDER BY start, station
"""

MONTHLY = """
    WITH monthly AS (SELECT *, date_trunc('month', make_timestamp(ts * 1000)) AS month FROM readings)
    SELECT station, max(temp_f) AS max, count(*) AS count, epoch_ms(month) AS start, epoch_ms(month + INTERVAL 1 MONTH) AS end
    FROM monthly GROUP BY station, month ORDER BY start, station
"""

# Of each 24 h that begin every 6 h; readings lie at full hours.
SLIDING = f"""
    WITH starts AS (
        SELECT unnest(generate_series(
            (SELECT min(ts) FROM readings) - {24 * HOUR}, (SELECT max(ts) FROM readings), {6 * HOUR}
        )) AS start
    )
    SELECT station, max(temp_f) AS max, count(*) AS count, start
    FROM readings JOIN starts ON ts >= start AND ts < start + {24 * HOUR}
    GROUP BY station, start ORDER BY start, station
"""

# Readings of 40 °F or less that are less than 12 h apart.
COLD_SPELLS = f"""
    WITH cold AS (SELECT * FROM readings WHERE temp_f <= 40),
    begun AS (
        SELECT *, coalesce(ts - lag(ts) OVER (PARTITION BY station ORDER BY ts) >= {12 * HOUR}, true)::INT AS begins FROM cold
    ),
    numbered AS (SELECT *, sum(begins) OVER (PARTITION BY station ORDER BY ts) AS spell FROM begun)
    SELECT station, min(temp_f) AS min, count(*) AS count, min(ts) AS start, max(ts) + {12 * HOUR} AS end
    FROM numbered GROUP BY station, spell ORDER BY 5, station
"""


def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def main():
    readings = [json.loads(line) for line in READINGS.read_text().splitlines()]
    database = duckdb.connect()
    database.execute("CREATE TABLE readings (station TEXT, ts BIGINT, temp_f DOUBLE)")
    rows = [[reading["station"], milliseconds(reading["time"]), reading["temp_f"]] for reading in readings]
    for first in range(0, len(rows), 1000):
        some = rows[first : first + 1000]
        database.execute(f"INSERT INTO readings VALUES {', '.join(['(?, ?, ?)'] * len(some))}", sum(some, []))
    folder = HERE / "expected-time"
    folder.mkdir(exist_ok=True)
    for name, query, aggregate, length in [
        ("daily", DAILY, "max", 24 * HOUR),
        ("monthly", MONTHLY, "max", None),
        ("sliding", SLIDING, "max", 24 * HOUR),
        ("cold-spells", COLD_SPELLS, "min", None),
    ]:
        lines = []
        for station, value, count, start, *end in database.execute(query).fetchall():
            bounds = {"start": start, "end": end[0] if end else start + length}
            lines.append(json.dumps({"key": station, aggregate: value, "count": count, **bounds}) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines))
        print(f"{name}: {len(lines)}")


if __name__ == "__main__":
    main()

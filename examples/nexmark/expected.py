"""Writes expected/: what the queries in this folder must put out, computed by DuckDB of the same events.

Run from anywhere, after a change to a query or to the source, with a binary that was built and DuckDB (`pip install duckdb`):

    python3 examples/nexmark/expected.py target/release/dirigo

The binary makes the events, by events.toml, and nothing else; DuckDB reads them. The test `nexmark` of
tests/delivery compares the output of each query, sorted by lines, with the file of its name in expected/; where that would be large,
with the number of lines and the SHA-256 in expected/digests.json.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import duckdb

HERE = pathlib.Path(__file__).resolve().parent
EXPECTED = HERE / "expected"

# A file of more bytes is in digests.json instead.
BYTES_MAX = 100_000

COLUMNS = {
    "kind": "VARCHAR", "auction": "BIGINT", "bidder": "BIGINT", "price": "BIGINT", "channel": "VARCHAR", "url": "VARCHAR",
    "date_time": "BIGINT", "extra": "VARCHAR", "id": "BIGINT", "seller": "BIGINT", "category": "BIGINT", "expires": "BIGINT", "state": "VARCHAR",
}

# What builtin:join puts out of a pair of whole events.
PAIR = """ '{"key":"' || person.id || '","left":' || person.line || ',"right":' || auction.line || '}' AS line """

# The rank of a bid is that of its price.
RANKS = {"total": "true", "rank1": "price < 10000", "rank2": "price >= 10000 AND price < 1000000", "rank3": "price >= 1000000"}

# What queries 15 and 16 count, of each day.
COUNTS = ", ".join(
    f"{what} FILTER ({condition}) AS {rank}_{name}"
    for name, what in [("bids", "count(*)"), ("bidders", "count(DISTINCT bidder)"), ("auctions", "count(DISTINCT auction)")]
    for rank, condition in RANKS.items()
)
DAY = "date_time // 86400000 * 86400000"
OF_DAY = f"max(date_time) // 60000 * 60000 AS minute, {COUNTS}, {DAY} AS start, {DAY} + 86400000 AS \"end\""

# Whole bids as query 13 joins them, and as queries 18 and 19 rank them.
SIDED = """ bid.line[:-2] || ',"side":' || auction % 1000 || '}' """
PAIRED = """ bid.line[:-2] || ',"pair":"' || bidder || '-' || auction || '"}' """
TOP = """
    '{"key":"' || key || '","top":[' || string_agg(line, ',' ORDER BY rank) || '],"count":' || any_value(count) || ',"start":' ||
    any_value(start) || ',"end":' || any_value("end") || '}' AS line
"""

OF_BID = "kind, auction, bidder, price, channel, url, date_time, extra"

# The winning bid of each auction, as query 9 has it.
WINNER = """
    SELECT auction.id AS auction, auction.seller, auction.category, bid.bidder, bid.price, bid.date_time, auction.expires
    FROM auction JOIN bid ON bid.auction = auction.id AND bid.date_time BETWEEN auction.date_time AND auction.expires
    QUALIFY row_number() OVER (PARTITION BY auction.id ORDER BY bid.price DESC, bid.date_time) = 1
"""

# Each names its columns as the query in Dirigo names its fields, in the same order.
QUERIES = {
    "q0": f"SELECT {OF_BID} FROM bid",
    "q1": f"SELECT * REPLACE (price * 0.908::DOUBLE AS price) FROM (SELECT {OF_BID} FROM bid)",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q5": """
        WITH counts AS (
            SELECT auction, (date_time // 2000 + number) * 2000 AS "end", count(*) AS count
            FROM bid, range(1, 6) AS windows (number) GROUP BY ALL
        )
        SELECT list(auction ORDER BY auction) AS auctions, count, "end" - 10000 AS start, "end"
        FROM (SELECT * FROM counts QUALIFY rank() OVER (PARTITION BY "end" ORDER BY count DESC) = 1)
        GROUP BY ALL
    """,
    "q3": f"""
        SELECT {PAIR} FROM person JOIN auction ON auction.seller = person.id
        WHERE auction.category = 10 AND person.state IN ('or', 'id', 'ca')
    """,
    "q4": """
        SELECT category::VARCHAR AS key, avg(price) AS avg, count(*) AS count, min(expires) AS start, max(expires) AS "end"
        FROM winner GROUP BY category
    """,
    "q6": """
        SELECT seller, auction, avg(price) OVER (PARTITION BY seller ORDER BY expires, auction ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) AS average
        FROM winner
    """,
    "q7": """
        SELECT auction, bidder, price, date_time, date_time // 10000 * 10000 AS start, start + 10000 AS "end"
        FROM bid
        QUALIFY row_number() OVER (PARTITION BY date_time // 10000 ORDER BY price DESC, date_time, auction, bidder) = 1
    """,
    "q8": f"""
        SELECT {PAIR} FROM person JOIN auction
        ON auction.seller = person.id AND auction.date_time // 10000 = person.date_time // 10000
        QUALIFY row_number() OVER (PARTITION BY person.id ORDER BY auction.date_time, auction.id) = 1
    """,
    "q9": "SELECT auction, seller, category, bidder, price, date_time FROM winner",
    "q11": """
        WITH begins AS (
            SELECT bidder, date_time,
                coalesce(date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) >= 10000, true) AS is_first
            FROM bid
        ), numbered AS (
            SELECT *, count_if(is_first) OVER (PARTITION BY bidder ORDER BY date_time) AS session FROM begins
        )
        SELECT bidder::VARCHAR AS key, count(*) AS count, min(date_time) AS start, max(date_time) + 10000 AS "end"
        FROM numbered GROUP BY bidder, session
    """,
    "q13": f"""
        SELECT '{{"key":"' || auction % 1000 || '","event":' || {SIDED} || ',"row":{{"key":' || auction % 1000 || ',"value":"row ' ||
            auction % 1000 || '","ts":0}}}}' AS line
        FROM bid
    """,
    "q14": """
        SELECT auction, bidder, 0.908::DOUBLE * price AS price,
            CASE
                WHEN hour(epoch_ms(date_time)) BETWEEN 8 AND 18 THEN 'dayTime'
                WHEN hour(epoch_ms(date_time)) <= 6 OR hour(epoch_ms(date_time)) >= 20 THEN 'nightTime'
                ELSE 'otherTime'
            END AS bid_time_type,
            date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
        FROM bid WHERE 0.908::DOUBLE * bid.price > 1000000 AND 0.908::DOUBLE * bid.price < 50000000
    """,
    "q15": f"SELECT 'bid' AS key, {OF_DAY} FROM bid GROUP BY {DAY}",
    "q16": f"SELECT channel AS key, {OF_DAY} FROM bid GROUP BY channel, {DAY}",
    "q17": f"""
        SELECT auction, {", ".join(f"count(*) FILTER ({condition}) AS {rank}_bids" for rank, condition in RANKS.items())},
            min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price)::BIGINT AS sum_price,
            {DAY} AS start, {DAY} + 86400000 AS "end"
        FROM bid GROUP BY auction, {DAY}
    """,
    "q18": f"""
        WITH ranked AS (
            SELECT bidder || '-' || auction AS key, {PAIRED} AS line, row_number() OVER (of_key ORDER BY date_time DESC) AS rank,
                count(*) OVER of_key AS count, min(date_time) OVER of_key AS start, max(date_time) OVER of_key AS "end"
            FROM bid WINDOW of_key AS (PARTITION BY bidder, auction)
        )
        SELECT {TOP} FROM ranked WHERE rank = 1 GROUP BY key
    """,
    "q19": f"""
        WITH ranked AS (
            SELECT auction AS key, line, row_number() OVER (of_key ORDER BY price DESC, date_time) AS rank,
                count(*) OVER of_key AS count, min(date_time) OVER of_key AS start, max(date_time) OVER of_key AS "end"
            FROM bid WINDOW of_key AS (PARTITION BY auction)
        )
        SELECT {TOP} FROM ranked WHERE rank <= 10 GROUP BY key
    """,
    "q20": """
        SELECT '{"key":"' || auction.id || '","left":' || auction.line || ',"right":' || bid.line || '}' AS line
        FROM auction JOIN bid ON bid.auction = auction.id WHERE auction.category = 10
    """,
    "q21": r"""
        SELECT auction, bidder, price, channel,
            CASE lower(channel)
                WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
                ELSE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)
            END AS channel_id
        FROM bid
        WHERE lower(channel) IN ('apple', 'google', 'facebook', 'baidu') OR regexp_matches(url, '(&|^)channel_id=')
    """,
    "q22": """
        SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2,
            split_part(url, '/', 6) AS dir3
        FROM bid
    """,
}


def events(dirigo, folder):
    path = folder / "events.jsonl"
    sink = ["-s", "sink.out.kind=file", "-s", f"sink.out.path={path}"]
    subprocess.run([dirigo, "run", HERE / "events.toml", *sink], check=True)
    return path


def lines(connection, query):
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    if names == ["line"]:
        return sorted(row[0] + "\n" for row in found.fetchall())
    rows = [dict(zip(names, row)) for row in found.fetchall()]
    return sorted(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def main(dirigo):
    EXPECTED.mkdir(exist_ok=True)
    digests = {}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        path = events(dirigo, pathlib.Path(folder))
        # An event is one line: its columns, and the text itself.
        columns = ", ".join(f"(line->>'{name}')::{kind} AS {name}" for name, kind in COLUMNS.items())
        connection.read_csv(str(path), header=False, sep="\x01", quotechar="", columns={"line": "VARCHAR"}).create("text")
        connection.execute(f"CREATE TABLE event AS SELECT line, {columns} FROM text")
        for kind in ["person", "auction", "bid"]:
            connection.execute(f"CREATE VIEW {kind} AS SELECT * FROM event WHERE kind = '{kind}'")
        connection.execute(f"CREATE VIEW winner AS {WINNER}")
        for name, query in QUERIES.items():
            found = lines(connection, query)
            text = "".join(found)
            if len(text) <= BYTES_MAX:
                (EXPECTED / f"{name}.jsonl").write_text(text)
            else:
                digests[name] = {"lines": len(found), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (EXPECTED / "digests.json").write_text(json.dumps(digests, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

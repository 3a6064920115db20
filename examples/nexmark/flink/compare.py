"""Runs Nexmark queries in Dirigo and in Apache Flink, over the same file of events, and prints what each of them took.

Wants Java 17 (a JDK: `javac`) and pip, and the operators of the queries (see ../README.md):

    python3 examples/nexmark/flink/compare.py target/release/dirigo target/flink

The folder keeps the events, the jars of Flink and the figures of every run (runs.jsonl). 10 M events take 12 GB of disk.

Both engines read JSON lines and write JSON lines, and keep no checkpoints. Dirigo runs the pipelines next to this folder, with the file in place of
their source; Flink runs the queries of this folder in one JVM (RunQuery.java has its settings). With two workers, Flink gets the events dealt
out in turn to two files: it reads a file by one task, however many there are. Runs alternate between the engines, and so does what comes first.
Wall time and processor time are those of the whole process, start included. Each case also runs without events, which says what the start takes, and
with a fifth of them: what the whole takes more than that is of code that is warm, as far as it gets in this time.
The rows of both engines are compared, without their order.
"""

import argparse
import collections
import datetime
import itertools
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
ENGINES = ["dirigo", "flink"]
FIGURES = ["wall", "processor"]
WINDOW = 10_000
BID = ["kind", "auction", "bidder", "price", "channel", "url", "date_time", "extra"]


def milliseconds(text):
    return round(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)


def columns(*names):
    return lambda row: [tuple(row[name] for name in names)]


def hot_items_of_dirigo(row):
    return [(auction, row["count"], row["start"], row["end"]) for auction in row["auctions"]]


def hot_items_of_flink(row):
    return [(row["auction"], row["num"], milliseconds(row["window_start"]), milliseconds(row["window_end"]))]


def new_user_of_dirigo(row):
    person = row["left"]
    return [(person["id"], person["name"], person["date_time"] // WINDOW * WINDOW)]


def new_user_of_flink(row):
    return [(row["id"], row["name"], milliseconds(row["window_start"]))]


# What is compared of a row, by query and engine. The name of a query is that of its file in this folder; up to the dash, that of its pipeline.
QUERIES = {
    "q0": (columns(*BID), columns(*BID)),
    "q1": (columns(*BID), columns(*BID)),
    "q2": (columns("auction", "price"), columns("auction", "price")),
    "q5": (hot_items_of_dirigo, hot_items_of_flink),
    "q7": (columns("auction", "bidder", "price", "date_time"),) * 2,
    "q7-rank": (columns("auction", "bidder", "price", "date_time"),) * 2,
    "q8": (new_user_of_dirigo, new_user_of_flink),
}


def install_flink(cache, version):
    """Flink's jars and this folder's program, as a class path."""
    jars = cache / f"flink-{version}"
    if not jars.exists():
        package = f"apache-flink-libraries=={version}"
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", cache, package], check=True)
        [wheel] = cache.glob(f"apache_flink_libraries-{version}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(jars, [name for name in archive.namelist() if name.startswith("pyflink/lib/")])
        wheel.unlink()
    class_path = f"{jars}/pyflink/lib/*"
    subprocess.run(["javac", "-cp", class_path, "-d", cache / "classes", HERE / "RunQuery.java"], check=True)
    return f"{cache / 'classes'}:{class_path}"


def make_events(cache, dirigo, count):
    """A folder with the events as one file, and the same dealt out to two."""
    folder = cache / f"events-{count}"
    if not folder.exists():
        made = cache / "events-unfinished"
        shutil.rmtree(made, ignore_errors=True)
        (made / "dealt").mkdir(parents=True)
        whole = made / "all.jsonl"
        source = ["-s", f"source.events.events={count}", "-s", "source.events.step=100us"]
        sink = ["-s", "sink.out.kind=file", "-s", f"sink.out.path={whole}"]
        if count:
            subprocess.run([dirigo, "run", HERE.parent / "events.toml", *source, *sink], check=True, stderr=subprocess.DEVNULL, cwd=made)
        else:
            whole.touch()
        with open(whole, "rb") as lines, open(made / "dealt/0.jsonl", "wb") as even, open(made / "dealt/1.jsonl", "wb") as odd:
            for file, line in zip(itertools.cycle([even, odd]), lines):
                file.write(line)
        made.rename(folder)
    return folder


def dirigo_command(dirigo, query, workers, events, out):
    """Runs the pipeline of the query, with a file for its source; the rest of it is as it stands."""
    pipeline = (HERE.parent / f"{query.split('-')[0]}.toml").read_text()
    source = f'[[source]]\nid = "events"\nkind = "file"\npath = "{events}"\ntime = "/date_time"\n\n'
    pipeline = re.sub(r"\[\[source\]\].*?(?=^\[\[)", lambda _: source, pipeline, flags=re.DOTALL | re.MULTILINE)
    file = out / "pipeline.toml"
    file.write_text(pipeline.replace("../../target/", f"{ROOT}/target/"))
    sink = ["-s", "sink.out.kind=file", "-s", f"sink.out.path={out}/rows/rows.jsonl"]
    return [dirigo, "run", "--workers", str(workers), *sink, file]


def flink_command(class_path, query, workers, events, out):
    return ["java", "-cp", class_path, "RunQuery", HERE / "tables.sql", HERE / f"{query}.sql", events, out / "rows", str(workers)]


def measure(command, out):
    """Seconds of wall time and of processor time, and MiB of memory."""
    os.sync()
    with open(out / "log", "wb") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
    if status != 0:
        sys.exit(f"{command} failed:\n{(out / 'log').read_text()}")
    return {"wall": wall, "processor": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024}


def rows(out, normalise):
    """How often each row was put out, by its hash."""
    found = collections.Counter()
    for part in (out / "rows").rglob("*"):
        with open(part, "rb") as lines:
            for line in lines:
                found.update(hash(row) for row in normalise(json.loads(line)))
    return found


def compare_rows(query, outs):
    dirigo, flink = (rows(out, normalise) for out, normalise in zip(outs, QUERIES[query]))
    return {"rows": [dirigo.total(), flink.total()], "only": [(dirigo - flink).total(), (flink - dirigo).total()]}


def report(runs, compared, lengths):
    """Medians, as tables."""
    none, short, long = lengths

    def median(engine, query, workers, events, figure):
        key = {"engine": engine, "query": query, "workers": workers, "events": events}
        return statistics.median(run[figure] for run in runs if key.items() <= run.items())

    def rates(query, workers, figure, less):
        """Thousands of events a second of both engines and their ratio: of a whole run, or of what it has more than a shorter one."""
        seconds = [median(engine, query, workers, long, figure) for engine in ENGINES]
        if less:
            seconds = [whole - median(engine, query, workers, less, figure) for engine, whole in zip(ENGINES, seconds)]
        dirigo, flink = ((long - less) / taken / 1000 for taken in seconds)
        return f"{dirigo:,.0f} | {flink:,.0f} | {dirigo / flink:.1f}"

    cases = list(dict.fromkeys((run["query"], run["workers"]) for run in runs))
    for less, what in [(0, "a whole run, start included"), (short, f"what comes behind the first {short:,}")]:
        print(f"\nThousands of events a second, of wall time and of processor time: {what}\n")
        print("| query | workers | Dirigo, wall | Flink, wall | ratio | Dirigo, processor | Flink, processor | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for query, workers in cases:
            print(f"| {query} | {workers} | {' | '.join(rates(query, workers, figure, less) for figure in FIGURES)} |")
    print("\nSeconds of wall and of processor time of a run without events; peak memory in MiB, rows, and rows that one alone has\n")
    print("| query | workers | Dirigo, wall | Flink | Dirigo, processor | Flink | Dirigo, MiB | Flink | Dirigo, rows | Flink | Dirigo | Flink |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for query, workers in cases:
        cells = [f"{median(engine, query, workers, none, figure):.2f}" for figure in FIGURES for engine in ENGINES]
        cells += [f"{median(engine, query, workers, long, 'memory'):,.0f}" for engine in ENGINES]
        cells += [f"{number:,}" for number in compared[query, workers]["rows"] + compared[query, workers]["only"]]
        print(f"| {query} | {workers} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirigo", type=pathlib.Path, help="the binary")
    parser.add_argument("cache", type=pathlib.Path, help="a folder for events, jars and outputs")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], choices=[1, 2])
    parser.add_argument("--queries", nargs="+", default=list(QUERIES), choices=QUERIES)
    parser.add_argument("--flink", default="2.3.0", help="the version of Flink")
    arguments = parser.parse_args()
    dirigo, cache = arguments.dirigo.resolve(), arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    class_path = install_flink(cache, arguments.flink)
    lengths = [0, arguments.events // 5, arguments.events]
    folders = {count: make_events(cache, dirigo, count) for count in lengths}

    runs, compared = [], {}
    for pair, query, workers in itertools.product(range(arguments.pairs), arguments.queries, arguments.workers):
        outs = [cache / "out" / engine for engine in ENGINES]
        for count, engine in itertools.product(lengths, ENGINES if pair % 2 == 0 else ENGINES[::-1]):
            out = cache / "out" / engine
            shutil.rmtree(out, ignore_errors=True)
            (out / "rows").mkdir(parents=True)
            whole = folders[count] / "all.jsonl"
            if engine == "dirigo":
                command = dirigo_command(dirigo, query, workers, whole, out)
                if pair == count == 0:
                    measure(command, out)  # Compiles the operators, which later runs have from the cache.
            else:
                command = flink_command(class_path, query, workers, whole if workers == 1 else folders[count] / "dealt", out)
            run = {"engine": engine, "query": query, "workers": workers, "events": count, **measure(command, out)}
            runs.append(run)
            print(json.dumps(run), file=sys.stderr)
            with open(cache / "runs.jsonl", "a") as file:
                file.write(json.dumps(run) + "\n")
        if pair == 0:
            # In a process of its own: what a process inherits of memory counts in what is measured of it.
            with multiprocessing.Pool(1) as pool:
                compared[query, workers] = pool.apply(compare_rows, [query, outs])
            print(json.dumps({"query": query, "workers": workers, **compared[query, workers]}), file=sys.stderr)
    shutil.rmtree(cache / "out")
    report(runs, compared, lengths)


if __name__ == "__main__":
    main()

//! The whole process: two million sensor readings as JSON, and as CSV, file to file, through the built-in map, filter and reduce,
//! next to native programs that do the same: one loop with serde, or with the `csv` crate, as most would write it; and for JSON one over
//! columns with Dirigo's own scanner, the best that we can write by hand: next to that, the ratio is what isolation and delivery cost.
//!
//! `cargo bench --bench json` prints wall and processor time of all, the ratios, and the peak memory of `dirigo run` at two
//! lengths of input. Runs take turns; medians count. `cargo bench --bench json -- csv` measures one of the formats.

#![allow(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use dirigo_json::{Field, Finder, Value};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use wait4::Wait4 as _;

/// Readings in the long run.
const READINGS: u64 = 2_000_000;
/// Readings in the short run, which must take as much memory.
const FEW_READINGS: u64 = 200_000;
/// Rounds, of which the median counts.
const ROUNDS: usize = 5;

const PIPELINE: &str = r#"
[pipeline]
name = "readings"
[[source]]
id = "readings"
kind = "file"
path = "readings.jsonl"
key = "/sensor"
time = "/ts"
[[operator]]
id = "map"
component = "builtin:map"
config = { field = "value", scale = 1.8, offset = 32.0, into = "fahrenheit" }
[[operator]]
id = "filter"
component = "builtin:filter"
config = { field = "fahrenheit", threshold = 50.0 }
[[operator]]
id = "reduce"
component = "builtin:reduce"
window = { count = 5 }
config = { field = "fahrenheit", aggregate = "avg" }
[[sink]]
id = "out"
kind = "file"
path = "averages.jsonl"
"#;

/// Set, to an input, where this program is to be a native one.
const NATIVE: &str = "DIRIGO_BENCH_NATIVE";
/// Set where that is the one over columns.
const COLUMNS: &str = "DIRIGO_BENCH_COLUMNS";

/// How readings are written; also the ending of their file.
const FORMATS: [&str; 2] = ["jsonl", "csv"];

fn main() {
    if let Some(input) = std::env::var_os(NATIVE) {
        return native_program(Path::new(&input), std::env::var_os(COLUMNS).is_some());
    }
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let folder = folder.path();
    std::fs::write(folder.join("pipeline.toml"), PIPELINE).expect("the folder can be written");
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_asked = |format: &&str| asked.is_empty() || asked.iter().any(|word| word == format);
    FORMATS
        .into_iter()
        .filter(is_asked)
        .for_each(|format| compare(folder, format));
}

fn compare(folder: &Path, format: &str) {
    let (few, all) = (
        folder.join(format!("few.{format}")),
        folder.join(format!("readings.{format}")),
    );
    write_readings(&few, FEW_READINGS);
    write_readings(&all, READINGS);
    let (mut native_runs, mut columns_runs, mut dirigo_runs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        native_runs.push(native(&all, false));
        if !is_csv(&all) {
            columns_runs.push(native(&all, true));
        }
        dirigo_runs.push(dirigo(folder, &all));
    }
    let (native, dirigo) = (median(native_runs), median(dirigo_runs));
    let columns = (!columns_runs.is_empty()).then(|| median(columns_runs));
    let few = self::dirigo(folder, &few);
    let row = |name: &str, digits: usize, value: &dyn Fn(&Run) -> f64, ratio: Option<fn(f64, f64) -> f64>| {
        let [native, dirigo] = [&native, &dirigo].map(value);
        let of_columns = columns.as_ref().map(value);
        let shown = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.digits$}"));
        let ratio = |to: Option<f64>| shown(ratio.zip(to).map(|(ratio, to)| ratio(to, dirigo)));
        println!(
            "{name:<21} {:>9} {:>9} {:>9} {:>12} {:>12}",
            shown(Some(native)),
            shown(of_columns),
            shown(Some(dirigo)),
            ratio(Some(native)),
            ratio(of_columns)
        );
    };
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let millions = READINGS as f64 / 1e6;
    let of = |native: f64, dirigo: f64| native / dirigo;
    println!("{READINGS} readings, {format}");
    println!("                         native   columns    dirigo   of native   of columns");
    row("wall, s", 2, &|run| run.wall_s, Some(of));
    row("processor, s", 2, &|run| run.cpu_s, Some(of));
    row("M events/s", 2, &|run| millions / run.wall_s, None);
    row("M events/processor-s", 2, &|run| millions / run.cpu_s, None);
    println!(
        "peak memory, MiB: {} for {FEW_READINGS} readings, {} for {READINGS}",
        few.peak_bytes >> 20,
        dirigo.peak_bytes >> 20
    );
}

fn is_csv(input: &Path) -> bool {
    input.extension().is_some_and(|extension| extension == "csv")
}

#[derive(Clone, Copy, Debug)]
struct Run {
    wall_s: f64,
    cpu_s: f64,
    peak_bytes: u64,
}

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|left, right| left.wall_s.total_cmp(&right.wall_s));
    runs[runs.len() / 2]
}

fn write_readings(path: &Path, count: u64) {
    let mut file = BufWriter::new(File::create(path).expect("the folder can be written"));
    if is_csv(path) {
        writeln!(file, "sensor,ts,value,unit").expect("the disk has room");
    }
    for index in 0..count {
        let (key, value) = support::event(index);
        let sensor = u64::from_le_bytes(key);
        let value = f64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
        let ts = 1_704_067_200_000 + index * 1_000;
        let written = if is_csv(path) {
            writeln!(file, "sensor-{sensor:06},{ts},{value:.2},C")
        } else {
            writeln!(
                file,
                r#"{{"sensor":"sensor-{sensor:06}","ts":{ts},"value":{value:.2},"unit":"C"}}"#
            )
        };
        written.expect("the disk has room");
    }
    file.flush().expect("the disk has room");
}

fn dirigo(folder: &Path, input: &Path) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
    command.arg("run").arg(folder.join("pipeline.toml")).arg("-s");
    command.arg(format!("source.readings.path={}", input.display()));
    measured(command.stderr(Stdio::null()))
}

/// Runs this very program as a native one, so that all pay for a process.
fn native(input: &Path, is_columnar: bool) -> Run {
    let mut command = Command::new(std::env::current_exe().expect("the program has a path"));
    command.env(NATIVE, input);
    if is_columnar {
        command.env(COLUMNS, "");
    }
    measured(&mut command)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn measured(command: &mut Command) -> Run {
    let start = Instant::now();
    let child = command.spawn().expect("the program starts");
    let used = child.wait4().expect("the program can be waited for");
    assert!(used.status.success(), "the program ends well");
    let cpu = used.rusage.utime + used.rusage.stime;
    Run {
        wall_s: start.elapsed().as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        peak_bytes: used.rusage.maxrss,
    }
}

#[derive(Deserialize)]
struct Reading<'a> {
    sensor: &'a str,
    value: f64,
}

#[derive(Serialize)]
struct Average<'a> {
    key: &'a str,
    avg: f64,
    count: u64,
}

/// The same job in one loop: parse, scale, compare, add up by sensor, write an average of every five.
fn native_program(input: &Path, is_columnar: bool) {
    let file = File::open(input).expect("it was written");
    let output = File::create(input.with_extension("out")).expect("the folder can be written");
    let mut averages = Averages {
        output: BufWriter::with_capacity(1 << 18, output),
        sums: HashMap::default(),
    };
    if is_columnar {
        columnar(file, &mut averages);
    } else if is_csv(input) {
        let mut reader = csv::ReaderBuilder::new().buffer_capacity(1 << 18).from_reader(file);
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).expect("it was written as CSV") {
            let text = |field: usize| str::from_utf8(&record[field]).expect("it was written as UTF-8");
            averages.add(text(0), text(2).parse().expect("it was written as a number"));
        }
    } else {
        for line in BufReader::with_capacity(1 << 18, file).split(b'\n') {
            let line = line.expect("the file can be read");
            let reading: Reading<'_> = serde_json::from_slice(&line).expect("it was written as JSON");
            averages.add(reading.sensor, reading.value);
        }
    }
    averages.output.flush().expect("the disk has room");
}

fn to_fahrenheit(celsius: f64) -> f64 {
    celsius * 1.8 + 32.0
}

/// The same over columns of some thousand readings.
fn columnar(mut file: File, averages: &mut Averages) {
    let field = |name: &str| Arc::new(Field::new(name).expect("it is a name"));
    let mut finder = Finder::default();
    finder.look_for([field("sensor"), field("value")].iter());
    let (mut block, mut filled) = (vec![0; 1 << 18], 0);
    let mut values = Vec::new();
    loop {
        let read = file.read(&mut block[filled..]).expect("the file can be read");
        if read == 0 {
            return;
        }
        filled += read;
        let mut sensors = Vec::with_capacity(values.capacity());
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &block[..filled]) {
            let [sensor, value] = finder.find(&block[start..end]).expect("it was written as JSON");
            let sensor = sensor.expect("each has a sensor").as_bytes();
            // Within its quotes: no sensor has escapes.
            sensors.push(&sensor[1..sensor.len() - 1]);
            values.push(value.and_then(Value::as_number).expect("each has a value"));
            start = end + 1;
        }
        values.iter_mut().for_each(|value| *value = to_fahrenheit(*value));
        for (sensor, fahrenheit) in sensors.iter().zip(&values).filter(|(_, value)| **value > 50.0) {
            averages.fold(str::from_utf8(sensor).expect("it is ASCII"), *fahrenheit);
        }
        values.clear();
        block.copy_within(start..filled, 0);
        filled -= start;
    }
}

struct Averages {
    output: BufWriter<File>,
    sums: HashMap<String, (f64, u64)>,
}

impl Averages {
    #[inline]
    fn add(&mut self, sensor: &str, celsius: f64) {
        let fahrenheit = to_fahrenheit(celsius);
        if fahrenheit > 50.0 {
            self.fold(sensor, fahrenheit);
        }
    }

    #[inline]
    fn fold(&mut self, sensor: &str, fahrenheit: f64) {
        let (sum, count) = self.sums.entry_ref(sensor).or_default();
        *sum += fahrenheit;
        *count += 1;
        if *count == 5 {
            let average = Average {
                key: sensor,
                avg: *sum / 5.0,
                count: 5,
            };
            serde_json::to_writer(&mut self.output, &average).expect("the disk has room");
            self.output.write_all(b"\n").expect("the disk has room");
            (*sum, *count) = (0.0, 0);
        }
    }
}

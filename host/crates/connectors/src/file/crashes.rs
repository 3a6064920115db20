//! Random epochs and random crashes: what readers see was committed, and in the end all of it is there, once and in order.

use std::any::Any;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{FileFormat, LinesSpec, PartsSpec, Roll};
use dirigo_connect::Pattern;
use dirigo_connect::sink::{Beginning, Error, Offset, Opening, Resume, Sink, SinkSpec};
use dirigo_disk::{Disk, Mode, Simulated};
use dirigo_ground::clock::{Clock, ManualClock};

const SEEDS: u64 = 500;
const FOLDER: &str = "/out/parts";
/// Lines of a run to its end.
const LINES: u64 = 60;
/// Crashes after which a run is let go to its end.
const CRASHES: usize = 6;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the state would hold.
#[derive(Default)]
struct Committed {
    offset: Option<Offset>,
    lines: u64,
}

fn parts(name: &str, roll: Option<Roll>) -> Box<dyn SinkSpec> {
    let (prefix, suffix) = name.split_once('*').unwrap();
    let pattern = Pattern {
        folder: FOLDER.into(),
        prefix: prefix.to_owned(),
        suffix: suffix.to_owned(),
    };
    Box::new(PartsSpec {
        pattern,
        format: FileFormat::Jsonl,
        roll,
        if_exists: None,
    })
}

fn file(name: &str) -> Box<dyn SinkSpec> {
    let path = Path::new(FOLDER).join(name);
    Box::new(LinesSpec {
        path,
        format: FileFormat::Jsonl,
        if_exists: None,
    })
}

/// A line that says its number; some are longer than a sector.
fn line(number: u64) -> String {
    format!("{number} {}", "x".repeat(usize::try_from(number * 97 % 700).unwrap()))
}

/// Writes from where the last commit was to the end, or until the machine stops.
fn run(
    sink: &dyn SinkSpec,
    disk: &Simulated,
    clock: &Arc<ManualClock>,
    committed: &mut Committed,
    random: &mut Random,
) -> Result<(), Error> {
    let (disk, clock_of_sink): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(disk.clone()), clock.clone());
    let fresh = Resume::Fresh(Beginning {
        pipeline: "p",
        keeps_state: true,
        discarded: None,
        goes_on: false,
    });
    let from = committed.offset.as_ref().map_or(fresh, Resume::At);
    let mut sink = sink.open(Opening {
        id: "out",
        pipeline: "p",
        tenant: "t",
        from,
        disk: &disk,
        clock: &clock_of_sink,
        keep: None,
    })?;
    if committed.offset.is_none() {
        // As the runtime does before anything is written: from here on the state knows the file.
        committed.offset = sink.prepare()?.synced()?;
        sink.publish()?;
    }
    let mut lines = committed.lines;
    loop {
        for _ in 0..random.below(4) {
            if lines < LINES {
                write(&mut *sink, lines)?;
                lines += 1;
            }
        }
        sink.flush()?;
        let is_last = lines == LINES;
        if is_last {
            sink.end();
        }
        let prepared = sink.prepare()?;
        let prepared_lines = lines;
        // The pipeline goes on while the disk is waited for.
        if lines < LINES && random.below(2) == 0 {
            write(&mut *sink, lines)?;
            lines += 1;
        }
        let offset = prepared.synced()?;
        *committed = Committed {
            offset,
            lines: prepared_lines,
        };
        sink.publish()?;
        if is_last {
            return Ok(());
        }
        clock.advance(Duration::from_secs(1));
    }
}

fn write(sink: &mut dyn Sink, number: u64) -> Result<(), Error> {
    crate::tests::write(sink, &[&line(number)])
}

/// What is in the files that readers look at, in the order of their names.
fn seen(disk: &Simulated) -> Vec<u8> {
    // Nobody has seen anything where the folder was never made to last.
    let names = disk.list(Path::new(FOLDER)).unwrap_or_default();
    let shown = names
        .into_iter()
        .filter(|name| !name.to_string_lossy().starts_with('.'));
    shown
        .flat_map(|name| text(disk, &Path::new(FOLDER).join(name)))
        .collect()
}

fn text(disk: &Simulated, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Mode::Existing).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let mut text = Vec::new();
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => drop(flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text)),
        "zst" => drop(zstd::Decoder::new(&bytes[..]).unwrap().read_to_end(&mut text)),
        _ => text = bytes,
    }
    text
}

fn written(lines: u64) -> Vec<u8> {
    (0..lines)
        .flat_map(|number| (line(number) + "\n").into_bytes())
        .collect()
}

/// Runs, crashes and restarts; says what was found that must not be.
fn violation(sink: &dyn SinkSpec, seed: u64, lies: bool) -> Option<String> {
    let mut random = Random(seed);
    let mut disk = Simulated::new(seed);
    disk.lie_on_sync(lies);
    let clock = Arc::new(ManualClock::new(0));
    let mut committed = Committed::default();
    let shows_only_committed = (sink as &dyn Any).is::<PartsSpec>();
    for crash in 0.. {
        if crash < CRASHES {
            disk.crash_at(1 + random.below(40));
        }
        match run(sink, &disk, &clock, &mut committed, &mut random) {
            Ok(()) => break,
            Err(_) if disk.is_crashed() => {}
            Err(error) => return Some(error.to_string()),
        }
        disk = disk.restart();
        // Of a run that starts anew, what an earlier one left is still to be removed; here there was none.
        if shows_only_committed && !written(committed.lines).starts_with(&seen(&disk)) {
            return Some(format!(
                "more is seen than the {} lines that were committed",
                committed.lines
            ));
        }
    }
    (seen(&disk) != written(LINES)).then(|| "in the end there is something else than was written".to_owned())
}

fn never_violated(sink: &dyn SinkSpec) {
    for seed in 0..SEEDS {
        assert_eq!(violation(sink, seed, false), None, "seed {seed}");
    }
}

const ROLL: Roll = Roll {
    size: Some(1_500),
    every: Some(Duration::from_secs(5)),
};

#[test]
fn whatever_a_crash_leaves_of_parts_was_committed_and_is_completed() {
    never_violated(&*parts("*.jsonl", None));
    never_violated(&*parts("p-*.jsonl.zst", None));
}

#[test]
fn whatever_a_crash_leaves_of_parts_that_roll_was_committed_and_is_completed() {
    never_violated(&*parts("*.jsonl", Some(ROLL)));
    never_violated(&*parts("p-*.jsonl.gz", Some(ROLL)));
}

#[test]
fn whatever_a_crash_leaves_of_a_file_is_cut_and_completed() {
    never_violated(&*file("out.jsonl"));
    never_violated(&*file("out.jsonl.zst"));
}

#[test]
fn a_disk_that_lies_is_found_out() {
    for sink in [parts("*.jsonl", None), parts("*.jsonl", Some(ROLL)), file("out.jsonl")] {
        let is_found = |seed| violation(&*sink, seed, true).is_some();
        assert!((0..SEEDS).any(is_found), "no seed shows it");
    }
}

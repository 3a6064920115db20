use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::file::archive::ZSTD_WINDOW;
use crate::records::Reading;
use dirigo_connect::Format;
use dirigo_disk::Real;
use dirigo_ground::clock::ManualClock;

const LIMIT: ReadLimit = ReadLimit {
    events: 100,
    bytes: 1 << 20,
};

/// A log that is written to, rotated and followed.
struct Log {
    folder: tempfile::TempDir,
    format: Format,
    clock: Arc<ManualClock>,
    /// What writes to it.
    writer: fs::File,
    followed: FollowedFile,
    read: Vec<String>,
    refused: Vec<String>,
    positions: Vec<u64>,
}

impl Log {
    fn new(format: Format, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, text).unwrap();
        let clock = Arc::new(ManualClock::new(0));
        Self {
            writer: appending(&path),
            followed: FollowedFile::open(&path, options(format, &clock), None).unwrap(),
            folder,
            format,
            clock,
            read: Vec::new(),
            refused: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).unwrap();
    }

    /// Renames the rotated files, each to the next number.
    fn shift(&self) {
        for number in (1..100).rev() {
            for extension in ["", ".gz"] {
                let from = self.path(&format!("app.log.{number}{extension}"));
                if from.exists() {
                    fs::rename(from, self.path(&format!("app.log.{}{extension}", number + 1))).unwrap();
                }
            }
        }
    }

    /// Moves the log aside. What writes to it does not notice yet.
    fn move_aside(&self) {
        self.shift();
        fs::rename(self.path("app.log"), self.path("app.log.1")).unwrap();
        fs::write(self.path("app.log"), "").unwrap();
    }

    /// Has the log written to that is at the path.
    fn reopen(&mut self) {
        self.writer = appending(&self.path("app.log"));
    }

    fn rotate(&mut self) {
        self.move_aside();
        self.reopen();
    }

    fn copy_and_cut(&self) {
        self.shift();
        fs::copy(self.path("app.log"), self.path("app.log.1")).unwrap();
        self.writer.set_len(0).unwrap();
    }

    fn compress(&self, number: u32) {
        let path = self.path(&format!("app.log.{number}"));
        let Ok(text) = fs::read(&path) else { return };
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        let compressed = self.path(&format!("app.log.{number}.gz"));
        fs::write(&compressed, encoder.finish().unwrap()).unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        fs::File::options()
            .write(true)
            .open(compressed)
            .unwrap()
            .set_modified(modified)
            .unwrap();
        fs::remove_file(path).unwrap();
    }

    /// Reads once.
    fn look(&mut self, limit: ReadLimit) -> Read {
        let mut intake = Intake::default();
        let read = self.followed.read(&mut intake, limit).unwrap();
        self.positions.extend(&intake.positions);
        self.positions
            .extend(intake.refused.iter().map(|refused| refused.position));
        self.refused
            .extend(intake.refused.drain(..).map(|refused| refused.reason));
        let values = intake.take_values().to_column();
        self.read
            .extend(values.iter().map(|value| String::from_utf8_lossy(value).into_owned()));
        read
    }

    /// Reads as far as there is something, with files that were moved aside given the time to be silent. Gives what was read.
    fn look_on(&mut self) -> Vec<String> {
        let before = self.read.len();
        for _ in 0..2 {
            while self.look(LIMIT) == Read::More {}
            self.clock.advance(WRITTEN_AFTER);
        }
        while self.look(LIMIT) == Read::More {}
        self.read[before..].to_vec()
    }

    /// Resumes in another run where this one is.
    fn restart(&mut self) -> Result<(), Error> {
        let offset = self.followed.offset().unwrap();
        self.restart_at(&offset)
    }

    fn restart_at(&mut self, offset: &Offset) -> Result<(), Error> {
        let options = options(self.format, &self.clock);
        self.followed = FollowedFile::open(&self.path("app.log"), options, Some(offset))?;
        Ok(())
    }
}

fn appending(path: &Path) -> fs::File {
    fs::File::options().append(true).open(path).unwrap()
}

fn options(format: Format, clock: &Arc<ManualClock>) -> ReadOptions {
    ReadOptions {
        reading: Reading::plain(format),
        clock: clock.clone(),
        disk: Arc::new(Real),
        is_continued: false,
        may_be_empty: false,
        may_be_pipe: false,
        zstd_window_max: ZSTD_WINDOW,
    }
}

#[test]
fn lines_are_read_as_they_are_ended() {
    let mut log = Log::new(Format::Lines, "a\n");
    assert_eq!(log.look_on(), ["a"]);
    log.append("b\nc");
    assert_eq!(log.look_on(), ["b"]);
    log.append("c\n");
    assert_eq!(log.look_on(), ["cc"]);
    assert_eq!(log.positions, [1, 2, 3]);
}

#[test]
fn a_silent_file_is_looked_at_less_often() {
    let mut log = Log::new(Format::Lines, "");
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Read::Wait(pause) = log.look(LIMIT) else { panic!() };
        pauses.push(pause.as_millis());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 100, 100]);
    log.append("a\n");
    assert_eq!(log.look(LIMIT), Read::More);
    assert_eq!(log.look(LIMIT), Read::Wait(PAUSE_MIN));
}

#[test]
fn a_file_that_was_moved_aside_is_read_until_its_writer_has_noticed() {
    let mut log = Log::new(Format::Lines, "a\n");
    assert_eq!(log.look(LIMIT), Read::More);
    log.append("b\n");
    log.move_aside();
    while log.look(LIMIT) == Read::More {}
    log.append("c\nd");
    log.reopen();
    log.append("e\n");
    // What counts is when it was moved.
    let old = std::time::SystemTime::UNIX_EPOCH;
    appending(&log.path("app.log.1")).set_modified(old).unwrap();
    while log.look(LIMIT) == Read::More {}
    assert_eq!(log.read, ["a", "b", "c"], "the writer may not have noticed yet");
    assert_eq!(log.look_on(), ["d", "e"], "nothing ends the last line any more");
    assert_eq!(log.positions, [1, 2, 3, 4, 5]);
}

#[test]
fn files_between_are_read_too_where_there_was_no_look_for_long() {
    let mut log = Log::new(Format::Lines, "a\n");
    log.look_on();
    for line in ["b\n", "c\n", "", "d\n"] {
        log.append(line);
        log.rotate();
    }
    log.append("e\n");
    log.compress(3);
    assert_eq!(log.look_on().len() + log.look_on().len() + log.look_on().len(), 4);
    assert_eq!(log.read, ["a", "b", "c", "d", "e"]);
}

#[test]
fn files_between_are_read_where_the_one_before_was_removed() {
    let mut log = Log::new(Format::Lines, "a\n");
    log.look_on();
    // Times of files may be no finer than a few milliseconds.
    let old = std::time::SystemTime::UNIX_EPOCH;
    log.writer.set_modified(old).unwrap();
    log.rotate();
    log.append("b\n");
    log.rotate();
    log.append("c\n");
    fs::remove_file(log.path("app.log.2")).unwrap();
    log.look_on();
    assert_eq!([log.look_on(), log.read.clone()].concat(), ["a", "b", "c"]);
}

#[test]
fn what_was_not_read_of_a_file_that_is_cut_is_read_from_its_copy() {
    for text in [
        "",
        "more\n",
        "much more than there was before, so that the place is there again\n",
    ] {
        let mut log = Log::new(Format::Lines, "a\nb\n");
        assert_eq!(log.look(ReadLimit { events: 1, ..LIMIT }), Read::More);
        log.append("c\nd");
        // The copy has half of a line, and there is nothing to end it.
        log.copy_and_cut();
        log.append(text);
        let expected: Vec<String> = ["a", "b", "c", "d"]
            .into_iter()
            .chain(text.lines())
            .map(str::to_owned)
            .collect();
        log.look_on();
        assert_eq!(log.read, expected);
        assert_eq!(log.positions, (1..).take(expected.len()).collect::<Vec<u64>>());
    }
}

#[test]
fn a_file_that_is_cut_without_a_copy_is_read_from_its_start() {
    let mut log = Log::new(Format::Lines, "a\nb");
    // Of another time, and no copy of it.
    fs::write(log.path("app.log.1"), "z\nb\n").unwrap();
    log.look_on();
    log.writer.set_len(0).unwrap();
    log.append("c\n");
    assert_eq!(log.look_on(), ["c"]);
    assert_eq!(log.positions, [1, 2]);
    log.restart().unwrap();
    log.append("d\n");
    assert_eq!(log.look_on(), ["d"]);
}

#[test]
fn an_older_file_that_begins_alike_is_no_copy() {
    for has_previous in [false, true] {
        let mut log = Log::new(Format::Lines, "");
        if has_previous {
            log.append("x\n");
            log.look_on();
            log.rotate();
            log.append("started\ny\n");
            log.look_on();
            log.rotate();
        } else {
            log.clock.set(9_000_000_000_000);
            fs::write(log.path("app.log.1"), "started\ny\n").unwrap();
            log.restart().unwrap();
        }
        let before = log.read.len();
        log.append("started\n");
        log.look_on();
        log.writer.set_len(0).unwrap();
        log.look_on();
        log.append("started\nz\n");
        log.look_on();
        assert_eq!(log.read[before..], ["started", "started", "z"], "{has_previous}");
    }
}

#[test]
fn rotated_files_are_read_though_there_is_no_file_at_the_path() {
    let mut log = Log::new(Format::Lines, "a\n");
    log.look_on();
    log.append("b\nc");
    log.rotate();
    log.append("d\n");
    log.rotate();
    fs::remove_file(log.path("app.log")).unwrap();
    assert_eq!(log.look_on(), ["b", "c", "d"]);
    log.restart().unwrap();
    fs::write(log.path("app.log"), "e\n").unwrap();
    assert_eq!(log.look_on(), ["e"]);
}

#[test]
fn what_is_no_log_next_to_one_does_not_disturb() {
    let mut log = Log::new(Format::Lines, "a\n");
    log.look_on();
    fs::create_dir(log.path("app.log.3")).unwrap();
    std::os::unix::fs::symlink("/nowhere", log.path("app.log.4")).unwrap();
    fs::write(log.path("app.log.5.gz"), "no gzip").unwrap();
    fs::write(log.path("app-1.log"), "of another\n").unwrap();
    fs::rename(log.path("app.log"), log.path("app.log.1")).unwrap();
    fs::write(log.path("app.log"), "b\n").unwrap();
    log.look_on();
    log.restart().unwrap();
    log.look_on();
    assert_eq!(log.read, ["a", "b"]);
}

#[test]
fn a_copy_is_known_before_the_first_record_was_read() {
    let mut log = Log::new(Format::Lines, "a");
    log.look_on();
    log.append("b\n");
    log.copy_and_cut();
    log.append("c\n");
    assert_eq!(log.look_on(), ["ab", "c"]);
}

#[test]
fn a_copy_is_found_of_what_came_and_went_between_two_looks() {
    let mut log = Log::new(Format::Lines, "a\n");
    log.look_on();
    log.copy_and_cut();
    log.look_on();
    log.append("b\n");
    log.copy_and_cut();
    log.append("c and more\n");
    assert_eq!(log.look_on(), ["b", "c and more"]);
    log.copy_and_cut();
    log.append("at 1");
    log.look_on();
    log.append("0\n");
    log.copy_and_cut();
    log.append("at 11\n");
    assert_eq!(log.look_on(), ["at 10", "at 11"]);
}

#[test]
fn a_file_may_come_later_and_go_meanwhile() {
    let mut log = Log::new(Format::Lines, "a\n");
    fs::remove_file(log.path("app.log")).unwrap();
    log.followed = FollowedFile::open(&log.path("app.log"), options(Format::Lines, &log.clock), None).unwrap();
    assert_eq!(log.look_on(), [""; 0]);
    log.restart().unwrap();
    assert_eq!(log.look_on(), [""; 0]);
    fs::write(log.path("app.log"), "b\n").unwrap();
    assert_eq!(log.look_on(), ["b"]);
    fs::remove_file(log.path("app.log")).unwrap();
    assert_eq!(log.look_on(), [""; 0]);
    fs::write(log.path("app.log"), "c\n").unwrap();
    assert_eq!(log.look_on(), ["c"]);
}

#[test]
fn a_later_run_finds_the_file_under_its_new_name_and_goes_on_with_those_behind_it() {
    let rotations: [&dyn Fn(&mut Log); 5] = [
        &|log| log.rotate(),
        &|log| log.copy_and_cut(),
        &|log| {
            log.rotate();
            log.compress(1);
        },
        &|log| {
            fs::rename(log.path("app.log"), log.path("app.log-20240301")).unwrap();
            fs::write(log.path("app.log"), "").unwrap();
            log.reopen();
        },
        &|log| {
            log.rotate();
            log.append("between\n");
            log.rotate();
            log.compress(2);
            log.compress(1);
        },
    ];
    for (number, rotate) in rotations.iter().enumerate() {
        for is_at_end in [true, false] {
            let mut log = Log::new(Format::Lines, "a\nb\n");
            if is_at_end {
                log.look_on();
            } else {
                log.look(ReadLimit { events: 1, ..LIMIT });
            }
            log.append("c\n");
            rotate(&mut log);
            log.append("d\n");
            log.restart().unwrap();
            log.look_on();
            log.look_on();
            let mut expected = vec!["a", "b", "c", "d"];
            if number == 4 {
                expected.insert(3, "between");
            }
            assert_eq!(log.read, expected, "{number}, {is_at_end}");
        }
    }
}

#[test]
fn a_file_of_which_nothing_was_read_is_found_by_what_came_before_it() {
    for is_removed in [false, true] {
        let mut log = Log::new(Format::Lines, "a\n");
        log.look_on();
        log.rotate();
        log.look_on();
        let offset = log.followed.offset().unwrap();
        log.append("b\n");
        if is_removed {
            fs::remove_file(log.path("app.log.1")).unwrap();
        }
        log.rotate();
        if !is_removed {
            log.compress(1);
        }
        log.append("c\n");
        log.restart_at(&offset).unwrap();
        log.look_on();
        assert_eq!(log.read, ["a", "b", "c"], "{is_removed}");
        assert_eq!(log.positions, [1, 2, 3]);
    }
}

#[test]
fn files_that_begin_alike_are_told_apart() {
    for is_compressed in [false, true] {
        let mut log = Log::new(Format::Csv, "n,m\n1,2\n");
        log.look_on();
        log.rotate();
        log.append("n,m\n");
        log.look_on();
        let offset = log.followed.offset().unwrap();
        log.append("3,4\n");
        log.rotate();
        log.append("n,m\n5,6\n");
        log.rotate();
        if is_compressed {
            log.compress(2);
        }
        log.append("n,m\n7,8\n");
        log.restart_at(&offset).unwrap();
        log.look_on();
        log.look_on();
        let expected = [(1, 2), (3, 4), (5, 6), (7, 8)].map(|(n, m)| format!(r#"{{"n":{n},"m":{m}}}"#));
        assert_eq!(log.read, expected, "{is_compressed}");
        assert_eq!(log.positions, [2, 4, 6, 8]);
    }
}

#[test]
fn a_later_run_says_so_where_what_it_read_is_nowhere() {
    let mut log = Log::new(Format::Lines, "a\nb\n");
    log.look_on();
    fs::write(log.path("app.log"), "c\nd\ne\n").unwrap();
    let error = log.restart().unwrap_err().to_string();
    assert!(error.contains("was replaced or rewritten"), "{error}");
    fs::write(log.path("app.log"), "").unwrap();
    let error = log.restart().unwrap_err().to_string();
    assert!(error.contains("was truncated to 0 bytes"), "{error}");

    // Nothing was read of it, but it was seen.
    let mut log = Log::new(Format::Lines, "a\nb\n");
    fs::write(log.path("app.log"), "a\n").unwrap();
    let error = log.restart().unwrap_err().to_string();
    assert!(error.contains("was truncated to 2 bytes"), "{error}");
    fs::write(log.path("app.log"), "c\nd\ne\n").unwrap();
    let error = log.restart().unwrap_err().to_string();
    assert!(error.contains("holds what an earlier run found"), "{error}");
}

#[test]
fn a_run_that_does_not_follow_goes_on_where_one_that_does_stopped_and_the_other_way_round() {
    let mut log = Log::new(Format::Lines, "a\nb\n");
    log.look(ReadLimit { events: 1, ..LIMIT });
    let offset = log.followed.offset().unwrap();
    let path = log.path("app.log");
    let mut file = FileReader::open(&path, options(Format::Lines, &log.clock), Some(&offset)).unwrap();
    let mut intake = Intake::default();
    while Source::read(&mut file, &mut intake, LIMIT).unwrap() != Read::End {}
    assert_eq!(intake.positions, [2]);
    log.restart_at(&Source::offset(&file).unwrap()).unwrap();
    log.append("c\n");
    log.look_on();
    assert_eq!(log.read, ["a", "c"]);
}

#[test]
fn each_file_of_a_csv_has_its_header() {
    let mut log = Log::new(Format::Csv, "");
    assert_eq!(log.look_on(), [""; 0]);
    log.append("n,m\n1,2\n");
    log.look_on();
    log.rotate();
    log.look_on();
    log.append("m,n\n3,4\n");
    log.look_on();
    assert_eq!(log.read, [r#"{"n":1,"m":2}"#, r#"{"m":3,"n":4}"#]);
    assert_eq!(log.positions, [2, 4]);
}

#[test]
fn what_is_refused_is_named_by_its_file_and_counted_over_all() {
    let mut log = Log::new(Format::Jsonl, "{}\n");
    log.look_on();
    log.rotate();
    log.append("{}\n{\n");
    log.look_on();
    assert_eq!(log.positions, [1, 2, 3]);
    assert!(log.refused[0].starts_with("line 2 of `app.log`: "), "{:?}", log.refused);
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64 (Steele, Lea and Flood 2014, figure 16).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Writes, rotates, reads, crashes; then sees whether each line was read once, in order.
fn follow_at_random(seed: u64) {
    let mut random = Random(seed);
    // A file that is empty at a crash, and compressed before the next run, is not known again.
    let mut log = Log::new(Format::Lines, "line 0\n");
    let (mut written, mut is_half) = (1_u64, false);
    let mut saved = (log.followed.offset().unwrap(), 0);
    let mut done = Vec::new();
    for _ in 0..150 {
        let step = random.below(14);
        done.push(step);
        match step {
            0..=3 => {
                for _ in 0..random.below(6) {
                    let line = format!("line {written}\n");
                    let cut = if is_half { 3 } else { 0 };
                    log.append(&line[cut..]);
                    is_half = false;
                    written += 1;
                }
            }
            4 if !is_half => {
                log.append("lin");
                is_half = true;
            }
            5 => {
                log.move_aside();
                if random.below(2) == 0 {
                    let line = format!("line {written}\n");
                    log.append(&line[if is_half { 3 } else { 0 }..]);
                    is_half = false;
                    written += 1;
                }
                // What writes to it ends its line first.
                if is_half {
                    log.append(&format!("line {written}\n")[3..]);
                    is_half = false;
                    written += 1;
                }
                log.reopen();
            }
            6 if !is_half => log.copy_and_cut(),
            7 => log.compress(2 + u32::try_from(random.below(3)).unwrap()),
            8..=10 => {
                for _ in 0..random.below(4) {
                    let events = usize::try_from(1 + random.below(4)).unwrap();
                    log.look(ReadLimit { events, ..LIMIT });
                }
            }
            11 => log.clock.advance(WRITTEN_AFTER),
            12 => saved = (log.followed.offset().unwrap(), log.read.len()),
            13 => {
                log.read.truncate(saved.1);
                log.positions.truncate(saved.1);
                log.restart_at(&saved.0)
                    .unwrap_or_else(|error| panic!("seed {seed}: {error}, {done:?}"));
            }
            _ => {}
        }
    }
    if is_half {
        log.append(&format!("line {written}\n")[3..]);
        written += 1;
    }
    for _ in 0..60 {
        log.look_on();
    }
    let expected: Vec<String> = (0..written).map(|number| format!("line {number}")).collect();
    let differs = (0..expected.len().max(log.read.len())).find(|at| log.read.get(*at) != expected.get(*at));
    let around = |lines: &[String]| {
        let at = differs.unwrap_or_default();
        lines[at.saturating_sub(2).min(lines.len())..(at + 3).min(lines.len())].to_vec()
    };
    assert_eq!(around(&log.read), around(&expected), "seed {seed}: {done:?}");
    assert_eq!(differs, None, "seed {seed}: {done:?}");
    assert!(log.positions.is_sorted_by(|a, b| a < b), "seed {seed}: {done:?}");
}

#[test]
fn each_line_is_read_once_in_order_whatever_rotations_and_crashes_come_between() {
    let seeds = std::env::var("DIRIGO_SEEDS").map_or(100, |seeds| seeds.parse().unwrap());
    (0..seeds).for_each(follow_at_random);
}

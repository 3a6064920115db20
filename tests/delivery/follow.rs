//! A log that is followed: each line comes out once, whatever rotations and crashes do.

use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Dirigo, Folder, Random, event, map_to_file, number_of, numbers};

/// A source that follows `app.jsonl`, and a map over it.
fn followed() -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "followed"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "app.jsonl"
        follow = true
        key = "/key"
        {}
        "#,
        map_to_file("pass")
    ))
}

/// A program that logs to `app.jsonl`, and what rotates that.
struct Logger<'a> {
    folder: &'a Folder,
    file: File,
    written: u64,
}

impl<'a> Logger<'a> {
    fn new(folder: &'a Folder) -> Self {
        folder.write("app.jsonl", "");
        Self {
            file: opened(folder),
            folder,
            written: 0,
        }
    }

    fn log(&mut self, lines: u64) {
        let range = self.written..self.written + lines;
        // All have one key, whose order is kept.
        let text: String = range.map(|number| event(number, "k")).collect();
        self.file.write_all(text.as_bytes()).unwrap();
        self.written += lines;
    }

    fn shift(&self) {
        for number in (1..1_000).rev() {
            for extension in ["", ".gz"] {
                let from = self.folder.path(format!("app.jsonl.{number}{extension}"));
                if from.exists() {
                    fs::rename(from, self.folder.path(format!("app.jsonl.{}{extension}", number + 1))).unwrap();
                }
            }
        }
    }

    /// The lines that come before it is noticed go to the file that was moved aside.
    fn rotate(&mut self) {
        self.shift();
        fs::rename(self.folder.path("app.jsonl"), self.folder.path("app.jsonl.1")).unwrap();
        self.folder.write("app.jsonl", "");
        self.log(3);
        self.file = opened(self.folder);
    }

    fn copy_and_cut(&mut self) {
        self.shift();
        fs::copy(self.folder.path("app.jsonl"), self.folder.path("app.jsonl.1")).unwrap();
        self.file.set_len(0).unwrap();
    }

    fn compress(&self) {
        let path = self.folder.path("app.jsonl.2");
        let Ok(text) = fs::read(&path) else { return };
        let hidden = self.folder.path("compressing");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&hidden).unwrap(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        fs::rename(hidden, self.folder.path("app.jsonl.2.gz")).unwrap();
        fs::remove_file(path).unwrap();
    }
}

fn opened(folder: &Folder) -> File {
    File::options().append(true).open(folder.path("app.jsonl")).unwrap()
}

#[test]
fn lines_come_out_as_they_are_written_and_a_later_run_goes_on() {
    let folder = followed();
    let mut logger = Logger::new(&folder);
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.hang_up();
    logger.log(2);
    folder.wait_for_lines("out.jsonl", 2);
    logger.rotate();
    logger.log(1);
    folder.wait_for_lines("out.jsonl", 6);
    running.terminate();
    running.finish().succeeds();
    logger.log(1);
    logger.copy_and_cut();
    logger.log(1);
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.hang_up();
    folder.wait_for_lines("out.jsonl", 8);
    running.terminate();
    assert_eq!(running.finish().succeeds().count("events_in"), 2);
    assert_eq!(numbers(&folder.read("out.jsonl")), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_log_that_is_rotated_comes_out_once_and_in_order_through_kills() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let folder = followed();
    let is_over = AtomicBool::new(false);
    let mut random = Random(seed);
    let mut of_logger = Random(seed + 1);
    let mut logger = Logger::new(&folder);
    logger.log(1);
    // The first run begins with the file at the path, not with rotated ones.
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.hang_up();
    folder.wait_for_lines("out.jsonl", 1);
    assert!(running.kill(), "it follows");
    std::thread::scope(|scope| {
        let logging = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                logger.log(of_logger.next() % 200);
                match of_logger.below(12) {
                    0 => logger.rotate(),
                    1 => logger.copy_and_cut(),
                    2 => logger.compress(),
                    _ => std::thread::sleep(Duration::from_millis(of_logger.next() % 30)),
                }
            }
        });
        let mut ends = 0;
        for _ in 0..kills {
            let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().workers(2).piped();
            running.hang_up();
            std::thread::sleep(Duration::from_micros(random.next() % 400_000));
            ends += u32::from(!running.kill());
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(ends, 0, "a run that follows does not end by itself");
        logging.join().unwrap();
    });
    // Only the last run can write the last line: what the last kill left uncommitted is not all that is awaited.
    logger.log(1);
    let written = logger.written;
    println!("{written} lines were written");
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().workers(2).piped();
    running.hang_up();
    folder.wait_for_lines("out.jsonl", written);
    running.terminate();
    running.finish().succeeds();
    let out = numbers(&folder.read("out.jsonl"));
    let differs = (0..written).find(|number| out.get(usize::try_from(*number).unwrap()) != Some(number));
    assert_eq!((differs, out.len() as u64), (None, written));
}

#[test]
fn a_followed_file_may_come_later_but_its_folder_is_there() {
    let folder = followed();
    let check = || Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    assert_eq!(check().code(), 0, "{}", check().stderr);
    let text = folder.read("pipeline.toml");
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.hang_up();
    folder.write("app.jsonl", event(1, "k"));
    folder.wait_for_lines("out.jsonl", 1);
    running.terminate();
    running.finish().succeeds();

    folder.write("pipeline.toml", text.replace("app.jsonl", "logs/app.jsonl"));
    check().ends_with(78, &["pipeline.toml:8", "path = \"logs/app.jsonl\""]);
    for (path, more, reason) in [
        ("*.jsonl", "", "`path` names the files of a folder"),
        ("app.jsonl", "special = true", "`special` says that it may be a pipe"),
        ("app.jsonl.gz", "", "a compressed file, which does not grow"),
    ] {
        let changed = text.replace("\"app.jsonl\"", &format!("\"{path}\"\n{more}"));
        folder.write("pipeline.toml", changed);
        check().ends_with(78, &["`follow` is for one regular file", reason]);
    }
}

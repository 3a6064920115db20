use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::file::archive::ZSTD_WINDOW;
use crate::records::Reading;
use dirigo_connect::Format;
use dirigo_disk::Real;
use dirigo_ground::clock::ManualClock;

fn options(format: Format) -> ReadOptions {
    ReadOptions {
        reading: Reading::plain(format),
        clock: Arc::new(ManualClock::new(0)),
        disk: Arc::new(Real),
        is_continued: true,
        may_be_empty: false,
        may_be_pipe: false,
        zstd_window_max: ZSTD_WINDOW,
    }
}

const MANY: ReadLimit = ReadLimit {
    events: 1_000,
    bytes: 1 << 20,
};
const ONE: ReadLimit = ReadLimit {
    events: 1,
    bytes: 1 << 20,
};

struct TestFolder(tempfile::TempDir);

impl TestFolder {
    fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
        let stage = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            stage.write(name, text);
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = fs::File::options().append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn try_open(&self, from: Option<&Offset>) -> Result<FolderReader, Error> {
        let pattern = Pattern {
            folder: self.0.path().to_owned(),
            prefix: String::new(),
            suffix: ".txt".to_owned(),
        };
        FolderReader::open(&pattern, options(Format::Lines), from)
    }

    fn open(&self, from: Option<&Offset>) -> FolderReader {
        self.try_open(from).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What comes of reading to the end, as `POSITION VALUE`, and where that is.
    fn read(&self, from: Option<&Offset>) -> (Vec<String>, Offset) {
        let mut folder = self.open(from);
        let mut intake = Intake::default();
        while folder.read(&mut intake, MANY).unwrap() != Read::End {}
        (shown(&mut intake), folder.offset().unwrap())
    }

    fn refusal(&self, from: &Offset) -> String {
        self.try_open(Some(from)).err().unwrap().to_string()
    }
}

fn shown(intake: &mut Intake) -> Vec<String> {
    let payloads = intake.take_values().to_column();
    let values = intake.positions.iter().zip(payloads.iter());
    values
        .map(|(position, value)| format!("{position} {}", String::from_utf8_lossy(value)))
        .collect()
}

#[test]
fn files_are_read_by_their_names_and_lines_counted_on() {
    let stage = TestFolder::new([("b.txt", "3\n"), ("a.txt", "1\n2"), ("c.txt", "4\n"), ("d.log", "x\n")]);
    stage.write(".a.txt", "hidden\n");
    fs::create_dir(stage.path("folder.txt")).unwrap();
    assert_eq!(stage.read(None).0, ["1 1", "2 2", "3 3", "4 4"]);
}

#[test]
fn it_goes_on_after_each_event() {
    let stage = TestFolder::new([("a.txt", "1\n2"), ("b.txt", ""), ("c.txt", "3\n4\n"), ("d.txt", "5\n")]);
    let mut all = Vec::new();
    let mut offset = None;
    for _ in 0..5 {
        let mut folder = stage.open(offset.as_ref());
        let mut intake = Intake::default();
        while intake.positions.is_empty() {
            folder.read(&mut intake, ONE).unwrap();
        }
        all.append(&mut shown(&mut intake));
        offset = folder.offset();
    }
    assert_eq!(all, ["1 1", "2 2", "3 3", "4 4", "5 5"]);
    assert!(stage.read(offset.as_ref()).0.is_empty());
}

#[test]
fn what_the_last_file_has_grown_by_and_files_behind_it_are_read_by_the_next_run() {
    let stage = TestFolder::new([]);
    let (read, offset) = stage.read(None);
    assert!(read.is_empty());
    stage.write("a.txt", "1\n");
    stage.write("b.txt", "2\n");
    let (read, offset) = stage.read(Some(&offset));
    assert_eq!(read, ["1 1", "2 2"]);
    stage.append("b.txt", "3\n");
    stage.write("c.txt", "4\n");
    assert_eq!(stage.read(Some(&offset)).0, ["3 3", "4 4"]);
}

#[test]
fn what_would_be_skipped_is_refused() {
    let stage = TestFolder::new([("b.txt", "1\n"), ("c.txt", "2\n")]);
    let (_, offset) = stage.read(None);
    stage.write("a.txt", "0\n");
    let refusal = stage.refusal(&offset);
    assert!(
        refusal.contains("`a.txt` is new there or has grown, and would be skipped"),
        "{refusal}"
    );
    stage.remove("a.txt");
    assert!(stage.read(Some(&offset)).0.is_empty());
    stage.append("b.txt", "0\n");
    let refusal = stage.refusal(&offset);
    assert!(refusal.contains("`b.txt` is new there or has grown"), "{refusal}");
}

#[test]
fn files_that_were_read_may_be_taken_away() {
    let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n3"), ("c.txt", "4\n")]);
    let (_, offset) = stage.read(None);
    stage.remove("a.txt");
    stage.remove("c.txt");
    let (read, offset) = stage.read(Some(&offset));
    assert!(read.is_empty());
    let (read, offset) = stage.read(Some(&offset));
    assert!(read.is_empty());
    stage.remove("b.txt");
    stage.write("d.txt", "5\n");
    assert_eq!(stage.read(Some(&offset)).0, ["5 5"]);
}

#[test]
fn a_file_that_comes_back_is_not_read_again() {
    let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
    let (_, offset) = stage.read(None);
    stage.remove("b.txt");
    let (_, offset) = stage.read(Some(&offset));
    let (_, offset) = stage.read(Some(&offset));
    stage.write("b.txt", "2\n3\n");
    stage.write("c.txt", "4\n");
    assert_eq!(stage.read(Some(&offset)).0, ["3 3", "4 4"]);
    stage.remove("b.txt");
    assert_eq!(stage.read(Some(&offset)).0, ["3 4"]);
}

#[test]
fn a_file_that_is_gone_before_it_was_read_to_its_end_is_missed() {
    let stage = TestFolder::new([("a.txt", "1\n2\n"), ("b.txt", "3\n")]);
    let mut folder = stage.open(None);
    folder.read(&mut Intake::default(), ONE).unwrap();
    stage.remove("a.txt");
    let refusal = stage.refusal(&folder.offset().unwrap());
    assert!(
        refusal.ends_with("`a.txt` is gone, and had not been read to its end"),
        "{refusal}"
    );
}

#[test]
fn a_file_that_was_cut_or_rewritten_is_named() {
    let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n3\n")]);
    let (_, offset) = stage.read(None);
    stage.write("b.txt", "2\n");
    let refusal = stage.refusal(&offset);
    assert!(refusal.contains("b.txt`: it was truncated to 2 bytes"), "{refusal}");
    stage.write("b.txt", "2\n4\n");
    let refusal = stage.refusal(&offset);
    assert!(refusal.contains("b.txt`: it was replaced or rewritten"), "{refusal}");
}

#[test]
fn an_offset_of_one_file_is_refused() {
    let stage = TestFolder::new([("a.txt", "1\n")]);
    let refusal = stage.refusal(&serde_json::json!({ "offset": 2 }));
    assert!(refusal.contains("missing field"), "{refusal}");
}

#[test]
fn each_file_has_its_own_header_and_compression_and_a_refusal_names_its_file() {
    let stage = TestFolder::new([("a.csv", "n\n1\n"), ("c.csv", "n\n4\n5,6\n")]);
    let zipped = zstd::encode_all(&b"n\n2\n3\n"[..], 1).unwrap();
    fs::write(stage.path("b.csv.zst"), zipped).unwrap();
    let pattern = Pattern::all_of(stage.0.path().to_owned());
    let mut folder = FolderReader::open(&pattern, options(Format::Csv), None).unwrap();
    let mut intake = Intake::default();
    while folder.read(&mut intake, ONE).unwrap() != Read::End {}
    assert_eq!(
        shown(&mut intake),
        ["2 {\"n\":1}", "4 {\"n\":2}", "5 {\"n\":3}", "7 {\"n\":4}"]
    );
    assert_eq!(intake.refused[0].position, 8);
    let reason = "line 3 of `c.csv`: the record has 2 fields, the header has 1";
    assert_eq!(intake.refused[0].reason, reason);
    let progress = folder.progress().unwrap();
    assert_eq!(progress.done, progress.total);
    let offset = folder.offset();
    let again = FolderReader::open(&pattern, options(Format::Csv), offset.as_ref());
    assert_eq!(again.unwrap().read(&mut Intake::default(), MANY).unwrap(), Read::End);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl TestFolder {
    /// A folder of which every file is read.
    fn read_all(&self, format: Format, from: Option<&Offset>) -> Result<(Vec<String>, Offset), Error> {
        let pattern = Pattern::all_of(self.0.path().to_owned());
        let mut folder = FolderReader::open(&pattern, options(format), from)?;
        let mut intake = Intake::default();
        while folder.read(&mut intake, MANY).unwrap() != Read::End {}
        Ok((shown(&mut intake), folder.offset().unwrap()))
    }

    /// Compresses a file as logrotate does.
    fn compress(&self, name: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(&format!("{name}.gz")), gzip(&text)).unwrap();
        self.remove(name);
    }
}

#[test]
fn a_file_that_was_read_and_is_compressed_then_is_not_read_again() {
    // The second sorts behind the one that is being read once it is compressed.
    for before in ["a.log", "b"] {
        let stage = TestFolder::new([(before, "1\n"), ("b-2.log", "2\n")]);
        let (read, offset) = stage.read_all(Format::Lines, None).unwrap();
        assert_eq!(read, ["1 1", "2 2"]);
        stage.compress(before);
        stage.append("b-2.log", "3\n");
        let (read, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
        assert_eq!(read, ["3 3"]);
        assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
    }
}

#[test]
fn a_file_that_is_compressed_in_the_middle_is_read_on() {
    let stage = TestFolder::new([("a.log", "1\n2\n")]);
    let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
    stage.append("a.log", "3\n");
    stage.compress("a.log");
    stage.write("b.log", "4\n");
    let (read, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
    assert_eq!(read, ["3 3", "4 4"]);
    assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
}

#[test]
fn logs_that_are_rotated_by_numbers_are_read_on_and_none_of_them_again() {
    let stage = TestFolder::new([("app.log", "1\n")]);
    let read = |from: Option<&Offset>| stage.read_all(Format::Lines, from).unwrap();
    let rename = |from: &str, to: &str| fs::rename(stage.path(from), stage.path(to)).unwrap();
    let (_, offset) = read(None);
    stage.append("app.log", "2\n");
    rename("app.log", "app.log.1");
    stage.write("app.log", "3\n");
    let (lines, offset) = read(Some(&offset));
    assert_eq!(lines, ["2 2", "3 3"]);
    // Two rotations at once, and the oldest file is compressed.
    stage.append("app.log", "4\n");
    rename("app.log.1", "app.log.3");
    stage.compress("app.log.3");
    rename("app.log", "app.log.2");
    stage.write("app.log.1", "5\n");
    stage.write("app.log", "6\n");
    let (lines, offset) = read(Some(&offset));
    assert_eq!(lines, ["4 4", "5 5", "6 6"]);
    assert!(read(Some(&offset)).0.is_empty());
    // The newest is gone, and nothing has come in its place yet.
    stage.append("app.log", "7\n");
    for (from, to) in [
        ("app.log.3.gz", "app.log.4.gz"),
        ("app.log.2", "app.log.3"),
        ("app.log.1", "app.log.2"),
    ] {
        rename(from, to);
    }
    rename("app.log", "app.log.1");
    assert_eq!(read(Some(&offset)).0, ["7 7"]);
}

#[test]
fn a_log_that_is_rotated_by_date_is_read_on() {
    let stage = TestFolder::new([("app.log", "1\n")]);
    let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
    stage.append("app.log", "2\n");
    fs::rename(stage.path("app.log"), stage.path("app.log-20240301")).unwrap();
    stage.compress("app.log-20240301");
    stage.write("app.log", "3\n");
    let (lines, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
    assert_eq!(lines, ["2 2", "3 3"]);
    assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
}

#[test]
fn a_compressed_file_that_holds_something_else_is_a_new_one() {
    let stage = TestFolder::new([("a.log", "1\n"), ("b.log", "2\n")]);
    let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
    stage.append("a.log", "x\n");
    stage.compress("a.log");
    let refusal = stage.read_all(Format::Lines, Some(&offset)).unwrap_err().to_string();
    assert!(refusal.contains("`a.log.gz` is new there or has grown"), "{refusal}");
}

#[test]
fn an_offset_of_an_earlier_version_is_gone_on_with() {
    let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
    let (_, mut offset) = stage.read(None);
    let mark = BASE64_STANDARD.encode(FileMark::of_first_kind("a.txt", 2).0);
    offset["read"] = mark.into();
    offset.as_object_mut().unwrap().remove("marks");
    stage.append("b.txt", "3\n");
    assert_eq!(stage.read(Some(&offset)).0, ["3 3"]);
}

#[test]
fn an_empty_part_of_csv_has_no_rows() {
    let stage = TestFolder::new([("a.csv", "n\n1\n"), ("b.csv", ""), ("c.csv", "\n"), ("d.csv", "n\n2\n")]);
    let (read, _) = stage.read_all(Format::Csv, None).unwrap();
    assert_eq!(read, ["2 {\"n\":1}", "5 {\"n\":2}"]);
}

#[test]
fn names_that_are_not_utf_8_are_read_where_they_match_and_passed_over_where_not() {
    use std::os::unix::ffi::OsStrExt as _;
    let stage = TestFolder::new([("a.txt", "1\n"), ("z.txt", "3\n")]);
    for (name, text) in [(&b"caf\xe9.txt"[..], "2\n"), (b"caf\xe9.png", "no line\n")] {
        fs::write(stage.0.path().join(OsStr::from_bytes(name)), text).unwrap();
    }
    let (read, offset) = stage.read(None);
    assert_eq!(read, ["1 1", "2 2", "3 3"]);
    assert!(stage.read(Some(&offset)).0.is_empty());
}

#[test]
fn a_file_that_cannot_be_opened_comes_after_the_events_before_it() {
    let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
    let mut folder = stage.open(None);
    stage.remove("b.txt");
    let mut intake = Intake::default();
    let error = loop {
        if let Err(error) = folder.read(&mut intake, MANY) {
            break error.to_string();
        }
    };
    assert_eq!(shown(&mut intake), ["1 1"]);
    assert!(error.contains("b.txt"), "{error}");
}

#[test]
fn a_read_is_bounded_by_what_payloads_take_however_many_files_they_are_from() {
    let long = "n".repeat(1_000);
    let refused = "x".repeat(1_000);
    let [one, two] = [format!("id,{long}\n"), format!("{long},id\n")];
    let stage = TestFolder::new([
        ("a.csv", &*format!("{one}1,2")),
        ("b.csv", &format!("{two}3,4")),
        ("c.csv", &format!("{one}5,6")),
        ("d.csv", &format!("{one}{refused}")),
        ("e.csv", &format!("{one}{refused}")),
    ]);
    let pattern = Pattern::all_of(stage.0.path().to_owned());
    let options = ReadOptions {
        is_continued: false,
        ..options(Format::Csv)
    };
    let mut folder = FolderReader::open(&pattern, options, None).unwrap();
    let mut read = |bytes: usize| {
        let mut intake = Intake::default();
        folder.read(&mut intake, ReadLimit { bytes, ..MANY }).unwrap();
        (shown(&mut intake), intake.refused.len())
    };
    let all = [
        format!(r#"2 {{"id":1,"{long}":2}}"#),
        format!(r#"4 {{"{long}":3,"id":4}}"#),
        format!(r#"6 {{"id":5,"{long}":6}}"#),
    ];
    assert_eq!(read(1_500), (all[..2].to_vec(), 0), "the second crosses the limit");
    assert_eq!(
        read(1_500),
        (all[2..].to_vec(), 1),
        "the first that is refused crosses it"
    );
    assert_eq!(read(1_500), (vec![], 1));
}

//! What a source makes of files: the facts of every format.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode};
use serde_json::json;

use super::FileSpec;
use super::archive::ZSTD_WINDOW;
use crate::records::{self, RECORD_BYTES_MAX};
use dirigo_connect::source::{Error, Intake, Offset, Opening, REFUSED_BYTES_MAX, Read, ReadLimit, Source, SourceSpec};
use dirigo_connect::{Format, Pointer, TimeField};
use dirigo_disk::{Disk, Real};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::ManualClock;

const LIMIT: ReadLimit = ReadLimit {
    events: 1_000,
    bytes: 1 << 30,
};

const READINGS: &str = "{\"sensor\":\"a\",\"ts\":1,\"value\":1}\n\
    {\"sensor\":\"b\",\"ts\":2,\"value\":2}\n\
    {\"sensor\":\"a\",\"ts\":3,\"value\":3}\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, compressed(&path, bytes.as_ref())).unwrap();
        path
    }
}

fn compressed(path: &Path, bytes: &[u8]) -> Vec<u8> {
    match path.extension().unwrap().to_str().unwrap() {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        _ => bytes.to_vec(),
    }
}

fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut file = fs::File::options().append(true).open(path).unwrap();
    file.write_all(&compressed(path, bytes.as_ref())).unwrap();
}

fn pointer(text: &str) -> Pointer {
    Pointer {
        text: text.to_owned(),
        tokens: text.split('/').skip(1).map(str::to_owned).collect(),
    }
}

/// A source that reads a file.
#[derive(Clone)]
struct Options {
    spec: FileSpec,
    key: Option<Pointer>,
    time: Option<TimeField>,
    is_continued: bool,
}

fn source(path: &Path, format: Format) -> Options {
    Options {
        spec: FileSpec {
            path: path.to_owned(),
            format,
            cells: Arc::default(),
            follow: false,
            special: false,
            zstd_window_max: ZSTD_WINDOW,
        },
        key: None,
        time: None,
        is_continued: false,
    }
}

fn keyed(path: &Path, format: Format) -> Options {
    Options {
        key: Some(pointer("/sensor")),
        time: Some(pointer("/ts").into()),
        ..source(path, format)
    }
}

fn try_open(source: &Options, from: Option<&Offset>) -> Result<Box<dyn Source>, Error> {
    source.spec.open(Opening {
        id: "s",
        pipeline: "p",
        tenant: "t",
        key: source.key.as_ref(),
        time: source.time.as_ref(),
        reads: &[],
        clock: Arc::new(ManualClock::new(77)),
        from,
        is_continued: source.is_continued,
        disk: &(Arc::new(Real) as Arc<dyn Disk>),
        keep: None,
    })
}

/// Reads to the end, and makes payloads of records.
fn drain(source: &mut dyn Source, intake: &mut Intake) -> Result<(), Error> {
    while source.read(intake, LIMIT)? != Read::End {}
    intake.values = Column::clone(&intake.take_values().to_column());
    Ok(())
}

fn read(source: &Options) -> Intake {
    let mut intake = Intake::default();
    drain(&mut *try_open(source, None).unwrap(), &mut intake).unwrap();
    intake
}

fn texts(column: &Column) -> Vec<String> {
    column
        .iter()
        .map(|item| String::from_utf8_lossy(item).into_owned())
        .collect()
}

fn refusals(intake: &Intake) -> Vec<(u64, &str)> {
    intake
        .refused
        .iter()
        .map(|refused| (refused.position, refused.reason.as_str()))
        .collect()
}

/// The names under which a file is read in every compression.
fn names(extension: &str) -> [String; 3] {
    ["", ".gz", ".zst"].map(|compression| format!("in.{extension}{compression}"))
}

#[test]
fn jsonl_lines_become_events_with_key_time_and_position() {
    let folder = Folder::new();
    for name in names("jsonl") {
        let intake = read(&keyed(
            &folder.file(&name, format!("\u{feff}{READINGS}")),
            Format::Jsonl,
        ));
        assert_eq!(texts(&intake.values).join("\n") + "\n", READINGS, "{name}");
        assert_eq!(texts(&intake.keys), ["a", "b", "a"]);
        assert_eq!((intake.times, intake.positions), (vec![1, 2, 3], vec![1, 2, 3]));
        assert_eq!(intake.refused, []);
    }
}

#[test]
fn blank_lines_of_jsonl_are_not_events_but_count_as_lines() {
    let folder = Folder::new();
    let intake = read(&source(&folder.file("in.jsonl", "\n1\r\n \t\r\n\r\n2"), Format::Jsonl));
    assert_eq!(
        (texts(&intake.values), intake.positions),
        (vec!["1".to_owned(), "2".to_owned()], vec![2, 5])
    );
}

#[test]
fn every_line_of_lines_is_an_event() {
    let folder = Folder::new();
    let intake = read(&source(&folder.file("in.txt", b"\n\xff \r\n\nlast"), Format::Lines));
    let values: Vec<_> = intake.values.iter().collect();
    assert_eq!(values, [b"".as_slice(), b"\xff ", b"", b"last"]);
    assert_eq!(intake.positions, [1, 2, 3, 4]);
}

#[test]
fn without_pointers_the_time_is_the_arrival_the_key_is_empty_and_what_is_in_brackets_passes() {
    let folder = Folder::new();
    let intake = read(&source(&folder.file("in.jsonl", b"{\xff not json}\n"), Format::Jsonl));
    assert_eq!((intake.times, texts(&intake.keys)), (vec![77], vec![String::new()]));
    assert_eq!(intake.values.get(0), b"{\xff not json}");
}

#[test]
fn lines_without_key_or_time_are_refused_with_line_and_reason() {
    let folder = Folder::new();
    let text = b"{\"ts\":1}\n\n{\"sensor\":\"a\",\"ts\":null}\n{\"sensor\":\"a\",\"ts\":9}\n\
        oops\n{\"sensor\":\"\xff\",\"ts\":1}\n";
    let intake = read(&keyed(&folder.file("in.jsonl", text), Format::Jsonl));
    assert_eq!(
        refusals(&intake),
        [
            (1, "`/sensor` finds nothing"),
            (3, "`/ts` is null"),
            (5, "the value is not JSON: expected a value but found `o` at byte 1"),
            (6, "the value is not UTF-8 from byte 12 on"),
        ]
    );
    assert_eq!(intake.refused[2].value, b"oops");
    assert_eq!(intake.positions, [4]);
}

#[test]
fn a_line_of_10_mb_is_an_event_and_only_its_start_is_kept_of_a_refused_one() {
    let folder = Folder::new();
    let long = format!("{{\"x\":\"{}\",\"sensor\":\"a\",\"ts\":1}}", "x".repeat(10_000_000));
    for name in names("jsonl") {
        let text = format!("{READINGS}{long}\n{}\n{READINGS}", long.replace("ts", "t"));
        let intake = read(&keyed(&folder.file(&name, text), Format::Jsonl));
        assert_eq!(intake.positions, [1, 2, 3, 4, 6, 7, 8]);
        assert_eq!(intake.values.get(3), long.as_bytes());
        assert_eq!(refusals(&intake), [(5, "`/ts` finds nothing")]);
        assert_eq!(intake.refused[0].value, &long.as_bytes()[..REFUSED_BYTES_MAX]);
    }
}

#[test]
fn a_record_over_the_bound_is_refused_and_the_next_one_read() {
    let folder = Folder::new();
    let path = folder.file("in.jsonl.zst", "x".repeat(RECORD_BYTES_MAX + 1) + "\n" + READINGS);
    let intake = read(&keyed(&path, Format::Jsonl));
    assert_eq!(
        refusals(&intake),
        [(1, "line 1 starts a record of more than 67108864 bytes")]
    );
    assert_eq!(intake.refused[0].value.len(), REFUSED_BYTES_MAX);
    assert_eq!(intake.positions, [2, 3, 4]);
}

#[test]
fn csv_records_become_objects_of_numbers_strings_and_nulls() {
    let folder = Folder::new();
    let text = "\u{feff}sensor,ts,value,\"a \"\"b\"\"\"\r\n\
        a,1,1.50e3,\r\n\"b\nc\",2,01,\"say \"\"é\"\"\t\"\r\n7,3,-0.5,true\r\n";
    for name in names("csv") {
        let intake = read(&keyed(&folder.file(&name, text), Format::Csv));
        assert_eq!(
            texts(&intake.values),
            [
                r#"{"sensor":"a","ts":1,"value":1.50e3,"a \"b\"":null}"#,
                r#"{"sensor":"b\nc","ts":2,"value":"01","a \"b\"":"say \"é\"\t"}"#,
                r#"{"sensor":7,"ts":3,"value":-0.5,"a \"b\"":"true"}"#,
            ]
        );
        assert_eq!(
            (texts(&intake.keys), intake.times),
            (vec!["a".into(), "b\nc".into(), "7".into()], vec![1, 2, 3])
        );
        assert_eq!((intake.positions, intake.refused), (vec![2, 3, 5], vec![]));
    }
}

#[test]
fn a_header_that_comes_again_is_no_record() {
    let folder = Folder::new();
    let path = folder.file("in.csv", "id,v\n1,2\nid,v\n3,4\nid,4\n");
    let intake = read(&source(&path, Format::Csv));
    let rows = [r#"{"id":1,"v":2}"#, r#"{"id":3,"v":4}"#, r#"{"id":"id","v":4}"#];
    assert_eq!(
        (texts(&intake.values), intake.positions),
        (rows.map(str::to_owned).to_vec(), vec![2, 4, 5])
    );
}

#[test]
fn csv_records_that_do_not_fit_are_refused_as_they_stand() {
    let folder = Folder::new();
    let text = b"sensor,ts\na\na,1,2\n,1\na,\na,soon\na,1.5\n\xff,1\na,2024-01-01T00:00:00Z\n";
    let intake = read(&keyed(&folder.file("in.csv", text), Format::Csv));
    let reasons = refusals(&intake);
    assert_eq!(
        reasons[..4],
        [
            (2, "the record has 1 fields, the header has 2"),
            (3, "the record has 3 fields, the header has 2"),
            (4, "`/sensor` is null"),
            (5, "`/ts` is null"),
        ]
    );
    assert!(
        reasons[4]
            .1
            .starts_with("`/ts` is \"soon\", which is not an RFC 3339 time: "),
        "{}",
        reasons[4].1
    );
    assert_eq!(
        reasons[5..],
        [
            (7, "`/ts` is 1.5, a time must be an integer"),
            (8, "field `sensor` is not UTF-8")
        ]
    );
    assert_eq!(intake.refused[1].value, b"a,1,2");
    assert_eq!((intake.times, intake.positions), (vec![1_704_067_200_000], vec![9]));
}

#[test]
fn a_csv_header_that_cannot_be_used_is_an_error() {
    let folder = Folder::new();
    let problem = |bytes: &[u8]| {
        let path = folder.file("in.csv", bytes);
        let error = try_open(&keyed(&path, Format::Csv), None)
            .unwrap()
            .read(&mut Intake::default(), LIMIT)
            .unwrap_err();
        error
            .to_string()
            .replace(&format!("cannot read `{}` as csv: ", path.display()), "")
    };
    assert_eq!(problem(b""), "there is no header line");
    assert_eq!(problem(b"\n\r\n"), "there is no header line");
    assert_eq!(problem(b"a,b,a\n"), "the header names column `a` twice");
    assert_eq!(problem(b"a,b,,\n"), "columns 3 and 4 of the header have no name");
    assert_eq!(
        problem(b"a;b\n1;2\n"),
        "the header \"a;b\" is one column: fields are separated by commas, not by ';'"
    );
    assert_eq!(problem(b"a,\xff\n"), "column 2 has a name not in UTF-8");
    assert_eq!(
        problem(b"sensor,time\na,1\n"),
        "`/ts` finds nothing among the columns `sensor`, `time`"
    );
}

#[test]
fn quotas_of_events_and_bytes_bound_a_read() {
    let folder = Folder::new();
    for (name, format) in [
        ("in.jsonl", Format::Jsonl),
        ("in.txt", Format::Lines),
        ("in.csv", Format::Csv),
    ] {
        let path = folder.file(name, "1\n".repeat(if format == Format::Csv { 11 } else { 10 }));
        let mut source = try_open(&source(&path, format), None).unwrap();
        let mut intake = Intake::default();
        assert_eq!(
            source.read(&mut intake, ReadLimit { events: 3, ..LIMIT }).unwrap(),
            Read::More
        );
        assert_eq!(intake.values.len(), 3, "{name}");
        assert_eq!(
            source.read(&mut intake, ReadLimit { bytes: 1, ..LIMIT }).unwrap(),
            Read::More
        );
        assert_eq!(intake.values.len(), 4);
        assert_eq!(source.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!(intake.values.len(), 10);
        assert_eq!(source.read(&mut intake, LIMIT).unwrap(), Read::End);
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_the_reason() {
    let folder = Folder::new();
    let path = folder.0.path().join("none.jsonl");
    let error = try_open(&source(&path, Format::Jsonl), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open `{}`: No such file or directory (os error 2)",
            path.display()
        )
    );
    let error = try_open(&source(folder.0.path(), Format::Jsonl), None).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot open `{}`: is a directory", folder.0.path().display())
    );
}

#[test]
fn an_archive_that_is_cut_off_gives_its_events_before_the_error() {
    let folder = Folder::new();
    let text = (0..100_000).fold(String::new(), |text, number| text + &number.to_string() + "\n");
    for (name, what) in [("in.jsonl.gz", "gzip"), ("in.jsonl.zst", "zstd")] {
        let path = folder.file(name, &text);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut intake = Intake::default();
        let error = drain(
            &mut *try_open(&source(&path, Format::Jsonl), None).unwrap(),
            &mut intake,
        )
        .unwrap_err();
        let expected = format!("cannot read `{}`: the {what} data is cut off: ", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(intake.values.len() > 50_000, "{}", intake.values.len());
        assert_eq!(intake.positions.last(), Some(&(intake.values.len() as u64)));
    }
}

#[test]
fn an_archive_that_is_corrupt_is_an_error() {
    let folder = Folder::new();
    for (name, what, at) in [("in.jsonl.gz", "gzip", 3), ("in.jsonl.zst", "zstd", 6)] {
        let path = folder.file(name, READINGS);
        let mut bytes = fs::read(&path).unwrap();
        bytes[at..].fill(0xff);
        fs::write(&path, bytes).unwrap();
        let mut source = try_open(&source(&path, Format::Jsonl), None).unwrap();
        let error = source.read(&mut Intake::default(), LIMIT).unwrap_err();
        let expected = format!("cannot read `{}`: the {what} data is corrupt: ", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn the_first_bytes_say_how_a_file_is_compressed() {
    let folder = Folder::new();
    let [plain, gzip, zstd] = names("jsonl").map(|name| fs::read(folder.file(&name, "1\n2\n")).unwrap());
    for (name, bytes) in [
        ("UPPER.JSONL.GZ", &gzip),
        ("in.jsonl", &gzip),
        ("in.jsonl.Zst", &zstd),
        ("in.jsonl.gz", &zstd),
        ("in.jsonl", &plain),
    ] {
        let path = folder.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert_eq!(texts(&read(&source(&path, Format::Jsonl)).values), ["1", "2"], "{name}");
    }
    for (name, bytes, problem) in [
        (
            "in.jsonl.gz",
            &b"1\n"[..],
            "it is named as gzip data, and does not begin as gzip data does",
        ),
        (
            "in.jsonl",
            b"\xfd7zXZ\0\0\x04",
            "it is compressed with xz; what can be read compressed is gzip and zstd",
        ),
    ] {
        let path = folder.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = try_open(&source(&path, Format::Jsonl), None).err().unwrap().to_string();
        assert_eq!(error, format!("cannot open `{}`: {problem}", path.display()));
    }
}

#[test]
fn zeros_behind_and_between_gzip_members_are_filling() {
    let folder = Folder::new();
    let path = folder.file("in.jsonl.gz", "1\n");
    let member = fs::read(&path).unwrap();
    let zeros = vec![0; 200_000];
    fs::write(&path, [&member[..], &zeros, &member, &zeros[..511]].concat()).unwrap();
    assert_eq!(texts(&read(&source(&path, Format::Jsonl)).values), ["1", "1"]);
    fs::write(&path, [&member[..], &zeros[..8], b"rubbish"].concat()).unwrap();
    let mut intake = Intake::default();
    let error = drain(
        &mut *try_open(&source(&path, Format::Jsonl), None).unwrap(),
        &mut intake,
    )
    .unwrap_err();
    assert!(error.to_string().contains("the gzip data is "), "{error}");
    assert_eq!(texts(&intake.values), ["1"]);
}

#[test]
fn a_zstd_frame_with_a_long_window_names_the_setting_that_takes_it() {
    let folder = Folder::new();
    let path = folder.file("in.jsonl.zst", "");
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(28).unwrap();
    encoder.write_all(b"1\n2\n").unwrap();
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    let mut options = source(&path, Format::Jsonl);
    let error = drain(&mut *try_open(&options, None).unwrap(), &mut Intake::default()).unwrap_err();
    let expected = "the zstd data needs a window of more than \"128MiB\" to decompress: raise `zstd_window_max` of its \
                    source, up to \"2GiB\"";
    assert_eq!(
        error.to_string(),
        format!("cannot read `{}`: {expected}", path.display())
    );
    options.spec.zstd_window_max = 256 << 20;
    assert_eq!(texts(&read(&options).values), ["1", "2"]);
}

#[test]
fn members_and_frames_one_after_another_are_one_stream() {
    let folder = Folder::new();
    for name in names("jsonl") {
        let path = folder.file(&name, "1\n2");
        append(&path, "2\n3\n");
        assert_eq!(
            texts(&read(&source(&path, Format::Jsonl)).values),
            ["1", "22", "3"],
            "{name}"
        );
    }
}

#[test]
fn an_empty_file_has_no_events() {
    let folder = Folder::new();
    for name in names("jsonl") {
        let path = folder.file(&name, "");
        fs::write(&path, "").unwrap();
        assert!(read(&source(&path, Format::Jsonl)).values.is_empty(), "{name}");
    }
}

/// Enough that the fingerprint does not cover all of it.
fn long_text(format: Format) -> String {
    let header = if format == Format::Csv { "sensor,ts\n" } else { "" };
    let line = |number| match format {
        Format::Csv => format!("\"s\n{}\",{number}\n", number % 7),
        _ => format!("{{\"sensor\":\"s-{}\",\"ts\":{number}}}\r\n\n", number % 7),
    };
    header.to_owned() + &(0..2_000).map(line).collect::<String>()
}

#[test]
fn a_source_goes_on_in_the_middle_of_every_format_and_compression() {
    let folder = Folder::new();
    for (extension, format) in [("jsonl", Format::Jsonl), ("txt", Format::Lines), ("csv", Format::Csv)] {
        for name in names(extension) {
            let options = source(&folder.file(&name, long_text(format)), format);
            let whole = read(&options);
            for taken in [0, 1, 2, 50, 1_999] {
                let mut parts = Intake::default();
                let mut first = try_open(&options, None).unwrap();
                first.read(&mut parts, ReadLimit { events: taken, ..LIMIT }).unwrap();
                let mut second = try_open(&options, first.offset().as_ref()).unwrap();
                drain(&mut *second, &mut parts).unwrap();
                assert_eq!(parts.values, whole.values, "{name} after {taken}");
                assert_eq!(parts.positions, whole.positions);
            }
        }
    }
}

/// Reads a file to its end, appends to it, and goes on.
fn grown(name: &str, format: Format, before: &str, after: &str) -> (Intake, Intake) {
    let folder = Folder::new();
    let path = folder.file(name, before);
    let options = source(&path, format);
    let (mut first, mut second) = (Intake::default(), Intake::default());
    let mut source = try_open(&options, None).unwrap();
    drain(&mut *source, &mut first).unwrap();
    append(&path, after);
    let mut source = try_open(&options, source.offset().as_ref()).unwrap();
    drain(&mut *source, &mut second).unwrap();
    (first, second)
}

#[test]
fn a_file_that_has_grown_is_read_on() {
    for name in names("jsonl") {
        let (first, second) = grown(&name, Format::Jsonl, "1\n2\n", "3\n");
        assert_eq!(
            (texts(&first.values), texts(&second.values)),
            (vec!["1".into(), "2".into()], vec!["3".into()])
        );
        assert_eq!(second.positions, [3]);
    }
    for name in names("csv") {
        let (first, second) = grown(&name, Format::Csv, "a\n1\n", "2\n");
        assert_eq!(texts(&first.values), [r#"{"a":1}"#]);
        assert_eq!(
            (texts(&second.values), second.positions),
            (vec![r#"{"a":2}"#.to_owned()], vec![3])
        );
    }
}

#[test]
fn a_file_that_ended_without_a_line_feed_goes_on_after_it() {
    for (name, format) in names("txt").into_iter().map(|name| (name, Format::Lines)) {
        let (first, second) = grown(&name, format, "1\n2", "\n\n3\n");
        assert_eq!(
            (texts(&first.values), first.positions),
            (vec!["1".into(), "2".into()], vec![1, 2])
        );
        assert_eq!(
            (texts(&second.values), second.positions),
            (vec![String::new(), "3".into()], vec![3, 4])
        );
    }
    let (_, second) = grown("in.csv", Format::Csv, "a\n1", "\r\n2\n");
    assert_eq!(
        (texts(&second.values), second.positions),
        (vec![r#"{"a":2}"#.to_owned()], vec![3])
    );
    let (_, second) = grown("in.csv", Format::Csv, "a,b", "c\n1,2\n");
    assert_eq!(texts(&second.values), [r#"{"a":1,"bc":2}"#]);
}

#[test]
fn the_rest_of_a_line_that_was_read_too_early_is_refused() {
    let reason = "this continues line 2, which had been read when it was the last and had no end yet";
    let (_, second) = grown("in.txt", Format::Lines, "1\n2", "2\n3\n");
    assert_eq!(
        (refusals(&second), texts(&second.values)),
        (vec![(2, reason)], vec!["3".to_owned()])
    );
    assert_eq!(
        (second.refused[0].value.as_slice(), second.positions.as_slice()),
        (b"2".as_slice(), [3].as_slice())
    );
    let (_, second) = grown("in.csv", Format::Csv, "a\n2", "2\n3\n");
    assert_eq!(
        (refusals(&second), texts(&second.values)),
        (vec![(2, reason)], vec![r#"{"a":3}"#.to_owned()])
    );
}

/// What the runs of a source come to that goes on from run to run: before and after something was appended.
fn continued(name: &str, format: Format, before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let folder = Folder::new();
    let path = folder.file(name, before);
    let options = Options {
        is_continued: true,
        ..source(&path, format)
    };
    let (mut first, mut second) = (Intake::default(), Intake::default());
    let mut source = try_open(&options, None).unwrap();
    drain(&mut *source, &mut first).unwrap();
    append(&path, after);
    let mut source = try_open(&options, source.offset().as_ref()).unwrap();
    drain(&mut *source, &mut second).unwrap();
    assert_eq!((first.refused, second.refused), (vec![], vec![]));
    (texts(&first.values), texts(&second.values))
}

#[test]
fn a_last_record_without_an_end_waits_for_it_where_a_later_run_goes_on() {
    for (name, format, before, after, first, second) in [
        ("in.jsonl", Format::Jsonl, "1\n{\"n\":", "2}\n3\n", "1", "{\"n\":2},3"),
        ("in.jsonl", Format::Jsonl, "1\n2", "3\n", "1", "23"),
        ("in.jsonl", Format::Jsonl, "1\n  ", "{}\n", "1", "  {}"),
        ("in.txt", Format::Lines, "a\nb", "c\n", "a", "bc"),
        ("in.txt", Format::Lines, "a\nb\r", "\nc\n", "a", "b,c"),
        ("in.csv", Format::Csv, "a\n1\n2", "3\n", r#"{"a":1}"#, r#"{"a":23}"#),
        ("in.csv", Format::Csv, "a,b", "c\n1,2\n", "", r#"{"a":1,"bc":2}"#),
        (
            "in.csv",
            Format::Csv,
            "a\n\"1\n",
            "\"\n2\n",
            "",
            r#"{"a":"1\n"},{"a":2}"#,
        ),
    ] {
        let (before_end, after_end) = continued(name, format, before, after);
        assert_eq!(
            (before_end.join(","), after_end.join(",")),
            (first.into(), second.into()),
            "{before:?}"
        );
    }
}

#[test]
fn what_is_whole_without_a_line_end_does_not_wait() {
    let (first, second) = continued("in.jsonl", Format::Jsonl, "{\"n\":1}", "\n{\"n\":2}\n");
    assert_eq!(
        (first.join(","), second.join(",")),
        ("{\"n\":1}".into(), "{\"n\":2}".into())
    );
    for name in ["in.txt.gz", "in.txt.zst"] {
        let (first, second) = continued(name, Format::Lines, "1\n2", "\n3\n");
        assert_eq!(
            (first.join(","), second.join(",")),
            ("1,2".into(), "3".into()),
            "{name}"
        );
    }
}

#[test]
fn a_file_that_is_cut_while_it_is_read_gives_whole_records_and_then_an_error() {
    let folder = Folder::new();
    let mut random = 1_u64;
    let line = |number: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!(
            "{{\"n\":{number},\"noise\":\"{random:x}{:x}\"}}\n",
            random.reverse_bits()
        )
    };
    let text: String = (0..40_000).map(line).collect();
    for name in names("jsonl") {
        let path = folder.file(&name, &text);
        let mut source = try_open(&source(&path, Format::Jsonl), None).unwrap();
        let mut intake = Intake::default();
        source.read(&mut intake, ReadLimit { events: 3, ..LIMIT }).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let error = drain(&mut *source, &mut intake).unwrap_err().to_string();
        let expected = format!(
            "cannot read `{}`: it was cut to 0 bytes while it was read, ",
            path.display()
        );
        assert!(error.starts_with(&expected), "{error}");
        let read: Vec<&str> = text.lines().take(intake.values.len()).collect();
        assert_eq!(texts(&intake.values), read, "{name}");
        assert!(read.len() < 40_000);
    }
}

/// Reads the start of a long file, lets `change` change it, and tries to go on.
fn changed(name: &str, change: impl FnOnce(&Path, String)) -> Error {
    let folder = Folder::new();
    let text = long_text(Format::Jsonl);
    let path = folder.file(name, &text);
    let options = source(&path, Format::Jsonl);
    let mut source = try_open(&options, None).unwrap();
    let mut intake = Intake::default();
    while intake.values.len() < LIMIT.events {
        let events = LIMIT.events - intake.values.len();
        source.read(&mut intake, ReadLimit { events, ..LIMIT }).unwrap();
    }
    change(&path, text);
    try_open(&options, source.offset().as_ref()).err().unwrap()
}

#[test]
fn a_file_that_was_truncated_is_not_gone_on_with() {
    for name in names("jsonl") {
        let error = changed(&name, |path, text| {
            fs::write(path, compressed(path, &text.as_bytes()[..5_000])).unwrap();
        });
        assert!(
            matches!(
                error.downcast_ref(),
                Some(records::Error::Truncated { bytes: 5_000, .. })
            ),
            "{name}: {error}"
        );
        assert!(
            error.to_string().contains("it was truncated to 5000 bytes, "),
            "{error}"
        );
    }
}

#[test]
fn a_file_that_was_replaced_is_not_gone_on_with() {
    for name in names("jsonl") {
        let at_start =
            |path: &Path, text: String| fs::write(path, compressed(path, text.replacen("s-0", "x-0", 1).as_bytes()));
        let error = changed(&name, |path, text| at_start(path, text).unwrap());
        assert!(
            matches!(error.downcast_ref(), Some(records::Error::Replaced { .. })),
            "{name}: {error}"
        );
        let before_place =
            |path: &Path, text: String| fs::write(path, compressed(path, text.replace(":990}", ":099}").as_bytes()));
        let error = changed(&name, |path, text| before_place(path, text).unwrap());
        assert!(
            matches!(error.downcast_ref(), Some(records::Error::Replaced { .. })),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_copy_of_the_file_is_gone_on_with() {
    let folder = Folder::new();
    let path = folder.file("in.jsonl", READINGS);
    let mut source = try_open(&keyed(&path, Format::Jsonl), None).unwrap();
    source
        .read(&mut Intake::default(), ReadLimit { events: 2, ..LIMIT })
        .unwrap();
    let copy = folder.file("copy.jsonl", READINGS);
    let mut rest = Intake::default();
    drain(
        &mut *try_open(&keyed(&copy, Format::Jsonl), source.offset().as_ref()).unwrap(),
        &mut rest,
    )
    .unwrap();
    assert_eq!(rest.times, [3]);
}

#[test]
fn an_offset_of_another_source_is_refused() {
    let folder = Folder::new();
    let path = folder.file("in.jsonl", READINGS);
    let error = try_open(&source(&path, Format::Jsonl), Some(&json!({ "taken": 5 })))
        .err()
        .unwrap();
    assert_eq!(
        error.to_string(),
        format!("cannot resume reading `{}`: missing field `offset`", path.display())
    );
}

#[test]
fn progress_comes_to_its_total_at_the_end() {
    let folder = Folder::new();
    for name in names("jsonl") {
        let mut source = try_open(
            &source(&folder.file(&name, long_text(Format::Jsonl)), Format::Jsonl),
            None,
        )
        .unwrap();
        drain(&mut *source, &mut Intake::default()).unwrap();
        let progress = source.progress().unwrap();
        assert_eq!(progress.done, progress.total, "{name}");
    }
}

#[test]
fn a_pipe_or_a_device_is_refused_unless_it_is_asked_for() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe.jsonl");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    for (path, what) in [(pipe.as_path(), "a pipe"), (Path::new("/dev/zero"), "a device")] {
        let error = try_open(&source(path, Format::Jsonl), None).err().unwrap();
        let expected = format!("cannot open `{}`: it is {what}, not a regular file", path.display());
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_pipe_is_read_as_it_is_written_until_its_last_writer_has_gone() {
    let folder = Folder::new();
    let path = folder.0.path().join("pipe.jsonl");
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut options = source(&path, Format::Jsonl);
    options.spec.special = true;
    let mut source = try_open(&options, None).unwrap();
    assert_eq!((source.offset(), source.progress()), (None, None));
    let mut intake = Intake::default();
    let mut read = || {
        let read = source.read(&mut intake, LIMIT).unwrap();
        (read, intake.values.len())
    };
    assert!(matches!(read(), (Read::Wait(_), 0)), "there is no writer yet");
    let mut writer = fs::File::options().write(true).open(&path).unwrap();
    assert!(matches!(read(), (Read::Wait(_), 0)), "nothing was written yet");
    writer.write_all(b"1\n2").unwrap();
    assert_eq!(read(), (Read::More, 1));
    assert!(matches!(read(), (Read::Wait(_), 1)));
    drop(writer);
    assert_eq!(read(), (Read::End, 2));
}

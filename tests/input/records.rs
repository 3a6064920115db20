//! Records that are no events, or not those that an operator wants.

use std::io::Write as _;

use crate::support::{DeadLetter, Dirigo, Folder, Summary, assert_says, dead_letters};

/// A pipeline of a file, a map of its field `value`, and a file.
fn pipeline(path: &str, source: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "records"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "in"
        kind = "file"
        path = "{path}"
        {source}
        [[operator]]
        id = "double"
        component = "builtin:map"
        config = {{ field = "value", scale = 2.0 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ))
}

fn run(folder: &Folder) -> Summary {
    Dirigo::run(folder, ["pipeline.toml"])
        .workers(1)
        .finish()
        .succeeds()
        .clone()
}

#[test]
fn an_empty_file_is_an_empty_run() {
    for empty in ["", "\n", "\r\n \n\t\n", "\u{feff}"] {
        let folder = pipeline("in.jsonl", "");
        folder.write("in.jsonl", empty);
        let summary = run(&folder);
        assert_eq!(
            (summary.count("events_in"), summary.count("dead_letters")),
            (0, 0),
            "{empty:?}"
        );
        assert_eq!(folder.read("out.jsonl"), "");
        assert!(
            !folder.path("dead.jsonl").exists(),
            "the file is made when the first dead letter comes"
        );
    }
}

#[test]
fn every_field_that_is_not_as_wanted_is_a_dead_letter_that_says_how() {
    let folder = pipeline("in.jsonl", "");
    let rejected = ("rejected", "double");
    let refused = ("source", "in");
    let cases = [
        ("{\"value\":null}", rejected, "field `value` is null"),
        ("{}", rejected, "field `value` is missing"),
        (
            "{\"value\":\"7\"}",
            rejected,
            "field `value` is the string \"7\", not a number",
        ),
        ("{\"value\":[7]}", rejected, "field `value` is"),
        ("{\"value\":1e999}", rejected, "field `value`"),
        ("[]", rejected, "`value`"),
        ("7", rejected, "`value`"),
        ("{'value':7}", rejected, "the event is no JSON"),
        (
            "{\"value\":7",
            refused,
            "expected a closing bracket but it ends after byte 10",
        ),
        ("{\"value\":7} x", refused, "another begins at byte 13"),
        ("{\"value\":7}{\"value\":8}", refused, "another begins at byte 12"),
        ("{\"value\":7} {\"value\":8}", refused, "another begins at byte 13"),
        ("\u{0}\u{0}{\"value\":7}", refused, "the line begins with 2 zero bytes"),
        ("\"value\": 7,", refused, "that ends before byte 8"),
    ];
    let good = "{\"value\":21}\r\n";
    let lines: String = cases.iter().map(|(line, ..)| format!("{line}\n{good}")).collect();
    folder.write("in.jsonl", lines);
    let summary = run(&folder);
    let count = cases.len() as u64;
    assert_eq!(
        (summary.count("events_in"), summary.count("dead_letters")),
        (2 * count, count)
    );
    assert_eq!(folder.read("out.jsonl"), "{\"value\":42.0}\n".repeat(cases.len()));
    // Those of the source and those of the operator come as they come.
    let written = dead_letters(&folder, "dead.jsonl");
    for (line, by, reason) in cases {
        let of_line = |dead_letter: &&DeadLetter| dead_letter.event.value.as_deref() == Some(line);
        let dead_letter = written.iter().find(of_line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((dead_letter.kind.as_str(), dead_letter.operator.as_str()), by, "{line}");
        assert_says(&dead_letter.reason, &[reason]);
    }
}

#[test]
fn what_is_not_lines_of_json_is_refused_with_the_cause() {
    for (text, dead, passed, cause) in [
        (
            &b"[\n  {\"value\":1},\n  {\"value\":2}\n]\n"[..],
            3,
            "  {\"value\":4.0}\n",
            "in jsonl, a value has a line of its own",
        ),
        (
            b"{\n  \"value\": 1\n}\n",
            3,
            "",
            "in jsonl, a value has a line of its own",
        ),
        (
            b"{\"value\":1}\r{\"value\":2}\r",
            1,
            "",
            "lines end with LF or CRLF, not with CR alone",
        ),
    ] {
        let folder = pipeline("in.json", "");
        folder.write("in.json", text);
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        assert_eq!(finished.summary().count("dead_letters"), dead);
        assert_says(&folder.read("dead.jsonl"), &[cause]);
        assert_eq!(folder.read("out.jsonl"), passed);
    }
    let folder = pipeline("in.jsonl", "");
    let utf_16: Vec<u8> = "\u{feff}{\"value\":1}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    folder.write("in.jsonl", utf_16);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.ends_with(1, &["it is UTF-16; make UTF-8 of it"]);
}

/// What a count window of two events makes of a source with this time.
fn bounds_of_a_window(file: &str, text: &str, time: &str) -> (i64, i64) {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "times"
        [[source]]
        id = "in"
        kind = "file"
        path = "{file}"
        key = "/k"
        time = {time}
        [[operator]]
        id = "count"
        component = "builtin:reduce"
        config = {{ aggregate = "count" }}
        window = {{ count = 2 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ));
    folder.write(file, text);
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let window = folder.json_lines("out.jsonl").remove(0);
    (window["start"].as_i64().unwrap(), window["end"].as_i64().unwrap())
}

#[test]
fn times_are_read_as_their_source_writes_them() {
    let expected = (1_709_294_400_000, 1_709_294_460_000);
    let floats = "{\"k\":\"a\",\"ts\":1709294400000.0}\n{\"k\":\"a\",\"ts\":1.70929446e12}\n";
    assert_eq!(bounds_of_a_window("in.jsonl", floats, "\"/ts\""), expected);
    let seconds = "{\"k\":\"a\",\"ts\":1709294400}\n{\"k\":\"a\",\"ts\":1709294460.0}\n";
    let time = "{ field = \"/ts\", unit = \"s\" }";
    assert_eq!(bounds_of_a_window("in.jsonl", seconds, time), expected);
    let local = "ts,k\n2024-03-01 12:00:00,a\n2024-03-01T12:01:00,a\n";
    let time = "{ field = \"ts\", zone = \"UTC\" }";
    assert_eq!(bounds_of_a_window("in.csv", local, time), expected);
    let local = "ts,k\n2024-03-01 14:00:00,a\n2024-03-01 12:01:00Z,a\n";
    let time = "{ field = \"ts\", zone = \"+02:00\" }";
    assert_eq!(bounds_of_a_window("in.csv", local, time), expected);
}

#[test]
fn a_record_without_its_key_or_time_is_a_dead_letter_of_the_source() {
    let folder = pipeline("in.jsonl", "key = \"/key\"\ntime = \"/at\"");
    let good = "{\"key\":\"a\",\"at\":1,\"value\":1}";
    let cases = [
        ("{\"at\":1,\"value\":1}", "/key"),
        ("{\"key\":null,\"at\":1,\"value\":1}", "/key"),
        ("{\"key\":{},\"at\":1,\"value\":1}", "/key"),
        ("{\"key\":\"a\",\"value\":1}", "/at"),
        ("{\"key\":\"a\",\"at\":\"yesterday\",\"value\":1}", "/at"),
        ("{\"key\":\"a\",\"at\":1.5,\"value\":1}", "/at"),
        ("no JSON at all", "not JSON"),
    ];
    let lines: String = cases.iter().map(|(line, _)| format!("{line}\n{good}\n")).collect();
    folder.write("in.jsonl", lines);
    let summary = run(&folder);
    let count = cases.len() as u64;
    assert_eq!(
        (summary.count("events_in"), summary.count("events_out")),
        (2 * count, count)
    );
    for ((dead_letter, (line, pointer)), position) in dead_letters(&folder, "dead.jsonl")
        .iter()
        .zip(cases)
        .zip((1..).step_by(2))
    {
        assert_eq!(
            (dead_letter.kind.as_str(), dead_letter.operator.as_str()),
            ("source", "in")
        );
        assert_eq!(
            (dead_letter.event.position, dead_letter.component.as_deref()),
            (position, None)
        );
        assert_eq!(dead_letter.event.value.as_deref(), Some(line));
        assert_says(&dead_letter.reason, &[pointer]);
    }
}

#[test]
fn the_summary_says_where_events_failed_and_why() {
    let folder = pipeline("in.jsonl", "key = \"/kye\"");
    folder.write("in.jsonl", "{\"key\":\"a\",\"value\":1}\n".repeat(1200));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let summary = finished.succeeds();
    let path = folder.path("dead.jsonl");
    let line = format!(
        "records: 1,200 dead letters (source in: 1,200) in {}; the first, at in: `/kye` finds nothing",
        summary.pipeline("records")["dead_letters_path"].as_str().unwrap()
    );
    assert_says(&finished.stderr, &[&line]);
    assert!(path.exists(), "{path:?}");
    assert!(
        !finished.stderr.contains("replay"),
        "what no component saw cannot be replayed"
    );
}

#[test]
fn the_summary_says_how_to_run_the_first_failed_event_again() {
    let folder = pipeline("in.jsonl", "");
    let text = folder.read("pipeline.toml");
    folder.write(
        "pipeline.toml",
        text.replace("[dead_letters]\n        path = \"dead.jsonl\"", ""),
    );
    folder.write("in.jsonl", "{\"value\":1}\n{\"value\":null}\n{}\n");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.succeeds();
    let line = "records: 2 dead letters (operator double: 2) in records.dead.jsonl; the first, at double: field `value` is null, not a number \
                (see `dirigo replay records.dead.jsonl --id 1`)";
    assert_says(&finished.stderr, &[line]);
}

#[test]
fn bytes_that_are_no_text_are_kept_in_the_dead_letter() {
    let folder = pipeline("in.jsonl", "");
    folder.write(
        "in.jsonl",
        b"{\"value\":1}\n\xff\xfe\x00\n{\"value\":2,\"note\":\"\xc3\x28\"}\n{\"value\":3}\n",
    );
    let summary = run(&folder);
    assert_eq!((summary.count("events_in"), summary.count("dead_letters")), (4, 2));
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert_eq!(dead_letters[0].event.value, None);
    assert_eq!(dead_letters[0].event.value_base64.as_deref(), Some("//4A"));
    assert!(dead_letters[1].event.value_base64.is_some());
}

#[test]
fn a_line_of_ten_megabytes_is_an_event_like_any_other() {
    let folder = pipeline("in.jsonl", "key = \"/key\"");
    // A byte that is copied burns a unit of fuel, so such an event needs more than the ten million of the default.
    let more_fuel = [
        "-s",
        "operator.double.limits.fuel_per_event=100_000_000",
        "-s",
        "operator.double.limits.memory=256MiB",
    ];
    let long = "x".repeat(10_000_000);
    folder.write(
        "in.jsonl",
        format!(
            "{{\"key\":\"a\",\"value\":1}}\n{{\"key\":\"b\",\"long\":\"{long}\",\"value\":2}}\n{long}\n{{\"key\":\"a\",\"value\":3}}\n"
        ),
    );
    let command = Dirigo::run(&folder, ["pipeline.toml"]);
    let summary = command.args(more_fuel).finish().succeeds().clone();
    assert_eq!((summary.count("events_in"), summary.count("events_out")), (4, 3));
    let out = folder.json_lines("out.jsonl");
    assert_eq!([&out[0]["value"], &out[1]["value"], &out[2]["value"]], [2.0, 4.0, 6.0]);
    assert_eq!(out[1]["long"].as_str().unwrap().len(), long.len());
    assert_eq!(dead_letters(&folder, "dead.jsonl")[0].event.position, 3);
}

#[test]
fn a_line_longer_than_any_event_may_be_is_refused_and_passed_over() {
    let folder = pipeline("in.jsonl", "");
    let mut text = b"{\"value\":1}\n".to_vec();
    text.resize(text.len() + (65 << 20), b'x');
    text.extend_from_slice(b"\n{\"value\":2}\n");
    folder.write("in.jsonl", text);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    assert_eq!(finished.succeeds().count("dead_letters"), 1);
    assert_eq!(folder.read("out.jsonl"), "{\"value\":2.0}\n{\"value\":4.0}\n");
    assert_eq!(dead_letters(&folder, "dead.jsonl")[0].event.position, 2);
    assert!(
        folder.read("dead.jsonl").len() < 1 << 20,
        "only the start of it is kept"
    );
}

#[test]
fn csv_records_that_do_not_fit_their_header_are_dead_letters() {
    let folder = pipeline("in.csv", "key = \"name\"");
    folder.write("in.csv", "name,value\na,1\nb\nc,3,4\n\"d\nd\",4\ne,\nf,x\n");
    let summary = run(&folder);
    assert_eq!((summary.count("events_in"), summary.count("events_out")), (6, 2));
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    let mut operators: Vec<&str> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.operator.as_str())
        .collect();
    operators.sort_unstable();
    assert_eq!(operators, ["double", "double", "in", "in"]);
}

#[test]
fn a_quote_that_is_never_closed_is_told_with_its_line() {
    let folder = pipeline("in.csv", "");
    for (text, line) in [
        ("value,name\n1,a\n2,\"b\n3,c\n4,d\n", 3),
        ("value,name,note\n1,a,x\n2,\"b\n3\",\"c\n4,d,y\n", 4),
    ] {
        folder.write("in.csv", text);
        let summary = run(&folder);
        assert_eq!((summary.count("events_out"), summary.count("dead_letters")), (1, 1));
        let dead_letters = dead_letters(&folder, "dead.jsonl");
        let expected = format!("a quote opened on line {line} is never closed");
        assert_eq!(dead_letters[0].reason, expected);
    }
    folder.write("in.csv", "value,\"name\n1,a\n");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.ends_with(1, &["source `in`", "a quote opened on line 1 is never closed"]);
}

#[test]
fn a_csv_file_without_its_columns_cannot_be_read() {
    let folder = pipeline("in.csv", "key = \"nmae\"");
    folder.write("in.csv", "name,value\na,1\n");
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.ends_with(1, &["source `in`", "nmae"]);
}

#[test]
fn a_compressed_file_that_is_cut_off_or_garbage_fails_the_run_by_name() {
    for (name, bytes) in [("in.jsonl.gz", gzipped()), ("in.jsonl.zst", zstandard())] {
        let folder = pipeline(name, "");
        folder.write(name, &bytes);
        assert_eq!(run(&folder).count("events_out"), 1000, "{name}");
        for broken in [&bytes[..bytes.len() - 9], b"this was never compressed"] {
            folder.write(name, broken);
            let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
            finished.ends_with(1, &["source `in`", name]);
        }
    }
}

fn gzipped() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all("{\"value\":1}\n".repeat(1000).as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstandard() -> Vec<u8> {
    zstd::encode_all("{\"value\":1}\n".repeat(1000).as_bytes(), 3).unwrap()
}

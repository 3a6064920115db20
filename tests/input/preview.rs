//! What `check` and `run` see in the first records of files.

use crate::support::{Dirigo, Folder, assert_says, nexmark};

/// A pipeline that reads `file` by these keys, and maps a field of it.
fn pipeline(file: &str, text: &str, keys: &str, field: &str) -> Folder {
    let folder = Folder::with_pipeline(&format!(
        r#"
[pipeline]
name = "preview"
[[source]]
id = "in"
kind = "file"
path = "{file}"
{keys}
[[operator]]
id = "m"
component = "builtin:map"
config = {{ field = "{field}", into = "fahrenheit" }}
[[operator]]
id = "n"
component = "builtin:filter"
config = {{ field = "fahrenheit", min = 0 }}
[[sink]]
id = "out"
kind = "file"
path = "out.jsonl"
"#
    ));
    folder.write(file, text);
    folder
}

const READINGS: &str = "{\"sensor\":\"a\",\"ts\":1709294400000,\"value\":1}\n\
                        {\"sensor\":\"b\",\"ts\":1709294460000,\"value\":2}\n";

#[test]
fn what_the_first_events_have_is_no_trouble() {
    let folder = pipeline("in.jsonl", READINGS, "key = \"/sensor\"\ntime = \"/ts\"", "value");
    let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    assert_eq!(finished.code(), 0);
    assert!(!finished.stderr.contains("warning"), "{}", finished.stderr);
}

#[test]
fn records_that_are_no_events_are_counted_among_those_that_are() {
    let text = READINGS.to_owned() + "{\"sensor\":\n";
    let folder = pipeline("in.jsonl", &text, "", "value");
    let finished = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    finished.ends_with(
        0,
        &[
            "warning: 1 of the first 3 records of source `in` are no events",
            ":7:8",
            "record 3: ",
        ],
    );
}

#[test]
fn what_none_of_the_first_events_has_is_told_at_its_place() {
    for (keys, field, said) in [
        (
            "key = \"/sensr\"",
            "value",
            &[
                "`key` of source `in` finds nothing in the first 2 events",
                ":8:7",
                "did you mean `sensor`?",
            ][..],
        ),
        (
            "time = { field = \"/tz\" }",
            "value",
            &[
                "`time` of source `in` finds nothing",
                ":8:18",
                "there are `sensor`, `ts` and `value`",
            ],
        ),
        (
            "time = \"/sensor\"",
            "value",
            &["none of the first 2 events of source `in` has a time that can be read"],
        ),
        (
            "key = \"/sensor\"",
            "valeu",
            &[
                "`field` of operator `m` finds nothing in the first 2 events",
                ":12:20",
                "did you mean `value`?",
            ],
        ),
    ] {
        let folder = pipeline("in.jsonl", READINGS, keys, field);
        let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        checked.ends_with(0, said);
        let run = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        assert_says(&run.stderr, said);
    }
}

#[test]
fn a_field_that_a_component_of_ones_own_reads_is_looked_for_too() {
    let check = |first: &str| {
        let folder = Folder::with_pipeline(&format!(
            r#"
            [pipeline]
            name = "bids"
            [[source]]
            id = "in"
            kind = "file"
            path = "in.jsonl"
            [[operator]]
            id = "first"
            component = "builtin:filter"
            config = {{ field = "price", min = 0 }}
            [[operator]]
            id = "sampled"
            component = "{}"
            config = {{ every = 1 }}
            [[sink]]
            id = "out"
            kind = "null"
            "#,
            nexmark("q2").display()
        ));
        folder.write("in.jsonl", first);
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    let missing = check("{\"auktion\":1,\"price\":2}\n{\"auktion\":3,\"price\":4}\n");
    missing.ends_with(
        0,
        &[
            "`auction` of operator `sampled` finds nothing in the first 2 events",
            ":14:25",
            "did you mean `auktion`?",
        ],
    );
    let there = check("{\"auction\":1,\"price\":2}\n");
    there.ends_with(0, &["the pipeline is valid"]);
    assert!(!there.stderr.contains("finds nothing"), "{}", there.stderr);
}

#[test]
fn a_column_that_a_csv_does_not_have_is_an_error() {
    let folder = pipeline("in.csv", "sensor,value\na,1\n", "key = \"senser\"", "value");
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    checked.ends_with(78, &["`key` of source `in` finds nothing", "did you mean `sensor`?"]);
    let run = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    run.ends_with(
        1,
        &["did you mean `sensor`?", "`senser` finds nothing among the columns"],
    );
}

#[test]
fn times_that_look_like_seconds_are_told() {
    let text = "{\"ts\":1709294400,\"value\":1}\n";
    let folder = pipeline("in.jsonl", text, "time = \"/ts\"", "value");
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    checked.ends_with(0, &["look like seconds", "time = { field = \"/ts\", unit = \"s\" }"]);
}

#[test]
fn times_that_cannot_be_read_or_lie_in_the_future_are_told_with_their_record() {
    let check = |text: &str, keys: &str| {
        let folder = pipeline("in.jsonl", text, keys, "value");
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    let text = READINGS.to_owned() + "{\"sensor\":\"c\",\"ts\":\"yesterday\",\"value\":3}\n";
    let words = [
        "warning: 1 of the first 3 events of source `in` have no time that can be read",
        "record 3: ",
        "yesterday",
    ];
    check(&text, "time = \"/ts\"").ends_with(0, &words);
    let text = READINGS.to_owned() + "{\"sensor\":\"c\",\"ts\":\"9999-01-01T00:00:00Z\",\"value\":3}\n";
    let words = [
        "warning: an event of source `in` lies in the future",
        "record 3 is more than a day ahead of the clock",
        "`max_ahead = \"1d\"`",
    ];
    check(&text, "time = \"/ts\"").ends_with(0, &words);
    let checked = check(&text, "time = \"/ts\"\nmax_ahead = \"1d\"");
    assert_eq!(checked.code(), 0);
    assert!(!checked.stderr.contains("warning"), "{}", checked.stderr);
}

#[test]
fn windows_in_time_over_events_without_time_are_warned_of() {
    let folder = pipeline("in.jsonl", READINGS, "key = \"/sensor\"", "value");
    let text = folder.read("pipeline.toml").replace(
        "[[sink]]",
        "[[operator]]\nid = \"r\"\ncomponent = \"builtin:reduce\"\nwindow = { tumbling = \"1h\" }\n\
         config = { field = \"value\", aggregate = \"sum\" }\n[[sink]]",
    );
    folder.write("pipeline.toml", text);
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    finished.succeeds();
    let words = [
        "warning: operators behind source `in` go by event time, and the source has no `time`",
        "point `time` at the field that has it",
    ];
    assert_says(&finished.stderr, &words);
}

#[test]
fn a_file_that_is_one_array_is_told_apart_from_lines() {
    let folder = pipeline(
        "in.jsonl",
        "[{\"sensor\":1},{\"sensor\":2}]\n",
        "key = \"/sensor\"",
        "value",
    );
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let words = [
        "warning: the first record of source `in` is an array",
        "write the elements of an array on lines of their own",
    ];
    finished.ends_with(1, &words);
    let letter = folder.read("preview.dead.jsonl");
    assert_says(
        &letter,
        &["`/sensor` finds nothing: the record is an array; each line is one event"],
    );
}

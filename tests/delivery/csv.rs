//! Sinks that write CSV.

use std::fs;
use std::io::Read as _;

use crate::support::{Dirigo, Folder};

/// Events that go as they are into `path`, where `sink` says more of it.
fn pipeline(path: &str, sink: &str) -> Folder {
    let folder = Folder::with_pipeline(&text(path, sink));
    folder.write("events.jsonl", EVENTS);
    folder
}

fn text(path: &str, sink: &str) -> String {
    format!(
        "[pipeline]\nname = \"table\"\n[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"events.jsonl\"\n\
         [[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"{path}\"\norder = \"source\"\n{sink}"
    )
}

const EVENTS: &str = "{\"name\":\"Ann, B.\",\"n\":1.50,\"tags\":[\"a\",\"b\"]}\n{\"n\":2,\"name\":null}\n";
const TABLE: &str = "name,n,tags\n\"Ann, B.\",1.50,\"[\"\"a\"\",\"\"b\"\"]\"\n,2,\n";

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"])
}

#[test]
fn a_sink_writes_the_format_that_its_path_ends_with() {
    let folder = pipeline("out.csv", "");
    for _ in 0..2 {
        run(&folder).finish().succeeds();
        assert_eq!(folder.read("out.csv"), TABLE);
    }
    let folder = pipeline("OUT.CSV.GZ", "");
    run(&folder).finish().succeeds();
    let mut text = String::new();
    let file = fs::File::open(folder.path("OUT.CSV.GZ")).unwrap();
    flate2::read::MultiGzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, TABLE);
    let folder = pipeline("out.csv", "format = \"jsonl\"\n");
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out.csv"), EVENTS);
    let folder = pipeline("out.dat", "format = \"csv\"\n");
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out.dat"), TABLE);
}

#[test]
fn a_header_comes_once_however_many_runs_write_the_file() {
    let folder = pipeline("out.csv", "");
    run(&folder).with_state().finish().succeeds();
    folder.append("events.jsonl", "{\"tags\":7,\"name\":\"C\"}\n");
    run(&folder).with_state().finish().succeeds();
    assert_eq!(folder.read("out.csv"), format!("{TABLE}C,,7\n"));
}

#[test]
fn a_table_that_is_added_to_keeps_its_columns() {
    let folder = pipeline("out.csv", "if_exists = \"append\"\n");
    folder.write("out.csv", "\u{feff}n,tags,name\n0,,Z");
    run(&folder).finish().succeeds();
    let rows = "1.50,\"[\"\"a\"\",\"\"b\"\"]\",\"Ann, B.\"\n2,,\n";
    assert_eq!(folder.read("out.csv"), format!("\u{feff}n,tags,name\n0,,Z\n{rows}"));

    folder.write(
        "pipeline.toml",
        text("out.csv", "if_exists = \"append\"\ncolumns = [\"name\"]\n"),
    );
    run(&folder)
        .finish()
        .ends_with(1, &["its columns are n, tags, name", "`columns` names name"]);
}

#[test]
fn columns_that_are_named_are_all_that_is_written() {
    let folder = pipeline("out.csv", "columns = [\"n\", \"missing\"]\n");
    run(&folder).finish().succeeds();
    assert_eq!(folder.read("out.csv"), "n,missing\n1.50,\n2,\n");
    folder.write("events.jsonl", "");
    run(&folder).finish().succeeds();
    assert_eq!(
        folder.read("out.csv"),
        "n,missing\n",
        "a table without rows has columns all the same"
    );
}

#[test]
fn an_event_with_another_member_fails_the_run_and_names_it() {
    let folder = pipeline("out.csv", "");
    folder.append("events.jsonl", "{\"n\":3,\"extra\":true}\n");
    run(&folder)
        .finish()
        .ends_with(1, &["sink `out`", "`extra`", "(name, n, tags)", "`columns = [...]`"]);
    folder.write("events.jsonl", "[1,2]\n");
    run(&folder)
        .finish()
        .ends_with(1, &["a CSV record is made of a JSON object, and an event is `[1,2]`"]);
}

#[test]
fn each_part_has_the_header_and_all_have_the_same() {
    let sink = "commit = \"epoch\"\n";
    let folder = pipeline("out/*.csv", sink);
    run(&folder).with_state().finish().succeeds();
    folder.append("events.jsonl", "{\"n\":3}\n");
    run(&folder).with_state().finish().succeeds();
    assert_eq!(folder.read("out/000000001.csv"), TABLE);
    assert_eq!(folder.read("out/000000002.csv"), "name,n,tags\n,3,\n");
}

#[test]
fn a_format_that_is_not_written_is_refused_unless_another_is_named() {
    for path in ["out.parquet", "out.tsv.gz"] {
        run(&pipeline(path, ""))
            .finish()
            .ends_with(78, &["cannot write `.", "add `format = \"jsonl\"`"]);
        run(&pipeline(path, "format = \"jsonl\"\n")).finish().succeeds();
    }
    run(&pipeline("out.jsonl", "columns = [\"n\"]\n"))
        .finish()
        .ends_with(78, &["have no `columns`"]);
    run(&pipeline("out.csv", "columns = []\n"))
        .finish()
        .ends_with(78, &["has no columns"]);
    run(&pipeline("out.csv", "columns = [\"n\", \"n\"]\n"))
        .finish()
        .ends_with(78, &["column `n` twice"]);
}

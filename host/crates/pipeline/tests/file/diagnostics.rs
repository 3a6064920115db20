//! How problems are told: all of them, drawn, coloured, as JSON; and files that cannot be read at all.

use std::fs;

use serde_json::json;

use super::{TestFolder, assert_says, refused};
use dirigo_pipeline::*;

#[test]
fn all_problems_of_a_file_are_found_in_one_pass_and_in_its_order() {
    let said = refused(
        r#"[pipeline]
name = "sensors"
slo = 50

[[source]]
id = "readings"
kind = "fiel"

[[operator]]
id = "map-1"
component = "builtin:mpa"
treshold = 1

[[sink]]
id = "out"
inputs = ["map-2"]
kind = "stdout"
path = "x"

[checkpoint]
"#,
    );
    assert_says(
        &said,
        &[
            "expected a duration, found the integer 50",
            ":3:7",
            "unknown source kind `fiel`",
            "did you mean `file`?",
            "no built-in component `mpa`",
            "did you mean `map`?",
            "unknown key `treshold` in `[[operator]]`",
            "no source or operator `map-2`",
            "did you mean `map-1`?",
            "sink `out` has no `path`",
            "`path` is for kind = \"file\"",
            "unknown key `checkpoint` in the pipeline file",
            "`checkpoint` belongs in `[pipeline]`",
        ],
    );
}

#[test]
fn a_problem_is_drawn_with_file_line_caret_label_and_help() {
    let folder = TestFolder::new();
    let text = "[pipeline]\nname = \"p\"\nslo = \"50\"\n[[source]]\nid = \"s\"\nkind = \"stdin\"\n\
                [[sink]]\nid = \"o\"\nkind = \"null\"\n";
    let problems = folder.parse(text, &[]).unwrap_err();
    let path = folder.path("pipeline.toml");
    let expected = format!(
        "error: `50` is not a duration\n --> {}:3:7\n  |\n3 | slo = \"50\"\n  |       ^^^^ not a duration\n  |\n  \
         = help: give the unit: \"50ms\" or \"50s\"",
        path.display()
    );
    assert_eq!(problems.render(false), expected);
    assert_eq!(problems.to_string(), expected);
    assert!(problems.render(true).contains("\u{1b}["));
    let expected = json!([{
        "severity": "error",
        "message": "`50` is not a duration",
        "file": path.display().to_string(),
        "line": 3,
        "column": 7,
        "help": "give the unit: \"50ms\" or \"50s\"",
    }]);
    assert_eq!(serde_json::to_value(problems).unwrap(), expected);
}

#[test]
fn a_missing_file_is_told_with_the_one_that_is_nearly_called_so() {
    let folder = TestFolder::new();
    fs::write(folder.path("pipeline.toml"), "").unwrap();
    let said = load(&folder.path("pipelin.toml"), &[], &dirigo_connectors::builtin())
        .unwrap_err()
        .render(false);
    assert_says(
        &said,
        &[
            "cannot read the pipeline file: ",
            "pipelin.toml",
            "did you mean `pipeline.toml`?",
        ],
    );
}

#[test]
fn a_directory_is_no_pipeline_file() {
    let folder = TestFolder::new();
    let refused = || {
        let refused = load(&folder.path("examples"), &[], &dirigo_connectors::builtin());
        refused.unwrap_err().render(false)
    };
    let said = refused();
    assert_says(&said, &["cannot read the pipeline file: ", "examples"]);
    assert!(!said.contains("name a file in it"), "{said}");
    for name in ["Cargo.toml", "readings.toml", "notes.txt"] {
        fs::write(folder.path("examples").join(name), "").unwrap();
    }
    assert_says(&refused(), &["name a file in it, such as `", "examples/readings.toml`"]);
}

#[test]
fn a_file_that_is_not_utf_8_is_told_where() {
    let folder = TestFolder::new();
    fs::write(folder.path("p.toml"), b"[pipeline]\nname = \"\xff\"\n").unwrap();
    let said = load(&folder.path("p.toml"), &[], &dirigo_connectors::builtin())
        .unwrap_err()
        .render(false);
    assert_says(
        &said,
        &["the pipeline file is not UTF-8", "p.toml:2:9", "help: save it as UTF-8"],
    );
}

#[test]
fn a_file_beyond_1_mib_is_refused_unread() {
    let folder = TestFolder::new();
    fs::write(folder.path("p.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    let said = load(&folder.path("p.toml"), &[], &dirigo_connectors::builtin())
        .unwrap_err()
        .render(false);
    assert_says(&said, &["it is larger than 1 MiB"]);
}

#[test]
fn an_empty_file_is_told_what_it_needs() {
    for text in ["", "\n# only a comment\n", "\u{feff}"] {
        assert_says(
            &refused(text),
            &[
                "the pipeline file is empty",
                "pipeline.toml",
                "help: it needs a `[pipeline]`",
            ],
        );
    }
}

#[test]
fn a_pipeline_is_loaded_from_its_file() {
    let folder = TestFolder::new();
    fs::write(folder.path("p.toml"), super::with_source("kind = \"stdin\"")).unwrap();
    let loaded = load(&folder.path("p.toml"), &[], &dirigo_connectors::builtin()).unwrap();
    assert_eq!(loaded.pipeline.file, folder.path("p.toml"));
    let said = loaded.warnings.render(false);
    assert_says(
        &said,
        &[
            "note: source `s` has no `time`",
            "depend on the clock",
            "an event's time is its arrival",
        ],
    );
}

#[test]
fn broken_syntax_is_told_once_per_line() {
    let said = refused("[pipeline]\nname = sensors\nslo = \n");
    assert_says(&said, &["invalid TOML: string values must be quoted", ":2:8", ":3:7"]);
    // These begin as `false`, `true`, `nan` and `inf` do.
    for word in ["file", "tcp", "nats", "info"] {
        let said = refused(&format!("[pipeline]\nname = {word}\n"));
        assert_says(
            &said,
            &[
                "invalid TOML: string values must be quoted",
                ":2:8",
                &format!("write `\"{word}\"`"),
            ],
        );
    }
    assert_says(
        &refused("[pipeline]\nname = True\n"),
        &["invalid TOML: invalid boolean", "expected `true`"],
    );
    let said = refused("a = [1,\nb = 2\nc = 3\n[pipeline]\n");
    assert_eq!(said.matches("error:").count(), 1, "{said}");
    assert_says(
        &refused("a = 1\na = 2\n"),
        &["invalid TOML: duplicate key", ":2:1", "it is there already"],
    );
}

#[test]
fn problems_beyond_a_hundred_are_counted() {
    let keys: Vec<String> = (0..150).map(|index| format!("key{index} = 1")).collect();
    let said = refused(&keys.join("\n"));
    assert_says(
        &said,
        &[
            "unknown key `key0`",
            "unknown key `key90`",
            "53 more problems are not shown",
        ],
    );
}

#[test]
fn single_brackets_in_place_of_double_ones_are_told_so_at_the_first() {
    let pipeline = "[pipeline]\nname = \"p\"\n";
    for (rest, place) in [
        ("[operator]\nid = \"a\"\n[operator]\nid = \"b\"\n", ":3:1"),
        (
            "[[operator]]\nid = \"a\"\n[ operator ] # the second\nid = \"b\"\n",
            ":5:1",
        ),
        ("[operator]\nid = \"a\"\n[[operator]]\nid = \"b\"\n", ":3:1"),
        (
            "[operator]\nid = \"a\"\n[operator.limits]\nmemory = \"1MiB\"\n[operator]\n",
            ":3:1",
        ),
        ("[operator]\nid = \"a\"\n", ":3:1"),
    ] {
        let said = refused(&format!("{pipeline}{rest}"));
        assert_says(&said, &[place, "write `[[operator]]`, with double brackets"]);
        assert!(!said.contains("duplicate key"), "{said}");
    }
    assert_says(
        &refused(&format!("{pipeline}[pipeline]\n")),
        &["invalid TOML: duplicate key"],
    );
}

#[test]
fn a_link_that_leads_nowhere_is_told_where_it_leads_and_not_its_own_name() {
    let folder = TestFolder::new();
    std::os::unix::fs::symlink("gone.jsonl", folder.path("linked.jsonl")).unwrap();
    let text = super::with_source("kind = \"file\"\npath = \"linked.jsonl\"");
    let said = folder.parse(&text, &[]).unwrap_err().render(false);
    assert_says(
        &said,
        &[
            "cannot find the source file",
            "a symbolic link to gone.jsonl: No such file",
        ],
    );
    assert!(!said.contains("did you mean"), "{said}");
}

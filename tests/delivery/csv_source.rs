//! Sources that read CSV: the types of columns, up to where events leave.

use serde_json::json;

use crate::support::{Dirigo, Folder, Random, dead_letters, guest, number_of};

/// A pipeline of a CSV, operators, and a file.
fn pipeline(source: &str, operators: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "table"
        checkpoint = "10ms"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "in"
        kind = "file"
        path = "in.csv"
        {source}
        {operators}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        order = "source"
        "#
    ))
}

fn operator(id: &str, component: &str, config: &str) -> String {
    format!("[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:{component}\"\nconfig = {{ {config} }}\n")
}

#[test]
fn columns_have_their_types_where_events_leave_and_in_dead_letters() {
    let operators = [
        operator("keep", "filter", "field = \"qty\", is_null = false"),
        operator("double", "map", "field = \"qty\", scale = 2.0, into = \"twice\""),
        operator("named", "filter", "field = \"name\", equals = \"1\""),
    ];
    let folder = pipeline(
        "key = \"code\"\nfields = { code = \"text\", qty = \"s64\" }\nnulls = [\"\", \"-\"]",
        &operators.concat(),
    );
    folder.write(
        "in.csv",
        "code,qty,name,note\n007,1,1,1\n12E3,2,x,\n1.10,-,1,\n\"a\"\"b\",3,1,\"two\nlines\"\nd,4.5,1,\ne,5,,1\n",
    );
    for workers in [1, 3] {
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        assert_eq!(
            folder.read("out.jsonl"),
            "{\"code\":\"007\",\"qty\":1,\"name\":\"1\",\"note\":1,\"twice\":2.0}\n\
             {\"code\":\"a\\\"b\",\"qty\":3,\"name\":\"1\",\"note\":\"two\\nlines\",\"twice\":6.0}\n"
        );
        let dead = dead_letters(&folder, "dead.jsonl");
        let mut found: Vec<_> = dead
            .iter()
            .map(|letter| (letter.event.position, letter.operator.as_str(), letter.reason.as_str()))
            .collect();
        found.sort_unstable();
        let mistyped = "column `qty` is \"4.5\", and `fields` says s64: an integer of 64 bits, such as `-12`";
        assert_eq!(
            found,
            [(7, "in", mistyped), (8, "named", "field `name` is null, not a string")]
        );
        let lines = folder.json_lines("dead.jsonl");
        let values = lines.iter().map(|line| line["event"]["value"].clone());
        let payload = r#"{"code":"e","qty":5,"name":null,"note":1,"twice":10.0}"#;
        assert!(values.clone().any(|value| value == json!(payload)), "{lines:?}");
        assert!(values.clone().any(|value| value == json!("d,4.5,1,")), "{lines:?}");
    }
}

#[test]
fn what_is_said_of_columns_has_to_fit_the_source() {
    let refused = |source: &str, code: i32, words: &[&str]| {
        let folder = pipeline(source, "");
        folder.write("in.csv", "code,qty\n1,2\n");
        let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
        checked.ends_with(code, words);
    };
    refused(
        "fields = { cod = \"text\" }",
        78,
        &["`fields` gives a type to column `cod`, and there is none: did you mean `code`?"],
    );
    refused(
        "fields = { code = \"txt\" }",
        78,
        &["unknown column type `txt`", "did you mean `text`?"],
    );
    refused(
        "format = \"jsonl\"\nfields = { code = \"text\" }",
        78,
        &[
            "`fields` is for csv, and the format is jsonl",
            "JSON values have types of their own",
        ],
    );
    refused(
        "format = \"lines\"\nnulls = []",
        78,
        &["`nulls` is for csv", "lines have no fields"],
    );
    let many: Vec<String> = (0..65).map(|number| format!("\"{number}\"")).collect();
    refused(
        &format!("nulls = [{}]", many.join(", ")),
        78,
        &["`nulls` has more than 64 texts", "one too many"],
    );

    let folder = pipeline("fields = { cod = \"text\" }", "");
    folder.write("in.csv", "code,qty\n1,2\n");
    let run = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    run.ends_with(1, &["source `in`", "did you mean `code`?"]);
}

#[test]
fn operators_that_read_payloads_get_objects() {
    let folder = pipeline(
        "",
        &format!(
            "[[operator]]\nid = \"echo\"\ncomponent = \"{}\"\nconfig = {{ mode = \"dawdle\" }}\n",
            guest("map").display()
        ),
    );
    folder.write("in.csv", "n,b\n1,\"x,\"\"y\"\"\"\n");
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), "{\"n\":1,\"b\":\"x,\\\"y\\\"\"}\n");
}

#[test]
fn records_that_are_on_their_way_when_a_run_is_killed_leave_once() {
    let seed = number_of("DIRIGO_SEED", 1);
    println!("DIRIGO_SEED={seed}");
    let slow = format!(
        "{}[[operator]]\nid = \"slow\"\ncomponent = \"{}\"\nconfig = {{ mode = \"dawdle\" }}\n",
        operator("double", "map", "field = \"n\", scale = 2.0, into = \"twice\""),
        guest("map").display()
    );
    let records: String = (0..40_000).map(|n| format!("\"k{}\",{n},00{n}\n", n % 7)).collect();
    let folder = || {
        let folder = pipeline("key = \"key\"\nfields = { code = \"text\" }", &slow);
        folder.write("in.csv", format!("key,n,code\n{records}"));
        folder
    };
    let whole = folder();
    Dirigo::run(&whole, ["pipeline.toml"]).with_state().finish().succeeds();
    let expected = whole.read("out.jsonl");
    assert!(expected.starts_with("{\"key\":\"k0\",\"n\":0,\"code\":\"000\",\"twice\":0.0}\n"));
    let killed = folder();
    let kills = crate::kill::kill(&killed, 10, &mut Random(seed));
    assert!(killed.read("out.jsonl") == expected, "after {kills} kills");
}

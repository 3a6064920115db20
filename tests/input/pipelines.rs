//! Pipeline files that make no sense.

use crate::support::{Dirigo, Folder, guest, numbered};

const SOURCE: &str = "[[source]]\nid = \"in\"\nkind = \"file\"\npath = \"events.jsonl\"\n";
const SINK: &str = "[[sink]]\nid = \"out\"\nkind = \"file\"\npath = \"out.jsonl\"\n";

fn operator(id: &str, more: &str) -> String {
    format!("[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:map\"\nconfig = {{ field = \"n\" }}\n{more}\n")
}

/// Asserts that a file is refused, in these words, and that nothing runs.
fn is_refused(text: &str, words: &[&str]) {
    let folder = Folder::with_pipeline(text);
    folder.write("events.jsonl", numbered(10, 1));
    for subcommand in ["check", "run"] {
        Dirigo::command(&folder, subcommand)
            .args(["pipeline.toml"])
            .finish()
            .ends_with(78, words);
    }
    assert!(!folder.path("out.jsonl").exists(), "nothing ran");
}

#[test]
fn what_is_no_toml_is_shown_with_its_place() {
    is_refused("[pipeline\nname = ", &["pipeline.toml:1"]);
    is_refused("\u{0}\u{1}\u{2}", &["pipeline.toml:1"]);
    is_refused("", &["[pipeline]"]);
}

#[test]
fn what_is_not_even_text_is_refused() {
    let folder = Folder::new();
    folder.write("pipeline.toml", b"[pipeline]\nname = \"\xff\xfe\"\n");
    Dirigo::command(&folder, "check")
        .args(["pipeline.toml"])
        .finish()
        .ends_with(78, &["pipeline.toml"]);
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    Dirigo::command(&folder, "run")
        .args(["nowhere.toml"])
        .finish()
        .ends_with(78, &["nowhere.toml"]);
    Dirigo::command(&folder, "run")
        .args(["."])
        .finish()
        .ends_with(78, &["."]);
    Dirigo::command(&folder, "inspect")
        .args(["nowhere.wasm"])
        .finish()
        .ends_with(1, &["nowhere.wasm"]);
    let pipeline = "[pipeline]\nname = \"p\"\n";
    is_refused(
        &format!("{pipeline}{}{SINK}", SOURCE.replace("events.jsonl", "evnets.jsonl")),
        &["evnets.jsonl", "pipeline.toml:6"],
    );
}

#[test]
fn ids_that_stand_twice_and_circles_are_shown() {
    let pipeline = "[pipeline]\nname = \"p\"\n";
    is_refused(
        &format!(
            "{pipeline}{SOURCE}{}{}{SINK}",
            operator("twin", ""),
            operator("twin", "")
        ),
        &["two items have the id `twin`"],
    );
    is_refused(
        &format!(
            "{pipeline}{SOURCE}{}{}{}{SINK}",
            operator("a", "inputs = [\"in\", \"c\"]"),
            operator("b", "inputs = [\"a\"]"),
            operator("c", "inputs = [\"b\"]")
        ),
        &["circle: a -> b -> c -> a", "pipeline.toml:11"],
    );
    is_refused(
        &format!("{pipeline}{SOURCE}{}{SINK}", operator("a", "inputs = [\"a\"]")),
        &["operator `a` is its own input"],
    );
}

#[test]
fn a_mistyped_key_is_answered_with_the_one_that_was_meant() {
    is_refused(
        &format!(
            "[pipeline]\nname = \"p\"\n{SOURCE}{}{SINK}",
            operator("a", "idel_timeout = \"1s\"")
        ),
        &["idel_timeout", "did you mean", "idle_timeout"],
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let folder = Folder::new();
    Dirigo::command(&folder, "run").finish().ends_with(2, &["PIPELINE"]);
    Dirigo::command(&folder, "rnu")
        .finish()
        .ends_with(2, &["unrecognized subcommand 'rnu'"]);
    Dirigo::command(&folder, "run")
        .args(["p.toml", "--workers", "0"])
        .finish()
        .ends_with(2, &["--workers"]);
    Dirigo::command(&folder, "run")
        .args(["p.toml", "--fresh"])
        .finish()
        .ends_with(2, &["--state"]);
}

#[test]
fn a_setting_comes_from_outside_and_a_wrong_one_is_named_but_not_shown() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "outside"
        [[source]]
        id = "in"
        kind = "file"
        path = { env = "INPUT" }
        [[operator]]
        id = "pick"
        component = "builtin:filter"
        config = { field = "v", threshold = { env = "MIN" } }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("in.jsonl", "{\"v\":41}\n{\"v\":43}\n");
    let run = |minimum: &str| {
        let run = Dirigo::run(&folder, ["pipeline.toml"]);
        run.env("INPUT", "in.jsonl").env("MIN", minimum).finish()
    };
    run("42").succeeds();
    assert_eq!(folder.read("out.jsonl"), "{\"v\":43}\n");
    let refused = run("s3cret-number");
    refused.ends_with(
        78,
        &[
            "refuses its configuration",
            "`threshold` is the environment variable `MIN`",
        ],
    );
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);
}

#[test]
fn events_without_a_key_are_noted_where_state_is_kept_by_key() {
    let check = |of_source: &str, between: &str, of_reduce: &str| {
        let input = if between.is_empty() { "in" } else { "first" };
        let folder = Folder::with_pipeline(&format!(
            r#"
            [pipeline]
            name = "keys"
            [[source]]
            id = "in"
            kind = "file"
            path = "in.jsonl"
            time = "/ts"
            {of_source}
            {between}
            [[operator]]
            id = "sums"
            component = "builtin:reduce"
            inputs = ["{input}"]
            window = {{ count = 2 }}
            config = {{ aggregate = "count" }}
            {of_reduce}
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#
        ));
        folder.write("in.jsonl", "{\"ts\":1,\"v\":1}\n");
        std::fs::copy(guest("map"), folder.path("guest.wasm")).unwrap();
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    let first = |component: &str, more: &str| {
        format!("[[operator]]\nid = \"first\"\ninputs = [\"in\"]\ncomponent = \"{component}\"\n{more}")
    };
    let filter = first("builtin:filter", "config = { field = \"v\", min = 0 }");
    let words = [
        "note: events of operator `sums` have no key",
        "one window for all events",
    ];
    for between in ["", &filter] {
        check("", between, "").ends_with(0, &words);
    }
    let may_have_keys = [
        ("key = \"/v\"", "", ""),
        ("", "", "key = \"/v\""),
        ("key = \"/v\"", filter.as_str(), ""),
        // What a component of one's own gives keys to, only a run shows.
        ("", &first("guest.wasm", "config = { mode = \"pass\" }"), ""),
    ];
    for (of_source, between, of_reduce) in may_have_keys {
        let checked = check(of_source, between, of_reduce);
        checked.ends_with(0, &["the pipeline is valid"]);
        assert!(!checked.stderr.contains("no key"), "{}", checked.stderr);
    }
}

#[test]
fn an_address_is_one_and_lies_where_it_may() {
    let listening = |listen: &str, more: &str| {
        format!(
            "[pipeline]\nname = \"p\"\n[[source]]\nid = \"in\"\nkind = \"http\"\nlisten = \"{listen}\"\n{more}\n{SINK}"
        )
    };
    for (listen, more, words) in [
        ("localhost", "", ["has no address to listen at", "\"127.0.0.1:8080\""]),
        (
            "0.0.0.0:8080",
            "",
            ["beyond this machine without encryption", "`insecure = true`"],
        ),
        (
            "127.0.0.1:8080",
            "route = \"in\"",
            ["no path of a URL as its `route`", "\"/readings\""],
        ),
    ] {
        is_refused(&listening(listen, more), &words);
    }
    let check = |text: &str, args: &[&str]| {
        let folder = Folder::with_pipeline(text);
        let tenants =
            "[[tenant]]\nname = \"acme\"\npipelines = [\".\"]\nwrite = [\".\"]\nlisten = [\"127.0.0.1:8080\"]\n";
        folder.write("tenants.toml", tenants);
        let check = Dirigo::command(&folder, "check").args(["pipeline.toml"]);
        check.args(args).finish()
    };
    let open = listening("0.0.0.0:8080", "insecure = true");
    assert_eq!(check(&open, &[]).code(), 0);
    // A tenant listens only where it is granted.
    let tenants = ["--tenants", "tenants.toml"];
    let words = ["may not listen at this address", "the `listen` of the tenant"];
    check(&open, &tenants).ends_with(78, &words);
    assert_eq!(check(&listening("127.0.0.1:8080", ""), &tenants).code(), 0);
}

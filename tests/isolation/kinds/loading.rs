//! Components that attack before a single event: they are refused, by name, and nothing runs.

use crate::support::{Dirigo, Folder, numbered, pipeline};

/// A pipeline around a component that is written down here.
fn with_component(text: &str) -> Folder {
    let folder = pipeline("map", "{}", "");
    folder.write("events.jsonl", numbered(1, 1));
    folder.write("guest.wasm", wat::parse_str(text).unwrap());
    let text = folder.read("pipeline.toml");
    let component = text.lines().find(|line| line.trim().starts_with("component")).unwrap();
    folder.write("pipeline.toml", text.replace(component, "component = \"guest.wasm\""));
    folder
}

fn is_refused(folder: &Folder, words: &[&str]) {
    for subcommand in ["check", "run"] {
        let finished = Dirigo::command(folder, subcommand).args(["pipeline.toml"]).finish();
        finished.ends_with(78, &["`guest`", "pipeline.toml:"]);
        finished.ends_with(78, words);
    }
    assert!(!folder.path("out.jsonl").exists(), "nothing ran");
}

pub(crate) fn who_cannot_be_opened_is_refused() {
    for (mode, words) in [
        ("loop-in-open", "all fuel consumed"),
        ("memory-in-open", "memory"),
        ("panic-in-open", "panicked while it was opened"),
    ] {
        let limits = "[operator.limits]\nfuel_per_event = 100_000\nmemory = \"8MiB\"";
        let folder = pipeline("map", &format!("{{ mode = \"{mode}\" }}"), limits);
        folder.write("events.jsonl", numbered(1, 1));
        is_refused(&folder, &["cannot be opened", words]);
    }
}

pub(crate) fn who_asks_for_the_outside_world_is_refused_by_name() {
    for name in [
        "wasi:filesystem/preopens@0.2.0",
        "wasi:filesystem/types@0.2.0",
        "wasi:sockets/tcp@0.2.0",
        "wasi:sockets/instance-network@0.2.0",
        "wasi:http/outgoing-handler@0.2.0",
    ] {
        let folder = with_component(&format!("(component (import \"{name}\" (instance)))"));
        is_refused(&folder, &[name, "not granted"]);
    }
}

/// A component of functions that the compiler would have to read.
fn functions(count: usize, body: &str) -> String {
    let functions = format!("(func {body})").repeat(count);
    format!("(component (core module {functions}))")
}

pub(crate) fn what_would_keep_the_compiler_for_long_is_refused_at_once() {
    let giant = "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(200_000);
    for (text, words) in [
        (functions(1, &giant), "has a function whose bytes number"),
        (functions(200_001, ""), "has functions that number"),
    ] {
        let folder = with_component(&text);
        is_refused(&folder, &[words, "more than the"]);
    }
}

pub(crate) fn bombs_for_the_compiler_are_counted_before() {
    let around = |module: &str| format!("(component (core module {module}) (core instance (instantiate 0)))");
    let nested = format!("(func {} {})", "loop ".repeat(27_000), "end ".repeat(27_000));
    let table = format!("(func (block (br_table {} (i32.const 0))))", "0 ".repeat(110_000));
    let mut doubled = "(component (component $c0 (core module $m) (core instance (instantiate $m)))".to_owned();
    for level in 1..40 {
        let inner = format!("(instance (instantiate $c{}))", level - 1).repeat(2);
        doubled.extend(["(component $c", &level.to_string(), " ", &inner, ")"]);
    }
    for (text, words) in [
        (around(&nested), "blocks nested to a depth of"),
        (around(&table), "branch tables name places that number"),
        (
            around(&format!("(memory 1) {}", "(data \"x\")".repeat(90_000))),
            "data segments that number",
        ),
        (
            doubled + "(instance (instantiate $c39)))",
            "comes to instances that number",
        ),
    ] {
        is_refused(&with_component(&text), &[words, "more than the"]);
    }
}

pub(crate) fn components_nested_without_end_are_refused() {
    let nested = format!("{}{}", "(component ".repeat(60), ")".repeat(60));
    is_refused(&with_component(&nested), &["nested deeper"]);
}

pub(crate) fn who_starts_beyond_its_memory_limit_is_refused() {
    let folder = pipeline("map", "{ mode = \"pass\" }", "[operator.limits]\nmemory = \"64KiB\"");
    folder.write("events.jsonl", numbered(1, 1));
    is_refused(&folder, &["the component starts with", "raise `memory`"]);
}

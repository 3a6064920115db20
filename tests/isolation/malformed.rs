//! Results that break the contract: the event is dead, the host unmoved.

use crate::pipeline;
use crate::support::{Dirigo, assert_says, dead_letters, numbered};

const EVENTS: u64 = 8;

/// Runs a few events through a guest that tells this lie about each batch, down to the batches of one event.
fn lie(guest: &str, lie: &str, more: &str, kind: &str, words: &str) {
    let folder = pipeline(guest, &format!("{{ lie = \"{lie}\" }}"), more);
    folder.write("events.jsonl", numbered(EVENTS, 1));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(1).finish();
    assert_eq!(finished.succeeds().count("dead_letters"), EVENTS, "{guest}: {lie}");
    assert_eq!(folder.read("out.jsonl"), "", "{guest}: {lie}");
    for dead_letter in dead_letters(&folder, "dead.jsonl") {
        assert_eq!(dead_letter.kind, kind, "{guest}: {lie}: {}", dead_letter.reason);
        assert_says(&dead_letter.reason, &[words]);
    }
}

#[test]
fn an_honest_guest_without_the_sdk_passes() {
    let folder = pipeline("malformed-map", "{ lie = \"none\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 1));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    assert_eq!(folder.read("out.jsonl"), folder.read("events.jsonl"));
}

#[test]
fn outputs_that_are_no_outputs_are_never_taken() {
    for (told, words) in [
        ("ends descend", "`values`"),
        ("ends stop short", "`values`"),
        ("ends overrun", "`values`"),
        ("a value too few", "`values`"),
        ("a value too many", "`values`"),
        ("an origin out of range", "`origins` names item"),
        ("origins descend", "`origins`"),
        ("a key too few", "`keys`"),
        ("a failure out of range", "`failures` names item"),
        ("a failure twice", "`failures` is not in rising order"),
        ("an event passed and failed", "`failures`"),
    ] {
        lie("malformed-map", told, "", "malformed", words);
    }
}

#[test]
fn fields_that_are_no_fields_are_never_taken() {
    for (told, kind, words) in [
        ("one too few", "malformed", "`fields` has 2 items, 3 belong there"),
        ("one too many", "malformed", "`fields` has 4 items, 3 belong there"),
        (
            "of other types",
            "malformed",
            "a column of type `text` where the schema writes `f64`",
        ),
        ("a number too few", "malformed", "`fields.values` has"),
        ("a text too many", "malformed", "`fields.text` has"),
        ("ends descend", "malformed", "`fields.text`"),
        ("a text that is none", "malformed", "`fields.text`: item 0 is not UTF-8"),
        ("half a character", "malformed", "`fields.text`: item 0 is not UTF-8"),
        ("too few bits", "malformed", "`fields.boolean` has 0 items"),
        ("too much validity", "malformed", "`fields.validity` has 2 items"),
        ("values besides", "malformed", "`values` are there"),
        (
            "no number",
            "rejected",
            "the output's field `f` is NaN, which JSON cannot express",
        ),
    ] {
        lie("malformed-map", &format!("fields: {told}"), "", kind, words);
    }
}

#[test]
fn fields_from_a_guest_without_the_sdk_are_an_object() {
    let folder = pipeline("malformed-map", "{ lie = \"fields: none wrong\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 1));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let expected = "{\"f\":1.5,\"t\":\"x\",\"b\":true}\n".repeat(EVENTS.try_into().unwrap());
    assert_eq!(folder.read("out.jsonl"), expected);
}

#[test]
fn a_schema_that_makes_no_sense_is_refused_before_anything_runs() {
    for (told, words) in [
        ("a pointer that is none", "in a JSON pointer `~` is written `~0`"),
        (
            "a field in another",
            "it reads `a` as json and `/a/b` as json, one of which lies in the other",
        ),
        ("129 fields", "a schema reads 129 fields, and may read 128"),
        ("a field twice", "it writes both `f` and `/f/g`"),
        ("fields of raw outputs", "outputs that are raw have no fields"),
        ("a nested field of an object", "`/f/g` lies in a field"),
        ("a text that is exact", "`a` as text and `exact`"),
    ] {
        let folder = pipeline("malformed-map", &format!("{{ lie = \"schema: {told}\" }}"), "");
        folder.write("events.jsonl", numbered(EVENTS, 1));
        Dirigo::run(&folder, ["pipeline.toml"]).finish().ends_with(78, &[words]);
    }
}

#[test]
fn what_is_not_even_a_list_is_never_read() {
    lie("malformed-map", "a list outside memory", "", "malformed", "");
    lie("malformed-map", "a message that is no text", "", "malformed", "utf-8");
}

#[test]
fn choices_that_are_no_choice_are_never_taken() {
    for (told, words) in [
        ("an event twice", "`kept` is not in rising order"),
        ("an event out of range", "`kept` names item"),
        ("a failure out of range", "`failures` names item"),
        ("an event kept and failed", "`failures`"),
    ] {
        lie("malformed-filter", told, "", "malformed", words);
    }
}

#[test]
fn windows_that_are_no_windows_are_never_taken() {
    for (told, words) in [
        ("an accumulator too many", "`accumulators`"),
        ("an empty accumulator", "`accumulators`: item 0 is empty"),
        ("a window out of range", "`origins` names item"),
        ("a rejection out of range", "`failures` names item"),
    ] {
        lie(
            "malformed-reduce",
            told,
            "window = { count = 1000 }",
            "malformed",
            words,
        );
    }
}

#[test]
fn what_is_put_out_under_no_name_of_the_operator_is_never_taken() {
    for (told, words) in [
        ("an output out of range", "`named` names item 2 of 2"),
        ("an output twice", "`named` is not by rising number of the output at 1"),
        ("outputs fall", "`named` is not by rising number of the output at 1"),
        ("a value too few", "`named` output `letters`: `values`"),
        ("a key too few", "`named` output `letters`: `keys`"),
        ("a time too few", "`named` output `letters`: `times` has"),
        ("a time too many", "`named` output `shares`: `times` has"),
        (
            "an origin out of range",
            "`named` output `letters`: `origins` names item",
        ),
        (
            "origins fall",
            "`named` output `letters`: `origins` is not in rising order",
        ),
        ("a failure", "`named` output `letters`: `outputs` has failures"),
        (
            "no field",
            "`named` output `shares`: `fields` has 0 items, 1 belong there",
        ),
        (
            "a field of another type",
            "a column of type `s64` where the schema writes `f64`",
        ),
        ("a number too few", "`named` output `shares`: `fields.values` has"),
        ("values besides", "`named` output `shares`: `values` are there"),
        (
            "rejected all the same",
            "`named` puts something out, though steps are rejected",
        ),
    ] {
        lie("malformed-process", told, "order = \"arrival\"", "malformed", words);
    }
}

#[test]
fn outputs_with_names_that_make_no_sense_are_refused_before_anything_runs() {
    for (told, words) in [
        ("late", "`late` stands for the events that come too late"),
        ("twice", "two have the name `letters`"),
        ("a name that is none", "\"a.b\" is no name"),
        ("too many", "there are 33 named outputs, and there may be 32"),
        ("a nested field", "`/f/g` lies in a field"),
    ] {
        let config = format!("{{ lie = \"declared: {told}\" }}");
        let folder = pipeline("malformed-process", &config, "order = \"arrival\"");
        folder.write("events.jsonl", numbered(EVENTS, 1));
        Dirigo::run(&folder, ["pipeline.toml"]).finish().ends_with(78, &[words]);
    }
}

#[test]
fn a_guest_without_the_sdk_puts_out_under_names() {
    let folder = pipeline("malformed-process", "{ lie = \"none\" }", "order = \"arrival\"");
    let sink = |name: &str| {
        format!("\n[[sink]]\nid = \"{name}\"\nkind = \"file\"\npath = \"{name}.jsonl\"\ninputs = [\"guest.{name}\"]\n")
    };
    let text = folder.read("pipeline.toml") + &sink("letters") + &sink("shares");
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(EVENTS, 1));
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let events = EVENTS.try_into().unwrap();
    assert_eq!(folder.read("letters.jsonl"), "x\n".repeat(events));
    assert_eq!(folder.read("shares.jsonl"), "{\"share\":1.5}\n".repeat(events));
}

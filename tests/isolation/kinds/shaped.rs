//! Pipelines whose shape attacks, as far as the budgets let it, and operators that ask for all the time there is: each runs next to a
//! victim on the only worker.

use crate::beside::{beside_a_victim, fails_beside_a_victim};
use crate::support::{Folder, assert_says, dead_letters, numbered, pipeline};

/// As many sources, or sinks, as a tenant may have.
const ENDS: usize = 64;
/// Events of each source.
const EVENTS: usize = 2_000;

/// A pipeline of these parts.
fn of_parts(parts: impl IntoIterator<Item = String>) -> Folder {
    let header = "[pipeline]\nname = \"hostile\"\n".to_owned();
    Folder::with_pipeline(&parts.into_iter().fold(header, |text, part| text + &part))
}

fn source(id: &str) -> String {
    format!("[[source]]\nid = \"{id}\"\nkind = \"generator\"\ncount = {EVENTS}\n")
}

/// An operator that passes everything.
fn operator(id: &str, inputs: &[String]) -> String {
    format!(
        "[[operator]]\nid = \"{id}\"\ncomponent = \"builtin:filter\"\ninputs = {inputs:?}\n\
         config = {{ field = \"value\", threshold = -1e9 }}\n"
    )
}

fn sink(id: &str, inputs: &[String]) -> String {
    format!("[[sink]]\nid = \"{id}\"\nkind = \"null\"\ninputs = {inputs:?}\n")
}

pub(crate) fn as_many_sources_as_there_may_be_wait_for_their_turn() {
    let ids: Vec<String> = (0..ENDS).map(|number| format!("g{number}")).collect();
    let sources = ids.iter().map(|id| source(id));
    let folder = of_parts(sources.chain([operator("guest", &ids), sink("out", &["guest".into()])]));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "passed"), (ENDS * EVENTS) as u64);
}

pub(crate) fn as_many_sinks_as_there_may_be_wait_for_their_turn() {
    let guest = operator("guest", &["g".into()]);
    let sinks = (0..ENDS).map(|number| sink(&format!("o{number}"), &["guest".into()]));
    let folder = of_parts([source("g"), guest].into_iter().chain(sinks));
    let finished = beside_a_victim(&folder);
    let hostile = finished.succeeds().pipeline("hostile");
    assert_eq!(hostile["events_out"], ENDS * EVENTS);
}

pub(crate) fn layers_that_double_their_events_as_often_as_they_may_are_run_in_turn() {
    let mut parts = vec![source("g")];
    let mut layer = vec!["g".to_owned()];
    for number in 0..9 {
        let next = ["a", "b"].map(|side| format!("{side}{number}"));
        parts.extend(next.iter().map(|id| operator(id, &layer)));
        layer = next.to_vec();
    }
    // One more would be a thousand paths to one operator.
    parts.extend([operator("guest", &layer), sink("out", &["guest".into()])]);
    let finished = beside_a_victim(&of_parts(parts));
    assert_eq!(finished.succeeds().operator("guest", "passed"), 512 * EVENTS as u64);
}

pub(crate) fn slices_of_100_ms_are_not_given_where_tenants_share_a_host() {
    let folder = pipeline(
        "map",
        "{ mode = \"loop\", every = 20 }",
        "slice = \"100ms\"\n[operator.limits]\nfuel_per_event = 100_000_000",
    );
    folder.write("events.jsonl", numbered(40, 10));
    let finished = beside_a_victim(&folder);
    let operators = finished.succeeds().json()["operators"].as_array().unwrap();
    let guest = operators.iter().find(|operator| operator["id"] == "guest").unwrap();
    assert_eq!(guest["slice_us"]["target"], 1_000.0, "{guest}");
    assert_eq!(dead_letters(&folder, "dead.jsonl").len(), 2);
}

pub(crate) fn an_open_that_never_ends_costs_its_own_pipeline() {
    let folder = pipeline(
        "map",
        "{ mode = \"loop-in-open\" }",
        "[operator.limits]\nfuel_per_event = 9_000_000_000_000_000_000\nopen = \"1s\"",
    );
    folder.write("events.jsonl", numbered(10, 1));
    fails_beside_a_victim(
        &folder,
        &["pipeline `hostile`: operator `guest`", "takes longer than 1 s"],
    );
}

pub(crate) fn a_flood_of_dead_letters_is_written_at_the_rate_of_its_tenant() {
    let folder = pipeline("map", "{ mode = \"reject\" }", "");
    let budget = "[tenant]\ndead_letters_per_second = 10\n[dead_letters]";
    folder.write(
        "pipeline.toml",
        folder.read("pipeline.toml").replace("[dead_letters]", budget),
    );
    folder.write("events.jsonl", numbered(5_000, 10));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 5_000);
    let left_out = finished.succeeds().pipeline("hostile")["dead_letters_left_out"].as_u64();
    let written = dead_letters(&folder, "dead.jsonl").len() as u64;
    assert_eq!(left_out, Some(5_000 - written));
    assert_says(&finished.stderr, &["more dead letters than the 10 a second"]);
}

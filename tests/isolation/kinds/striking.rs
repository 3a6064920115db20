//! Hostile guests, each next to a victim on the only worker.

use crate::beside::beside_a_victim;
use crate::support::{DeadLetter, Finished, Folder, assert_says, dead_letters, event, numbered, pipeline};

const EVENTS: u64 = 40;

/// Runs a map that strikes at every 20th of 40 events, in a way that kills the event.
fn strikes(mode: &str, limits: &str, kind: &str) -> (Folder, Finished, Vec<DeadLetter>) {
    let folder = pipeline(
        "map",
        &format!("{{ mode = \"{mode}\", every = 20 }}"),
        &format!("[operator.limits]\n{limits}"),
    );
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = beside_a_victim(&folder);
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(
        dead_letters.iter().map(DeadLetter::number).eq([0, 20]),
        "{dead_letters:?}"
    );
    for dead_letter in &dead_letters {
        assert_eq!(dead_letter.kind, kind, "{mode}: {}", dead_letter.reason);
    }
    (folder, finished, dead_letters)
}

pub(crate) fn an_endless_loop_burns_its_fuel() {
    strikes("loop", "fuel_per_event = 100_000_000", "fuel");
}

pub(crate) fn a_loop_of_divisions_burns_its_fuel() {
    strikes("divide", "fuel_per_event = 100_000_000", "fuel");
}

pub(crate) fn what_takes_the_bandwidth_of_the_memory_burns_its_fuel() {
    strikes("stream", "fuel_per_event = 100_000_000", "fuel");
}

pub(crate) fn what_takes_a_shared_cache_burns_its_fuel() {
    strikes("thrash", "fuel_per_event = 100_000_000", "fuel");
}

pub(crate) fn line_ends_printed_without_end_burn_their_fuel() {
    strikes("print", "", "fuel");
}

pub(crate) fn a_loop_of_host_calls_yields_between_them() {
    let (_, finished, _) = strikes("host-calls", "", "fuel");
    let summary = finished.succeeds();
    let slices = summary.operator("guest", "slices");
    // The fuel of an event lasts for more than 10,000 rounds of two calls, of which at most 100 go between two yields. What it
    // counted went with the event.
    assert!(slices >= 200, "{slices} slices");
}

pub(crate) fn lines_of_a_mebibyte_are_cut_and_yield_between_them() {
    let (_, finished, _) = strikes("giant-lines", "fuel_per_event = 1_500_000", "fuel");
    assert!(finished.stderr.len() < 1 << 20, "they are not printed");
}

pub(crate) fn a_flood_of_log_lines_costs_others_nothing() {
    let folder = pipeline("map", "{ mode = \"log\" }", "");
    folder.write("events.jsonl", numbered(600, 10));
    let finished = beside_a_victim(&folder);
    assert_says(&finished.stderr, &["hostile/guest", "left_out"]);
}

pub(crate) fn bulk_instructions_of_32_mib_run_in_pieces() {
    strikes("bulk", "fuel_per_event = 500_000_000", "fuel");
}

pub(crate) fn memory_filled_afresh_is_filled_in_pieces() {
    let folder = pipeline(
        "map",
        "{ mode = \"fill-afresh\", every = 20 }",
        "[operator.limits]\nfuel_per_event = 100_000_000",
    );
    folder.write("events.jsonl", numbered(EVENTS, 10));
    beside_a_victim(&folder);
}

pub(crate) fn memory_touched_page_by_page_ends_at_its_limit() {
    let folder = pipeline("map", "{ mode = \"touch\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    beside_a_victim(&folder);
}

pub(crate) fn a_memory_bomb_ends_at_its_limit() {
    let (_, finished, _) = strikes("memory", "fuel_per_event = 100_000_000", "memory");
    assert!(finished.peak_bytes < 400 << 20, "{} bytes", finished.peak_bytes);
}

pub(crate) fn a_leak_over_turns_costs_its_instance() {
    let folder = pipeline("map", "{ mode = \"leak\" }", "[operator.limits]\nmemory = \"8MiB\"");
    folder.write("events.jsonl", numbered(1_000, 10));
    let finished = beside_a_victim(&folder);
    assert!(finished.succeeds().operator("guest", "traps") > 0, "its memory ran out");
}

pub(crate) fn a_deep_recursion_ends_at_its_stack() {
    strikes("recursion", "", "trap");
}

pub(crate) fn a_panic_at_every_event_is_kept_waiting() {
    let folder = pipeline("map", "{ mode = \"panic\" }", "");
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), EVENTS);
}

pub(crate) fn a_panic_at_every_20th_event_costs_those() {
    strikes("panic", "", "trap");
}

pub(crate) fn an_output_of_100_mib_is_not_taken() {
    let folder = pipeline(
        "map",
        "{ mode = \"output\", every = 20 }",
        "[operator.limits]\nmemory = \"1GiB\"\nfuel_per_event = 1_000_000_000",
    );
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 2);
    assert!(folder.read("out.jsonl").len() < 100_000, "nothing of it leaves");
}

pub(crate) fn a_value_of_32_mib_is_not_taken() {
    let (folder, ..) = strikes(
        "giant-value",
        "memory = \"256MiB\"\nfuel_per_event = 200_000_000",
        "malformed",
    );
    assert!(folder.read("out.jsonl").len() < 100_000, "nothing of it leaves");
}

pub(crate) fn a_message_of_32_mib_is_not_taken() {
    strikes(
        "giant-message",
        "memory = \"256MiB\"\nfuel_per_event = 400_000_000",
        "malformed",
    );
}

/// A map that makes 10,001 outputs of every event.
fn amplifying() -> Folder {
    pipeline(
        "map",
        "{ mode = \"amplify\" }",
        "[operator.limits]\nfuel_per_event = 100_000_000",
    )
}

/// A reduce whose state grows at every so many events, in windows that hold all of them.
fn hoarding(every: u64, limits: &str) -> Folder {
    pipeline(
        "reduce",
        &format!("{{ mode = \"hoard\", every = {every} }}"),
        &format!("window = {{ count = 1000 }}\n[operator.limits]\n{limits}"),
    )
}

pub(crate) fn an_event_that_becomes_ten_thousand_is_taken_within_bounds() {
    let folder = amplifying();
    folder.write("events.jsonl", numbered(EVENTS, 10));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "events_out"), EVENTS * 10_001);
}

pub(crate) fn a_key_that_ten_thousand_outputs_would_inherit_is_not_copied_to_them() {
    let folder = amplifying();
    // 10,001 outputs of 20 KiB each, 195 MiB: more than twice the batch and 2 MiB, whatever the batch.
    let long = "k".repeat(20 << 10);
    folder.write("events.jsonl", (0..EVENTS).map(|n| event(n, &long)).collect::<String>());
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "events_out"), 0);
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(
        dead_letters.iter().map(DeadLetter::number).eq(0..EVENTS),
        "{} letters",
        dead_letters.len()
    );
    assert!(dead_letters.iter().all(|dead_letter| dead_letter.kind == "output"));
    assert!(finished.peak_bytes < 400 << 20, "{} bytes", finished.peak_bytes);
}

pub(crate) fn state_that_grows_without_end_ends_at_the_memory_limit() {
    let folder = hoarding(1, "memory = \"4MiB\"");
    folder.write("events.jsonl", numbered(60, 1));
    let finished = beside_a_victim(&folder);
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(!dead_letters.is_empty(), "it ends somewhere");
    assert!(
        dead_letters
            .iter()
            .all(|dead_letter| dead_letter.kind == "memory" || dead_letter.kind == "fuel")
    );
    assert!(finished.peak_bytes < 400 << 20, "{} bytes", finished.peak_bytes);
}

pub(crate) fn state_of_a_key_ends_at_its_limit() {
    let folder = hoarding(1, "state = \"100KiB\"\nfuel_per_event = 1_000_000_000");
    folder.write("events.jsonl", numbered(20, 1));
    let finished = beside_a_victim(&folder);
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    let kinds: Vec<_> = dead_letters
        .iter()
        .map(|dead_letter| dead_letter.kind.as_str())
        .collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == "state"),
        "{kinds:?}"
    );
    assert_says(
        &dead_letters[0].reason,
        &["the state of its key", "`state` allows 102400"],
    );
    let absorbed = finished.succeeds().operator("guest", "absorbed");
    assert_eq!(absorbed + dead_letters.len() as u64, 20, "what fits is kept");
    assert!(absorbed > 0, "what fits is kept");
}

pub(crate) fn state_of_a_key_ends_at_its_limit_wherever_in_a_batch() {
    let folder = hoarding(400, "state = \"10KiB\"\nfuel_per_event = 1_000_000_000");
    folder.write("events.jsonl", numbered(400, 1));
    let finished = beside_a_victim(&folder);
    let dead_letters = dead_letters(&folder, "dead.jsonl");
    assert!(dead_letters.iter().map(DeadLetter::number).eq([0]), "the first of 400");
    let traps = finished.succeeds().operator("guest", "traps");
    assert!(traps < 16, "it took {traps} turns to find it");
}

pub(crate) fn traps_in_finish_leave_the_windows_open() {
    let folder = pipeline(
        "reduce",
        "{ mode = \"panic-window\", every = 1 }",
        "window = { count = 5 }",
    );
    folder.write("events.jsonl", numbered(EVENTS, 4));
    let finished = beside_a_victim(&folder);
    assert!(finished.succeeds().operator("guest", "dead_letters") > 0);
    assert_eq!(folder.read("out.jsonl"), "");
}

pub(crate) fn lies_about_results_are_not_taken() {
    for lie in [
        "ends descend",
        "ends overrun",
        "a list outside memory",
        "a message that is no text",
    ] {
        let folder = pipeline("malformed-map", &format!("{{ lie = \"{lie}\" }}"), "");
        folder.write("events.jsonl", numbered(8, 1));
        let finished = beside_a_victim(&folder);
        assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 8, "{lie}");
    }
}

pub(crate) fn the_outside_world_looks_the_same_to_every_run() {
    let look = || {
        let folder = pipeline("onlooker", "{}", "");
        let text = folder.read("pipeline.toml");
        folder.write(
            "pipeline.toml",
            text.replace("key = \"/key\"", "key = \"/key\"\ntime = \"/n\""),
        );
        folder.write("events.jsonl", numbered(EVENTS, 10));
        beside_a_victim(&folder);
        folder.read("out.jsonl")
    };
    let seen = look();
    for line in seen.lines() {
        assert_says(line, &["\"variables\":0,\"arguments\":0,"]);
    }
    assert_eq!(seen, look(), "clocks and chance included");
}

pub(crate) fn memory_bears_no_trace_of_another_tenant() {
    let folder = pipeline(
        "map",
        "{ mode = \"snoop\", every = 20 }",
        "isolation = \"fresh\"\n[operator.limits]\nmemory = \"16MiB\"\nfuel_per_event = 4_000_000_000",
    );
    folder.write("events.jsonl", numbered(EVENTS, 10));
    beside_a_victim(&folder);
    let found: Vec<_> = folder
        .json_lines("out.jsonl")
        .into_iter()
        .filter_map(|line| line["found"].as_u64())
        .collect();
    assert_eq!(found, [0, 0], "what the victim's readings begin with");
}

pub(crate) fn thousands_of_actors_that_start_and_trap_at_once_are_started_in_turn() {
    let folder = pipeline(
        "reduce",
        "{ mode = \"panic\", every = 3 }",
        "actors = \"per-key\"\nisolation = \"fresh\"\nwindow = { count = 2 }",
    );
    folder.write("events.jsonl", numbered(6_000, 3_000));
    let finished = beside_a_victim(&folder);
    assert_eq!(finished.succeeds().operator("guest", "dead_letters"), 2_000);
    assert!(finished.succeeds().operator("guest", "activations") >= 2_000);
}

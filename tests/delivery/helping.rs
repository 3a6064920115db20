//! Keys that have most of the events: several replicas fold them, and what comes out does not show it.

use std::collections::{BTreeMap, BTreeSet};

use crate::kill::kill;
use crate::support::{Dirigo, Finished, Folder, Random, assert_says, dead_letters, event, guest, number_of};

/// Events of a run that is not watched.
const EVENTS: u64 = 40_000;
/// The most events of a run before it says what a test waits for.
const EVENTS_MAX: u64 = 100 * EVENTS;

/// Events that come after that.
const AFTERWARDS: u64 = 20_000;

/// What the log says of a helper.
const HELPED: &str = "a few keys have most of the events";

const FILE: &str = "kind = \"file\"\npath = \"events.jsonl\"";
const STDIN: &str = "kind = \"stdin\"";

/// Events of which four in five have one key. Some come late: their times are up to 2 s behind those before them.
fn events() -> impl Iterator<Item = String> {
    let mut random = Random(7);
    (0..).map(move |n: u64| {
        let key = if random.one_in(5) {
            format!("k-{}", random.below(40))
        } else {
            "hot".to_owned()
        };
        let time = if random.one_in(50) {
            n.saturating_sub(random.next() % 2_000)
        } else {
            n
        };
        event(n, &key).replace("\"value\"", &format!("\"time\":{time},\"value\""))
    })
}

/// Sums over windows of all kinds for which the order of merging may not matter; some take late events in.
///
/// Each event of the operator `slow` takes some ten microseconds.
fn pipeline(source: &str, mode: &str, slow: &str, more: &str) -> Folder {
    let steps = |operator: &str| if operator == slow { 40_000 } else { 0 };
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "killed"
        checkpoint = "20ms"
        [[source]]
        id = "events"
        {source}
        key = "/key"
        time = "/time"
        lateness = "500ms"
        [[operator]]
        id = "tumbling"
        component = "{sum}"
        window = {{ tumbling = "5s" }}
        allowed_lateness = "300ms"
        config = {{ mode = "{mode}", every = 1009, steps = {tumbling} }}
        {more}
        [[operator]]
        id = "sliding"
        component = "{sum}"
        inputs = ["events"]
        window = {{ sliding = "10s", every = "500ms" }}
        config = {{ mode = "{mode}", every = 997, steps = {sliding} }}
        {more}
        [[operator]]
        id = "all"
        component = "{sum}"
        inputs = ["events"]
        window = {{ global = true }}
        config = {{ mode = "{mode}", every = 1013, steps = {all} }}
        {more}
        [[sink]]
        id = "of-tumbling"
        kind = "file"
        path = "tumbling.jsonl"
        inputs = ["tumbling"]
        [[sink]]
        id = "of-sliding"
        kind = "file"
        path = "sliding.jsonl"
        inputs = ["sliding"]
        [[sink]]
        id = "of-all"
        kind = "file"
        path = "all.jsonl"
        inputs = ["all"]
        [[sink]]
        id = "late"
        kind = "file"
        path = "late.jsonl"
        inputs = ["sliding.late"]
        "#,
        sum = guest("sum").display(),
        tumbling = steps("tumbling"),
        sliding = steps("sliding"),
        all = steps("all"),
    ));
    if source == FILE {
        folder.write(
            "events.jsonl",
            events().take(usize::try_from(EVENTS).unwrap()).collect::<String>(),
        );
    }
    folder
}

/// What a run leaves, as far as it is the same however the run went.
#[derive(Debug, PartialEq)]
struct Left {
    /// The lines of windows. Those of one key in the order in which they came.
    windows: [Vec<String>; 3],
    late: Vec<String>,
    /// By operator and position.
    dead: BTreeSet<(String, u64, String)>,
}

fn left(folder: &Folder) -> Left {
    // A stable sort by key: the order of keys among each other is no promise.
    let lines = |file: &str| {
        let mut lines: Vec<String> = folder.read(file).lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["key"].as_str().unwrap().to_owned()
        });
        lines
    };
    let all = if folder.path(LETTERS).exists() {
        dead_letters(folder, LETTERS)
    } else {
        Vec::new()
    };
    let count = all.len();
    let dead: BTreeSet<_> = all
        .into_iter()
        .map(|letter| (letter.operator, letter.event.position, letter.reason))
        .collect();
    assert_eq!(dead.len(), count, "no event dies twice in one place");
    Left {
        windows: ["tumbling.jsonl", "sliding.jsonl", "all.jsonl"].map(lines),
        late: lines("late.jsonl"),
        dead,
    }
}

const LETTERS: &str = "state/killed/dead-letters.jsonl";

/// What a run with three workers was sent, and what became of it.
struct Run {
    folder: Folder,
    finished: Finished,
    events: u64,
}

/// Has such a run take events until it has said `line`, and [`AFTERWARDS`] or somewhat more after that.
fn run_until(line: &str, mode: &str, slow: &str, more: &str) -> Run {
    let folder = pipeline(STDIN, mode, slow, more);
    let run = Dirigo::run(&folder, ["pipeline.toml"]).with_state().workers(3);
    let mut running = run.env("DIRIGO_LOG", "info").piped();
    let mut all = events();
    let (mut events, mut last) = (0, EVENTS_MAX);
    while events < last {
        running.say(&all.by_ref().take(1_000).collect::<String>());
        events += 1_000;
        if last == EVENTS_MAX && running.stderr.have(line) {
            // Runs of few lengths: each needs one without helpers to be compared with.
            last = (events + AFTERWARDS).next_multiple_of(AFTERWARDS);
        }
    }
    let finished = running.finish();
    assert_says(&finished.stderr, &[line]);
    Run {
        folder,
        finished,
        events,
    }
}

/// What a run of an operator leaves that gets helpers.
fn run_helped(mode: &str, slow: &str, more: &str) -> Run {
    let run = run_until(HELPED, mode, slow, more);
    let helped = helped(&run.finished, slow);
    println!("{mode}, {slow}: helpers folded {helped} of {} events", run.events);
    assert!(helped > 0, "{mode}, {slow}");
    run
}

/// How many events helpers of an operator folded.
fn helped(finished: &Finished, slow: &str) -> u64 {
    scaling(finished, slow)["helped"].as_u64().unwrap_or(0)
}

fn scaling(finished: &Finished, id: &str) -> serde_json::Value {
    let summary = finished.succeeds().json();
    let mut operators = summary["operators"].as_array().unwrap().iter();
    operators.find(|operator| operator["id"] == id).unwrap()["scaling"].clone()
}

/// What a run without helpers leaves of so many events.
fn expected(mode: &str, slow: &str, more: &str, events_of_run: u64) -> Left {
    let alone = pipeline(STDIN, mode, slow, &format!("scaling = \"off\"\n{more}"));
    let mut running = Dirigo::run(&alone, ["pipeline.toml"]).with_state().workers(3).piped();
    let count = usize::try_from(events_of_run).unwrap();
    running.say(&events().take(count).collect::<String>());
    running.finish().succeeds();
    left(&alone)
}

const OPERATORS: [&str; 3] = ["tumbling", "sliding", "all"];

#[test]
fn a_key_with_most_of_the_events_is_folded_by_several_replicas_and_the_output_is_the_same() {
    for mode in ["reject", "panic"] {
        let mut all_expected = BTreeMap::new();
        for slow in OPERATORS {
            let run = run_helped(mode, slow, "");
            let expected = all_expected
                .entry(run.events)
                .or_insert_with(|| expected(mode, "none", "", run.events));
            let found = left(&run.folder);
            assert_eq!(found.dead, expected.dead, "{mode}, {slow}");
            assert_eq!(found.late, expected.late, "{mode}, {slow}");
            assert!(found == *expected, "{mode}, {slow}: the windows differ");
        }
    }
}

#[test]
fn a_run_with_a_hot_key_that_is_killed_again_and_again_leaves_what_one_leaves_without_helpers() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let alone = pipeline(FILE, "reject", "none", "scaling = \"off\"");
    Dirigo::run(&alone, ["pipeline.toml"]).with_state().finish().succeeds();
    let expected = left(&alone);
    let mut random = Random(seed);
    let mut killed = 0;
    while killed < kills {
        let slow = OPERATORS[random.below(3)];
        let folder = pipeline(FILE, "reject", slow, "");
        killed += kill(&folder, (kills - killed).min(10), &mut random);
        assert!(left(&folder) == expected, "after {killed} kills the output differs");
    }
}

#[test]
fn what_panics_where_partials_are_merged_is_folded_one_by_one() {
    for slow in OPERATORS {
        // How many merges get through before the first panic is up to the machine.
        let run = run_until(HELPED, "panic-merge", slow, "");
        let expected = expected("panic-merge", "none", "", run.events);
        assert!(left(&run.folder) == expected, "{slow}: the output differs");
    }
}

#[test]
fn state_that_is_too_large_to_be_merged_in_one_turn_is_folded_by_its_owner() {
    let limits = "limits = { state = \"8MiB\", fuel_per_event = 2000000000 }";
    let run = run_helped("grow", "all", limits);
    assert!(
        left(&run.folder) == expected("grow", "all", limits, run.events),
        "the output differs"
    );
}

#[test]
fn an_operator_for_which_the_order_matters_has_a_case_reported_and_gets_no_helpers() {
    let run = run_until("one replica folds all events of a key", "first", "all", "");
    assert_eq!(helped(&run.finished, "all"), 0);
    let scaling = scaling(&run.finished, "all");
    let because = scaling["sequential_because"].as_str().unwrap();
    assert_says(
        because,
        &[
            "says that the order of merging does not matter",
            "\"first\":",
            "`merge` must be associative and commutative",
        ],
    );
    // Two events in two parts show it: nothing can be left out of the case.
    let case = because.split_once("one fold of ").unwrap().1;
    let case = case.split_once(" makes ").unwrap().0;
    assert_eq!(case.matches("\"n\":").count(), 2, "{case}");
    assert!(
        left(&run.folder) == expected("first", "none", "", run.events),
        "the output differs"
    );
}

#[test]
fn sums_that_are_rounded_are_shared_only_where_results_may_be_approximate() {
    let exact = run_until("one replica folds all events of a key", "thirds", "all", "");
    assert_eq!(helped(&exact.finished, "all"), 0);
    assert!(
        left(&exact.folder) == expected("thirds", "none", "", exact.events),
        "the output differs"
    );

    let approximate = run_helped("thirds", "all", "approximate = true");
    let found = left(&approximate.folder).windows;
    let exact = expected("thirds", "none", "", approximate.events).windows;
    let [_, _, found] = found.map(parsed);
    let [_, _, exact] = exact.map(parsed);
    assert_eq!(found.len(), exact.len());
    for (found, exact) in found.iter().zip(&exact) {
        assert_eq!(found["hashes"], exact["hashes"]);
        let (found, exact) = (found["thirds"].as_f64().unwrap(), exact["thirds"].as_f64().unwrap());
        assert!((found - exact).abs() < 1e-9 * exact, "{found}, {exact}");
    }
}

fn parsed(lines: Vec<String>) -> Vec<serde_json::Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

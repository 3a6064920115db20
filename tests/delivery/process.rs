//! Operators with state and timers by key, against an oracle that processes the events of each key one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::kill::kill;
use crate::support::{Dirigo, Folder, Random, StrikerKey as Key, guest, number_of};

/// An event: its number, its key and its time.
#[derive(Clone, Copy, Debug)]
struct Event {
    n: u64,
    key: u64,
    time: i64,
}

/// What is told of a key, in order; under a name, of that and the key.
type Told = BTreeMap<String, Vec<Value>>;

/// What is told of events that are processed by their times, and which of them are too late. Nothing comes of those that fail.
fn oracle(events: &[Event], lateness: i64, fails: impl Fn(u64) -> bool) -> (Told, Vec<u64>) {
    let mut watermark = i64::MIN;
    let mut late = Vec::new();
    let mut sorted = Vec::new();
    for event in events {
        if event.time < watermark {
            late.push(event.n);
        } else if !fails(event.n) {
            sorted.push(*event);
        }
        watermark = watermark.max(event.time - lateness);
    }
    sorted.sort_by_key(|event| (event.time, event.n));
    let mut keys: BTreeMap<u64, Key> = BTreeMap::new();
    for event in sorted {
        let key = keys.entry(event.key).or_default();
        key.advance(event.time - 1);
        key.event(event.n, event.time);
    }
    let told = keys.into_iter().flat_map(|(key, mut kept)| {
        kept.advance(i64::MAX);
        let of_key = |output: &str| format!("{output}k-{key}");
        [
            (of_key(""), kept.told),
            (of_key("odd "), kept.odd),
            (of_key("fired 0 "), kept.fired.clone()),
            (of_key("fired 1 "), kept.fired),
        ]
    });
    (told.filter(|(_, told)| !told.is_empty()).collect(), late)
}

/// Events whose times go on, back and far back at random, with silences between.
fn events(count: u64, keys: u64, random: &mut Random) -> Vec<Event> {
    let mut time = 1_000_000;
    let event = |n| {
        let step = if random.below(40) == 0 { 200 } else { 6 };
        time += i64::try_from(random.below(step)).unwrap();
        let back = match random.below(50) {
            0 => 300,
            1..=10 => 40,
            _ => 0,
        };
        Event {
            n,
            key: random.next() % keys,
            time: time - i64::try_from(random.below(1 + back)).unwrap(),
        }
    };
    (0..count).map(event).collect()
}

fn lines<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    let mut lines = String::new();
    for Event { n, key, time } in events {
        writeln!(lines, "{{\"n\":{n},\"key\":\"k-{key}\",\"t\":{time}}}").unwrap();
    }
    lines
}

/// A pipeline with the guest; `more` stands in the operator, `sink` in the sink.
fn striker(order: &str, mode: &str, every: u64, lateness: i64, more: &str, sink: &str) -> Folder {
    let late = if order == "time" {
        "[[sink]]\nid = \"too-late\"\nkind = \"file\"\npath = \"late.jsonl\"\ninputs = [\"striker.late\"]"
    } else {
        ""
    };
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "killed"
        checkpoint = "10ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        lateness = "{lateness}ms"
        [[operator]]
        id = "striker"
        component = "{}"
        order = "{order}"
        config = {{ mode = "{mode}", every = {every} }}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        {sink}
        [[sink]]
        id = "odd"
        kind = "file"
        path = "odd.jsonl"
        inputs = ["striker.odd"]
        {sink}
        [[sink]]
        id = "fired"
        kind = "file"
        path = "fired.jsonl"
        inputs = ["striker.fired"]
        {sink}
        {late}
        [dead_letters]
        path = "dead.jsonl"
        max = "100%"
        "#,
        guest("process").display(),
    ))
}

/// Has the events of a pipeline come from standard input.
fn read_stdin(folder: &Folder) {
    let text = folder
        .read("pipeline.toml")
        .replacen("kind = \"file\"", "kind = \"stdin\"", 1);
    folder.write("pipeline.toml", text.replacen("path = \"events.jsonl\"", "", 1));
}

/// What is told in the files of a folder, by key.
fn told(folder: &Folder) -> Told {
    let mut told = Told::new();
    for (file, name) in [("out.jsonl", ""), ("odd.jsonl", "odd ")] {
        for line in folder.json_lines(file) {
            let key = format!("{name}{}", line["key"].as_str().unwrap());
            let line = json!({"n": line["n"], "timer": line["timer"], "at": line["at"], "mixed": line["mixed"]});
            told.entry(key).or_default().push(line);
        }
    }
    for line in folder.json_lines("fired.jsonl") {
        let key = format!("fired {} {}", line["copy"], line["key"].as_str().unwrap());
        let line = json!({"timer": line["timer"], "at": line["at"], "mixed": line["mixed"]});
        told.entry(key).or_default().push(line);
    }
    told
}

fn count(told: &Told) -> usize {
    told.values().map(Vec::len).sum()
}

#[track_caller]
fn assert_told(found: &Told, expected: &Told, what: &str) {
    for (key, expected) in expected {
        let found = found.get(key).map_or(&[][..], Vec::as_slice);
        let at = (0..expected.len().max(found.len())).find(|at| found.get(*at) != expected.get(*at));
        if let Some(at) = at {
            let shown = |told: &[Value]| {
                format!(
                    "{:?}",
                    &told[at.saturating_sub(2).min(told.len())..(at + 3).min(told.len())]
                )
            };
            panic!("{what}, {key} at {at}:\n{}\nis not\n{}", shown(found), shown(expected));
        }
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

#[test]
fn events_are_processed_by_their_times_with_timers_between_them_at_any_number_of_workers() {
    let seed = number_of("DIRIGO_SEED", 18);
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for (workers, lateness, more, order) in [
        (1, 0, "", "key"),
        (2, 40, "", "source"),
        (8, 40, "shards = 5", "source"),
        (2, 500, "actors = \"per-key\"", "key"),
        (3, 15, "isolation = \"fresh\"", "key"),
    ] {
        let events = events(4_000, 7, &mut random);
        let (expected, late) = oracle(&events, lateness, |_| false);
        let folder = striker("time", "pass", 1, lateness, more, &format!("order = \"{order}\""));
        folder.write("events.jsonl", lines(&events));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        let what = format!("{workers} workers, lateness {lateness}, {more}");
        assert_eq!(summary.operator("striker", "late"), late.len() as u64, "{what}");
        assert_eq!(
            summary.operator("striker", "absorbed") + late.len() as u64,
            4_000,
            "{what}"
        );
        let late_lines = lines(events.iter().filter(|event| late.contains(&event.n)));
        assert_eq!(sorted(&folder.read("late.jsonl")), sorted(&late_lines), "{what}");
        assert!(expected.values().flatten().any(|told| told["timer"] == "third"));
        assert_told(&told(&folder), &expected, &what);
    }
}

fn sorted(lines: &str) -> Vec<String> {
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_run_that_is_killed_again_and_again_fires_each_timer_once() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 4));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let events = events(30_000, 23, &mut random);
    let (expected, late) = oracle(&events, 40, |_| false);
    assert!(!late.is_empty());
    // With short slices a cut finds outputs on their way that have not left.
    for slice in ["1ms", "10us"] {
        let folder = striker(
            "time",
            "pass",
            1,
            40,
            &format!("slice = \"{slice}\""),
            "order = \"key\"",
        );
        folder.write("events.jsonl", lines(&events));
        let killed = kill(&folder, kills, &mut random);
        println!("{killed} kills, {} told", count(&expected));
        assert_told(
            &told(&folder),
            &expected,
            &format!("after {killed} kills, slices of {slice}"),
        );
    }
}

#[test]
fn events_are_processed_as_they_arrive_and_timers_fire_behind_them() {
    let mut random = Random(9);
    let events = events(2_000, 5, &mut random);
    let folder = striker("arrival", "pass", 1, 0, "", "");
    folder.write("events.jsonl", lines(&events));
    let summary = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let summary = summary.succeeds();
    assert_eq!(
        summary.operator("striker", "passed") + summary.operator("striker", "absorbed"),
        2_000
    );
    let told = folder.json_lines("out.jsonl");
    let of_events = |key: &str| -> Vec<u64> {
        let of_key = told.iter().filter(|line| line["key"] == key);
        of_key.filter_map(|line| line["n"].as_u64()).collect()
    };
    for key in 0..5 {
        assert!(
            of_events(&format!("k-{key}")).is_sorted(),
            "events come in the order of their source"
        );
    }
    let fired = told.iter().filter(|line| line["timer"] == "silent").count();
    assert!(fired >= 5, "each key is silent at the end: {fired}");
}

/// The dead letters in the file of a folder: of each its kind, its key, and what failed.
fn letters(folder: &Folder) -> Vec<Value> {
    folder.json_lines("dead.jsonl")
}

#[test]
fn an_event_that_fails_takes_nothing_from_the_others() {
    let mut random = Random(21);
    let events = events(3_000, 5, &mut random);
    let fails = |n: u64| n.is_multiple_of(10);
    for (mode, kind, order) in [("reject", "rejected", "key"), ("panic", "trap", "source")] {
        let (expected, late) = oracle(&events, 40, fails);
        let folder = striker("time", mode, 10, 40, "", &format!("order = \"{order}\""));
        folder.write("events.jsonl", lines(&events));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(3).finish();
        let summary = finished.succeeds();
        assert_told(&told(&folder), &expected, mode);
        let failed: BTreeMap<u64, Value> = letters(&folder)
            .into_iter()
            .map(|letter| {
                let value: Value = serde_json::from_str(letter["event"]["value"].as_str().unwrap()).unwrap();
                (value["n"].as_u64().unwrap(), letter)
            })
            .collect();
        let marked = events.iter().filter(|event| fails(event.n) && !late.contains(&event.n));
        let marked: Vec<u64> = marked.map(|event| event.n).collect();
        assert_eq!(failed.keys().copied().collect::<Vec<_>>(), {
            let mut sorted = marked.clone();
            sorted.sort_unstable();
            sorted
        });
        assert_eq!(summary.operator("striker", "dead_letters"), marked.len() as u64);
        for (n, letter) in &failed {
            let event = &letter["event"];
            assert_eq!((&letter["kind"], &event["source"]), (&kind.into(), &"events".into()));
            assert_eq!(event["position"], n + 1, "the line of the event");
            assert_eq!(event["time"], events[usize::try_from(*n).unwrap()].time);
        }
        let known = failed.values().find(|letter| !letter["accumulator"].is_null());
        assert!(known.expect("some keys are known")["accumulator"]["mixed"].is_u64());
        if mode == "reject" {
            let id = failed.values().next().unwrap()["id"].to_string();
            let replayed = Dirigo::command(&folder, "replay")
                .args(["dead.jsonl", "--id", &id])
                .finish();
            assert!(replayed.stdout.contains("struck at"), "{}", replayed.stdout);
        }
    }
}

#[test]
fn timers_that_fail_are_named_and_gone() {
    for (mode, kind) in [("reject-timer", "rejected"), ("panic-timer", "trap")] {
        // Of the keys 0 to 3, those of event 0 and 2 have timers that fail.
        let events: Vec<Event> = (0..4)
            .map(|n| Event {
                n,
                key: n,
                time: 1_000 + i64::try_from(n).unwrap(),
            })
            .collect();
        let folder = striker("time", mode, 2, 0, "", "");
        folder.write("events.jsonl", lines(&events));
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        finished.succeeds();
        let named: BTreeMap<String, (Value, Value)> = letters(&folder)
            .into_iter()
            .map(|letter| {
                assert_eq!(letter["kind"], kind);
                assert_eq!(letter["event"].get("value"), None, "no event failed");
                let key = letter["event"]["key"].as_str().unwrap().to_owned();
                assert_eq!(letter["timers"]["until"], json!(i64::MAX), "the end of the input");
                (key, (letter["timers"]["set"].clone(), letter["id"].clone()))
            })
            .collect();
        let names: Vec<(&str, &Value)> = named.iter().map(|(key, (timers, _))| (key.as_str(), timers)).collect();
        // Both timers of a key fire together at the end of the input.
        let of = |silent: i64, third: Option<i64>| {
            let third = third.map(|time| json!({"name": "third", "time": time}));
            Value::Array(
                third
                    .into_iter()
                    .chain([json!({"name": "silent", "time": silent})])
                    .collect(),
            )
        };
        assert_eq!(names, [("k-0", &of(1_060, None)), ("k-2", &of(1_062, None))], "{mode}");
        let told = told(&folder);
        assert!(told["k-1"].iter().any(|line| line["timer"] == "silent"));
        assert!(told["k-3"].iter().any(|line| line["timer"] == "third"));
        let retried = Dirigo::command(&folder, "dead-letters")
            .args(["retry", "pipeline.toml"])
            .finish();
        let why = "its timers failed, and no event";
        assert!(retried.stdout.contains(why), "{}", retried.stdout);
        let id = named["k-0"].1.to_string();
        let replayed = Dirigo::command(&folder, "replay")
            .args(["dead.jsonl", "--id", &id])
            .finish();
        assert!(replayed.stdout.contains("struck at silent"), "{}", replayed.stdout);
    }
}

#[test]
fn events_that_failed_go_back_behind_those_that_did_not() {
    for (order, state) in [("time", false), ("time", true), ("arrival", true)] {
        let events: Vec<Event> = (0..40)
            .map(|n| Event {
                n,
                key: n % 2,
                time: 1_000 + 10 * i64::try_from(n).unwrap(),
            })
            .collect();
        let folder = striker(order, "reject", 4, 0, "", "");
        folder.write("events.jsonl", lines(&events));
        let run = Dirigo::run(&folder, ["pipeline.toml"]);
        let run = if state { run.with_state() } else { run };
        run.finish().succeeds();
        assert_eq!(letters(&folder).len(), 10);
        let retry = Dirigo::command(&folder, "dead-letters")
            .args(["retry", "pipeline.toml"])
            .set("operator.striker.config.mode", "pass");
        let retry = if state {
            // What it keeps stays as it is: the state is told so.
            let accepted = Dirigo::command(&folder, "state")
                .args(["migrate", "pipeline.toml", "--accept", "striker", "--state"])
                .args([folder.path("state")])
                .set("operator.striker.config.mode", "pass");
            accepted.finish();
            retry.with_state()
        } else {
            retry
        };
        let retried = retry.finish();
        if state {
            assert!(retried.stdout.contains("10"), "{}", retried.stdout);
            let lines = folder.json_lines("out.jsonl");
            let of_marked = lines
                .iter()
                .filter(|line| line["n"].as_u64().is_some_and(|n| n.is_multiple_of(4)));
            assert!(of_marked.count() > 0, "{order}: {lines:?}");
        } else {
            let why = "keeps state, and that of a run without `--state` is gone";
            assert!(retried.stdout.contains(why), "{}", retried.stdout);
        }
    }
}

#[test]
fn what_would_keep_too_much_is_refused_and_the_rest_goes_on() {
    let event = |n: u64, key: u64| Event {
        n,
        key,
        time: 1_000 + i64::try_from(n).unwrap(),
    };
    // Each struck event adds 16 KiB to the state of its key.
    let folder = striker("arrival", "hoard", 1, 0, "limits = { state = \"40KiB\" }", "");
    folder.write(
        "events.jsonl",
        lines(&(0..6).map(|n| event(n, n % 2)).collect::<Vec<_>>()),
    );
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let kinds: Vec<Value> = letters(&folder).iter().map(|letter| letter["kind"].clone()).collect();
    assert_eq!(kinds, ["state", "state"], "the third event of each key is too much");
    // The same of items.
    let folder = striker("arrival", "pile", 1, 0, "limits = { state = \"40KiB\" }", "");
    folder.write(
        "events.jsonl",
        lines(&(0..6).map(|n| event(n, n % 2)).collect::<Vec<_>>()),
    );
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let kinds: Vec<Value> = letters(&folder).iter().map(|letter| letter["kind"].clone()).collect();
    assert_eq!(kinds, ["state", "state"], "the third item of each key is too much");
    // Events that wait for event time take room, too.
    let folder = striker("time", "pass", 1, 1_000_000, "limits = { state = \"4KiB\" }", "");
    let events: Vec<Event> = (0..200).map(|n| event(n, n / 100)).collect();
    folder.write("events.jsonl", lines(&events));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    let failed = finished.succeeds().operator("striker", "dead_letters");
    assert!((80..180).contains(&failed), "{failed}");
    let reason = letters(&folder)[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("wait for event time"), "{reason}");
    // Where they do not wait for long, there is room for any number.
    let folder = striker("time", "pass", 1, 10, "limits = { state = \"4KiB\" }", "");
    let events: Vec<Event> = (0..20_000).map(|n| event(n, 0)).collect();
    folder.write("events.jsonl", lines(&events));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("striker", "dead_letters"), 0);
}

#[test]
fn a_timer_that_never_comes_to_rest_uses_up_its_fuel_and_a_thousand_timers_fire() {
    let event = |n: u64| Event {
        n,
        key: n % 3,
        time: 1_000,
    };
    let limits = "limits = { fuel_per_event = 20_000_000 }";
    let folder = striker("time", "restless", 2, 0, limits, "");
    let later = Event {
        time: 5_000,
        ..event(1)
    };
    // Whether event time goes on, or the input ends.
    for events in [vec![event(0), event(1)], vec![event(0), event(1), later]] {
        folder.write("events.jsonl", lines(&events));
        Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
        let letters = letters(&folder);
        assert_eq!((letters.len(), &letters[0]["kind"]), (1, &"fuel".into()));
        assert_eq!(letters[0]["event"]["key"], "k-0");
    }

    let folder = striker("time", "swarm", 2, 0, limits, "");
    folder.write("events.jsonl", lines(&[event(0), event(1), later]));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("striker", "dead_letters"), 0);
    let fired = folder.json_lines("out.jsonl");
    let of_swarm = |line: &&Value| line["timer"].as_str().is_some_and(|timer| timer.starts_with("0-"));
    assert_eq!(fired.iter().filter(of_swarm).count(), 1_000);
}

#[test]
fn where_inputs_meet_events_of_one_time_come_by_input_and_position() {
    let folder = Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "one"
        kind = "file"
        path = "one.jsonl"
        key = "/key"
        time = "/t"
        [[source]]
        id = "two"
        kind = "file"
        path = "two.jsonl"
        key = "/key"
        time = "/t"
        [[operator]]
        id = "striker"
        component = "{}"
        inputs = ["two", "one"]
        order = "time"
        config = {{ mode = "pass", every = 1 }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
        guest("process").display(),
    ));
    let mut before: Option<Vec<Value>> = None;
    for workers in [1, 2, 8] {
        // The numbers of the second input are odd, so it shows which was first.
        let of = |first: u64| -> Vec<Event> {
            (0..500)
                .map(|place| Event {
                    n: 2 * place + first,
                    key: 0,
                    time: 1_000 + i64::try_from(place / 3).unwrap(),
                })
                .collect()
        };
        folder.write("one.jsonl", lines(&of(1)));
        folder.write("two.jsonl", lines(&of(0)));
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        let told = folder.json_lines("out.jsonl");
        let of_events: Vec<&Value> = told.iter().filter(|line| !line["n"].is_null()).collect();
        for line in &of_events {
            assert_eq!(
                line["input"].as_u64(),
                Some(line["n"].as_u64().unwrap() % 2),
                "`two` is the first input"
            );
        }
        let order = |line: &&Value| (line["at"].as_i64(), line["input"].as_u64(), line["n"].as_u64());
        assert!(of_events.iter().map(order).is_sorted(), "{workers} workers");
        assert_eq!(*before.get_or_insert_with(|| told.clone()), told, "{workers} workers");
    }
}

#[test]
fn a_process_needs_an_order_and_no_other_kind_has_one() {
    let checked = |text: &str| {
        let folder = Folder::with_pipeline(text);
        folder.write("events.jsonl", "");
        Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish()
    };
    let striker = striker("arrival", "pass", 1, 0, "", "").read("pipeline.toml");
    checked(&striker.replace("order = \"arrival\"\n", "")).ends_with(
        78,
        &[
            "`striker` is a `process` operator",
            "it needs to know in which order events come",
            "add `order = \"time\"`",
        ],
    );
    let with_window = striker.replace("order = \"arrival\"\n", "order = \"arrival\"\nwindow = { count = 5 }\n");
    checked(&with_window).ends_with(78, &["windows are for `reduce` operators", "remove `window`"]);
    let map = striker.replace("dirigo_hostile_process", "dirigo_hostile_map");
    checked(&map.replace(", every = 1", "")).ends_with(
        78,
        &[
            "`striker` is a `map` operator",
            "the order of events is for `process` operators",
        ],
    );
}

#[test]
fn a_run_goes_on_where_finding_the_keys_of_a_batch_takes_longer_than_a_slice() {
    let lateness = 2_000_000;
    let folder = striker("time", "pass", 1, lateness, "slice = \"10us\"", "");
    read_stdin(&folder);
    let mut random = Random(5);
    let mut events = events(40_000, 23, &mut random);
    // The last event of the first run lets the first one through, and no other.
    let event = |n, time| Event { n, key: 0, time };
    events.insert(0, event(100_000, 0));
    events.insert(20_000, event(100_001, lateness + 1));
    let (before, rest) = events.split_at(20_001);
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.say(&lines(before));
    folder.wait_for_lines("out.jsonl", 1);
    running.interrupt();
    running.stderr.wait_for("draining");
    running.finish().succeeds();
    // What waits is more than is loaded at once, so the keys of each batch are looked for.
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    running.say(&lines(rest));
    let finished = running.finish();
    assert_eq!(finished.succeeds().count("events_in"), 20_001);
    assert_told(&told(&folder), &oracle(&events, lateness, |_| false).0, "resumed");
}

#[test]
fn what_is_kept_of_a_key_is_shown_as_json() {
    let folder = striker("time", "pass", 1, 1_000, "", "");
    read_stdin(&folder);
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    let event = |n: u64, time: i64| Event { n, key: 1, time };
    running.say(&lines(&[event(0, 0), event(2, 100), event(4, 1_050)]));
    // The first event is processed once the watermark has passed it: its number is even.
    folder.wait_for_lines("out.jsonl", 1);
    running.interrupt();
    running.stderr.wait_for("draining");
    let finished = running.finish();
    let operator = &finished.summary().json()["operators"][0];
    assert_eq!(operator["keyed"], json!({"keys": 1, "waiting": 2}), "{operator}");
    let shown = Dirigo::command(&folder, "state")
        .args(["get", "state", "striker", "k-1", "-o", "json"])
        .finish();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let kept = &shown["accumulator"];
    assert_eq!(
        (&kept["state"]["mixed"], &kept["waiting"]),
        (&json!(0), &json!(2)),
        "{shown}"
    );
    assert_eq!(kept["timers"], json!([{"name": "silent", "time": 60}]));
}

#[test]
fn an_event_meets_the_row_of_its_own_time_whichever_was_read_first() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "orders"
        kind = "file"
        path = "orders.jsonl"
        key = "/item"
        time = "/t"
        [[source]]
        id = "prices"
        kind = "file"
        path = "prices.jsonl"
        key = "/item"
        time = "/t"
        [[operator]]
        id = "priced"
        component = "builtin:lookup"
        inputs = ["orders", "prices"]
        order = "time"
        config = { keep = true }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    // The price of an item changes every 100 ms, from 50 ms on.
    let order = |n: i64| format!("{{\"item\":\"i-{}\",\"t\":{n}}}\n", n % 3);
    let price = |n: i64| {
        format!(
            "{{\"item\":\"i-{}\",\"t\":{},\"price\":{n}}}\n",
            n % 3,
            50 + 100 * (n / 3)
        )
    };
    folder.write("orders.jsonl", (0..3_000).map(order).collect::<String>());
    folder.write("prices.jsonl", (0..60).map(price).collect::<String>());
    for workers in [1, 4] {
        Dirigo::run(&folder, ["pipeline.toml"])
            .workers(workers)
            .finish()
            .succeeds();
        let lines = folder.json_lines("out.jsonl");
        assert_eq!(lines.len(), 3_000);
        for line in lines {
            let time = line["event"]["t"].as_i64().unwrap();
            // A price counts for what comes behind its time.
            let changes = (time + 49).div_euclid(100);
            let expected = (changes > 0).then(|| (changes.min(20) - 1) * 3 + time % 3);
            assert_eq!(line["row"].get("price").and_then(Value::as_i64), expected, "{line}");
        }
    }
}

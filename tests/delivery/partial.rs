//! Windows that are incomplete when the input ends, where `partial = "emit"`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Dirigo, Finished, Folder, Random, dead_letters, event, guest, number_of, numbered};

/// Windows of 7 that list the numbers of their events. `more` follows the operator, `sink` stands in the sink.
fn listing(more: &str, sink: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "list"
        component = "{}"
        window = {{ count = 7 }}
        partial = "emit"
        config = {{ mode = "pass", every = 1 }}
        {more}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        {sink}
        "#,
        guest("reduce").display()
    ))
}

fn run(folder: &Folder) -> Dirigo {
    Dirigo::run(folder, ["pipeline.toml"])
}

/// What the windows of `count` events over `keys` keys list: the complete ones, and the others in the order of their keys.
fn expected(count: u64, keys: u64) -> (Vec<Value>, Vec<Value>) {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for n in 0..count {
        numbers.entry(format!("k-{}", n % keys)).or_default().push(n);
    }
    let windows = numbers
        .iter()
        .flat_map(|(key, numbers)| numbers.chunks(7).map(move |chunk| (key, chunk)));
    let listed = windows.map(|(key, chunk)| json!({"key": key, "numbers": chunk, "count": chunk.len()}));
    listed.partition(|window| window["count"] == 7)
}

/// That nothing is left in windows, and so many were emitted incomplete.
#[track_caller]
fn assert_closed(finished: &Finished, operator: &str, windows: u64) {
    let summary = finished.succeeds();
    assert_eq!(summary.operator(operator, "partial_windows"), windows);
    let operators = summary.json()["operators"].as_array().unwrap();
    let open = operators.iter().find(|found| found["id"] == operator).unwrap();
    assert_eq!(open["open_windows"], Value::Null, "{operator}");
}

#[test]
fn incomplete_windows_come_last_and_in_the_order_of_their_keys_at_any_number_of_workers() {
    const EVENTS: u64 = 1_000;
    // One after the other by their bytes: k-1 is followed by k-10.
    let (complete, partial) = expected(EVENTS, 37);
    assert_eq!((complete.len(), partial.len()), (112, 36));
    let mut in_order: Option<String> = None;
    for (workers, more, order) in [
        (1, "", "key"),
        (2, "", "key"),
        (8, "", "key"),
        (2, "actors = \"per-key\"", "key"),
        (1, "", "source"),
        (2, "shards = 3", "source"),
        (8, "", "source"),
        (8, "actors = \"per-key\"\nisolation = \"fresh\"", "source"),
    ] {
        let folder = listing(more, &format!("order = \"{order}\""));
        folder.write("events.jsonl", numbered(EVENTS, 37));
        let finished = run(&folder).workers(workers).finish();
        assert_closed(&finished, "list", 36);
        assert_eq!(finished.succeeds().operator("list", "absorbed"), EVENTS);
        let said =
            "list: 1,000 in = 1,000 taken into windows; 148 out; 36 windows emitted incomplete at the end of the input";
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        let mut lines = folder.json_lines("out.jsonl");
        assert_eq!(lines.split_off(112), partial, "{workers} workers, {more}");
        lines.sort_by_key(|line| (line["key"].as_str().unwrap().to_owned(), line["numbers"][0].as_u64()));
        assert_eq!(lines, complete);
        if order == "source" {
            let out = folder.read("out.jsonl");
            assert_eq!(
                *in_order.get_or_insert_with(|| out.clone()),
                out,
                "{workers} workers, {more}"
            );
        }
    }
}

#[test]
fn incomplete_windows_stay_open_where_nothing_or_keep_is_said() {
    for said in ["", "partial = \"keep\""] {
        let folder = listing("", "");
        let text = folder.read("pipeline.toml").replace("partial = \"emit\"", said);
        folder.write("pipeline.toml", text);
        folder.write("events.jsonl", numbered(10, 2));
        let finished = run(&folder).finish();
        assert_eq!(folder.read("out.jsonl"), "");
        let list = &finished.succeeds().json()["operators"][0];
        assert_eq!(
            (&list["open_windows"]["events"], &list["partial_windows"]),
            (&json!(10), &json!(0))
        );
    }
}

/// The sum of each key, in windows of 1,000, and how many keys have which count, in windows of 7, by count.
fn two_in_a_row() -> Folder {
    Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        checkpoint = "5ms"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/n"
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = { count = 1000 }
        partial = "emit"
        config = { field = "n", aggregate = "sum" }
        [[operator]]
        id = "pass"
        component = "builtin:filter"
        config = { field = "count", threshold = 0.0 }
        [[operator]]
        id = "sevens"
        component = "builtin:reduce"
        key = "/count"
        window = { count = 7 }
        partial = "emit"
        config = { field = "sum", aggregate = "sum" }
        [[sink]]
        id = "sums-out"
        kind = "file"
        path = "sums.jsonl"
        inputs = ["sums"]
        [[sink]]
        id = "sevens-out"
        kind = "file"
        path = "sevens.jsonl"
        inputs = ["sevens"]
        order = "source"
        "#,
    )
}

/// So many keys, each with three events, but for a tenth of them, which have one.
fn threes(keys: u64) -> String {
    let mut lines = String::new();
    let mut n = 0;
    for round in 0..3 {
        for key in (0..keys).filter(|key| round == 0 || key % 10 != 9) {
            lines.push_str(&event(n, &format!("k-{key}")));
            n += 1;
        }
    }
    lines
}

/// What the two operators emit for that.
fn expected_of_two(events: &str) -> (Vec<Value>, Vec<Value>) {
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in events.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let numbers = by_key.entry(line["key"].as_str().unwrap().to_owned()).or_default();
        numbers.push(line["n"].as_u64().unwrap());
    }
    let window = |key: &str, numbers: &[u64], times: &[u64]| {
        let sum = f64::from(u32::try_from(numbers.iter().sum::<u64>()).unwrap());
        json!({"key": key, "sum": sum, "count": numbers.len(),
               "start": times.iter().min(), "end": times.iter().max()})
    };
    let sums = by_key.iter().map(|(key, numbers)| window(key, numbers, numbers));
    let sevens = ["1", "3"].into_iter().flat_map(|count| {
        let of_count = by_key.values().filter(|numbers| numbers.len().to_string() == count);
        // The event of a window that was closed has the greatest time of its events.
        let emitted: Vec<(u64, u64)> = of_count
            .map(|numbers| (numbers.iter().sum(), *numbers.last().unwrap()))
            .collect();
        let chunk = |chunk: &[(u64, u64)]| {
            let (sums, times): (Vec<u64>, Vec<u64>) = chunk.iter().copied().unzip();
            window(count, &sums, &times)
        };
        emitted.chunks(7).map(chunk).collect::<Vec<_>>()
    });
    // Those that become complete come with the events that complete them, the others behind all of them.
    let (complete, partial): (Vec<Value>, Vec<Value>) = sevens.partition(|window| window["count"] == 7);
    (sums.collect(), complete.into_iter().chain(partial).collect())
}

/// By key in the order of the file, since two keys have no order between them while their windows are completed.
fn by_key(lines: &[Value]) -> BTreeMap<String, Vec<Value>> {
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines {
        by_key
            .entry(line["key"].as_str().unwrap().to_owned())
            .or_default()
            .push(line.clone());
    }
    by_key
}

#[test]
fn an_operator_closes_its_windows_after_those_in_front_of_it() {
    let events = threes(3_000);
    let (sums, sevens) = expected_of_two(&events);
    let mut outputs: Option<String> = None;
    for (workers, state) in [(1, false), (2, true), (8, false)] {
        let folder = two_in_a_row();
        folder.write("events.jsonl", &events);
        let run = run(&folder).workers(workers);
        let finished = if state { run.with_state() } else { run }.finish();
        assert_closed(&finished, "sums", 3_000);
        // 300 and 2,700 windows of the first in windows of 7.
        assert_closed(&finished, "sevens", 2);
        assert_eq!(folder.json_lines("sums.jsonl"), sums, "{workers} workers");
        let found = folder.json_lines("sevens.jsonl");
        assert_eq!(by_key(&found), by_key(&sevens), "{workers} workers");
        assert_eq!(
            found[found.len() - 2..],
            sevens[sevens.len() - 2..],
            "the incomplete ones are the last"
        );
        let out = folder.read("sevens.jsonl");
        assert_eq!(*outputs.get_or_insert_with(|| out.clone()), out, "{workers} workers");
    }
}

/// Keys of a run that is killed.
const KEYS: u64 = 12_000;

#[test]
fn a_run_that_is_killed_while_windows_close_loses_none_and_emits_none_twice() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 20), number_of("DIRIGO_SEED", 1));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let events = threes(KEYS);
    let whole = two_in_a_row();
    whole.write("events.jsonl", &events);
    let finished = run(&whole).with_state().finish();
    // About as long as a run takes, so that kills fall into all of it: it starts within 50 ms.
    let elapsed_s = finished.succeeds().json()["elapsed_s"].as_f64().unwrap();
    let life_max = Duration::from_millis(50) + Duration::from_secs_f64(elapsed_s);
    let life_max = u64::try_from(life_max.as_micros()).unwrap();
    let (mut killed, mut resumed) = (0, 0);
    while killed < kills {
        let folder = two_in_a_row();
        folder.write("events.jsonl", &events);
        for _ in 0..5 {
            let mut running = run(&folder)
                .with_state()
                .workers(u32::try_from(1 + random.next() % 3).unwrap())
                .piped();
            running.hang_up();
            std::thread::sleep(Duration::from_micros(random.next() % life_max));
            if !running.kill() {
                break;
            }
            killed += 1;
        }
        let finished = run(&folder).with_state().finish();
        let emitted = finished.succeeds().operator("sums", "partial_windows");
        resumed += u64::from(emitted > 0 && emitted < KEYS);
        for out in ["sums.jsonl", "sevens.jsonl"] {
            assert!(folder.read(out) == whole.read(out), "{out} after {killed} kills");
        }
    }
    println!("{resumed} runs went on in the middle of closing");
}

#[test]
fn a_run_after_a_finished_one_begins_without_open_windows() {
    let folder = listing("", "order = \"source\"");
    folder.write("events.jsonl", numbered(10, 2));
    let run = || run(&folder).with_state().finish();
    assert_closed(&run(), "list", 2);
    let first = [
        json!({"key": "k-0", "numbers": [0, 2, 4, 6, 8], "count": 5}),
        json!({"key": "k-1", "numbers": [1, 3, 5, 7, 9], "count": 5}),
    ];
    assert_eq!(folder.json_lines("out.jsonl"), first);

    let again = run();
    assert_closed(&again, "list", 0);
    assert!(again.stderr.contains("nothing new"), "{}", again.stderr);
    assert_eq!(folder.json_lines("out.jsonl"), first, "nothing comes twice");

    let more: String = (10..18).map(|n| event(n, "k-0")).collect();
    folder.append("events.jsonl", &more);
    assert_closed(&run(), "list", 1);
    let second = [
        json!({"key": "k-0", "numbers": [10, 11, 12, 13, 14, 15, 16], "count": 7}),
        json!({"key": "k-0", "numbers": [17], "count": 1}),
    ];
    assert_eq!(folder.json_lines("out.jsonl")[2..], second);
}

#[test]
fn windows_that_an_earlier_run_kept_are_emitted_by_one_that_is_told_to() {
    let folder = listing("", "");
    folder.write("events.jsonl", numbered(300, 100));
    let keeping = run(&folder).with_state().set("operator.list.partial", "keep").finish();
    assert_eq!(keeping.succeeds().operator("list", "partial_windows"), 0);
    assert_closed(&run(&folder).with_state().finish(), "list", 100);
    assert_eq!(folder.json_lines("out.jsonl"), expected(300, 100).1);
}

#[test]
fn windows_whose_keys_memory_had_no_room_for_are_emitted_too() {
    const MANY: u64 = 100_000;
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "many"
        [tenant]
        memory = "8MiB"
        [[source]]
        id = "readings"
        kind = "file"
        path = "readings.jsonl"
        key = "/key"
        time = "/value"
        [[operator]]
        id = "sums"
        component = "builtin:reduce"
        window = { count = 3 }
        partial = "emit"
        config = { field = "value", aggregate = "sum" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    let mut lines = String::new();
    // Two of each key, but for every third: it has three, so that its window closes.
    for n in 0..3 * MANY {
        let key = n % MANY;
        if n < 2 * MANY || key.is_multiple_of(3) {
            writeln!(lines, r#"{{"key":"{key}","value":{n}}}"#).unwrap();
        }
    }
    folder.write("readings.jsonl", lines);
    let mut partial: Vec<String> = (0..MANY)
        .filter(|key| !key.is_multiple_of(3))
        .map(|key| key.to_string())
        .collect();
    partial.sort_unstable();
    let complete = usize::try_from(MANY).unwrap() - partial.len();
    for is_durable in [false, true] {
        let run = run(&folder).workers(2);
        let finished = if is_durable { run.with_state() } else { run }.finish();
        assert_closed(&finished, "sums", partial.len() as u64);
        let out = folder.json_lines("out.jsonl");
        assert_eq!(out.len(), usize::try_from(MANY).unwrap());
        assert!(out[..complete].iter().all(|line| line["count"] == 3));
        for (line, key) in out[complete..].iter().zip(&partial) {
            let number: u64 = key.parse().unwrap();
            let sum = json!(f64::from(u32::try_from(2 * number + MANY).unwrap()));
            assert_eq!(
                (&line["key"], &line["sum"], &line["count"]),
                (&json!(key), &sum, &json!(2))
            );
        }
        let peak = finished.succeeds().json()["tenants"][0]["memory_peak"]
            .as_u64()
            .unwrap();
        assert!(
            peak < 2 * (8 << 20),
            "{peak} bytes: a round of windows is no more than that"
        );
        folder.write("out.jsonl", "");
    }
}

#[test]
fn an_input_that_has_not_ended_closes_no_window() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "endless"
        [[source]]
        id = "readings"
        kind = "generator"
        key = "/sensor"
        time = "/ts"
        [[operator]]
        id = "averages"
        component = "builtin:reduce"
        window = { count = 1000 }
        partial = "emit"
        config = { field = "value", aggregate = "avg" }
        [[sink]]
        id = "shown"
        kind = "stdout"
        [[sink]]
        id = "kept"
        kind = "file"
        path = "kept.jsonl"
        inputs = ["averages"]
        "#,
    );
    let mut running = run(&folder).with_state().piped();
    running.stdout.wait_for("\"avg\"");
    running.interrupt();
    let finished = running.finish();
    assert_eq!(finished.succeeds().operator("averages", "partial_windows"), 0);
    let all_complete = folder
        .json_lines("kept.jsonl")
        .iter()
        .all(|line| line["count"] == 1_000);
    assert!(all_complete, "its windows go on in the next run");
}

#[test]
fn a_pipeline_that_fails_closes_no_window() {
    let folder = listing("limits = { errors = \"stop\" }", "");
    folder.write("events.jsonl", numbered(10, 2));
    let stopping = run(&folder)
        .set("operator.list.config.mode", "reject")
        .set("operator.list.config.every", 20);
    let finished = stopping.finish();
    finished.ends_with(1, &["operator `list`: event 1 of source `events`"]);
    assert_eq!(folder.read("out.jsonl"), "");
}

/// Ten events of two keys, for a guest that does so to the window of the first, whose sum is 20.
fn failing(mode: &str, more: &str, sink: &str) -> Folder {
    let folder = listing(more, sink);
    configure(&folder, "{ mode = \"pass\", every = 1 }", mode);
    folder.write("events.jsonl", numbered(10, 2));
    folder
}

/// Has the guest do something else.
fn configure(folder: &Folder, before: &str, mode: &str) {
    let text = folder.read("pipeline.toml");
    assert!(text.contains(before), "{text}");
    let config = format!("{{ mode = \"{mode}\", every = 20 }}");
    folder.write("pipeline.toml", text.replace(before, &config));
}

fn retry(folder: &Folder) -> Dirigo {
    Dirigo::command(folder, "dead-letters").args(["retry", "pipeline.toml"])
}

#[test]
fn a_window_that_cannot_be_finished_is_a_dead_letter_with_its_state_and_the_others_are_emitted() {
    for (mode, kind) in [("reject-window", "rejected"), ("panic-window", "trap")] {
        let folder = failing(mode, "", "");
        let finished = run(&folder).with_state().finish();
        assert_closed(&finished, "list", 1);
        // Conservation is looked at by all that succeeds: one of its events counts as the dead letter.
        assert_eq!(finished.succeeds().operator("list", "absorbed"), 9);
        let second = json!({"key": "k-1", "numbers": [1, 3, 5, 7, 9], "count": 5});
        assert_eq!(folder.json_lines("out.jsonl"), std::slice::from_ref(&second));
        let letters = dead_letters(&folder, "state/p/dead-letters.jsonl");
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!((letter.kind.as_str(), letter.event.key.as_deref()), (kind, Some("k-0")));
        assert!(letter.reason.contains("a window of 20"), "{}", letter.reason);
        assert_eq!(letter.window, Some(json!({"count": 5, "start": 0, "end": 8})));
        assert_eq!((letter.event.time, &letter.event.value), (Some(8), &None));
        assert!(letter.state.is_some());

        let replay = |more: &[&str]| {
            Dirigo::command(&folder, "replay")
                .args(["state/p/dead-letters.jsonl", "--id", "1"])
                .args(more)
                .finish()
        };
        let replayed = replay(&[]);
        assert_eq!(replayed.code(), 1);
        assert!(replayed.stdout.contains("of 5 events, from "), "{}", replayed.stdout);
        assert!(replayed.stdout.contains("a window of 20"), "{}", replayed.stdout);
        let shown = Dirigo::command(&folder, "dead-letters")
            .args(["show", "state", "1"])
            .finish();
        assert!(shown.stdout.contains("of 5 events, from "), "{}", shown.stdout);

        let run_again = run(&folder).with_state().finish();
        let dead = run_again.succeeds().count("dead_letters");
        assert_eq!(dead, 0, "its window is open no more");

        // What the state has open meanwhile is not for the retry to close, nor to be gone on with.
        let more: String = (10..13).map(|n| event(n, "k-0")).collect();
        folder.append("events.jsonl", &more);
        let keeping = run(&folder).with_state().set("operator.list.partial", "keep").finish();
        assert_eq!(keeping.succeeds().operator("list", "absorbed"), 3);
        assert_eq!(retry(&folder).with_state().finish().code(), 1);
        let letters = dead_letters(&folder, "state/p/dead-letters.jsonl");
        assert_eq!(letters.len(), 2, "{letters:?}");
        assert_eq!(letters[1].attempt, letters[0].attempt + 1);
        assert_eq!(
            (&letters[1].window, &letters[1].state),
            (&letters[0].window, &letters[0].state)
        );

        configure(&folder, &format!("{{ mode = \"{mode}\", every = 20 }}"), "pass");
        let migrated = Dirigo::command(&folder, "state")
            .args(["migrate", "pipeline.toml", "--accept", "list"])
            .with_state()
            .finish();
        assert_eq!(migrated.code(), 0, "{}", migrated.stderr);
        let retried = retry(&folder).with_state().finish();
        assert_eq!(retried.code(), 0, "{}", retried.stderr);
        let first = json!({"key": "k-0", "numbers": [0, 2, 4, 6, 8], "count": 5});
        assert_eq!(folder.json_lines("out.jsonl"), [second.clone(), first.clone()]);
        assert_closed(&run(&folder).with_state().finish(), "list", 1);
        let third = json!({"key": "k-0", "numbers": [10, 11, 12], "count": 3});
        assert_eq!(folder.json_lines("out.jsonl"), [second, first, third]);
    }
}

#[test]
fn a_window_of_an_earlier_run_that_cannot_be_finished_keeps_the_books_in_balance() {
    let folder = failing("reject-window", "", "");
    let keeping = run(&folder).with_state().set("operator.list.partial", "keep").finish();
    assert_eq!(keeping.succeeds().operator("list", "absorbed"), 10);
    let finished = run(&folder).with_state().finish();
    assert_closed(&finished, "list", 1);
    assert_eq!(finished.succeeds().pipeline("p")["resumed"]["list"], 1);
    assert_eq!(finished.succeeds().operator("list", "dead_letters"), 1);
}

#[test]
fn windows_of_a_run_without_state_are_retried_where_nothing_keeps_what_comes_of_them() {
    let folder = failing("reject-window", "", "");
    run(&folder).finish().succeeds();
    let retried = retry(&folder).set("operator.list.config.mode", "pass").finish();
    assert_eq!(retried.code(), 0, "{}", retried.stderr);
    let keys: Vec<Value> = folder
        .json_lines("out.jsonl")
        .iter()
        .map(|line| line["key"].clone())
        .collect();
    assert_eq!(keys, ["k-1", "k-0"], "{}", retried.stderr);
}

#[test]
fn a_window_that_fails_stops_a_pipeline_whose_errors_do() {
    let folder = failing("reject-window", "limits = { errors = \"stop\" }", "");
    let finished = run(&folder).finish();
    finished.ends_with(
        1,
        &["operator `list`: the window of key `k-0` that was open at the end of the input"],
    );
}

#[test]
fn what_a_guest_makes_up_of_windows_is_not_taken() {
    for lie in ["a finished window out of range", "a finished window too few"] {
        let folder = listing("", "[dead_letters]\npath = \"dead.jsonl\"");
        let text = folder.read("pipeline.toml");
        let text = text
            .replace(
                &guest("reduce").display().to_string(),
                &guest("malformed-reduce").display().to_string(),
            )
            .replace("{ mode = \"pass\", every = 1 }", &format!("{{ lie = \"{lie}\" }}"));
        folder.write("pipeline.toml", text);
        folder.write("events.jsonl", numbered(10, 2));
        let finished = run(&folder).finish();
        assert_closed(&finished, "list", 0);
        let letters = dead_letters(&folder, "dead.jsonl");
        assert!(letters.iter().all(|letter| letter.kind == "malformed"), "{letters:?}");
        assert_eq!(letters.len(), 2, "{lie}");
        assert_eq!(folder.read("out.jsonl"), "");
    }
}

#[test]
fn windows_of_an_older_version_are_migrated_before_they_are_finished() {
    for (mode, keys) in [
        ("honest", &["a", "b", "c"][..]),
        ("refuse-odd", &["b"]),
        ("panic-odd", &["b"]),
    ] {
        let folder = Folder::new();
        let pipeline = |name: &str, partial: &str| {
            let text = format!(
                r#"
                [pipeline]
                name = "p"
                [[source]]
                id = "events"
                kind = "file"
                path = "events.jsonl"
                key = "/key"
                [[operator]]
                id = "sum"
                component = "{}"
                window = {{ count = 3 }}
                partial = "{partial}"
                config = {{ migration = "{mode}" }}
                [[sink]]
                id = "out"
                kind = "file"
                path = "out.jsonl"
                "#,
                guest(name).display()
            );
            folder.write("pipeline.toml", text);
            run(&folder).with_state().finish()
        };
        let events = ["a", "b", "c"].into_iter().zip(1..).map(|(key, n)| event(n, key));
        folder.write("events.jsonl", events.collect::<String>());
        pipeline("evolving-1", "keep").succeeds();
        assert_closed(&pipeline("evolving-2", "emit"), "sum", keys.len() as u64);
        let found: Vec<Value> = folder
            .json_lines("out.jsonl")
            .iter()
            .map(|line| line["key"].clone())
            .collect();
        assert_eq!(found, keys, "{mode}");
        if keys.len() == 1 {
            let letters = dead_letters(&folder, "state/p/dead-letters.jsonl");
            assert!(letters.iter().all(|letter| letter.kind == "migrate"), "{letters:?}");
            assert_eq!(letters.len(), 2);
        }
    }
}

#[test]
fn a_component_without_windows_has_none_to_emit() {
    let folder = listing("", "");
    let text = folder.read("pipeline.toml");
    let text = text
        .replace(
            &guest("reduce").display().to_string(),
            &guest("map").display().to_string(),
        )
        .replace("window = { count = 7 }", "");
    folder.write("pipeline.toml", text);
    folder.write("events.jsonl", numbered(10, 2));
    let checked = Dirigo::command(&folder, "check").args(["pipeline.toml"]).finish();
    checked.ends_with(
        78,
        &[
            "`list` is a `map` operator",
            "windows are for `reduce` operators",
            "remove `partial`",
        ],
    );
}

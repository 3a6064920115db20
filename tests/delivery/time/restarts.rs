//! Windows in time across stops, kills and changes.

use super::*;

#[test]
fn a_run_that_is_killed_again_and_again_closes_each_window_once_and_drops_what_is_late_once() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 12), number_of("DIRIGO_SEED", 3));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for shape in [Shape::Tumbling(50), Shape::Sliding(60, 20), Shape::Session(30)] {
        let events = events(30_000, 23, &mut random);
        let (expected, late) = oracle(&events, shape, 40);
        assert!(!late.is_empty());
        let folder = listing(shape, 40, "", "order = \"key\"");
        folder.write("events.jsonl", lines(&events));
        let killed = kill(&folder, kills, &mut random);
        println!("{shape:?}: {killed} kills");
        assert!(listed(&folder) == expected, "{shape:?} after {killed} kills");
        let found = numbers_by_key(&folder.read("late.jsonl"));
        assert_eq!(
            found,
            numbers_by_key(&listed_lines(&events, &late)),
            "{shape:?} after {killed} kills"
        );
    }
}

/// Windows of 10 ms in time that list their events, in a run that keeps its state and was interrupted while they were open.
fn stopped_with_open_windows() -> Folder {
    let folder = listing(Shape::Tumbling(10), 0, "", "order = \"key\"");
    let text = folder.read("pipeline.toml");
    let file = "kind = \"file\"\n        path = \"events.jsonl\"";
    assert!(text.contains(file));
    folder.write("pipeline.toml", text.replace(file, "kind = \"stdin\""));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).with_state().piped();
    let events = [(1, 12), (2, 13), (1, 25), (1, 31), (2, 33)].map(|(key, time)| Event { key, time });
    running.say(&lines(&events));
    folder.wait_for_lines("out.jsonl", 3);
    running.interrupt();
    running.stderr.wait_for("draining");
    let finished = running.finish();
    let list = &finished.summary().json()["operators"][0];
    assert_eq!(
        (&list["open_windows"]["windows"], &list["event_time"]["watermark"]),
        (&json!(2), &json!(33))
    );
    assert_eq!(list["event_time"]["held_back_by"], "events");
    folder
}

/// Resumes from the saved state and reads `events` to their end.
fn go_on(folder: &Folder, events: &str) -> Finished {
    let mut running = Dirigo::run(folder, ["pipeline.toml"]).with_state().piped();
    running.say(events);
    running.hang_up();
    running.finish()
}

fn state(folder: &Folder, arguments: &[&str]) -> String {
    let finished = Dirigo::command(folder, "state").args(arguments).finish();
    assert_eq!(finished.code(), 0, "{}", finished.stderr);
    finished.stdout.clone()
}

#[test]
fn an_interrupted_run_leaves_its_windows_open_and_the_next_one_goes_on_with_them() {
    let folder = stopped_with_open_windows();
    let exported = state(&folder, &["export", "state"]);
    let entries: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_key = |key: &str| entries.iter().find(|entry| entry["key"] == key).unwrap();
    let pane = json!({"start": 30, "end": 40, "count": 1, "accumulator": [3]});
    assert_eq!(of_key("k-1")["accumulator"], json!([pane]));
    assert_eq!(
        (&of_key("k-1")["start"], &of_key("k-1")["end"]),
        (&json!(30), &json!(40))
    );

    // 32 is late: a watermark of 33 was reached before. 39 belongs to a window that is open.
    let more = [(1, 32), (1, 39), (1, 30)].map(|(key, time)| Event { key, time });
    let finished = go_on(&folder, &listed_numbers_from(5, &more));
    assert_eq!(finished.succeeds().operator("list", "late"), 0, "their window is open");
    let expected: Windows = [
        ("k-1".to_owned(), vec![vec![0], vec![2], vec![3, 5, 6, 7]]),
        ("k-2".to_owned(), vec![vec![1], vec![4]]),
    ]
    .into();
    assert_eq!(listed(&folder), expected);
}

/// Lines of events that are numbered from `first`.
fn listed_numbers_from(first: u64, events: &[Event]) -> String {
    let number =
        |(number, Event { key, time }): (u64, &Event)| format!("{{\"n\":{number},\"key\":\"k-{key}\",\"t\":{time}}}\n");
    (first..).zip(events).map(number).collect()
}

#[test]
fn what_was_late_before_a_stop_is_late_after_it() {
    let folder = stopped_with_open_windows();
    let late = [(1, 29), (1, 12)].map(|(key, time)| Event { key, time });
    let finished = go_on(&folder, &listed_numbers_from(5, &late));
    assert_eq!(finished.succeeds().operator("list", "late"), 2);
    assert_eq!(numbers_by_key(&folder.read("late.jsonl"))["k-1"], [5, 6]);
}

#[test]
fn the_end_of_an_input_is_not_its_end_for_the_next_run() {
    let folder = listing(Shape::Tumbling(10), 0, "", "order = \"key\"");
    let events = [(1, 12), (1, 25)].map(|(key, time)| Event { key, time });
    folder.write("events.jsonl", lines(&events));
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    let more = [(1, 31), (1, 24), (1, 45)].map(|(key, time)| Event { key, time });
    folder.append("events.jsonl", &listed_numbers_from(2, &more));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish();
    assert_eq!(finished.succeeds().operator("list", "late"), 1, "24 came behind 31");
    assert_eq!(listed(&folder)["k-1"], [vec![0], vec![1], vec![2], vec![4]]);
}

#[test]
fn count_windows_do_not_become_windows_in_time() {
    let folder = stopped_with_open_windows();
    let text = folder
        .read("pipeline.toml")
        .replace("{ tumbling = \"10ms\" }", "{ count = 5 }");
    let text = text.replace("inputs = [\"list.late\"]", "inputs = [\"list\"]");
    folder.write("pipeline.toml", text);
    let migrated = Dirigo::command(&folder, "state")
        .args(["migrate", "pipeline.toml", "--state", "state", "--accept", "list"])
        .finish();
    migrated.ends_with(
        1,
        &[
            "what is kept of a process, or of windows in time, cannot become",
            "`--drop list`",
        ],
    );
}

#[test]
fn a_retry_next_to_windows_in_time_ends_well() {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        [[operator]]
        id = "map"
        component = "builtin:map"
        config = { field = "m", scale = 1.0, into = "y" }
        [[operator]]
        id = "count"
        component = "builtin:reduce"
        window = { tumbling = "10ms" }
        config = { aggregate = "count" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        inputs = ["count", "count.late"]
        "#,
    );
    let event = Event { key: 1, time: 12 };
    folder.write(
        "events.jsonl",
        format!("{}{{\"key\":\"k-1\",\"t\":25,\"m\":1}}\n", lines(&[event])),
    );
    Dirigo::run(&folder, ["pipeline.toml"]).with_state().finish().succeeds();
    assert_eq!(folder.json_lines("out.jsonl").len(), 1);
    let retried = Dirigo::command(&folder, "dead-letters")
        .args(["retry", "pipeline.toml"])
        .with_state()
        .set("operator.map.config.field", "n")
        .finish();
    assert_eq!(retried.code(), 0, "{}", retried.stderr);
    assert_eq!(
        folder.json_lines("out.jsonl").len(),
        2,
        "its window is over, so it is late"
    );
}

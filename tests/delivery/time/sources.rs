//! What sources do to windows in time: silent ones, fast ones, and times that are wrong.

use super::*;

/// A pipeline of two sources whose events are counted by key and second, `more` being said of the second one.
fn two_sources(more: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "first"
        kind = "file"
        path = "first.jsonl"
        key = "/key"
        time = "/t"
        [[source]]
        id = "second"
        kind = "stdin"
        key = "/key"
        time = "/t"
        {more}
        [[operator]]
        id = "count"
        component = "builtin:reduce"
        inputs = ["first", "second"]
        window = {{ tumbling = "1s" }}
        config = {{ field = "n", aggregate = "count" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#
    ))
}

#[test]
fn a_silent_source_holds_windows_back_unless_it_is_idle() {
    let event = |t: i64| format!("{{\"n\":{t},\"key\":\"k\",\"t\":{t}}}\n");
    let counts = |folder: &Folder| -> Vec<(i64, i64)> {
        let lines = folder.json_lines("out.jsonl");
        let pair = |line: &Value| (line["start"].as_i64().unwrap(), line["count"].as_i64().unwrap());
        lines.iter().map(pair).collect()
    };
    // Without `idle` the windows wait for both ends.
    let folder = two_sources("");
    folder.write("first.jsonl", [500, 1_500, 2_500].map(event).concat());
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.say(&event(600));
    running.say(&event(1_700));
    folder.wait_for_lines("out.jsonl", 1);
    assert_eq!(counts(&folder), [(0, 2)]);
    running.hang_up();
    running.finish().succeeds();
    assert_eq!(counts(&folder), [(0, 2), (1_000, 2), (2_000, 1)]);

    // With it, they go on without the silent one; what that brings later may be too late.
    let folder = two_sources("idle = \"20ms\"");
    folder.write("first.jsonl", [500, 1_500, 2_500].map(event).concat());
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    folder.wait_for_lines("out.jsonl", 2);
    assert_eq!(
        counts(&folder),
        [(0, 1), (1_000, 1)],
        "the last second may have more events"
    );
    running.say(&event(700));
    running.say(&event(2_600));
    running.hang_up();
    let finished = running.finish();
    assert_eq!(finished.succeeds().operator("count", "late"), 1);
    assert_eq!(counts(&folder), [(0, 1), (1_000, 1), (2_000, 2)]);
}

/// A pipeline of one source whose events are counted by key and second, `more` being said of the source.
fn counted_by_second(more: &str) -> Folder {
    Folder::with_pipeline(&format!(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        key = "/key"
        time = "/t"
        {more}
        [[operator]]
        id = "count"
        component = "builtin:reduce"
        window = {{ tumbling = "1s" }}
        config = {{ field = "n", aggregate = "count" }}
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        [dead_letters]
        path = "dead.jsonl"
        "#
    ))
}

#[test]
fn an_event_far_in_the_future_closes_no_windows() {
    let folder = counted_by_second("max_ahead = \"1d\"");
    let century = 4_102_444_800_000_i64;
    let event = |t: i64| format!("{{\"n\":1,\"key\":\"k\",\"t\":{t}}}\n");
    folder.write("events.jsonl", [100, century, 200, 300].map(event).concat());
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("count", "late"), 0);
    assert_eq!(
        folder.json_lines("out.jsonl"),
        [json!({"key": "k", "count": 3, "start": 0, "end": 1_000})]
    );
    let dead = folder.json_lines("dead.jsonl");
    assert_eq!((dead.len(), &dead[0]["event"]["position"]), (1, &json!(2)));
    let reason = dead[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("4102444800000") && reason.contains("`max_ahead`"),
        "{reason}"
    );
}

#[test]
fn the_event_after_which_others_are_late_is_named() {
    let folder = counted_by_second("");
    let century = 4_102_444_800_000_i64;
    let event = |t: i64| format!("{{\"n\":1,\"key\":\"k\",\"t\":{t}}}\n");
    folder.write("events.jsonl", [100, century, 200, 300].map(event).concat());
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("count", "late"), 2);
    let said = "p/events: event 2 took the watermark to 2100-01-01T00:00:00Z, 130 years further; 2 events after it are behind that";
    assert_says(&finished.stderr, &[said]);

    // The same of events that are late by minutes is of no interest.
    folder.write("events.jsonl", [100, 300_000, 200, 300].map(event).concat());
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("count", "late"), 2);
    assert!(!finished.stderr.contains("the watermark"), "{}", finished.stderr);
}

#[test]
fn a_fast_source_waits_for_a_slow_one() {
    let folder = two_sources("");
    let text = folder
        .read("pipeline.toml")
        .replace("id = \"first\"", "id = \"first\"\nmax_drift = \"10s\"");
    folder.write("pipeline.toml", text);
    let event = |t: i64| format!("{{\"n\":{t},\"key\":\"k\",\"t\":{t}}}\n");
    folder.write(
        "first.jsonl",
        (0..100_000).map(|second| event(second * 1_000)).collect::<String>(),
    );
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.say(&event(5_500));
    folder.wait_for_lines("out.jsonl", 5);
    running.interrupt();
    running.stderr.wait_for("draining");
    let finished = running.finish();
    let read = finished.summary().json()["pipelines"][0]["sources"][0]["events"]
        .as_u64()
        .unwrap();
    assert!(
        read <= 2_048,
        "it has read {read} events, and the other one has come to 5 s"
    );
    running_to_the_end(&folder, &event(200_000_000));
}

/// Runs with another second source, to the end.
fn running_to_the_end(folder: &Folder, second: &str) {
    std::fs::remove_file(folder.path("out.jsonl")).unwrap();
    let mut running = Dirigo::run(folder, ["pipeline.toml"]).piped();
    running.say(second);
    running.hang_up();
    running.finish().succeeds();
    assert_eq!(folder.json_lines("out.jsonl").len(), 100_001);
}

#[test]
fn a_source_that_fell_silent_before_its_end_closes_its_windows_at_its_end() {
    let folder = listing(Shape::Tumbling(10), 0, "", "order = \"key\"");
    let text = folder.read("pipeline.toml");
    let file = "kind = \"file\"\n        path = \"events.jsonl\"";
    folder.write("pipeline.toml", text.replace(file, "kind = \"stdin\"\nidle = \"10ms\""));
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    running.say(&lines(&[(1, 12), (1, 25)].map(|(key, time)| Event { key, time })));
    folder.wait_for_lines("out.jsonl", 1);
    // It is idle by then, and its end comes all the same.
    std::thread::sleep(std::time::Duration::from_millis(60));
    running.hang_up();
    running.finish().succeeds();
    assert_eq!(listed(&folder)["k-1"], [vec![0], vec![1]]);
}

#[test]
fn events_say_how_far_time_has_come() {
    let pipeline = |source: &str| {
        Folder::with_pipeline(&format!(
            r#"
            [pipeline]
            name = "p"
            [dead_letters]
            path = "dead.jsonl"
            [[source]]
            id = "events"
            {source}
            key = "/key"
            time = "/t"
            watermark = "/w"
            [[operator]]
            id = "count"
            component = "builtin:reduce"
            window = {{ tumbling = "10ms" }}
            config = {{ field = "t", aggregate = "count" }}
            [[sink]]
            id = "out"
            kind = "file"
            path = "out.jsonl"
            "#
        ))
    };
    let counts = |folder: &Folder| -> Vec<(i64, i64)> {
        let lines = folder.json_lines("out.jsonl");
        let pair = |line: &Value| (line["start"].as_i64().unwrap(), line["count"].as_i64().unwrap());
        lines.iter().map(pair).collect()
    };
    let event = |(t, w): (i64, &str)| match w {
        "" => format!("{{\"key\":\"k\",\"t\":{t}}}\n"),
        w => format!("{{\"key\":\"k\",\"t\":{t},\"w\":{w}}}\n"),
    };
    // 8 comes behind 10, and 19 behind 20: they are late. What says no time is a dead letter.
    let events = [
        (5, ""),
        (70, ""),
        (2, "null"),
        (12, "10"),
        (8, ""),
        (11, ""),
        (3, "9"),
        (25, "\"1970-01-01T00:00:00.020Z\""),
        (19, ""),
        (30, "\"soon\""),
        (21, ""),
    ];
    let expected = [(0, 2), (10, 2), (20, 2), (70, 1)];
    for workers in [1, 4] {
        let folder = pipeline("kind = \"file\"\npath = \"events.jsonl\"");
        folder.write("events.jsonl", events.map(event).concat());
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        assert_eq!(
            (summary.operator("count", "late"), summary.count("dead_letters")),
            (3, 1)
        );
        assert_eq!(counts(&folder), expected, "{workers} workers");
        let letters = crate::support::dead_letters(&folder, "dead.jsonl");
        assert_eq!(
            letters[0].reason,
            "its `/w` is \"soon\", and a watermark is ms since 1970, or an RFC 3339 time"
        );
    }

    // The same of columns, whose cells are empty where an event says nothing.
    let folder = pipeline("kind = \"file\"\npath = \"events.csv\"\nnulls = [\"\"]");
    let record = |(t, w): &(i64, &str)| format!("k,{t},{}\n", w.trim_matches('"').replace("null", ""));
    let records: String = events.iter().filter(|(t, _)| *t != 30).map(record).collect();
    folder.write("events.csv", format!("key,t,w\n{records}"));
    let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
    assert_eq!(finished.succeeds().operator("count", "late"), 3);
    assert_eq!(counts(&folder), expected);

    // Windows close behind the event that says so, and not for what has a later time.
    let folder = pipeline("kind = \"stdin\"");
    let mut running = Dirigo::run(&folder, ["pipeline.toml"]).piped();
    for said in [(5, ""), (500, ""), (7, ""), (12, "10")] {
        running.say(&event(said));
    }
    folder.wait_for_lines("out.jsonl", 1);
    assert_eq!(counts(&folder), [(0, 2)]);
    running.hang_up();
    running.finish().succeeds();
    assert_eq!(counts(&folder), [(0, 2), (10, 1), (500, 1)]);
}

//! Windows with several results: early ones, which events bring, and those of sessions to which late events have come.

use super::*;

/// By key, the results of windows, sorted: of each its number among those of its window, and the sorted numbers of its events.
type Results = BTreeMap<String, Vec<(u64, Vec<u64>)>>;

/// Results, each with its key, and the numbers of events that are late.
type Found = (Vec<(u64, u64, Vec<u64>)>, Vec<u64>);

/// Which results windows have.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// `None` for one window of all events.
    shape: Option<Shape>,
    lateness: i64,
    /// After how many events there is an early result.
    early: u64,
    /// How long sessions take late events in.
    allowed: i64,
}

/// A session of the oracle.
struct Held {
    key: u64,
    start: i64,
    end: i64,
    /// When it has its next result, if it is to have one.
    due: Option<i64>,
    /// The number of that, once it was finished, or where a late event opened it.
    pane: Option<u64>,
    numbers: Vec<u64>,
}

impl Held {
    fn next_pane(&self, setting: Setting) -> u64 {
        self.pane.unwrap_or(setting.pane(self.numbers.len()))
    }

    /// Adds the result that is due by a watermark.
    fn finish(&mut self, setting: Setting, watermark: i64, results: &mut Vec<(u64, u64, Vec<u64>)>) {
        if self.due.is_some_and(|due| due <= watermark) {
            let pane = self.next_pane(setting);
            results.push((self.key, pane, self.numbers.clone()));
            (self.due, self.pane) = (None, Some(pane + 1));
        }
    }
}

impl Setting {
    /// The number of the next result of a window of so many events in time.
    fn pane(self, events: usize) -> u64 {
        events as u64 / self.early
    }

    /// The results of events, and which of these are late.
    fn oracle(self, events: &[Event]) -> (Results, Vec<u64>) {
        let (results, late) = match self.shape {
            None => self.of_windows(events, i64::MAX, |_| 0),
            Some(Shape::Tumbling(length)) => self.of_windows(events, length, |time| time - time.rem_euclid(length)),
            Some(Shape::Session(gap)) => self.of_sessions(events, gap),
            Some(Shape::Sliding(..)) => unreachable!("sliding windows have no early results"),
        };
        let mut by_key = Results::new();
        for (key, pane, mut numbers) in results {
            numbers.sort_unstable();
            by_key.entry(format!("k-{key}")).or_default().push((pane, numbers));
        }
        by_key.values_mut().for_each(|results| results.sort());
        (by_key, late)
    }

    fn of_windows(self, events: &[Event], length: i64, start_of: impl Fn(i64) -> i64) -> Found {
        let mut windows: BTreeMap<(i64, u64), Vec<u64>> = BTreeMap::new();
        let (mut results, mut late, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
        for (number, event) in (0..).zip(events) {
            let start = start_of(event.time);
            if start.saturating_add(length) <= watermark {
                late.push(number);
            } else {
                let held = windows.entry((start, event.key)).or_default();
                held.push(number);
                if (held.len() as u64).is_multiple_of(self.early) {
                    results.push((event.key, self.pane(held.len()) - 1, held.clone()));
                }
            }
            watermark = watermark.max(event.time - self.lateness);
        }
        let last = windows.into_iter();
        results.extend(last.map(|((_, key), held)| (key, self.pane(held.len()), held)));
        (results, late)
    }

    fn of_sessions(self, events: &[Event], gap: i64) -> Found {
        let mut sessions: Vec<Held> = Vec::new();
        let (mut results, mut late, mut watermark) = (Vec::new(), Vec::new(), i64::MIN);
        for (number, event) in (0..).zip(events) {
            sessions
                .iter_mut()
                .for_each(|held| held.finish(self, watermark, &mut results));
            let (own_start, own_end) = (event.time, event.time + gap);
            let takes_in = |end: i64| end + self.allowed > watermark;
            let is_met = |held: &Held| {
                held.key == event.key && takes_in(held.end) && held.start < own_end && own_start < held.end
            };
            let (met, rest): (Vec<_>, Vec<_>) = sessions.into_iter().partition(is_met);
            sessions = rest;
            if met.is_empty() && !takes_in(own_end) {
                late.push(number);
            } else {
                let start = met.iter().fold(own_start, |start, held| start.min(held.start));
                let end = met.iter().fold(own_end, |end, held| end.max(held.end));
                let is_open = end > watermark;
                let before: u64 = met.iter().map(|held| self.pane(held.numbers.len())).sum();
                let was_finished = !is_open || met.iter().any(|held| held.pane.is_some());
                let next = met.iter().map(|held| held.next_pane(self)).max().unwrap_or(0);
                let mut pane = was_finished.then_some(next);
                let mut numbers: Vec<u64> = met.into_iter().flat_map(|held| held.numbers).collect();
                numbers.push(number);
                let by_events = self.pane(numbers.len());
                if is_open && by_events > before {
                    results.push((event.key, pane.unwrap_or(by_events - 1), numbers.clone()));
                    pane = pane.map(|pane| pane + 1);
                }
                sessions.push(Held {
                    key: event.key,
                    start,
                    end,
                    due: Some(if is_open { end } else { watermark + 1 }),
                    pane,
                    numbers,
                });
            }
            watermark = watermark.max(event.time - self.lateness);
        }
        sessions
            .iter_mut()
            .for_each(|held| held.finish(self, i64::MAX, &mut results));
        (results, late)
    }

    /// A pipeline with such windows, which list their events. `more` stands in the operator.
    fn listing(self, more: &str, order: &str) -> Folder {
        let mut more = format!("early = {{ events = {} }}\n{more}", self.early);
        if self.allowed > 0 {
            writeln!(more, "\nallowed_lateness = \"{}ms\"", self.allowed).unwrap();
        }
        let order = format!("order = \"{order}\"");
        if let Some(shape) = self.shape {
            return listing(shape, self.lateness, &more, &order);
        }
        let folder = listing(Shape::Tumbling(1), self.lateness, &more, &order);
        let text = folder.read("pipeline.toml");
        // No event is late for it.
        let (head, _) = text.split_once("[[sink]]\n        id = \"too-late\"").unwrap();
        folder.write(
            "pipeline.toml",
            head.replace("{ tumbling = \"1ms\" }", "{ global = true }"),
        );
        folder.write("late.jsonl", "");
        folder
    }
}

/// The results in a file, by key.
fn found(folder: &Folder) -> Results {
    let mut results = Results::new();
    for line in folder.json_lines("out.jsonl") {
        let mut numbers: Vec<u64> = serde_json::from_value(line["numbers"].clone()).unwrap();
        numbers.sort_unstable();
        assert_eq!(line["count"], numbers.len());
        let key = line["key"].as_str().unwrap().to_owned();
        let pane = line["pane"].as_u64().unwrap_or(0);
        results.entry(key).or_default().push((pane, numbers));
    }
    results.values_mut().for_each(|results| results.sort());
    results
}

fn settings(lateness: i64) -> Vec<Setting> {
    let shapes = [
        (None, 0),
        (Some(Shape::Tumbling(90)), 0),
        (Some(Shape::Session(30)), 0),
        (Some(Shape::Session(30)), 200),
        (Some(Shape::Session(5)), 60),
    ];
    let setting = |(shape, allowed): (Option<Shape>, i64)| Setting {
        shape,
        lateness,
        early: if shape.is_some() { 3 } else { 40 },
        allowed,
    };
    shapes.map(setting).into()
}

#[test]
fn results_that_events_bring_are_those_of_the_oracle_at_any_number_of_workers() {
    let seed = number_of("DIRIGO_SEED", 27);
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for (workers, lateness, more, order) in [
        (1, 0, "", "key"),
        (2, 40, "", "source"),
        (8, 40, "shards = 5", "source"),
        (2, 500, "actors = \"per-key\"", "key"),
        (3, 15, "isolation = \"fresh\"", "key"),
    ] {
        for setting in settings(lateness) {
            let events = events(2_000, 7, &mut random);
            let (expected, late) = setting.oracle(&events);
            let folder = setting.listing(more, order);
            folder.write("events.jsonl", lines(&events));
            let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
            let summary = finished.succeeds();
            let what = format!("{setting:?}, {workers} workers, {more}");
            assert_eq!(
                summary.operator("list", "absorbed") + late.len() as u64,
                2_000,
                "{what}"
            );
            assert_eq!(
                numbers_by_key(&folder.read("late.jsonl")),
                numbers_by_key(&listed_lines(&events, &late)),
                "{what}"
            );
            assert!(
                found(&folder) == expected,
                "{what}: {:?} is not {expected:?}",
                found(&folder)
            );
        }
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_has_each_result_once() {
    let (kills, seed) = (number_of("DIRIGO_KILLS", 6), number_of("DIRIGO_SEED", 31));
    println!("DIRIGO_KILLS={kills} DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    for setting in settings(40) {
        let setting = Setting {
            early: setting.early.max(10),
            ..setting
        };
        let events = events(20_000, 23, &mut random);
        let (expected, late) = setting.oracle(&events);
        let folder = setting.listing("", "key");
        folder.write("events.jsonl", lines(&events));
        let killed = kill(&folder, kills, &mut random);
        println!("{setting:?}: {killed} kills");
        assert!(found(&folder) == expected, "{setting:?} after {killed} kills");
        let listed = numbers_by_key(&folder.read("late.jsonl"));
        assert_eq!(
            listed,
            numbers_by_key(&listed_lines(&events, &late)),
            "{setting:?} after {killed} kills"
        );
    }
}

#[test]
fn early_results_are_in_the_order_of_the_events_that_bring_them_and_in_windows_behind() {
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
        id = "sum"
        component = "builtin:reduce"
        window = { global = true }
        early = { events = 2 }
        config = { field = "n", aggregate = "sum", pane = true }
        [[operator]]
        id = "largest"
        component = "builtin:reduce"
        key = "/key"
        window = { tumbling = "10ms" }
        early = { events = 1 }
        config = { field = "sum", aggregate = "max" }
        [[operator]]
        id = "results"
        component = "builtin:reduce"
        key = "/key"
        window = { tumbling = "1s" }
        config = { field = "max", aggregate = "count" }
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        inputs = ["sum"]
        order = "source"
        [[sink]]
        id = "results-out"
        kind = "file"
        path = "results.jsonl"
        inputs = ["results"]
        "#,
    );
    let events = [("a", 1), ("b", 2), ("b", 4), ("a", 5), ("a", 13), ("a", 14), ("b", 27)];
    let event = |(n, (key, t)): (usize, &(&str, i64))| format!("{{\"n\":{n},\"key\":\"{key}\",\"t\":{t}}}\n");
    let events: Vec<String> = events.iter().enumerate().map(event).collect();
    folder.write("events.jsonl", events.concat());
    let result = |key: &str, sum: f64, count: u64, (start, end): (i64, i64), pane: u64| json!({"key": key, "sum": sum, "count": count, "start": start, "end": end, "pane": pane});
    let expected = [
        result("b", 3.0, 2, (2, 4), 0),
        result("a", 3.0, 2, (1, 5), 0),
        result("a", 12.0, 4, (1, 14), 1),
        result("a", 12.0, 4, (1, 14), 2),
        result("b", 9.0, 3, (2, 27), 1),
    ];
    for workers in [1, 4] {
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).workers(workers).finish();
        let summary = finished.succeeds();
        assert_eq!(
            (summary.count("dead_letters"), summary.operator("largest", "late")),
            (0, 1)
        );
        assert_eq!(folder.json_lines("out.jsonl"), expected, "{workers} workers");
        let mut results = folder.json_lines("results.jsonl");
        results.sort_by_key(|line| line["key"].as_str().map(str::to_owned));
        // Each sum brings a result of its window of ten, which has one more at its end. The last sum of `a` bears the time of its last event, 14, and comes behind
        // 27: it is late.
        let counts: Vec<_> = results.iter().map(|line| (&line["key"], &line["count"])).collect();
        assert_eq!(
            counts,
            [(&json!("a"), &json!(4)), (&json!("b"), &json!(4))],
            "{workers} workers"
        );
    }
}

#[test]
fn an_event_with_which_an_early_result_fails_is_a_dead_letter_and_stays_out_of_its_window() {
    for (mode, kind) in [("reject-window", "rejected"), ("panic-window", "trap")] {
        let setting = Setting {
            shape: Some(Shape::Tumbling(1_000)),
            lateness: 0,
            early: 2,
            allowed: 0,
        };
        let folder = setting.listing("", "key");
        let text = folder
            .read("pipeline.toml")
            .replace("mode = \"pass\", every = 1", &format!("mode = \"{mode}\", every = 7"));
        folder.write("pipeline.toml", text + "\n[dead_letters]\npath = \"dead.jsonl\"\n");
        // 3 and 4 make 7, so 4 is out, and 5 takes its place; 3, 5, 6 and 7 make 21, so 7 is out.
        let line = |n: u64| format!("{{\"n\":{n},\"key\":\"k\",\"t\":{n}}}\n");
        folder.write("events.jsonl", (3..=8).map(line).collect::<String>());
        let finished = Dirigo::run(&folder, ["pipeline.toml"]).finish();
        assert_eq!(finished.succeeds().operator("list", "absorbed"), 4, "{mode}");
        let results = &found(&folder)["k"];
        let expected = [(0, vec![3, 5]), (1, vec![3, 5, 6, 8]), (2, vec![3, 5, 6, 8])];
        assert_eq!(results[..], expected, "{mode}");
        let failed = |letter: &Value| {
            let value: Value = serde_json::from_str(letter["event"]["value"].as_str().unwrap()).unwrap();
            (
                value["n"].as_u64().unwrap(),
                letter["kind"].as_str().unwrap().to_owned(),
            )
        };
        let failed: Vec<_> = folder.json_lines("dead.jsonl").iter().map(failed).collect();
        assert_eq!(failed, [(4, kind.to_owned()), (7, kind.to_owned())], "{mode}");
    }
}

use dirigo_operator::testing::{Event, ProcessTester};
use serde_json::{Value, json};

use super::*;

fn join(config: &Value) -> ProcessTester<Join> {
    ProcessTester::open(config).unwrap()
}

fn event(time: i64, n: i64) -> Event {
    Event::from(json!(n)).key("k").at(time)
}

fn pair(left: impl Into<Value>, right: impl Into<Value>) -> Value {
    json!({"key": "k", "left": left.into(), "right": right.into()})
}

#[test]
fn events_within_the_interval_are_partners_bounds_included() {
    let mut join = join(&json!({"before": "2ms", "after": "5ms"}));
    join.events_of(1, [event(8, -1), event(7, -2)]);
    assert_eq!(
        join.events_of(0, [event(10, 1)]).json(),
        [pair(1, -1)],
        "7 is too early"
    );
    let right = join.events_of(1, [event(10, -3), event(15, -4), event(16, -5)]);
    assert_eq!(right.json(), [pair(1, -3), pair(1, -4)], "16 is too late");
    assert!(join.advance(18).outputs.is_empty());
    assert_eq!(join.keys_kept(), 0, "what finds no partner any more is forgotten");
}

#[test]
fn within_reaches_both_ways() {
    let mut join = join(&json!({"within": "1s"}));
    join.events_of(0, [event(1_000, 1)]);
    assert_eq!(
        join.events_of(1, [event(0, -1), event(2_000, -2), event(2_001, -3)])
            .json(),
        [pair(1, -1), pair(1, -2)]
    );
}

#[test]
fn events_of_one_window_are_partners() {
    let mut join = join(&json!({"window": "10ms"}));
    join.events_of(0, [event(9, 1), event(10, 2)]);
    assert_eq!(
        join.events_of(1, [event(0, -1), event(19, -2)]).json(),
        [pair(1, -1), pair(2, -2)]
    );
    join.advance(9);
    assert_eq!(join.timers("k"), [("forget".to_owned(), 19)]);
    join.advance(19);
    assert_eq!(join.keys_kept(), 0);
}

#[test]
fn events_without_a_partner_come_out_where_they_are_kept() {
    for (keep, expected) in [
        ("pairs", vec![]),
        ("left", vec![pair(2, Value::Null)]),
        ("right", vec![pair(Value::Null, -9)]),
        ("both", vec![pair(2, Value::Null), pair(Value::Null, -9)]),
    ] {
        let mut join = join(&json!({"within": "3ms", "keep": keep}));
        join.events_of(0, [event(0, 1), event(10, 2)]);
        join.events_of(1, [event(1, -1), event(20, -9)]);
        assert_eq!(join.end().json(), expected, "{keep}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (config, words) in [
        (json!({}), "missing field `within`"),
        (json!({"within": "1s", "after": "1s"}), "exclude each other"),
        (json!({"window": "0s"}), "less than 1 ms"),
        (json!({"within": "long"}), "`long` is no duration"),
    ] {
        let refused = ProcessTester::<Join>::open(&config).unwrap_err();
        assert!(refused.message().contains(words), "{refused:?}");
    }
    let mut join = join(&json!({"within": "1s"}));
    let rejected = join.events_of(2, [event(0, 1)]).rejected;
    assert_eq!(rejected, [(0, "a join has two inputs".to_owned())]);
}

use serde_json::json;

use super::*;
use crate::{
    NoConfig, Operator, reject,
    testing::{Event, ProcessTester, batch},
};

/// Adds numbers up, and puts the sum out 10 ms after the first of them, and again at most once.
struct Delayed;

impl Process for Delayed {
    type Config = NoConfig;
    type Event = i64;
    type State = i64;
    type Output = String;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Delayed)
    }

    fn event(&mut self, event: &i64, key: &mut Context<'_, Self>) -> Result<()> {
        if key.known().is_none() {
            key.set_timer("sum", key.time() + 10);
        }
        *key.state() += event;
        match event {
            0 => {
                key.cancel_timer("sum");
                key.forget();
            }
            -1 => reject!("minus one"),
            _ => {}
        }
        Ok(())
    }

    fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let sum = *key.state();
        if sum > 100 {
            reject!("{sum} is too much");
        }
        if timer.name() == "sum" || (sum == 7 && !key.is_end()) {
            key.set_timer("again", timer.time() + 10);
        } else {
            key.forget();
        }
        key.push(&format!("{} {}={sum} at {}", timer.name(), key.key_str(), key.time()))
    }
}

impl Operator for Delayed {
    fn open_json(config: &str) -> Result<Self> {
        crate::open_with(config, Self::open)
    }

    fn schema(&self) -> Schema {
        Process::schema(self)
    }
}

fn event(key: &str, time: i64, value: i64) -> Event {
    Event::from(json!(value)).key(key).at(time)
}

fn tester() -> ProcessTester<Delayed> {
    ProcessTester::open(&json!({})).unwrap()
}

#[test]
fn timers_fire_in_order_with_those_that_they_set() {
    let mut delayed = tester();
    let outcome = delayed.events([event("a", 0, 1), event("b", 5, 2), event("a", 9, 3)]);
    assert!(outcome.outputs.is_empty() && outcome.rejected.is_empty());
    assert_eq!(delayed.timers("a"), [("sum".to_owned(), 10)]);
    assert!(delayed.advance(9).outputs.is_empty());
    assert_eq!(
        delayed.advance(20).json(),
        [json!("sum a=4 at 10"), json!("again a=4 at 20"), json!("sum b=2 at 15")]
    );
    assert_eq!((delayed.state("a"), delayed.state("b")), (None, Some(2)));
    assert_eq!(delayed.advance(1_000).json(), [json!("again b=2 at 25")]);
    assert_eq!(delayed.keys_kept(), 0);
}

#[test]
fn what_is_rejected_leaves_state_and_timers_as_they_were() {
    let mut delayed = tester();
    let outcome = delayed.events([event("a", 0, 1), event("a", 1, -1), event("c", 1, -1)]);
    assert_eq!(
        outcome.rejected,
        [(1, "minus one".to_owned()), (2, "minus one".to_owned())]
    );
    assert_eq!((delayed.state("a"), delayed.state("c")), (Some(1), None));
    assert!(delayed.timers("c").is_empty());
    delayed.events([event("a", 2, 100)]);
    assert_eq!(delayed.advance(10).rejected, [(0, "101 is too much".to_owned())]);
    assert!(delayed.timers("a").is_empty(), "a timer that fails is gone");
    assert_eq!(delayed.state("a"), Some(101));
}

#[test]
fn at_the_end_of_the_input_timers_fire_with_those_that_they_set() {
    let mut delayed = tester();
    delayed.events([event("a", 0, 7)]);
    assert_eq!(
        delayed.advance(30).json(),
        [
            json!("sum a=7 at 10"),
            json!("again a=7 at 20"),
            json!("again a=7 at 30")
        ],
        "it sets itself anew"
    );
    assert_eq!(delayed.end().json(), [json!("again a=7 at 40")], "but not at the end");
    assert!(delayed.timers("a").is_empty());
}

#[test]
fn a_timer_of_the_same_name_is_moved_and_none_is_set_in_the_past() {
    struct Moving;
    impl Process for Moving {
        type Config = NoConfig;
        type Event = i64;
        type State = ();
        type Output = ();
        fn open(_: NoConfig) -> Result<Self> {
            Ok(Moving)
        }
        fn event(&mut self, event: &i64, key: &mut Context<'_, Self>) -> Result<()> {
            key.set_timer("t", *event);
            Ok(())
        }
    }
    impl Operator for Moving {
        fn open_json(config: &str) -> Result<Self> {
            crate::open_with(config, Self::open)
        }
        fn schema(&self) -> Schema {
            Process::schema(self)
        }
    }
    let mut moving = ProcessTester::<Moving>::open(&json!({})).unwrap();
    moving.events([event("a", 5, 50), event("a", 6, 20)]);
    assert_eq!(moving.timers("a"), [("t".to_owned(), 20)]);
    moving.events([event("a", 30, 10)]);
    assert_eq!(moving.timers("a"), [("t".to_owned(), 30)]);
    assert_eq!(
        moving.advance(30).rejected,
        [(0, "the operator has no use for the timer `t`".to_owned())]
    );
}

#[test]
fn steps_are_numbered_as_they_come() {
    let events = batch([event("a", 0, 1), event("b", 30, 2), event("a", 40, 7)]);
    let steps = Steps {
        keys: vec![0, 1, 0],
        inputs: None,
        advances: Advances {
            places: vec![1, 2, 3, 3],
            keys: vec![0, 0, 1, 2],
            until: vec![10, 39, 40, 5],
        },
    };
    let known = Known {
        keys: ["a", "b", "c"].into_iter().collect(),
        states: [&b""[..], b"", b"\0\x0a"].into_iter().collect(),
        timers: Some(Timers {
            ends: vec![0, 0, 1],
            times: vec![3],
            names: ["again"].into_iter().collect(),
        }),
    };
    let processed = process_batch(&mut Delayed, &events, &steps, &known);
    assert_eq!(processed.rejected, []);
    assert_eq!(processed.outputs.origins, [1, 3, 5, 6]);
    assert_eq!(processed.times, [10, 20, 40, 3]);
    assert_eq!(processed.outputs.keys, None, "outputs bear the keys of their steps");
    let timers = processed.timers.expect("timers are set");
    assert_eq!((timers.ends, timers.times), (vec![1, 2, 2], vec![50, 50]));
    assert_eq!(timers.names, ["sum", "again"].into_iter().collect());
    assert_eq!(processed.states.get(2), b"", "it is forgotten");
}

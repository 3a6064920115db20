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
    let processed = process_batch(
        &mut Delayed,
        &events,
        &steps,
        &known,
        &mut crate::testing::process::StoredItems::default(),
    );
    assert_eq!(processed.rejected, []);
    assert_eq!(processed.outputs.origins, [1, 3, 5, 6]);
    assert_eq!(processed.times, [10, 20, 40, 3]);
    assert_eq!(processed.outputs.keys, None, "outputs bear the keys of their steps");
    let timers = processed.timers.expect("timers are set");
    assert_eq!((timers.ends, timers.times), (vec![1, 2, 2], vec![50, 50]));
    assert_eq!(timers.names, ["sum", "again"].into_iter().collect());
    assert_eq!(processed.states.get(2), b"", "it is forgotten");
}

/// Counts what it has seen of each name, and keeps the last three names.
struct Seen;

const COUNTS: MapState<String, u64> = MapState::new("counts");
const LAST: ListState<String> = ListState::new("last");

impl Process for Seen {
    const ITEMS: &'static [&'static dyn ItemState] = &[&COUNTS, &LAST];
    const STATE_VERSION: u32 = 2;
    type Config = NoConfig;
    type Event = String;
    type State = ();
    type Output = Vec<(String, u64)>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Seen)
    }

    fn event(&mut self, name: &String, key: &mut Context<'_, Self>) -> Result<()> {
        match name.as_str() {
            "forget" => key.forget(),
            "later" => key.forget_at(key.time() + 10),
            "" => reject!("no name"),
            "all" => {
                let all: Vec<(String, u64)> = key.map(COUNTS).iter().collect::<Result<_>>()?;
                key.push(&all)?;
            }
            name => {
                let before = key.map(COUNTS).get(name)?.unwrap_or_default();
                key.map(COUNTS).insert(name, &(before + 1));
                let mut last = key.list(LAST);
                last.push(&name.to_owned())?;
                if last.iter().count() > 3 {
                    last.pop_front()?;
                }
            }
        }
        Ok(())
    }

    fn migrate_item(from: u32, map: &str, stored: Stored<'_>) -> Result<MigratedItem> {
        match (from, map) {
            (1, "counts") => Ok(MigratedItem::of(&u64::from(stored.read::<u8>()?))),
            _ => Err(items::unknown(map, stored)),
        }
    }
}

impl Operator for Seen {
    fn open_json(config: &str) -> Result<Self> {
        crate::open_with(config, Self::open)
    }

    fn schema(&self) -> Schema {
        Process::schema(self)
    }
}

fn name(time: i64, name: &str) -> Event {
    Event::from(json!(name)).key("k").at(time)
}

#[test]
fn maps_and_lists_are_kept_entry_by_entry_and_forgotten_with_the_state() {
    let mut seen = ProcessTester::<Seen>::open(&json!({})).unwrap();
    let outcome = seen.events(["b", "a", "b", "", "c", "all"].map(|text| name(1, text)));
    assert_eq!(outcome.rejected, [(3, "no name".to_owned())]);
    assert_eq!(outcome.json(), [json!([["a", 1], ["b", 2], ["c", 1]])]);
    let last: Vec<String> = seen.list("k", LAST).iter().map(Result::unwrap).collect();
    assert_eq!(last, ["a", "b", "c"]);
    let mut counts = seen.map("k", COUNTS);
    assert_eq!(
        (counts.first(), counts.last()),
        (Ok(Some(("a".into(), 1))), Ok(Some(("c".into(), 1))))
    );
    let within = counts
        .range("a".to_owned()..="b".to_owned())
        .map(|entry| entry.unwrap().0);
    assert_eq!(within.collect::<Vec<_>>(), ["a", "b"]);
    let back = counts.iter_back().map(|entry| entry.unwrap().0);
    assert_eq!(back.collect::<Vec<_>>(), ["c", "b", "a"]);
    assert!(counts.remove("c") && !counts.remove("c") && !counts.contains("c"));
    counts.remove_range("b".to_owned()..);
    assert_eq!(counts.iter().count(), 1);
    assert_eq!(seen.keys_kept(), 1);
    seen.events([name(2, "forget")]);
    assert_eq!(seen.keys_kept(), 0);

    seen.events([name(5, "a"), name(6, "later"), name(8, "later")]);
    assert!(seen.advance(17).rejected.is_empty() && seen.keys_kept() == 1);
    seen.advance(18);
    assert_eq!(seen.keys_kept(), 0);
}

#[test]
fn an_entry_of_an_older_version_is_migrated_when_it_is_read() {
    let mut seen = ProcessTester::<Seen>::open(&json!({})).unwrap();
    seen.put_item("k", b"counts\0old\0\x01", 1, &7_u8);
    assert_eq!(
        seen.events([name(1, "old"), name(1, "all")]).json(),
        [json!([["old", 8]])]
    );
    seen.put_item("k", b"last\0\0\0\0\0\0\0\0\x09", 1, &"x");
    assert_eq!(
        seen.events([name(1, "new")]).rejected,
        [(
            0,
            "in the map `last`, state of version 1 is unknown to the operator, which writes version 2".to_owned()
        )]
    );
}

#[test]
fn pages_of_a_large_map_follow_each_other() {
    let mut seen = ProcessTester::<Seen>::open(&json!({})).unwrap();
    let mut counts = seen.map("k", COUNTS);
    assert!((0..1_000_u64).all(|place| counts.insert(format!("{place:04}").as_str(), &place)));
    assert!(!counts.insert("0007", &7), "it is there");
    let all: Vec<u64> = counts.iter().map(|entry| entry.unwrap().1).collect();
    assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    let back: Vec<u64> = counts.iter_back().map(|entry| entry.unwrap().1).collect();
    assert_eq!(back, (0..1_000).rev().collect::<Vec<_>>());
    counts.clear();
    assert!(counts.is_empty());
}

#[test]
fn a_map_is_told_in_the_layout_and_refused_where_it_is_not() {
    const OTHER: MapState<u64, ()> = MapState::new("other");
    assert_eq!(
        Seen::state_layout().unwrap(),
        "postcard:(); counts: map {string => u64}; last: [string]"
    );
    let asked = std::panic::catch_unwind(|| {
        let mut seen = ProcessTester::<Seen>::open(&json!({})).unwrap();
        seen.map("k", OTHER).clear();
    });
    assert!(asked.is_err());
}

/// What is odd.
const ODD: NamedOutput<i64> = NamedOutput::new("odd");
/// What a timer brings.
const LATER: NamedOutput<str> = NamedOutput::new("later");

/// Puts odd numbers out under a name, and again with another key, and at a timer the last of them. Refuses 9, once it has put that out.
struct Sorted;

impl Process for Sorted {
    const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&LATER, &ODD];
    type Config = NoConfig;
    type Event = i64;
    type State = i64;
    type Output = i64;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Sorted)
    }

    fn event(&mut self, number: &i64, key: &mut Context<'_, Self>) -> Result<()> {
        if number % 2 == 0 {
            return key.push(number);
        }
        *key.state() = *number;
        key.set_timer("later", key.time() + 10);
        key.push_to(ODD, number)?;
        key.push_keyed_to(ODD, "other", &-number)?;
        if *number == 9 {
            reject!("nine");
        }
        Ok(())
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let number = key.state().to_string();
        key.push_to(LATER, &number)
    }
}

impl Operator for Sorted {
    fn open_json(config: &str) -> Result<Self> {
        crate::open_with(config, Self::open)
    }

    fn schema(&self) -> Schema {
        Process::schema(self)
    }
}

fn number(number: i64, time: i64) -> Event {
    Event::from(json!(number)).key("k").at(time)
}

#[test]
fn what_is_put_out_under_a_name_is_taken_by_it() {
    let mut sorted = ProcessTester::<Sorted>::open(&json!({})).unwrap();
    assert_eq!(sorted.events([number(2, 0), number(3, 1)]).json(), [json!(2)]);
    let odd = sorted.take(ODD);
    assert_eq!(odd.json(), [json!(3), json!(-3)]);
    let keys: Vec<&[u8]> = odd.outputs.iter().map(|output| &output.key[..]).collect();
    assert_eq!(keys, [&b"k"[..], b"other"]);
    assert!(sorted.take(ODD).outputs.is_empty(), "it was taken");
    assert!(sorted.advance(11).outputs.is_empty());
    assert_eq!(sorted.take(LATER).json(), [json!("3")]);
}

#[test]
fn a_step_that_is_rejected_puts_nothing_out_under_any_name() {
    let mut sorted = ProcessTester::<Sorted>::open(&json!({})).unwrap();
    assert_eq!(sorted.events([number(9, 0)]).rejected, [(0, "nine".to_owned())]);
    assert!(sorted.take(ODD).outputs.is_empty());
    assert_eq!(sorted.keys_kept(), 0);
}

#[test]
fn each_output_has_steps_and_times_of_its_own() {
    let events = batch([number(2, 5), number(3, 6), number(4, 7), number(5, 30)]);
    let known = Known {
        keys: ["k"].into_iter().collect(),
        states: [""].into_iter().collect(),
        timers: None,
    };
    let steps = Steps {
        keys: vec![0; 4],
        advances: Advances {
            places: vec![3],
            keys: vec![0],
            until: vec![20],
        },
        ..Steps::default()
    };
    let items = &mut crate::testing::process::StoredItems::default();
    let processed = process_batch(&mut Sorted, &events, &steps, &known, items);
    assert_eq!((processed.outputs.origins, processed.times), (vec![0, 2], vec![5, 7]));
    let [later, odd] = &processed.named[..] else {
        panic!("there are two: {:?}", processed.named)
    };
    assert_eq!(
        (later.output, &later.outputs.origins, &later.times),
        (0, &vec![3], &vec![16])
    );
    assert_eq!(
        (odd.output, &odd.outputs.origins, &odd.times),
        (1, &vec![1, 1, 4, 4], &vec![6, 6, 30, 30])
    );
    assert_eq!(later.outputs.keys, None);
    assert_eq!(
        odd.outputs.keys,
        Some(["k", "other", "k", "other"].into_iter().collect())
    );
}

#[test]
fn an_output_that_the_operator_does_not_list_is_refused() {
    const OTHER: NamedOutput<i64> = NamedOutput::new("other");
    let asked = std::panic::catch_unwind(|| ProcessTester::<Sorted>::open(&json!({})).unwrap().take(OTHER));
    let message = *asked.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, "`other` does not stand among the `OUTPUTS` of the operator");
}

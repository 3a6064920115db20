//! `builtin:top`: the events of each window with the greatest values of a field, or the least.

use std::cmp::Ordering;

use dirigo_operator::{Number, prelude::*};
use serde_json::value::RawValue;

/// The most events that a window may list.
const LISTED_MAX: usize = 1_000;

/// The `config` of a `builtin:top`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to rank by: its name, or a JSON pointer.
    field: Field,
    /// How many events a window lists: up to 1,000.
    n: usize,
    /// Whether the least values are wanted instead of the greatest.
    #[serde(default)]
    least: bool,
    /// Whether results have `pane`: how many results their window had before, which is 0 but where it takes late events in or has early results.
    #[serde(default)]
    pane: bool,
}

/// An event of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ranked {
    value: Number,
    event: Box<str>,
}

/// The list so far, best first, and of how many events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct List {
    ranked: Vec<Ranked>,
    count: u64,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Listed {
    key: String,
    top: Vec<Box<RawValue>>,
    count: u64,
    start: i64,
    end: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pane: Option<u32>,
}

/// Lists events.
#[derive(Debug)]
pub struct Top {
    config: Config,
}

impl Top {
    /// Whether one stands before another that came earlier.
    fn is_better(&self, one: Number, other: Number) -> bool {
        let order = one.partial_cmp(&other).unwrap_or(Ordering::Equal);
        order
            == if self.config.least {
                Ordering::Less
            } else {
                Ordering::Greater
            }
    }

    /// Puts an event in its place: behind those of the same value, which came before.
    fn insert(&self, list: &mut List, ranked: Ranked) {
        let place = list
            .ranked
            .partition_point(|other| !self.is_better(ranked.value, other.value));
        if place < self.config.n {
            list.ranked.truncate(self.config.n - 1);
            list.ranked.insert(place, ranked);
        }
    }
}

#[operator]
impl Reduce for Top {
    type Config = Config;
    type Event = Json;
    type Accumulator = List;
    type Output = Listed;

    fn open(config: Config) -> Result<Self> {
        if !(1..=LISTED_MAX).contains(&config.n) {
            reject!("`n` is {}, and may be 1 to {LISTED_MAX}", config.n);
        }
        Ok(Top { config })
    }

    fn zero(&self) -> List {
        List::default()
    }

    fn add(&mut self, list: &mut List, event: &Json) -> Result<()> {
        let (nearest, integer) = event.at(&self.config.field)?.exact_number()?;
        let value = integer.map_or_else(|| nearest.into(), Number::from);
        list.count += 1;
        let is_full = list.ranked.len() == self.config.n;
        if is_full && !list.ranked.last().is_some_and(|last| self.is_better(value, last.value)) {
            return Ok(());
        }
        let event: &RawValue = serde_json::from_slice(event.as_bytes())?;
        let event = event.get().into();
        self.insert(list, Ranked { value, event });
        Ok(())
    }

    fn merge(&mut self, mut left: List, right: List) -> List {
        for ranked in right.ranked {
            self.insert(&mut left, ranked);
        }
        left.count += right.count;
        left
    }

    fn finish(&mut self, window: &Window<'_>, list: List) -> Result<Listed> {
        let raw = |ranked: Ranked| RawValue::from_string(ranked.event.into());
        Ok(Listed {
            key: window.key_str().into_owned(),
            top: list
                .ranked
                .into_iter()
                .map(raw)
                .collect::<std::result::Result<_, _>>()?,
            count: list.count,
            start: window.start,
            end: window.end,
            pane: self.config.pane.then_some(window.pane),
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
    use serde_json::{Value, json};

    use super::*;

    fn top(config: &Value) -> Tester<Top> {
        Tester::open(config).unwrap()
    }

    fn event(text: &str) -> Event {
        Event::from(text).key("k")
    }

    #[test]
    fn the_best_come_first_and_of_equals_the_earlier() {
        let events = [
            r#"{"v":2,"n":0}"#,
            r#"{"v":9,"n":1}"#,
            r#"{"v":2,"n":2}"#,
            r#"{"v":5.5,"n":3}"#,
        ];
        let listed = |config| top(&config).reduce(events.map(event)).text();
        assert_eq!(
            listed(json!({"field": "v", "n": 3})),
            [r#"{"key":"k","top":[{"v":9,"n":1},{"v":5.5,"n":3},{"v":2,"n":0}],"count":4,"start":0,"end":0}"#]
        );
        assert_eq!(
            listed(json!({"field": "v", "n": 2, "least": true})),
            [r#"{"key":"k","top":[{"v":2,"n":0},{"v":2,"n":2}],"count":4,"start":0,"end":0}"#]
        );
        assert_eq!(
            listed(json!({"field": "v", "n": 1, "pane": true})),
            [r#"{"key":"k","top":[{"v":9,"n":1}],"count":4,"start":0,"end":0,"pane":0}"#]
        );
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let events: Vec<Event> = (0..40)
            .map(|n| event(&format!(r#"{{"v":{},"n":{n}}}"#, n * 7 % 11)))
            .collect();
        let mut top = top(&json!({"field": "/v", "n": 5}));
        let parts: Vec<Vec<Event>> = events.chunks(9).map(<[Event]>::to_vec).collect();
        assert_eq!(top.reduce_parts(parts), top.reduce(events));
    }

    #[test]
    fn integers_are_told_apart_digit_for_digit() {
        let events = [r#"{"v":9007199254740992}"#, r#"{"v":9007199254740993}"#].map(event);
        let listed = top(&json!({"field": "v", "n": 1})).reduce(events).text();
        assert!(listed[0].contains("[{\"v\":9007199254740993}]"), "{listed:?}");
    }

    #[test]
    fn what_cannot_be_ranked_is_rejected() {
        let outcome = top(&json!({"field": "v", "n": 1})).reduce([event(r#"{"v":"high"}"#), event(r#"{"v":1}"#)]);
        assert_eq!(
            (outcome.rejected.len(), outcome.json()[0]["count"].clone()),
            (1, json!(1))
        );
        let refused = Tester::<Top>::open(&json!({"field": "v", "n": 0})).unwrap_err();
        assert!(refused.message().contains("may be 1 to 1000"));
    }
}

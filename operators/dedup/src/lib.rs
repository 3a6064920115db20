//! `builtin:dedup`: the first event of each key, and no other until the key has been forgotten.

use dirigo_operator::{Lapse, prelude::*};

/// What has its key for an identity: the `key` of the operator in the pipeline file says which events are the same.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long after the first event of a key others of it are dropped, in event time. Without it the key is never forgotten.
    forget_after: Option<Lapse>,
}

/// Drops events whose key was there before.
#[derive(Debug)]
pub struct Dedup {
    forget_after_ms: Option<i64>,
}

/// The timer that forgets a key.
const FORGET: &str = "forget";

#[operator]
impl Process for Dedup {
    type Config = Config;
    type Event = Json;
    /// The time of the first event.
    type State = i64;
    type Output = Json;

    fn open(config: Config) -> Result<Self> {
        let forget_after_ms = config.forget_after.map(Lapse::ms);
        if forget_after_ms == Some(0) {
            reject!("`forget_after` is less than 1 ms: no event would be dropped");
        }
        Ok(Dedup { forget_after_ms })
    }

    fn event(&mut self, event: &Json, key: &mut Context<'_, Self>) -> Result<()> {
        let now = key.time();
        // The timer may fire some time after it is due.
        let is_known = |first: &i64| self.forget_after_ms.is_none_or(|ms| now < first.saturating_add(ms));
        if key.known().is_some_and(is_known) {
            return Ok(());
        }
        *key.state() = now;
        if let Some(ms) = self.forget_after_ms {
            // What comes at that time is new: the timer fires behind the events of its time.
            key.set_timer(FORGET, now.saturating_add(ms - 1));
        }
        key.push(event)
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        key.forget();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    fn event(key: &str, time: i64, n: i64) -> Event {
        Event::from(json!({ "n": n })).key(key).at(time)
    }

    #[test]
    fn the_first_event_of_a_key_passes_as_it_is() {
        let mut dedup = ProcessTester::<Dedup>::open(&json!({})).unwrap();
        let outcome = dedup.events([event("a", 0, 1), event("b", 0, 2), event("a", 1_000_000_000, 3)]);
        assert_eq!(outcome.json(), [json!({"n": 1}), json!({"n": 2})]);
        assert!(dedup.end().outputs.is_empty());
    }

    #[test]
    fn a_key_is_forgotten_after_a_while() {
        let mut dedup = ProcessTester::<Dedup>::open(&json!({"forget_after": "10ms"})).unwrap();
        assert_eq!(dedup.events([event("a", 0, 1), event("a", 9, 2)]).json().len(), 1);
        dedup.advance(9);
        assert_eq!(dedup.keys_kept(), 0);
        // Whether the timer has fired or not, an event is new then.
        assert_eq!(dedup.events([event("a", 10, 3), event("a", 20, 4)]).json().len(), 2);
    }

    #[test]
    fn a_lapse_of_nothing_is_refused() {
        let refused = ProcessTester::<Dedup>::open(&json!({"forget_after": "0s"})).unwrap_err();
        assert!(refused.message().contains("less than 1 ms"));
    }
}

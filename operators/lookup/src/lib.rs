//! `builtin:lookup`: events with the newest row of a table that has their key.
//!
//! The first of the `inputs` has the events, the second the rows: a row replaces the one before it that has its key. With `order = "time"` an
//! event meets the row that was the newest at its time.

use dirigo_operator::{Lapse, prelude::*};
use serde_json::value::RawValue;

/// The `config` of a `builtin:lookup`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether events come out, too, whose key has no row, with null for it.
    #[serde(default)]
    keep: bool,
    /// How long after its time a row is forgotten, if no other replaces it. Without it a row is kept for ever.
    forget_after: Option<Lapse>,
}

/// Looks rows up.
#[derive(Debug)]
pub struct Lookup {
    keeps: bool,
    forget_after_ms: Option<i64>,
}

/// The timer that forgets a row.
const FORGET: &str = "forget";

/// A row, and from when on it is forgotten.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Row {
    json: Box<str>,
    forgotten_at: Option<i64>,
}

#[operator]
impl Process for Lookup {
    type Config = Config;
    type Event = Json;
    type State = Row;
    type Output = Json;

    fn open(config: Config) -> Result<Self> {
        let forget_after_ms = config.forget_after.map(Lapse::ms);
        if forget_after_ms == Some(0) {
            reject!("`forget_after` is less than 1 ms: no row would be found");
        }
        Ok(Lookup {
            keeps: config.keep,
            forget_after_ms,
        })
    }

    fn event(&mut self, event: &Json, key: &mut Context<'_, Self>) -> Result<()> {
        let value: &RawValue = serde_json::from_slice(event.as_bytes())?;
        let now = key.time();
        match key.input() {
            0 => self.look_up(value, key),
            1 => {
                let forgotten_at = self.forget_after_ms.map(|ms| now.saturating_add(ms));
                *key.state() = Row {
                    json: value.get().into(),
                    forgotten_at,
                };
                if let Some(time) = forgotten_at {
                    // The timer fires behind the events of its time, for which the row is gone.
                    key.set_timer(FORGET, time - 1);
                }
                Ok(())
            }
            _ => reject!("a lookup has two inputs"),
        }
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        key.forget();
        Ok(())
    }
}

impl Lookup {
    fn look_up(&self, event: &RawValue, key: &mut Context<'_, Self>) -> Result<()> {
        let now = key.time();
        // The timer may fire some time after it is due.
        let is_there = |row: &&Row| row.forgotten_at.is_none_or(|time| now < time);
        let row = key.known().filter(is_there);
        if row.is_none() && !self.keeps {
            return Ok(());
        }
        let row = row.map_or("null", |row| &row.json);
        let mut value = b"{\"key\":".to_vec();
        serde_json::to_writer(&mut value, &key.key_str())?;
        for part in [",\"event\":", event.get(), ",\"row\":", row, "}"] {
            value.extend_from_slice(part.as_bytes());
        }
        key.push(Json::new(&value))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::{Value, json};

    use super::*;

    fn lookup(config: &Value) -> ProcessTester<Lookup> {
        ProcessTester::open(config).unwrap()
    }

    fn event(time: i64, n: i64) -> Event {
        Event::from(json!(n)).key("k").at(time)
    }

    fn found(event: i64, row: impl Into<Value>) -> Value {
        json!({"key": "k", "event": event, "row": row.into()})
    }

    #[test]
    fn an_event_meets_the_newest_row_of_its_key() {
        let mut lookup = lookup(&json!({}));
        assert!(lookup.events([event(0, 1)]).outputs.is_empty(), "there is no row");
        assert!(lookup.events_of(1, [event(1, -1), event(2, -2)]).outputs.is_empty());
        assert_eq!(
            lookup.events([event(3, 2), event(4, 3)]).json(),
            [found(2, -2), found(3, -2)]
        );
    }

    #[test]
    fn events_without_a_row_come_out_where_they_are_kept() {
        let mut lookup = lookup(&json!({"keep": true}));
        assert_eq!(lookup.events([event(0, 1)]).json(), [found(1, Value::Null)]);
    }

    #[test]
    fn a_row_is_forgotten_after_a_while() {
        let mut lookup = lookup(&json!({"forget_after": "10ms"}));
        lookup.events_of(1, [event(0, -1)]);
        assert_eq!(lookup.events([event(9, 1), event(10, 2)]).json(), [found(1, -1)]);
        lookup.events_of(1, [event(11, -2)]);
        lookup.advance(9);
        assert_eq!(
            lookup.events([event(20, 3)]).json(),
            [found(3, -2)],
            "another one replaced it"
        );
        lookup.advance(20);
        assert_eq!(lookup.keys_kept(), 0);
    }

    #[test]
    fn what_is_no_json_is_rejected() {
        let outcome = lookup(&json!({})).events_of(1, ["{"]);
        assert_eq!(outcome.rejected.len(), 1);
    }
}

//! Says which sensors are silent, and which are back.

use dirigo_operator::prelude::*;

/// The `config` of the operator in the pipeline file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How long after its last reading a sensor is silent, in ms.
    after_ms: i64,
}

/// An event: JSON with at least this field, which arrives as a column.
#[derive(Event)]
struct Reading {
    value: f64,
}

/// What is known of a sensor. The host keeps it: it outlives this instance, and crashes.
#[derive(Default, Serialize, Deserialize)]
struct Sensor {
    last_value: f64,
    last_time: i64,
    is_silent: bool,
}

/// What is put out.
#[derive(Event)]
struct Change {
    sensor: String,
    event: String,
    since: i64,
    last_value: f64,
}

struct Silence {
    after_ms: i64,
}

impl Silence {
    fn change(event: &str, key: &mut Context<'_, Self>) -> Change {
        let sensor = key.key_str().into_owned();
        let known = key.state();
        Change {
            sensor,
            event: event.to_owned(),
            since: known.last_time,
            last_value: known.last_value,
        }
    }
}

#[operator]
impl Process for Silence {
    type Config = Config;
    type Event = Reading;
    type State = Sensor;
    type Output = Change;

    fn open(config: Config) -> Result<Self> {
        if config.after_ms <= 0 {
            reject!("`after_ms` is {}, and has to be positive", config.after_ms);
        }
        Ok(Silence { after_ms: config.after_ms })
    }

    fn event(&mut self, event: &Reading, key: &mut Context<'_, Self>) -> Result<()> {
        if key.state().is_silent {
            let change = Self::change("back", key);
            key.push(&change)?;
        }
        let now = key.time();
        *key.state() = Sensor {
            last_value: event.value,
            last_time: now,
            is_silent: false,
        };
        // In place of the one that the reading before has set.
        key.set_timer("silent", now + self.after_ms);
        Ok(())
    }

    fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        key.state().is_silent = true;
        let change = Self::change("silent", key);
        key.push(&change)
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, ProcessTester};
    use serde_json::json;

    use super::*;

    fn reading(time: i64, value: f64) -> Event {
        Event::from(json!({"value": value})).key("kitchen").at(time)
    }

    #[test]
    fn a_sensor_is_silent_after_a_while_and_back_with_its_next_reading() {
        let mut silence = ProcessTester::<Silence>::open(&json!({"after_ms": 60_000})).unwrap();
        silence.events([reading(0, 20.0), reading(30_000, 20.5)]);
        assert!(silence.advance(89_999).outputs.is_empty());
        let silent = json!({"sensor": "kitchen", "event": "silent", "since": 30_000, "last_value": 20.5});
        assert_eq!(silence.advance(90_000).json(), [silent]);
        let back = json!({"sensor": "kitchen", "event": "back", "since": 30_000, "last_value": 20.5});
        assert_eq!(silence.events([reading(150_000, 21.0)]).json(), [back]);
        assert_eq!(silence.timers("kitchen"), [("silent".to_owned(), 210_000)]);
    }
}

//! `builtin:window`: the extremes of a field per key and window.

use dirigo_operator::prelude::*;

/// The `config` of a `builtin:window`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to look at: its name, or a JSON pointer.
    field: Field,
}

/// The extremes so far, and of how many events.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Range {
    min: f64,
    max: f64,
    count: u64,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Summary {
    key: String,
    min: f64,
    max: f64,
    count: u64,
    start: i64,
    end: i64,
}

/// Finds the extremes of a field.
#[derive(Debug)]
pub struct Extremes {
    field: Field,
}

#[operator]
impl Reduce for Extremes {
    type Config = Config;
    type Event = Json;
    type Accumulator = Range;
    type Output = Summary;

    fn open(config: Config) -> Result<Self> {
        Ok(Extremes { field: config.field })
    }

    fn zero(&self) -> Range {
        Range {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            count: 0,
        }
    }

    fn add(&mut self, range: &mut Range, event: &Json) -> Result<()> {
        let number = event.at(&self.field)?.number()?;
        *range = self.merge(
            *range,
            Range {
                min: number,
                max: number,
                count: 1,
            },
        );
        Ok(())
    }

    fn merge(&mut self, left: Range, right: Range) -> Range {
        Range {
            min: left.min.min(right.min),
            max: left.max.max(right.max),
            count: left.count + right.count,
        }
    }

    fn finish(&mut self, window: &Window<'_>, Range { min, max, count }: Range) -> Result<Summary> {
        if count == 0 {
            reject!("a window without events has no extremes");
        }
        Ok(Summary {
            key: window.key_str().into_owned(),
            min,
            max,
            count,
            start: window.start,
            end: window.end,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
    use serde_json::json;

    use super::*;

    fn extremes() -> Tester<Extremes> {
        Tester::open(&json!({"field": "/v"})).unwrap()
    }

    fn reading(key: &str, time: i64, value: f64) -> Event {
        Event::from(json!({"v": value})).key(key).at(time)
    }

    #[test]
    fn each_key_has_extremes_of_its_own() {
        let outcome = extremes().reduce([reading("a", 1, 2.0), reading("b", 2, 7.0), reading("a", 3, -1.5)]);
        assert_eq!(
            outcome.text(),
            [
                r#"{"key":"a","min":-1.5,"max":2.0,"count":2,"start":1,"end":3}"#,
                r#"{"key":"b","min":7.0,"max":7.0,"count":1,"start":2,"end":2}"#,
            ]
        );
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let readings = [reading("a", 1, 2.0), reading("a", 2, 5.0), reading("a", 3, -1.5)];
        let parts = readings.each_ref().map(|reading| [reading.clone()]);
        assert_eq!(extremes().reduce_parts(parts), extremes().reduce(readings));
    }

    #[test]
    fn a_missing_setting_is_named() {
        let refused = Tester::<Extremes>::open(&json!({})).unwrap_err();
        assert_eq!(refused.message(), "missing field `field`");
    }
}

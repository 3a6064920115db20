//! `builtin:window`: the extremes of a field per key and window.

use dirigo_operator::{
    Number,
    fields::{FieldType, Read},
    prelude::*,
};

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
    min: Number,
    max: Number,
    count: u64,
}

/// What version 1 kept.
type RangeV1 = (f64, f64, u64);

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Summary {
    key: String,
    min: Number,
    max: Number,
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
    const STATE_VERSION: u32 = 2;
    const OLDEST_STATE_VERSION: u32 = 1;

    type Config = Config;
    type Event = Row;
    type Accumulator = Range;
    type Output = Summary;

    fn open(config: Config) -> Result<Self> {
        Ok(Extremes { field: config.field })
    }

    fn schema(&self) -> Schema {
        Schema {
            reads: vec![Read::required(self.field.clone(), FieldType::F64).exact()],
            ..Schema::of::<Row, Summary>()
        }
    }

    fn zero(&self) -> Range {
        Range {
            min: f64::INFINITY.into(),
            max: f64::NEG_INFINITY.into(),
            count: 0,
        }
    }

    fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Range> {
        if from != 1 {
            return Err(stored.unknown());
        }
        let (min, max, count): RangeV1 = stored.read()?;
        Ok(Range {
            min: min.into(),
            max: max.into(),
            count,
        })
    }

    fn add(&mut self, range: &mut Range, event: &Row) -> Result<()> {
        let number = event.number_exact(0);
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
            min: if right.min < left.min { right.min } else { left.min },
            max: if right.max > left.max { right.max } else { left.max },
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
    use dirigo_operator::{
        columns::Windows,
        reduce::{finish_batch, migrate_batch},
        testing::{Event, Tester},
    };
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
    fn integers_keep_their_digits() {
        let reading = |number: &str| Event::from(&*format!(r#"{{"v":{number}}}"#)).key("a");
        let outcome = extremes().reduce(["9007199254740995", "9007199254740993"].map(reading));
        assert_eq!(
            outcome.text(),
            [r#"{"key":"a","min":9007199254740993,"max":9007199254740995,"count":2,"start":0,"end":0}"#]
        );
    }

    #[test]
    fn state_of_version_1_goes_on() {
        let stored: Vec<u8> = [&[0], &(-1.5_f64).to_le_bytes()[..], &2.0_f64.to_le_bytes(), &[2]].concat();
        let mut extremes = Extremes {
            field: Field::new("v").unwrap(),
        };
        let migrated = migrate_batch(&mut extremes, 1, &[stored].into_iter().collect());
        let windows = Windows {
            keys: ["a"].into_iter().collect(),
            panes: vec![0],
            starts: vec![0],
            ends: vec![0],
            counts: vec![2],
        };
        let finished = finish_batch(&mut extremes, &windows, &migrated.accumulators);
        assert_eq!(
            finished.values.unwrap().get(0),
            br#"{"key":"a","min":-1.5,"max":2.0,"count":2,"start":0,"end":0}"#
        );
    }

    #[test]
    fn a_missing_setting_is_named() {
        let refused = Tester::<Extremes>::open(&json!({})).unwrap_err();
        assert_eq!(refused.message(), "missing field `field`");
    }
}

//! `builtin:reduce`: one aggregate of a field per key and window.

mod sum;
mod summary;
mod wide;

use dirigo_operator::{
    Number,
    fields::{FieldType, OutputMode, Read},
    prelude::*,
};

use crate::{sum::Sum, summary::Summary};

/// The `config` of a `builtin:reduce`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to aggregate: its name, or a JSON pointer. A count needs none.
    field: Option<Field>,
    aggregate: Aggregate,
    /// Whether results have `pane`: how often their window was finished before, which is 0 but where it takes late events in or has early results.
    #[serde(default)]
    pane: bool,
}

/// What a window becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// The arithmetic mean.
    Avg,
    /// The sum.
    Sum,
    /// The least number.
    Min,
    /// The greatest number.
    Max,
    /// The number of events.
    Count,
}

/// What is known of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accumulator {
    value: Folded,
    /// How many events it has.
    count: u64,
}

/// What the numbers of a window came to so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Folded {
    /// Their sum; nothing, where events are counted.
    Sum(Sum),
    /// The least or the greatest of them, infinite where there is none.
    Extreme(Number),
}

/// What version 1 kept: a sum that was rounded with each addition, or the extreme.
#[derive(Deserialize)]
struct AccumulatorV1 {
    value: f64,
    count: u64,
}

/// Folds the numbers of a field.
#[derive(Debug)]
pub struct Fold {
    field: Option<Field>,
    aggregate: Aggregate,
    has_pane: bool,
}

#[operator]
impl Reduce for Fold {
    const STATE_VERSION: u32 = 2;
    const OLDEST_STATE_VERSION: u32 = 1;
    /// Sums are exact, whatever the order.
    const ASSOCIATIVE: bool = true;

    type Config = Config;
    type Event = Row;
    type Accumulator = Accumulator;
    type Output = Summary;

    fn open(Config { field, aggregate, pane }: Config) -> Result<Self> {
        if field.is_none() && aggregate != Aggregate::Count {
            reject!("missing field `field`: only `aggregate = \"count\"` does without");
        }
        Ok(Fold {
            field,
            aggregate,
            has_pane: pane,
        })
    }

    fn schema(&self) -> Schema {
        let number = |field: &Field| Read::required(field.clone(), FieldType::F64).exact();
        Schema {
            reads: self.field.iter().map(number).collect(),
            raw: false,
            writes: Summary::fields(self.aggregate, self.has_pane),
            outputs: OutputMode::Replace,
        }
    }

    fn zero(&self) -> Accumulator {
        Accumulator {
            value: match self.aggregate {
                Aggregate::Min => Folded::Extreme(f64::INFINITY.into()),
                Aggregate::Max => Folded::Extreme(f64::NEG_INFINITY.into()),
                Aggregate::Avg | Aggregate::Sum | Aggregate::Count => Folded::Sum(Sum::ZERO),
            },
            count: 0,
        }
    }

    fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Accumulator> {
        if from != 1 {
            return Err(stored.unknown());
        }
        let AccumulatorV1 { value, count } = stored.read()?;
        let value = match self.aggregate {
            Aggregate::Min | Aggregate::Max => Folded::Extreme(value.into()),
            Aggregate::Avg | Aggregate::Sum | Aggregate::Count => Folded::Sum(value.into()),
        };
        Ok(Accumulator { value, count })
    }

    #[inline]
    fn add(&mut self, accumulator: &mut Accumulator, event: &Row) -> Result<()> {
        if self.field.is_some() {
            let number = event.number_exact(0);
            self.adopt(&mut accumulator.value);
            match &mut accumulator.value {
                Folded::Sum(sum) => sum.add(number),
                Folded::Extreme(extreme) => *extreme = self.extreme(*extreme, number),
            }
        }
        accumulator.count += 1;
        Ok(())
    }

    fn merge(&mut self, mut left: Accumulator, mut right: Accumulator) -> Accumulator {
        self.adopt(&mut left.value);
        self.adopt(&mut right.value);
        match (&mut left.value, &right.value) {
            (Folded::Sum(left), Folded::Sum(right)) => left.merge(right),
            (Folded::Extreme(left), Folded::Extreme(right)) => *left = self.extreme(*left, *right),
            _ => unreachable!("both are what this aggregate keeps"),
        }
        left.count += right.count;
        left
    }

    fn finish(&mut self, window: &Window<'_>, Accumulator { mut value, count }: Accumulator) -> Result<Summary> {
        if self.aggregate == Aggregate::Count {
            return Summary::new(window, None, count, self.has_pane);
        }
        let name = summary::name(self.aggregate);
        self.adopt(&mut value);
        let value = match value {
            Folded::Extreme(extreme) => extreme,
            Folded::Sum(sum) if self.aggregate == Aggregate::Avg => sum.average(count),
            Folded::Sum(sum) => match sum.total() {
                Ok(total) => total,
                Err(nearest) => reject!("the {name} of {count} events is beyond 64 bits: about {nearest:e}"),
            },
        };
        if !value.nearest().is_finite() {
            reject!("the {name} of {count} events is out of range: {value}");
        }
        Summary::new(window, Some(value), count, self.has_pane)
    }
}

impl Fold {
    /// Makes what this aggregate keeps of what another one kept, where a user has accepted that (`dirigo state migrate --accept`).
    #[inline]
    fn adopt(&self, value: &mut Folded) {
        let keeps_extreme = matches!(self.aggregate, Aggregate::Min | Aggregate::Max);
        if keeps_extreme != matches!(value, Folded::Extreme(_)) {
            *value = adopted(value);
        }
    }

    #[inline]
    fn extreme(&self, one: Number, other: Number) -> Number {
        let is_less = other < one;
        if is_less == (self.aggregate == Aggregate::Min) {
            other
        } else {
            one
        }
    }
}

#[cold]
fn adopted(value: &Folded) -> Folded {
    match value {
        Folded::Sum(sum) => Folded::Extreme(sum.total().unwrap_or_else(Number::from)),
        Folded::Extreme(extreme) => {
            let mut sum = Sum::ZERO;
            sum.add(*extreme);
            Folded::Sum(sum)
        }
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::{
        columns::{Batch, FieldColumn, FieldValues, Windows},
        reduce::{accumulate_batch, migrate_batch},
        testing::{Event, Tester},
    };
    use serde_json::{Value, json};

    use super::*;

    fn fold(config: &Value) -> Tester<Fold> {
        Tester::open(config).unwrap()
    }

    /// Readings of the sensor `a`, one second apart.
    fn readings(values: &[f64]) -> Vec<Event> {
        (0..)
            .zip(values)
            .map(|(i, value)| Event::from(json!({"v": value})).key("a").at(i * 1_000))
            .collect()
    }

    #[test]
    fn each_aggregate_has_its_own_name_in_the_output() {
        let output = |aggregate: &str| {
            fold(&json!({"field": "v", "aggregate": aggregate}))
                .reduce(readings(&[1.0, -2.5, 4.0]))
                .text()
                .concat()
        };
        assert_eq!(
            output("avg"),
            r#"{"key":"a","avg":0.8333333333333334,"count":3,"start":0,"end":2000}"#
        );
        assert_eq!(output("sum"), r#"{"key":"a","sum":2.5,"count":3,"start":0,"end":2000}"#);
        assert_eq!(
            output("min"),
            r#"{"key":"a","min":-2.5,"count":3,"start":0,"end":2000}"#
        );
        assert_eq!(output("max"), r#"{"key":"a","max":4.0,"count":3,"start":0,"end":2000}"#);
        assert_eq!(output("count"), r#"{"key":"a","count":3,"start":0,"end":2000}"#);
    }

    #[test]
    fn a_count_needs_no_field_and_takes_any_event() {
        let outcome = fold(&json!({"aggregate": "count"})).reduce(["no JSON", "[]"]);
        assert_eq!(outcome.text(), [r#"{"key":"","count":2,"start":0,"end":0}"#]);
    }

    /// Readings with these numbers, as they are written.
    fn written(numbers: &[&str]) -> Vec<Event> {
        let event = |number: &&str| Event::from(&*format!(r#"{{"v":{number}}}"#)).key("a");
        numbers.iter().map(event).collect()
    }

    /// What a window of these numbers emits, or why it is rejected.
    fn aggregated(aggregate: &str, numbers: &[&str]) -> String {
        let outcome = fold(&json!({"field": "v", "aggregate": aggregate})).reduce(written(numbers));
        match outcome.text().first() {
            Some(output) => {
                let (_, rest) = output.split_once(&format!("\"{aggregate}\":")).unwrap();
                rest.split_once(',').unwrap().0.to_owned()
            }
            None => outcome.rejection(0).unwrap().to_owned(),
        }
    }

    #[test]
    fn sums_and_averages_are_rounded_once() {
        let cancelling = ["1e16", "1", "-1e16"];
        assert_eq!(aggregated("sum", &cancelling), "1.0");
        assert_eq!(aggregated("avg", &cancelling), "0.3333333333333333");
        assert_eq!(aggregated("sum", &["0.1"; 10]), "1.0");
        assert_eq!(aggregated("avg", &["0.1"; 10]), "0.1");
        let large = ["1e308", "1e308", "-1e308"];
        assert_eq!(aggregated("sum", &large), "1e+308");
        assert_eq!(aggregated("avg", &large), "3.333333333333333e+307");
        assert_eq!(aggregated("avg", &large[..2]), "1e+308");
        assert_eq!(
            aggregated("sum", &large[..2]),
            "the sum of 2 events is out of range: inf"
        );
    }

    #[test]
    fn integers_keep_their_digits() {
        let long = ["9007199254740993", "9007199254740992", "9007199254740994.0"];
        assert_eq!(aggregated("sum", &long), "27021597764222979");
        assert_eq!(aggregated("avg", &long), "9007199254740993");
        assert_eq!(aggregated("max", &long[..2]), "9007199254740993");
        assert_eq!(aggregated("min", &["9007199254740995", long[0]]), "9007199254740993");
        assert_eq!(
            aggregated("sum", &["9223372036854775807", "-9223372036854775807"]),
            "0.0"
        );
        assert_eq!(
            aggregated("sum", &["9223372036854775807", "1"]),
            "9.223372036854776e+18"
        );
        assert_eq!(
            aggregated("sum", &["9223372036854775807"; 3]),
            "the sum of 3 events is beyond 64 bits: about 2.7670116110564327e19"
        );
        assert_eq!(aggregated("avg", &["9223372036854775807"; 3]), "9223372036854775807");
        let outcome = fold(&json!({"field": "v", "aggregate": "max"})).reduce(written(&["18446744073709551615", "1"]));
        assert_eq!(
            outcome.rejection(0),
            Some("field `v` is the integer 18446744073709551615, which neither f64 nor s64 holds")
        );
    }

    /// What a window emits of which version 1 kept this, once these numbers are in as well.
    fn continued(aggregate: Aggregate, value: f64, count: u8, numbers: &[f64]) -> String {
        let stored: Vec<u8> = [&[0], &value.to_le_bytes()[..], &[count]].concat();
        let field = Some(Field::new("v").unwrap());
        let mut fold = Fold {
            field,
            aggregate,
            has_pane: false,
        };
        let migrated = migrate_batch(&mut fold, 1, &[stored].into_iter().collect());
        assert_eq!(migrated.failures, []);
        let batch = Batch {
            times: vec![0; numbers.len()],
            keys: vec!["a"; numbers.len()].into_iter().collect(),
            fields: vec![FieldColumn {
                validity: None,
                values: FieldValues::F64(numbers.to_vec()),
            }],
            ..Batch::default()
        };
        let closing = Windows {
            keys: ["a"].into_iter().collect(),
            panes: vec![0],
            starts: vec![0],
            ends: vec![0],
            counts: vec![u64::from(count) + numbers.len() as u64],
        };
        let groups = vec![0; numbers.len()];
        let folded = accumulate_batch(&mut fold, &batch, &groups, &migrated.accumulators, &closing);
        let outputs = folded.outputs;
        if let Some(failure) = outputs.failures.first() {
            return failure.message.clone();
        }
        let FieldValues::Json(values) = &outputs.fields[1].values else {
            return format!("{:?}", outputs.fields[1].values);
        };
        String::from_utf8(values.get(0).to_vec()).unwrap()
    }

    #[test]
    fn what_another_aggregate_kept_counts_as_what_this_one_would_have_kept() {
        let mut sum = Sum::ZERO;
        [1.5, 2.0].iter().for_each(|number| sum.add((*number).into()));
        let mut fold = Fold {
            field: Some(Field::new("v").unwrap()),
            aggregate: Aggregate::Max,
            has_pane: false,
        };
        let mut value = Folded::Sum(sum);
        fold.adopt(&mut value);
        assert_eq!(value, Folded::Extreme(3.5.into()));
        fold.aggregate = Aggregate::Sum;
        fold.adopt(&mut value);
        assert_eq!(value, Folded::Sum(3.5.into()));
    }

    #[test]
    fn state_of_version_1_goes_on() {
        assert_eq!(continued(Aggregate::Sum, 1.5, 2, &[0.25]), "1.75");
        assert_eq!(continued(Aggregate::Avg, 1.5, 1, &[1.0, 2.0]), "1.5");
        assert_eq!(continued(Aggregate::Min, -1.5, 2, &[4.0]), "-1.5");
        assert_eq!(continued(Aggregate::Max, -1.5, 2, &[4.0]), "4.0");
        assert_eq!(continued(Aggregate::Count, 0.0, 2, &[4.0]), "S64([3])");
        assert_eq!(
            continued(Aggregate::Sum, f64::INFINITY, 2, &[1.0]),
            "the sum of 3 events is out of range: inf"
        );
    }

    #[test]
    fn parts_merge_to_the_whole() {
        for aggregate in ["avg", "sum", "min", "max", "count"] {
            let mut fold = fold(&json!({"field": "v", "aggregate": aggregate}));
            let values = readings(&[3.0, 1.0, 4.0, 1.5, 9.0]);
            let whole = fold.reduce(values.clone());
            let parts = [values[..2].to_vec(), Vec::new(), values[2..].to_vec()];
            assert_eq!(fold.reduce_parts(parts), whole, "{aggregate}");
        }
    }

    #[test]
    fn an_event_without_a_number_is_rejected_and_the_others_count() {
        let mut events = readings(&[1.0, 2.0]);
        events.insert(1, Event::from(json!({"v": "x"})).key("a").at(500));
        let outcome = fold(&json!({"field": "v", "aggregate": "sum"})).reduce(events);
        assert_eq!(
            outcome.rejection(1),
            Some("field `v` is the string \"x\", not a number")
        );
        assert_eq!(outcome.json()[0]["sum"], 3.0);
    }

    #[test]
    fn a_sum_out_of_range_rejects_its_window() {
        let outcome = fold(&json!({"field": "v", "aggregate": "sum"})).reduce(readings(&[1e308, 1e308]));
        assert_eq!(outcome.rejection(0), Some("the sum of 2 events is out of range: inf"));
    }

    #[test]
    fn a_key_that_is_not_utf8_is_written_as_well_as_can_be() {
        let outcome = fold(&json!({"aggregate": "count"})).reduce([Event::from("1").key(b"a\xff")]);
        assert_eq!(outcome.json()[0]["key"], "a\u{fffd}");
    }

    #[test]
    fn a_wrong_setting_is_refused_by_name() {
        let refusal = |config: Value| Tester::<Fold>::open(&config).unwrap_err().message().to_owned();
        assert_eq!(
            refusal(json!({"aggregate": "avg"})),
            "missing field `field`: only `aggregate = \"count\"` does without"
        );
        assert_eq!(
            refusal(json!({"field": "v", "aggregate": "mean"})),
            "unknown variant `mean`, expected one of `avg`, `sum`, `min`, `max`, `count`"
        );
    }
}

//! `builtin:reduce`: one aggregate of a field per key and window.

mod summary;

use dirigo_operator::{
    fields::{FieldType, Read},
    prelude::*,
};

use crate::summary::Summary;

/// The `config` of a `builtin:reduce`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to aggregate: its name, or a JSON pointer. A count needs none.
    field: Option<Field>,
    aggregate: Aggregate,
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

impl Aggregate {
    /// What it begins with, and what changes nothing.
    fn zero(self) -> f64 {
        match self {
            Aggregate::Min => f64::INFINITY,
            Aggregate::Max => f64::NEG_INFINITY,
            Aggregate::Avg | Aggregate::Sum | Aggregate::Count => 0.0,
        }
    }

    fn combine(self, left: f64, right: f64) -> f64 {
        match self {
            Aggregate::Min => left.min(right),
            Aggregate::Max => left.max(right),
            Aggregate::Avg | Aggregate::Sum | Aggregate::Count => left + right,
        }
    }
}

/// What is known of a window: the sum or extreme so far, and of how many events.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Accumulator {
    value: f64,
    count: u64,
}

/// Folds the numbers of a field.
#[derive(Debug)]
pub struct Fold {
    field: Option<Field>,
    aggregate: Aggregate,
}

#[operator]
impl Reduce for Fold {
    type Config = Config;
    type Event = Row;
    type Accumulator = Accumulator;
    type Output = Summary;

    fn open(Config { field, aggregate }: Config) -> Result<Self> {
        if field.is_none() && aggregate != Aggregate::Count {
            reject!("missing field `field`: only `aggregate = \"count\"` does without");
        }
        Ok(Fold { field, aggregate })
    }

    fn schema(&self) -> Schema {
        let number = |field: &Field| Read::required(field.clone(), FieldType::F64);
        Schema {
            reads: self.field.iter().map(number).collect(),
            ..Schema::of::<Row, Summary>()
        }
    }

    fn zero(&self) -> Accumulator {
        Accumulator {
            value: self.aggregate.zero(),
            count: 0,
        }
    }

    #[inline]
    fn add(&mut self, accumulator: &mut Accumulator, event: &Row) -> Result<()> {
        if self.field.is_some() {
            accumulator.value = self.aggregate.combine(accumulator.value, event.number(0));
        }
        accumulator.count += 1;
        Ok(())
    }

    fn merge(&mut self, left: Accumulator, right: Accumulator) -> Accumulator {
        Accumulator {
            value: self.aggregate.combine(left.value, right.value),
            count: left.count + right.count,
        }
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "an average of 2^53 numbers is not exact anyway"
    )]
    fn finish(&mut self, window: &Window<'_>, Accumulator { value, count }: Accumulator) -> Result<Summary> {
        let value = if self.aggregate == Aggregate::Avg {
            value / count as f64
        } else {
            value
        };
        if !value.is_finite() {
            reject!(
                "the {} of {count} events is out of range: {value}",
                summary::name(self.aggregate)
            );
        }
        Ok(Summary::new(window, self.aggregate, value, count))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::{Event, Tester};
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

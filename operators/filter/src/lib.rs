//! `builtin:filter`: keeps the events whose field lies in a range, equals a constant, or is null.

use dirigo_operator::{
    Number,
    fields::{FieldType, Read},
    json::Kind,
    prelude::*,
};

/// The `config` of a `builtin:filter`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to look at: its name, or a JSON pointer.
    field: Field,
    /// Keeps numbers above it.
    threshold: Option<Number>,
    /// Keeps numbers from it on.
    min: Option<Number>,
    /// Keeps numbers up to it.
    max: Option<Number>,
    /// Keeps what equals it.
    #[serde(default, deserialize_with = "given")]
    equals: Option<Constant>,
    /// Keeps what is null or missing (`true`), or what has a value (`false`).
    is_null: Option<bool>,
}

/// What a field can be compared with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "`equals` is a string, a number, true, false or null")]
enum Constant {
    Null,
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

/// `equals = null` is a condition, not the lack of one.
fn given<'de, D: serde::Deserializer<'de>>(setting: D) -> Result<Option<Constant>, D::Error> {
    Constant::deserialize(setting).map(Some)
}

/// What a field has to be.
#[derive(Debug)]
enum Condition {
    Within {
        above: Number,
        min: Number,
        max: Number,
    },
    /// Digit for digit, however it is written.
    Integer(i64),
    Number(f64),
    Text(String),
    Bool(bool),
    Null,
    NullOrMissing(bool),
}

/// Keeps the events whose field meets the condition.
#[derive(Debug)]
pub struct Keep {
    field: Field,
    condition: Condition,
}

#[operator]
impl Filter for Keep {
    type Config = Config;
    type Event = Row;

    fn open(config: Config) -> Result<Self> {
        Ok(Keep {
            condition: condition(&config)?,
            field: config.field,
        })
    }

    fn schema(&self) -> Schema {
        let field_type = match self.condition {
            Condition::Within { .. } => FieldType::F64,
            Condition::Text(_) => FieldType::Text,
            Condition::Bool(_) => FieldType::Boolean,
            Condition::Integer(_) | Condition::Number(_) | Condition::Null | Condition::NullOrMissing(_) => {
                FieldType::Json
            }
        };
        let is_optional = matches!(self.condition, Condition::NullOrMissing(_));
        let read = if is_optional { Read::optional } else { Read::required };
        let read = read(self.field.clone(), field_type);
        Schema {
            reads: vec![match field_type {
                FieldType::F64 => read.exact(),
                _ => read,
            }],
            ..Schema::of_events::<Row>()
        }
    }

    #[inline]
    fn keep(&mut self, event: &Row) -> Result<bool> {
        Ok(match &self.condition {
            Condition::Within { above, min, max } => {
                let number = event.number_exact(0);
                number > *above && number >= *min && number <= *max
            }
            Condition::Integer(integer) => event.json(0).as_integer() == Some(*integer),
            Condition::Number(number) => {
                let value = event.json(0);
                value.as_number() == Some(*number) && value.as_long_integer(*number).is_none()
            }
            Condition::Text(text) => event.text(0) == text,
            Condition::Bool(truth) => event.truth(0) == *truth,
            Condition::Null => event.json(0).kind() == Kind::Null,
            Condition::NullOrMissing(is_kept) => {
                let has_value = event.has(0) && event.json(0).kind() != Kind::Null;
                has_value != *is_kept
            }
        })
    }
}

fn condition(config: &Config) -> Result<Condition> {
    let has_range = config.threshold.or(config.min).or(config.max).is_some();
    if let Some(is_null) = config.is_null {
        if has_range || config.equals.is_some() {
            reject!("`is_null` stands alone: leave out `threshold`, `min`, `max` and `equals`");
        }
        return Ok(Condition::NullOrMissing(is_null));
    }
    match &config.equals {
        Some(_) if has_range => reject!("`equals` stands alone: leave out `threshold`, `min` and `max`"),
        Some(Constant::Integer(integer)) => Ok(Condition::Integer(*integer)),
        Some(Constant::Number(number)) => Ok(Condition::Number(*number)),
        Some(Constant::Text(text)) => Ok(Condition::Text(text.clone())),
        Some(Constant::Bool(truth)) => Ok(Condition::Bool(*truth)),
        Some(Constant::Null) => Ok(Condition::Null),
        None if !has_range => {
            reject!(
                "there is no condition on field `{}`: give `threshold`, `min`, `max`, `equals` or `is_null`",
                config.field
            )
        }
        None => range(config),
    }
}

fn range(config: &Config) -> Result<Condition> {
    let above = config.threshold.unwrap_or(f64::NEG_INFINITY.into());
    let min = config.min.unwrap_or(f64::NEG_INFINITY.into());
    let max = config.max.unwrap_or(f64::INFINITY.into());
    if max < min || max <= above {
        reject!(
            "no number is below `max` = {max} and above `min` or `threshold` = {}",
            if above > min { above } else { min }
        );
    }
    Ok(Condition::Within { above, min, max })
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::{Value, json};

    use super::*;

    fn kept(config: &Value, events: &[&str]) -> Vec<usize> {
        let outcome = Tester::<Keep>::open(config).unwrap().filter(events.iter().copied());
        outcome.outputs.iter().map(|output| output.origin).collect()
    }

    fn refused(config: &Value, event: &str) -> String {
        let outcome = Tester::<Keep>::open(config).unwrap().filter([event]);
        outcome.rejection(0).unwrap().to_owned()
    }

    fn refusal(config: &Value) -> String {
        Tester::<Keep>::open(config).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_threshold_is_not_kept_itself() {
        let config = json!({"field": "v", "threshold": 50.0});
        assert_eq!(kept(&config, &[r#"{"v":50}"#, r#"{"v":50.1}"#, r#"{"v":-51}"#]), [1]);
    }

    #[test]
    fn min_and_max_are_kept_themselves() {
        let config = json!({"field": "v", "min": -1, "max": 1});
        assert_eq!(
            kept(&config, &[r#"{"v":-1}"#, r#"{"v":1.0}"#, r#"{"v":1.1}"#, r#"{"v":-2}"#]),
            [0, 1]
        );
    }

    #[test]
    fn integers_are_compared_digit_by_digit() {
        let events = [
            r#"{"v":9007199254740992}"#,
            r#"{"v":9007199254740993}"#,
            r#"{"v":9007199254740994}"#,
        ];
        let long = 9_007_199_254_740_992_i64;
        assert_eq!(kept(&json!({"field": "v", "threshold": long}), &events), [1, 2]);
        assert_eq!(kept(&json!({"field": "v", "threshold": long + 1}), &events), [2]);
        assert_eq!(kept(&json!({"field": "v", "max": long + 1}), &events), [0, 1]);
        assert_eq!(kept(&json!({"field": "v", "min": long + 1}), &events), [1, 2]);
        assert_eq!(
            kept(&json!({"field": "v", "equals": 9_007_199_254_740_992.0}), &events),
            [0]
        );
        assert_eq!(
            refused(&json!({"field": "v", "min": 0}), r#"{"v":18446744073709551615}"#),
            "field `v` is the integer 18446744073709551615, which neither f64 nor s64 holds"
        );
    }

    #[test]
    fn equality_is_of_values_not_of_spellings() {
        assert_eq!(
            kept(
                &json!({"field": "v", "equals": 100}),
                &[r#"{"v":1e2}"#, r#"{"v":100.5}"#]
            ),
            [0]
        );
        let large = json!({"field": "v", "equals": 9_007_199_254_740_993_i64});
        let neighbours = [
            r#"{"v":9007199254740992}"#,
            r#"{"v":9007199254740993}"#,
            r#"{"v":9007199254740993.0}"#,
        ];
        assert_eq!(kept(&large, &neighbours), [1, 2]);
        assert_eq!(
            kept(&json!({"field": "v", "equals": 0.5}), &[r#"{"v":5e-1}"#, r#"{"v":5}"#]),
            [0]
        );
        assert_eq!(
            kept(
                &json!({"field": "v", "equals": "é"}),
                &[r#"{"v":"\u00e9"}"#, r#"{"v":"e"}"#]
            ),
            [0]
        );
        assert_eq!(
            kept(
                &json!({"field": "v", "equals": true}),
                &[r#"{"v":true}"#, r#"{"v":false}"#]
            ),
            [0]
        );
        assert_eq!(
            kept(&json!({"field": "v", "equals": null}), &[r#"{"v":null}"#, r#"{"v":0}"#]),
            [0]
        );
    }

    #[test]
    fn no_value_of_another_type_equals_a_number() {
        let others = [
            r#"{"v":"1"}"#,
            r#"{"v":true}"#,
            r#"{"v":null}"#,
            r#"{"v":[1]}"#,
            r#"{"v":1}"#,
            r#"{"v":1.5}"#,
        ];
        assert_eq!(kept(&json!({"field": "v", "equals": 1}), &others), [4]);
        assert_eq!(kept(&json!({"field": "v", "equals": 1.5}), &others), [5]);
        for number in [json!(1), json!(1.5)] {
            assert_eq!(
                refused(&json!({"field": "v", "equals": number}), "{}"),
                "field `v` is missing"
            );
        }
    }

    #[test]
    fn what_is_null_or_missing_has_no_value() {
        let events = [
            r#"{"v":null}"#,
            "{}",
            r#"{"v":0}"#,
            r#"{"v":""}"#,
            r#"{"v":false}"#,
            r#"{"w":{}}"#,
        ];
        assert_eq!(kept(&json!({"field": "v", "is_null": true}), &events), [0, 1, 5]);
        assert_eq!(kept(&json!({"field": "v", "is_null": false}), &events), [2, 3, 4]);
        assert_eq!(
            kept(&json!({"field": "/v/deep", "is_null": true}), &events),
            [0, 1, 2, 3, 4, 5]
        );
        let both = json!({"field": "v", "is_null": false, "min": 1});
        assert!(refusal(&both).starts_with("`is_null` stands alone"));
    }

    #[test]
    fn a_field_that_cannot_be_compared_rejects_its_event() {
        let mut keep = Tester::<Keep>::open(&json!({"field": "/a/state", "equals": "on"})).unwrap();
        let outcome = keep.filter([
            r#"{"a":{"state":1}}"#,
            r#"{"a":[]}"#,
            r#"{"a":{"state":"on"}}"#,
            "nonsense",
        ]);
        assert_eq!(outcome.text(), [r#"{"a":{"state":"on"}}"#]);
        assert_eq!(
            outcome.rejection(0),
            Some("field `/a/state` is the number 1, not a string")
        );
        assert_eq!(outcome.rejection(1), Some("field `/a/state` is missing"));
        assert_eq!(
            outcome.rejection(3),
            Some("the event is no JSON: expected ident at byte 2")
        );
    }

    #[test]
    fn a_filter_without_a_condition_is_refused() {
        let expected = "there is no condition on field `v`: give `threshold`, `min`, `max`, `equals` or `is_null`";
        assert_eq!(refusal(&json!({"field": "v"})), expected);
    }

    #[test]
    fn conditions_that_nothing_meets_are_refused() {
        let expected = "no number is below `max` = 1 and above `min` or `threshold` = 2";
        assert_eq!(refusal(&json!({"field": "v", "min": 2, "max": 1})), expected);
        assert!(refusal(&json!({"field": "v", "equals": 1, "min": 1})).starts_with("`equals` stands alone"));
    }

    #[test]
    fn a_constant_of_the_wrong_kind_is_refused() {
        assert_eq!(
            refusal(&json!({"field": "v", "equals": [1]})),
            "`equals` is a string, a number, true, false or null"
        );
    }
}

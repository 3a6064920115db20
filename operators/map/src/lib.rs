//! `builtin:map`: a linear function of one field, such as from Celsius to Fahrenheit.
//!
//! The rest of the document stays byte for byte as it came; a new field comes last.

use dirigo_operator::{
    fields::{FieldType, OutputMode, Read, Written},
    prelude::*,
};

/// The `config` of a `builtin:map`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The field to read: its name, or a JSON pointer.
    field: Field,
    #[serde(default = "one")]
    scale: f64,
    #[serde(default)]
    offset: f64,
    /// The field to write; without it, the one that was read.
    into: Option<Field>,
}

fn one() -> f64 {
    1.0
}

/// `into = field × scale + offset`
#[derive(Debug)]
pub struct Linear {
    field: Field,
    scale: f64,
    offset: f64,
    into: Field,
}

#[operator]
impl Map for Linear {
    type Config = Config;
    type Event = Row;
    type Output = Extend<f64>;

    fn open(config: Config) -> Result<Self> {
        let into = config.into.unwrap_or_else(|| config.field.clone());
        Ok(Linear {
            field: config.field,
            scale: config.scale,
            offset: config.offset,
            into,
        })
    }

    fn schema(&self) -> Schema {
        Schema {
            reads: vec![Read::required(self.field.clone(), FieldType::F64).exact()],
            raw: false,
            writes: vec![Written::new(self.into.clone(), FieldType::F64)],
            outputs: OutputMode::Extend,
        }
    }

    #[inline]
    fn map(&mut self, event: &Row) -> Result<Extend<f64>> {
        let number = event.number_exact(0);
        if let Some(integer) = number.long_integer() {
            reject!(
                "field `{}` is the integer {integer}, which a 64-bit float cannot hold",
                self.field
            );
        }
        let value = number.nearest() * self.scale + self.offset;
        if !value.is_finite() {
            reject!("field `{}` is out of range once mapped: {value}", self.field);
        }
        Ok(Extend(value))
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::{Value, json};

    use super::*;

    fn linear(config: &Value) -> Tester<Linear> {
        Tester::open(config).unwrap()
    }

    #[test]
    fn a_new_field_comes_last_and_the_rest_stays_as_it_was() {
        let mut linear = linear(&json!({"field": "celsius", "scale": 1.8, "offset": 32.0, "into": "fahrenheit"}));
        let outcome = linear.map([r#"{ "celsius": 20.50, "sensor": "\u00e9" }"#]);
        assert_eq!(
            outcome.text(),
            [r#"{ "celsius": 20.50, "sensor": "\u00e9","fahrenheit":68.9 }"#]
        );
    }

    #[test]
    fn without_into_the_field_itself_changes() {
        let outcome =
            linear(&json!({"field": "/reading/value", "offset": -0.5})).map([r#"{"reading":{"value":1},"n":1}"#]);
        assert_eq!(outcome.text(), [r#"{"reading":{"value":0.5},"n":1}"#]);
    }

    #[test]
    fn numbers_are_the_shortest_that_read_back_the_same() {
        let outcome =
            linear(&json!({"field": "v"})).map([r#"{"v":0.1}"#, r#"{"v":1e21}"#, r#"{"v":5e-324}"#, r#"{"v":100}"#]);
        assert_eq!(
            outcome.text(),
            [r#"{"v":0.1}"#, r#"{"v":1e+21}"#, r#"{"v":5e-324}"#, r#"{"v":100.0}"#]
        );
    }

    #[test]
    fn what_has_no_number_is_rejected_and_named() {
        let outcome = linear(&json!({"field": "v", "scale": 1e300})).map([r#"{"v":"x"}"#, "{}", "{", r#"{"v":1e300}"#]);
        assert!(outcome.outputs.is_empty());
        assert_eq!(
            outcome.rejection(0),
            Some("field `v` is the string \"x\", not a number")
        );
        assert_eq!(outcome.rejection(1), Some("field `v` is missing"));
        assert!(outcome.rejection(2).unwrap().starts_with("the event is no JSON"));
        assert_eq!(outcome.rejection(3), Some("field `v` is out of range once mapped: inf"));
    }

    #[test]
    fn an_integer_that_a_float_cannot_hold_is_rejected_and_not_changed() {
        let outcome = linear(&json!({"field": "v"})).map([
            r#"{"v":9007199254740993}"#,
            r#"{"v":18446744073709551615}"#,
            r#"{"v":9007199254740992}"#,
        ]);
        assert_eq!(outcome.text(), [r#"{"v":9007199254740992.0}"#]);
        assert_eq!(
            outcome.rejection(0),
            Some("field `v` is the integer 9007199254740993, which a 64-bit float cannot hold")
        );
        assert_eq!(
            outcome.rejection(1),
            Some("field `v` is the integer 18446744073709551615, which neither f64 nor s64 holds")
        );
    }

    #[test]
    fn a_wrong_setting_is_refused_by_name() {
        let refusal = |config: Value| Tester::<Linear>::open(&config).unwrap_err().message().to_owned();
        assert_eq!(refusal(json!({})), "missing field `field`");
        assert_eq!(
            refusal(json!({"field": "v", "scall": 2})),
            "unknown field `scall`, expected one of `field`, `scale`, `offset`, `into`"
        );
        assert!(refusal(json!({"field": ""})).contains("a field has a name"));
    }
}

//! Keeps the readings above a threshold.

use dirigo_operator::prelude::*;

/// The `config` table of the operator in `pipeline.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    threshold: f64,
}

/// An event: JSON with at least this field, which arrives as a column. What is kept goes on as it came, with all its fields.
#[derive(Event)]
struct Reading {
    value: f64,
}

struct Threshold(f64);

#[operator]
impl Filter for Threshold {
    type Config = Config;
    type Event = Reading;

    fn open(config: Config) -> Result<Self> {
        Ok(Threshold(config.threshold))
    }

    fn keep(&mut self, event: &Reading) -> Result<bool> {
        Ok(event.value > self.0)
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_readings_above_the_threshold_are_kept() {
        let mut threshold = Tester::<Threshold>::open(&json!({"threshold": 20})).unwrap();
        let outcome = threshold.filter([json!({"value": 20}), json!({"value": 20.5}), json!({"value": "warm"})]);
        assert_eq!(outcome.json(), [json!({"value": 20.5})]);
        assert!(outcome.rejection(2).unwrap().contains("not a number"));
    }
}

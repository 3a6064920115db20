//! Adds to each reading in Celsius its value in Fahrenheit.

use dirigo_operator::prelude::*;

/// The `config` table of the operator in `pipeline.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How many decimals to keep.
    decimals: u8,
}

/// An event as it comes: JSON with at least these fields, which arrive as columns.
#[derive(Event)]
struct Reading {
    sensor: String,
    value: f64,
}

/// What becomes of it.
#[derive(Event)]
struct Converted {
    sensor: String,
    celsius: f64,
    fahrenheit: f64,
}

struct Convert {
    decimals: u8,
}

#[operator]
impl Map for Convert {
    type Config = Config;
    type Event = Reading;
    type Output = Converted;

    fn open(config: Config) -> Result<Self> {
        if config.decimals > 9 {
            reject!("`decimals` is at most 9, not {}", config.decimals);
        }
        Ok(Convert {
            decimals: config.decimals,
        })
    }

    fn map(&mut self, event: &Reading) -> Result<Converted> {
        if event.value < -273.15 {
            // The event goes to the dead letters with this message, and the others go on.
            reject!("{} °C is below absolute zero", event.value);
        }
        let unit = 10_f64.powi(i32::from(self.decimals));
        let fahrenheit = ((event.value * 1.8 + 32.0) * unit).round() / unit;
        Ok(Converted {
            sensor: event.sensor.clone(),
            celsius: event.value,
            fahrenheit,
        })
    }
}

#[cfg(test)]
mod tests {
    use dirigo_operator::testing::Tester;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reading_gets_its_value_in_fahrenheit() {
        let mut convert = Tester::<Convert>::open(&json!({"decimals": 1})).unwrap();
        let outcome = convert.map([json!({"sensor": "kitchen", "value": 21.37})]);
        assert_eq!(
            outcome.json(),
            [json!({"sensor": "kitchen", "celsius": 21.37, "fahrenheit": 70.5})]
        );
    }

    #[test]
    fn nonsense_is_rejected() {
        let mut convert = Tester::<Convert>::open(&json!({"decimals": 1})).unwrap();
        let outcome = convert.map([
            json!({"sensor": "kitchen", "value": -300}),
            json!({"sensor": "kitchen"}),
        ]);
        assert_eq!(outcome.rejection(0), Some("-300 °C is below absolute zero"));
        assert!(outcome.rejection(1).unwrap().contains("field `value` is missing"));
    }
}

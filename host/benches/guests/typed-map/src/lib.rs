//! Celsius to Fahrenheit over a field.

use dirigo_operator::prelude::*;

/// What is read, and written in its place.
#[derive(Debug, Event)]
pub struct Degrees {
    value: f64,
}

/// The operator.
#[derive(Debug)]
pub struct Scale;

#[operator]
impl Map for Scale {
    type Config = NoConfig;
    type Event = Degrees;
    type Output = Extend<Degrees>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Scale)
    }

    fn map(&mut self, event: &Degrees) -> Result<Extend<Degrees>> {
        Ok(Extend(Degrees {
            value: event.value * 1.8 + 32.0,
        }))
    }
}

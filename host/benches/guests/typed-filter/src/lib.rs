//! Keeps what is above 50, by a field.

use dirigo_operator::prelude::*;

/// What is read.
#[derive(Debug, Event)]
pub struct Degrees {
    value: f64,
}

/// The operator.
#[derive(Debug)]
pub struct Warm;

#[operator]
impl Filter for Warm {
    type Config = NoConfig;
    type Event = Degrees;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Warm)
    }

    fn keep(&mut self, event: &Degrees) -> Result<bool> {
        Ok(event.value > 50.0)
    }
}

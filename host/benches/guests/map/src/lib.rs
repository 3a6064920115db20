//! Celsius to Fahrenheit over raw bytes: a little-endian `f64`, then whatever the event carries besides.

use dirigo_operator::prelude::*;

/// The operator.
#[derive(Debug)]
pub struct Scale;

#[operator]
impl Map for Scale {
    type Config = NoConfig;
    type Event = [u8];
    type Output = Raw<[u8; 16]>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Scale)
    }

    fn map(&mut self, event: &[u8]) -> Result<Raw<[u8; 16]>> {
        let Ok(mut event) = <[u8; 16]>::try_from(event) else {
            reject!("{} bytes instead of 16", event.len())
        };
        let (number, _) = event.split_first_chunk_mut().expect("sixteen bytes begin with eight");
        *number = (f64::from_le_bytes(*number) * 1.8 + 32.0).to_le_bytes();
        Ok(Raw(event))
    }
}

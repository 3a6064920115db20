//! Keeps what is above 50, over raw bytes that begin with a little-endian `f64`.

use dirigo_operator::prelude::*;

/// The operator.
#[derive(Debug)]
pub struct Warm;

#[operator]
impl Filter for Warm {
    type Config = NoConfig;
    type Event = [u8];

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Warm)
    }

    fn keep(&mut self, event: &[u8]) -> Result<bool> {
        let Some((number, _)) = event.split_first_chunk() else {
            reject!("no number")
        };
        Ok(f64::from_le_bytes(*number) > 50.0)
    }
}

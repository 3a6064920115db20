//! The third version of an operator that evolves: its author changed the accumulator, and forgot those that there are.

use dirigo_operator::prelude::*;

/// The `config` of the guest, which says nothing to this version.
#[derive(Debug, Deserialize)]
pub struct Config {}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// Sums in decimal.
#[derive(Debug)]
pub struct Sum;

#[operator]
impl Reduce for Sum {
    type Config = Config;
    type Event = Numbered;
    type Accumulator = String;
    type Output = String;

    const STATE_VERSION: u32 = 3;

    fn open(_: Config) -> Result<Self> {
        Ok(Sum)
    }

    fn zero(&self) -> String {
        "0".to_owned()
    }

    fn add(&mut self, sum: &mut String, event: &Numbered) -> Result<()> {
        *sum = (sum.parse::<u64>()? + event.n).to_string();
        Ok(())
    }

    fn merge(&mut self, left: String, _: String) -> String {
        left
    }

    fn finish(&mut self, _: &Window<'_>, sum: String) -> Result<String> {
        Ok(sum)
    }
}

//! The first version of an operator that evolves: it sums numbers. Its state is read by the later ones, and by
//! `malformed-reduce`, whose configuration it therefore takes, too.

use dirigo_operator::prelude::*;

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What a window becomes.
#[derive(Debug, Serialize)]
pub struct Total {
    key: String,
    sum: u64,
}

/// Sums.
#[derive(Debug)]
pub struct Sum;

#[operator]
impl Reduce for Sum {
    type Config = serde_json::Value;
    type Event = Numbered;
    type Accumulator = u64;
    type Output = Total;

    fn open(_: serde_json::Value) -> Result<Self> {
        Ok(Sum)
    }

    fn zero(&self) -> u64 {
        0
    }

    fn add(&mut self, sum: &mut u64, event: &Numbered) -> Result<()> {
        *sum += event.n;
        Ok(())
    }

    fn merge(&mut self, left: u64, right: u64) -> u64 {
        left + right
    }

    fn finish(&mut self, window: &Window<'_>, sum: u64) -> Result<Total> {
        Ok(Total {
            key: window.key_str().into_owned(),
            sum,
        })
    }
}

//! The average of a window, of a field.

use dirigo_operator::prelude::*;

/// What is read.
#[derive(Debug, Event)]
pub struct Degrees {
    /// The number.
    pub value: f64,
}

/// What is written.
#[derive(Debug, Event)]
pub struct Mean {
    /// The average.
    pub mean: f64,
}

/// The operator.
#[derive(Debug)]
pub struct Average;

/// A running sum.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sum {
    sum: f64,
    count: u64,
}

#[operator]
impl Reduce for Average {
    type Config = NoConfig;
    type Event = Degrees;
    type Accumulator = Sum;
    type Output = Mean;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Average)
    }

    fn zero(&self) -> Sum {
        Sum::default()
    }

    fn add(&mut self, total: &mut Sum, event: &Degrees) -> Result<()> {
        total.sum += event.value;
        total.count += 1;
        Ok(())
    }

    fn merge(&mut self, left: Sum, right: Sum) -> Sum {
        Sum {
            sum: left.sum + right.sum,
            count: left.count + right.count,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "windows are small")]
    fn finish(&mut self, _: &Window<'_>, total: Sum) -> Result<Mean> {
        Ok(Mean {
            mean: total.sum / total.count as f64,
        })
    }
}

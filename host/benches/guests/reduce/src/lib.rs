//! The average of a window, over raw bytes that begin with a little-endian `f64`.

use dirigo_operator::prelude::*;

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
    type Event = [u8];
    type Accumulator = Sum;
    type Output = Raw<[u8; 8]>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Average)
    }

    fn zero(&self) -> Sum {
        Sum::default()
    }

    fn add(&mut self, total: &mut Sum, event: &[u8]) -> Result<()> {
        let Some((number, _)) = event.split_first_chunk() else {
            reject!("no number")
        };
        total.sum += f64::from_le_bytes(*number);
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
    fn finish(&mut self, _: &Window<'_>, total: Sum) -> Result<Raw<[u8; 8]>> {
        Ok(Raw((total.sum / total.count as f64).to_le_bytes()))
    }
}

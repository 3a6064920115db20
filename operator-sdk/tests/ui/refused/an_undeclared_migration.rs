use dirigo_operator::prelude::*;

struct Count;

#[operator]
impl Reduce for Count {
    type Config = NoConfig;
    type Event = [u8];
    type Accumulator = u64;
    type Output = u64;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Count)
    }

    fn zero(&self) -> u64 {
        0
    }

    fn migrate(&mut self, _: u32, stored: Stored<'_>) -> Result<u64> {
        Ok(stored.read::<u32>()?.into())
    }

    fn add(&mut self, count: &mut u64, _: &[u8]) -> Result<()> {
        *count += 1;
        Ok(())
    }

    fn merge(&mut self, left: u64, right: u64) -> u64 {
        left + right
    }

    fn finish(&mut self, _: &Window<'_>, count: u64) -> Result<u64> {
        Ok(count)
    }
}

fn main() {}

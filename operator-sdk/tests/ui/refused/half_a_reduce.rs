use dirigo_operator::prelude::*;

struct Count;

#[operator]
impl Reduce for Count {
    type Config = NoConfig;
    type Event = [u8];
    type Output = u64;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Count)
    }

    fn add(&mut self, count: &mut u64, _: &[u8]) -> Result<()> {
        *count += 1;
        Ok(())
    }
}

fn main() {}

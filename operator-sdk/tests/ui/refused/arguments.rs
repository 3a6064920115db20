use dirigo_operator::prelude::*;

struct All;

#[operator(filter)]
impl Filter for All {
    type Config = NoConfig;
    type Event = [u8];

    fn open(_: NoConfig) -> Result<Self> {
        Ok(All)
    }

    fn keep(&mut self, _: &[u8]) -> Result<bool> {
        Ok(true)
    }
}

fn main() {}

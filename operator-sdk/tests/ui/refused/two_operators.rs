use dirigo_operator::prelude::*;

struct All;

#[operator]
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

mod another {
    use super::*;

    struct None;

    #[operator]
    impl Filter for None {
        type Config = NoConfig;
        type Event = [u8];

        fn open(_: NoConfig) -> Result<Self> {
            Ok(None)
        }

        fn keep(&mut self, _: &[u8]) -> Result<bool> {
            Ok(false)
        }
    }
}

fn main() {}

use dirigo_operator::prelude::*;

struct Same<T>(T);

#[operator]
impl<T: PartialEq + serde::de::DeserializeOwned + 'static> Filter for Same<T> {
    type Config = T;
    type Event = T;

    fn open(config: T) -> Result<Self> {
        Ok(Same(config))
    }

    fn keep(&mut self, event: &T) -> Result<bool> {
        Ok(*event == self.0)
    }
}

fn main() {}

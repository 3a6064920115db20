use dirigo_operator::prelude::*;

struct Longest(usize);

#[operator]
impl dirigo_operator::Reduce for Longest {
    type Config = NoConfig;
    type Event = str_event::Text;
    type Accumulator = usize;
    type Output = usize;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Longest(0))
    }

    fn zero(&self) -> usize {
        self.0
    }

    fn add(&mut self, longest: &mut usize, event: &str_event::Text) -> Result<()> {
        *longest = event.len().max(*longest);
        Ok(())
    }

    fn merge(&mut self, left: usize, right: usize) -> usize {
        left.max(right)
    }

    fn finish(&mut self, _: &Window<'_>, longest: usize) -> Result<usize> {
        Ok(longest)
    }
}

mod str_event {
    pub type Text = String;
}

fn main() {}

//! A reduce that is the other one after its author sorted the fields and forgot the state that there is.

use dirigo_operator::prelude::*;

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What is known of a window so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ends {
    last: u64,
    first: u64,
}

/// Remembers both.
#[derive(Debug)]
pub struct FirstAndLast;

#[operator]
impl Reduce for FirstAndLast {
    type Config = NoConfig;
    type Event = Numbered;
    type Accumulator = Ends;
    type Output = Ends;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(FirstAndLast)
    }

    fn zero(&self) -> Ends {
        Ends::default()
    }

    fn add(&mut self, ends: &mut Ends, event: &Numbered) -> Result<()> {
        if event.n == 13 {
            reject!("unlucky");
        }
        if ends.first == 0 {
            ends.first = event.n;
        }
        ends.last = event.n;
        Ok(())
    }

    fn merge(&mut self, left: Ends, right: Ends) -> Ends {
        Ends {
            first: left.first,
            last: right.last,
        }
    }

    fn finish(&mut self, _: &Window<'_>, ends: Ends) -> Result<Ends> {
        Ok(ends)
    }
}

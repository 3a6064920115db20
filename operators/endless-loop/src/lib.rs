//! `builtin:endless-loop`, an example: it passes most events on, and never returns from some.
//!
//! `examples/endless-loop.toml` runs it next to a pipeline that works, to show what it costs that one: nothing.

use std::hint::spin_loop;

use dirigo_operator::prelude::*;

/// The `config` of a `builtin:endless-loop`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// It never returns from events whose `n` is a multiple of this.
    every: u64,
}

/// An event that has a number.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// Loops now and then.
#[derive(Debug)]
pub struct EndlessLoop {
    every: u64,
}

#[operator]
impl Filter for EndlessLoop {
    type Config = Config;
    type Event = Numbered;

    fn open(config: Config) -> Result<Self> {
        Ok(EndlessLoop { every: config.every })
    }

    fn keep(&mut self, event: &Numbered) -> Result<bool> {
        if event.n.checked_rem(self.every) == Some(0) {
            loop {
                spin_loop();
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_from_events_whose_number_is_no_multiple() {
        let mut operator = EndlessLoop { every: 5 };
        assert!((1..5).all(|n| operator.keep(&Numbered { n }).unwrap()));
        assert!(
            EndlessLoop { every: 0 }.keep(&Numbered { n: 0 }).unwrap(),
            "nothing is a multiple of 0"
        );
    }
}

//! A filter that attacks its host, in the way that its configuration names.
//!
//! It keeps the events with an even number, and strikes at those whose number is a multiple of `every`.

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Attack,
    every: u64,
}

/// What it does when it strikes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Refuses the event.
    Reject,
    /// Panics.
    Panic,
}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// Strikes now and then.
#[derive(Debug)]
pub struct Striker(Config);

#[operator]
impl Filter for Striker {
    type Config = Config;
    type Event = Numbered;

    fn open(config: Config) -> Result<Self> {
        Ok(Striker(config))
    }

    fn keep(&mut self, event: &Numbered) -> Result<bool> {
        if event.n.is_multiple_of(self.0.every) {
            match self.0.mode {
                Attack::Reject => reject!("event {} is not to its taste", event.n),
                Attack::Panic => panic!("event {} is more than it can bear", event.n),
            }
        }
        Ok(event.n.is_multiple_of(2))
    }
}

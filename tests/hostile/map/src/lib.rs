//! A map that attacks its host, in the way that its configuration names.
//!
//! It hands events on as they came, except those whose number is a multiple of `every`: at those it strikes.

mod attack;

use dirigo_operator::prelude::*;

use crate::attack::Attack;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Attack,
    /// It strikes at events whose number is a multiple of this.
    #[serde(default = "one")]
    every: u64,
    /// Where the number of an event stands.
    #[serde(default = "n")]
    field: String,
}

fn one() -> u64 {
    1
}

fn n() -> String {
    "n".into()
}

/// Strikes now and then.
#[derive(Debug)]
pub struct Striker {
    attack: Attack,
    every: u64,
    field: Field,
}

#[operator]
impl FlatMap for Striker {
    type Config = Config;
    type Event = Json;
    type Output = Raw<Vec<u8>>;

    fn open(config: Config) -> Result<Self> {
        config.mode.on_open()?;
        Ok(Striker {
            attack: config.mode,
            every: config.every,
            field: Field::new(&config.field)?,
        })
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers of events are small and whole"
    )]
    fn flat_map(&mut self, event: &Json, out: &mut Outputs<'_, Raw<Vec<u8>>>) -> Result<()> {
        let number = event.at(&self.field)?.number()? as u64;
        if number.is_multiple_of(self.every) {
            self.attack.on_event(number, out)?;
        }
        out.push(&Raw(event.as_bytes().to_vec()))
    }
}

//! A process that attacks its host, in the way that its configuration names.
//!
//! Besides, it keeps a number for each key that depends on every event and timer of the key and on their order, and puts it out at each of
//! them: so the output shows what came when. It strikes at events whose number is a multiple of `every`, or at timers that such events set.

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    mode: Attack,
    every: u64,
}

/// What it does when it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// Nothing.
    Pass,
    /// Refuses the event, once it has spoilt the state.
    Reject,
    /// Panics over the event, once it has spoilt the state.
    Panic,
    /// Refuses the timer, once it has spoilt the state.
    RejectTimer,
    /// Panics over the timer, once it has spoilt the state.
    PanicTimer,
    /// Has the timer set itself anew for the same time, again and again.
    Restless,
    /// Sets a thousand timers.
    Swarm,
    /// Adds 16 KiB to the state.
    Hoard,
}

/// An event, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Numbered {
    n: u64,
}

/// What is kept of a key.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    mixed: u64,
    marked: bool,
    ballast: Vec<u8>,
}

/// What is put out: what came, and the number behind it.
#[derive(Debug, Serialize)]
pub struct Told {
    key: String,
    n: Option<u64>,
    input: usize,
    timer: Option<String>,
    at: i64,
    mixed: u64,
}

/// Strikes now and then.
#[derive(Debug)]
pub struct Striker(Config);

impl Striker {
    fn strikes(&self, mode: Attack, marked: bool) -> bool {
        self.0.mode == mode && marked
    }
}

fn tell(key: &mut Context<'_, Striker>, n: Option<u64>, timer: Option<&Timer>) -> Result<()> {
    let told = Told {
        key: key.key_str().into_owned(),
        n,
        input: key.input(),
        timer: timer.map(|timer| timer.name().to_owned()),
        at: key.time(),
        mixed: key.state().mixed,
    };
    key.push(&told)
}

#[operator]
impl Process for Striker {
    type Config = Config;
    type Event = Numbered;
    type State = Seen;
    type Output = Told;

    fn open(config: Config) -> Result<Self> {
        if config.every == 0 {
            reject!("`every` is 0");
        }
        Ok(Striker(config))
    }

    fn event(&mut self, event: &Numbered, key: &mut Context<'_, Self>) -> Result<()> {
        let marked = event.n.is_multiple_of(self.0.every);
        let now = key.time();
        let seen = key.state();
        seen.mixed = seen.mixed.wrapping_mul(31).wrapping_add(event.n) % 1_000_003;
        seen.marked = marked;
        let mixed = seen.mixed;
        if self.strikes(Attack::Hoard, marked) {
            seen.ballast.resize(seen.ballast.len() + (16 << 10), 7);
        }
        if self.strikes(Attack::Reject, marked) {
            seen.mixed = 0;
            reject!("struck at {}", event.n);
        }
        assert!(!self.strikes(Attack::Panic, marked), "struck at {}", event.n);
        if self.strikes(Attack::Swarm, marked) {
            (0..1_000).for_each(|number| key.set_timer(&format!("{}-{number}", event.n), now + 5));
        }
        key.set_timer("silent", now + 60);
        if event.n.is_multiple_of(3) {
            key.set_timer("third", now + 7);
        }
        if event.n.is_multiple_of(7) {
            key.cancel_timer("third");
        }
        if mixed.is_multiple_of(2) {
            tell(key, Some(event.n), None)?;
        }
        Ok(())
    }

    fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let marked = key.state().marked;
        if self.strikes(Attack::RejectTimer, marked) {
            key.state().mixed = 0;
            reject!("struck at {}", timer.name());
        }
        assert!(!self.strikes(Attack::PanicTimer, marked), "struck at {}", timer.name());
        if self.strikes(Attack::Restless, marked) {
            key.set_timer(timer.name(), timer.time());
            return Ok(());
        }
        let seen = key.state();
        seen.mixed = seen.mixed.wrapping_mul(37).wrapping_add(1) % 1_000_003;
        let mixed = seen.mixed;
        tell(key, None, Some(timer))?;
        match timer.name() {
            "silent" => key.forget(),
            "third" if mixed.is_multiple_of(5) => key.set_timer("third", timer.time() + 3),
            _ => {}
        }
        Ok(())
    }
}

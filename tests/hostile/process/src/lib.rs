//! A process that attacks its host, in the way that its configuration names.
//!
//! Besides, it keeps a number for each key that depends on every event and timer of the key and on their order, and puts it out at each of
//! them: so the output shows what came when. Where the number is odd behind an event, it is put out under a name, and that of timers
//! under another name besides. A map and a list of the key go into that number, too. It strikes at events whose number is a multiple of `every`, or at timers that such events set.

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
    /// Adds an entry of 16 KiB to a map.
    Pile,
    /// Changes one of 500 entries of 1 KiB, and reads all of them ten times.
    Browse,
}

/// How often there was an event of a number, modulo 5.
const COUNTS: MapState<u64, u64> = MapState::new("counts");
/// The numbers of the last three events.
const LAST: ListState<u64> = ListState::new("last");
/// What a pile consists of, by numbers of events.
const PILE: MapState<u64, Vec<u8>> = MapState::new("pile");

/// What is put out at events where the number is odd.
const ODD: NamedOutput<Told> = NamedOutput::new("odd");
/// What is put out at timers, twice, besides.
const FIRED: NamedOutput<Fired> = NamedOutput::new("fired");

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

/// What fired.
#[derive(Debug, Event)]
pub struct Fired {
    key: String,
    timer: String,
    at: i64,
    mixed: i64,
    /// Which of the two it is. The second bears another key.
    copy: i64,
}

/// Strikes now and then.
#[derive(Debug)]
pub struct Striker(Config);

impl Striker {
    fn strikes(&self, mode: Attack, marked: bool) -> bool {
        self.0.mode == mode && marked
    }
}

fn told(key: &mut Context<'_, Striker>, n: Option<u64>, timer: Option<&Timer>) -> Told {
    Told {
        key: key.key_str().into_owned(),
        n,
        input: key.input(),
        timer: timer.map(|timer| timer.name().to_owned()),
        at: key.time(),
        mixed: key.state().mixed,
    }
}

/// Tells twice what fired, under a name.
fn tell_fired(key: &mut Context<'_, Striker>, timer: &Timer) -> Result<()> {
    let mut fired = Fired {
        key: key.key_str().into_owned(),
        timer: timer.name().to_owned(),
        at: key.time(),
        mixed: key.state().mixed.cast_signed(),
        copy: 0,
    };
    key.push_to(FIRED, &fired)?;
    fired.copy = 1;
    key.push_keyed_to(FIRED, "copies", &fired)
}

/// Notes the number of an event in the map and in the list. Gives a number that depends on what was in both.
fn note(n: u64, key: &mut Context<'_, Striker>) -> Result<u64> {
    let before = key.map(COUNTS).get(&(n % 5))?.unwrap_or_default();
    key.map(COUNTS).insert(&(n % 5), &(before + 1));
    let mut last = key.list(LAST);
    let of_last = last.iter().sum::<Result<u64>>()?;
    last.push(&n)?;
    if last.iter().count() > 3 {
        last.pop_front()?;
    }
    Ok(before + of_last)
}

#[operator]
impl Process for Striker {
    const ITEMS: &'static [&'static dyn ItemState] = &[&COUNTS, &LAST, &PILE];
    const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&ODD, &FIRED];
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
        let noted = note(event.n, key)?;
        if self.strikes(Attack::Pile, marked) {
            key.map(PILE).insert(&event.n, &vec![7; 16 << 10]);
        }
        if self.strikes(Attack::Browse, marked) {
            key.map(PILE).insert(&(event.n % 500), &vec![7; 1 << 10]);
            let read = (0..10).map(|_| key.map(PILE).iter().flatten().count());
            key.state().ballast = vec![0; read.sum::<usize>() % 2];
        }
        let seen = key.state();
        seen.mixed = seen.mixed.wrapping_mul(31).wrapping_add(event.n + noted) % 1_000_003;
        seen.marked = marked;
        let mixed = seen.mixed;
        if self.strikes(Attack::Hoard, marked) {
            seen.ballast.resize(seen.ballast.len() + (16 << 10), 7);
        }
        if self.strikes(Attack::Reject, marked) {
            seen.mixed = 0;
            let spoilt = told(key, Some(event.n), None);
            key.push_to(ODD, &spoilt)?;
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
        let told = told(key, Some(event.n), None);
        if mixed.is_multiple_of(2) {
            key.push(&told)
        } else {
            key.push_to(ODD, &told)
        }
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
        let told = told(key, None, Some(timer));
        key.push(&told)?;
        tell_fired(key, timer)?;
        match timer.name() {
            "silent" => key.forget(),
            "third" if mixed.is_multiple_of(5) => key.set_timer("third", timer.time() + 3),
            _ => {}
        }
        Ok(())
    }
}

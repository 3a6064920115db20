//! `builtin:join`: pairs of events of two inputs that have the same key and lie near each other in time.
//!
//! The first of the `inputs` is the left one, the second the right one.

use dirigo_operator::{Lapse, prelude::*};
use serde_json::value::RawValue;

/// The `config` of a `builtin:join`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How far the right event may lie from the left one, before or after it, that included.
    within: Option<Lapse>,
    /// How far the right event may lie before the left one; by default not at all.
    before: Option<Lapse>,
    /// How far it may lie after it; by default not at all.
    after: Option<Lapse>,
    /// In place of these: both lie in the same window of this length, counted from the epoch.
    window: Option<Lapse>,
    /// Whether events without a partner come out, too, with null for it.
    #[serde(default)]
    keep: Keep,
}

/// Which events come out without a partner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// None.
    #[default]
    Pairs,
    /// Those of the left input.
    Left,
    /// Those of the right input.
    Right,
    /// All.
    Both,
}

/// Which events are partners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Near {
    /// The right one lies so many ms before or after the left one at most.
    Interval { before: i64, after: i64 },
    /// Both lie in one window of so many ms.
    Window(i64),
}

/// The events of a key that may still find partners, by their times.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Waiting {
    left: Vec<Held>,
    right: Vec<Held>,
}

/// An event that waits for partners.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    time: i64,
    value: Box<str>,
    has_partner: bool,
}

/// Joins events.
#[derive(Debug)]
pub struct Join {
    near: Near,
    keep: Keep,
}

/// The timer that forgets events which find no partners any more.
const FORGET: &str = "forget";

impl Near {
    /// The last time at which an event of a side finds partners.
    fn last_time(self, is_left: bool, time: i64) -> i64 {
        match self {
            Near::Interval { before, after } => time.saturating_add(if is_left { after } else { before }),
            Near::Window(ms) => time.saturating_sub(time.rem_euclid(ms)).saturating_add(ms - 1),
        }
    }

    fn are_partners(self, left: i64, right: i64) -> bool {
        match self {
            Near::Interval { before, after } => {
                left.saturating_sub(before) <= right && right <= left.saturating_add(after)
            }
            Near::Window(ms) => left.div_euclid(ms) == right.div_euclid(ms),
        }
    }
}

impl Keep {
    fn keeps(self, is_left: bool) -> bool {
        self == Keep::Both || self == if is_left { Keep::Left } else { Keep::Right }
    }
}

/// Puts out a pair, or an event without a partner. Both are JSON.
fn push(key: &mut Context<'_, Join>, left: Option<&str>, right: Option<&str>) -> Result<()> {
    let mut value = b"{\"key\":".to_vec();
    serde_json::to_writer(&mut value, &key.key_str())?;
    for (name, side) in [("left", left), ("right", right)] {
        value.extend_from_slice(b",\"");
        value.extend_from_slice(name.as_bytes());
        value.extend_from_slice(b"\":");
        value.extend_from_slice(side.unwrap_or("null").as_bytes());
    }
    value.push(b'}');
    key.push(Json::new(&value))
}

#[operator]
impl Process for Join {
    type Config = Config;
    type Event = Json;
    type State = Waiting;
    type Output = Json;

    fn open(config: Config) -> Result<Self> {
        let Config {
            within,
            before,
            after,
            window,
            keep,
        } = config;
        let near = match (within, before.or(after), window) {
            (Some(within), None, None) => Near::Interval {
                before: within.ms(),
                after: within.ms(),
            },
            (None, Some(_), None) => Near::Interval {
                before: before.map_or(0, Lapse::ms),
                after: after.map_or(0, Lapse::ms),
            },
            (None, None, Some(window)) if window.ms() > 0 => Near::Window(window.ms()),
            (None, None, Some(_)) => reject!("`window` is less than 1 ms"),
            (None, None, None) => reject!("missing field `within`: how far partners may lie from each other"),
            _ => reject!("`within`, `before` with `after`, and `window` exclude each other"),
        };
        Ok(Join { near, keep })
    }

    fn event(&mut self, event: &Json, key: &mut Context<'_, Self>) -> Result<()> {
        let is_left = match key.input() {
            0 => true,
            1 => false,
            _ => reject!("a join has two inputs"),
        };
        let value: &RawValue = serde_json::from_slice(event.as_bytes())?;
        let now = key.time();
        let mut waiting = std::mem::take(key.state());
        let Waiting { left, right } = &mut waiting;
        let (own, others) = if is_left { (left, right) } else { (right, left) };
        let mut has_partner = false;
        for other in others.iter_mut() {
            let (left, right) = if is_left { (now, other.time) } else { (other.time, now) };
            if !self.near.are_partners(left, right) {
                continue;
            }
            (has_partner, other.has_partner) = (true, true);
            let (left, right) = if is_left {
                (value.get(), &*other.value)
            } else {
                (&*other.value, value.get())
            };
            push(key, Some(left), Some(right))?;
        }
        let held = Held {
            time: now,
            value: value.get().into(),
            has_partner,
        };
        let place = own.partition_point(|other| other.time <= now);
        own.insert(place, held);
        self.go_on(waiting, key);
        Ok(())
    }

    fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let mut waiting = std::mem::take(key.state());
        for (is_left, side) in [(true, &mut waiting.left), (false, &mut waiting.right)] {
            let is_over = |held: &Held| self.near.last_time(is_left, held.time) <= timer.time();
            let over = side.partition_point(is_over);
            for held in side.drain(..over) {
                if self.keep.keeps(is_left) && !held.has_partner {
                    let value = Some(&*held.value);
                    let (left, right) = if is_left { (value, None) } else { (None, value) };
                    push(key, left, right)?;
                }
            }
        }
        self.go_on(waiting, key);
        Ok(())
    }
}

impl Join {
    /// Keeps what may still find partners, and has the timer fire when the first of it does not any more.
    fn go_on(&self, waiting: Waiting, key: &mut Context<'_, Self>) {
        let first = |is_left: bool, side: &[Held]| side.first().map(|held| self.near.last_time(is_left, held.time));
        let next = first(true, &waiting.left)
            .into_iter()
            .chain(first(false, &waiting.right))
            .min();
        if let Some(time) = next {
            *key.state() = waiting;
            key.set_timer(FORGET, time);
        } else {
            key.cancel_timer(FORGET);
            key.forget();
        }
    }
}

#[cfg(test)]
mod tests;

//! The timers of one key.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::Timer;

/// With more timers a name is looked up in an index. Most keys have one or two, which are found more quickly without.
const SCANNED_MAX: usize = 8;

/// Timers, each with a name of its own.
#[derive(Debug, Default)]
pub(super) struct KeyTimers {
    /// By time, then by name.
    ordered: BTreeSet<Timer>,
    /// The time of each name, once there were many.
    by_name: Option<BTreeMap<Rc<str>, i64>>,
}

impl KeyTimers {
    /// By time, then by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Timer> {
        self.ordered.iter()
    }

    /// Sets a timer, in place of the one of its name.
    pub(super) fn set(&mut self, timer: Timer) {
        self.cancel(&timer.name);
        if let Some(by_name) = &mut self.by_name {
            by_name.insert(timer.name.clone(), timer.time);
        }
        self.ordered.insert(timer);
        if self.by_name.is_none() && self.ordered.len() > SCANNED_MAX {
            let named = self.ordered.iter().map(|one| (one.name.clone(), one.time));
            self.by_name = Some(named.collect());
        }
    }

    /// Whether a timer of this name was set; it no longer is.
    pub(super) fn cancel(&mut self, name: &str) -> bool {
        let timer = match &mut self.by_name {
            Some(by_name) => by_name.remove_entry(name).map(|(name, time)| Timer { time, name }),
            None => self.ordered.iter().find(|timer| &*timer.name == name).cloned(),
        };
        timer.is_some_and(|timer| self.ordered.remove(&timer))
    }

    /// Takes the first timer out, if it fires by a time.
    pub(super) fn take_due(&mut self, until: i64) -> Option<Timer> {
        self.ordered.first().filter(|timer| timer.time <= until)?;
        let timer = self.ordered.pop_first()?;
        if let Some(by_name) = &mut self.by_name {
            by_name.remove(&timer.name);
        }
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(name: &str, time: i64) -> Timer {
        Timer {
            time,
            name: name.into(),
        }
    }

    #[test]
    fn many_timers_are_as_good_as_few() {
        for count in [2, 100] {
            let mut timers = KeyTimers::default();
            let names: Vec<String> = (0..count).map(|number| format!("t-{number}")).collect();
            for (name, time) in names.iter().zip(0..) {
                timers.set(timer(name, 1_000 - time));
            }
            timers.set(timer("t-0", 5));
            assert!(timers.cancel("t-1") && !timers.cancel("t-1"));
            assert!(timers.iter().is_sorted());
            assert_eq!(timers.take_due(4), None);
            assert_eq!(timers.take_due(5), Some(timer("t-0", 5)));
            assert!(!timers.cancel("t-0"));
            assert_eq!(timers.iter().count(), count - 2);
        }
    }
}

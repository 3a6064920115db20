//! An oracle of the guest `tests/hostile/process`, which processes the events and timers of one key one by one.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

/// What `tests/hostile/process` keeps of a key and does with it.
#[derive(Default)]
pub(crate) struct StrikerKey {
    known: bool,
    mixed: u64,
    /// How often there was an event of a number, modulo 5.
    counts: [u64; 5],
    /// The numbers of the last three events.
    last: VecDeque<u64>,
    timers: BTreeSet<(i64, &'static str)>,
    /// What it tells, in order.
    pub(crate) told: Vec<Value>,
    /// What it tells under the name `odd`.
    pub(crate) odd: Vec<Value>,
    /// What it tells under the name `fired`, each twice.
    pub(crate) fired: Vec<Value>,
}

impl StrikerKey {
    fn mix(&mut self, factor: u64, number: u64) {
        self.mixed = if self.known { self.mixed } else { 0 };
        self.known = true;
        self.mixed = self.mixed.wrapping_mul(factor).wrapping_add(number) % 1_000_003;
    }

    fn set(&mut self, name: &'static str, time: i64) {
        self.cancel(name);
        self.timers.insert((time, name));
    }

    fn cancel(&mut self, name: &str) {
        self.timers.retain(|(_, other)| *other != name);
    }

    /// Notes the number of an event. Gives a number that depends on those before.
    fn note(&mut self, n: u64) -> u64 {
        let count = &mut self.counts[usize::try_from(n % 5).unwrap()];
        let noted = *count + self.last.iter().sum::<u64>();
        *count += 1;
        self.last.push_back(n);
        if self.last.len() > 3 {
            self.last.pop_front();
        }
        noted
    }

    pub(crate) fn event(&mut self, n: u64, time: i64) {
        let noted = self.note(n);
        self.mix(31, n + noted);
        self.set("silent", time + 60);
        if n.is_multiple_of(3) {
            self.set("third", time + 7);
        }
        if n.is_multiple_of(7) {
            self.cancel("third");
        }
        let told = if self.mixed.is_multiple_of(2) {
            &mut self.told
        } else {
            &mut self.odd
        };
        told.push(json!({"n": n, "timer": null, "at": time, "mixed": self.mixed}));
    }

    /// Fires the timers up to a time, with those that firing ones set.
    pub(crate) fn advance(&mut self, until: i64) {
        while let Some(&(time, name)) = self.timers.first()
            && time <= until
        {
            self.timers.pop_first();
            self.mix(37, 1);
            self.told
                .push(json!({"n": null, "timer": name, "at": time, "mixed": self.mixed}));
            self.fired.push(json!({"timer": name, "at": time, "mixed": self.mixed}));
            match name {
                "silent" => {
                    self.known = false;
                    self.counts = [0; 5];
                    self.last.clear();
                }
                "third" if self.mixed.is_multiple_of(5) => self.set("third", time + 3),
                _ => {}
            }
        }
    }
}

//! What a watermark has come to: windows in time that it closes, and timers and waiting events of processes.
//!
//! Windows leave the state of their operator in the order of their ends and keys, wherever it is: in the tables of actors or in the store. From
//! then on they are on their way like those that are closed at the end of the input ([`closing`](super::closing)), and the operator's
//! closer finishes them. An actor may be in the middle of a turn: no event of that belongs to a window that is closed. What is due of a process
//! leaves as steps, which the actors of their keys run.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Operator;
use super::replica::TakenDue;
use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL, SourceIndex};
use dirigo_ground::windowing::TimeWindows;
use dirigo_state::timed::Due;
use dirigo_state::windows::{HANDED_BYTES_MAX, OpenChange, PartialWindows};
use dirigo_state::{self as state, DueSteps, Entry, FirstKeys, ReachedTime, Table, due_key, split_due_key};

/// Keys that are looked at in one go: a checkpoint waits for it.
const TAKEN_MAX: usize = 1_024;
/// How long that may take, in ns: half as long as a worker stands back for it (`scheduler::IoPermits`). A window of many segments takes tens of
/// microseconds, and a thousand of them kept other tenants from a core for milliseconds.
const TAKEN_NS: u64 = 50_000;
/// Keys that the store is asked for at once.
const LOOKED_UP_MAX: usize = 64;

/// Keys of which windows are to close, in order.
#[derive(Debug, Default)]
pub struct DueKeys {
    keys: BTreeSet<Box<[u8]>>,
    /// Whether these are all.
    is_complete: bool,
    /// How far event time had come that they were looked for by.
    by: ReachedTime,
}

/// When the next window of an operator closes, or sooner.
#[derive(Debug)]
pub(super) struct NextDue {
    /// Of the tables of its actors.
    active: AtomicI64,
    /// Of the keys that only the store has.
    stored: AtomicI64,
}

impl Default for NextDue {
    /// Nobody has looked at the store.
    fn default() -> Self {
        Self {
            active: AtomicI64::new(AFTER_ALL),
            stored: AtomicI64::new(BEFORE_ALL),
        }
    }
}

impl NextDue {
    pub(super) fn note(&self, due: i64) {
        self.active.fetch_min(due, Ordering::SeqCst);
    }

    pub(super) fn note_stored(&self, due: i64) {
        self.stored.fetch_min(due, Ordering::SeqCst);
    }

    fn get(&self) -> i64 {
        let active = self.active.load(Ordering::SeqCst);
        active.min(self.stored.load(Ordering::SeqCst))
    }
}

/// What is asked for of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum DueBy {
    /// The next of its windows, if it closes by a time.
    Windows(TimeWindows, i64),
    /// The steps of a process that are due.
    Steps(ReachedTime),
}

/// What was found due of a key.
#[derive(Debug)]
pub(super) enum FoundDue {
    Windows(Due),
    Steps(DueSteps, OpenChange),
}

impl DueBy {
    /// Takes it out of a table.
    pub(super) fn take(self, table: &mut Table, key: &[u8], is_at_rest: bool) -> Option<FoundDue> {
        match self {
            Self::Windows(windows, at) => table.take_due(key, windows, at, is_at_rest).map(FoundDue::Windows),
            Self::Steps(by) => {
                let taken = table.take_due_steps(key, by, HANDED_BYTES_MAX, is_at_rest);
                taken.map(|(steps, change)| FoundDue::Steps(steps, change))
            }
        }
    }

    /// Takes it out of an entry that no table has.
    fn take_from(self, entry: &mut Entry) -> Option<FoundDue> {
        match self {
            Self::Windows(windows, at) => entry.take_due(windows, at).map(FoundDue::Windows),
            Self::Steps(by) => {
                let steps = entry.take_due_steps(by, HANDED_BYTES_MAX)?;
                let change = OpenChange {
                    windows: i64::from(entry.count > 0) - 1,
                    events: -steps.events.cast_signed(),
                };
                Some(FoundDue::Steps(steps, change))
            }
        }
    }
}

impl FoundDue {
    /// Adds it to what leaves the state. Gives what that changes there, and when something else of the key is due.
    fn push_to(self, taken: &mut PartialWindows, key: &[u8]) -> (OpenChange, Option<i64>) {
        match self {
            Self::Windows(due) => {
                due.windows
                    .iter()
                    .for_each(|window| taken.push_closed(key, window, due.at));
                (due.change, due.next)
            }
            Self::Steps(due, change) => {
                due.steps
                    .iter()
                    .for_each(|(time, step)| taken.push_step(key, *time, step));
                (change, due.next)
            }
        }
    }
}

impl Operator {
    /// How it cuts events into windows in time, if it does.
    #[must_use]
    pub fn time_windows(&self) -> Option<TimeWindows> {
        self.driver.windows()
    }

    /// Whether it keeps state and timers by key.
    #[must_use]
    pub fn has_timers(&self) -> bool {
        self.driver.process().is_some()
    }

    /// Says which lines come to the operator, and which is its own, if it goes by event time.
    pub fn set_lines(&self, inputs: &[SourceIndex], own: SourceIndex) {
        self.driver.set_lines(inputs, own);
    }

    /// When the next of what it keeps is due, or sooner.
    #[must_use]
    pub fn next_due(&self) -> i64 {
        self.next_due.get()
    }

    /// Looks for further keys of which something is due, once those that were found are used up. `false` where there are none.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn find_due(&self, due: &mut DueKeys, by: ReachedTime) -> Result<bool, state::Error> {
        let watermark = by.watermark;
        if due.keys.is_empty() {
            let mut first = FirstKeys::after(None);
            // What comes to a table from here on, or leaves one, notes itself.
            self.next_due.active.store(AFTER_ALL, Ordering::SeqCst);
            for actor in self.directory.all() {
                for replica in &actor.replicas {
                    self.next_due.note(replica.lock().show_due(watermark, &mut first));
                }
            }
            let stored = self.next_due.stored.load(Ordering::SeqCst);
            if stored <= watermark && stored != AFTER_ALL {
                self.find_stored_due(&mut first, watermark)?;
            }
            let (keys, has_more) = first.into_keys();
            due.keys.extend(keys);
            due.is_complete = !has_more;
            due.by = by;
        }
        Ok(!due.keys.is_empty())
    }

    /// Shows `first` the keys of the store of which windows close by `watermark`; and, with them, some that a table knows better.
    fn find_stored_due(&self, first: &mut FirstKeys, watermark: i64) -> Result<(), state::Error> {
        self.next_due.stored.store(AFTER_ALL, Ordering::SeqCst);
        let mut last = None;
        loop {
            let mut page = FirstKeys::after(last.take());
            self.context.store.show_keys(&self.id, &mut page)?;
            let (keys, has_more) = page.into_keys();
            let keys: Vec<Box<[u8]>> = keys.collect();
            if self.context.failure_latch.has_failed() {
                return Ok(());
            }
            for some in keys.chunks(LOOKED_UP_MAX) {
                let wanted: Vec<&[u8]> = some.iter().map(|key| &**key).collect();
                let mut stored = Table::default();
                self.context.store.look_up(&self.id, &wanted, &mut stored)?;
                for (key, entry) in stored.entries() {
                    if entry.end <= watermark && entry.end != AFTER_ALL {
                        first.show(&due_key(entry.end, key));
                    }
                    if !self.is_active(key) {
                        self.next_due.note_stored(entry.end);
                    }
                }
            }
            if !has_more {
                return Ok(());
            }
            last = keys.into_iter().next_back();
        }
    }

    /// Whether the table of an actor knows what there is of a key.
    fn is_active(&self, key: &[u8]) -> bool {
        let actor = self.directory.find(key);
        actor.is_some_and(|actor| actor.replicas[0].lock().knows(key))
    }

    /// Takes windows of these keys out of the state, in the order of their ends and keys: as many as one turn may be handed, about, or as take
    /// 50 µs; and none where what was found of the keys was out of date. Part of an effect, as [`send_due`](Self::send_due) is.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub fn take_due(&self, due: &mut DueKeys) -> Result<PartialWindows, state::Error> {
        let by = due.by;
        let mut taken = PartialWindows::default();
        let mut change = OpenChange::default();
        let mut looked_at = 0;
        let clock = &self.context.clock;
        let until_ns = clock.now_ns() + TAKEN_NS;
        while looked_at < TAKEN_MAX && taken.entries.bytes().len() < HANDED_BYTES_MAX {
            if looked_at > 0 && clock.now_ns() >= until_ns {
                break;
            }
            let Some(first) = due.keys.pop_first() else { break };
            looked_at += 1;
            let (at, key) = split_due_key(&first);
            // What the store had of a key may be out of date: what is due of it later has its own place in this order.
            let Some(found) = self.take_due_of(key, at, by)? else {
                continue;
            };
            let (found_change, next) = found.push_to(&mut taken, key);
            change.windows += found_change.windows;
            change.events += found_change.events;
            if let Some(next) = next.filter(|next| *next <= by.watermark) {
                let next: Box<[u8]> = due_key(next, key).into();
                // One behind the last that was found is found again, with those between.
                if due.is_complete || due.keys.last().is_some_and(|last| next < *last) {
                    due.keys.insert(next);
                }
            }
        }
        self.open_windows.change(change);
        Ok(taken)
    }

    /// Takes what is due of a key: the next window, if it closes by `at`; or the steps of a process.
    fn take_due_of(&self, key: &[u8], at: i64, by: ReachedTime) -> Result<Option<FoundDue>, state::Error> {
        let by = match self.time_windows() {
            Some(windows) => DueBy::Windows(windows, at),
            None => DueBy::Steps(by),
        };
        loop {
            let Some(actor) = self.directory.find_or_make(self, key) else {
                return Ok(None);
            };
            let taken = {
                // Nobody loads the key or gives it up meanwhile.
                let mut replica = actor.replicas[0].lock();
                if actor.mailbox.lock().is_retired() {
                    // Another actor has the key by now.
                    continue;
                }
                match replica.take_due(&actor, key, by) {
                    TakenDue::Known(taken) => return Ok(taken),
                    TakenDue::Unknown => self.take_stored_due(key, by),
                }
            };
            self.directory.retire(&actor);
            return taken;
        }
    }

    fn take_stored_due(&self, key: &[u8], by: DueBy) -> Result<Option<FoundDue>, state::Error> {
        let store = &self.context.store;
        let mut stored = Table::default();
        store.look_up(&self.id, &[key], &mut stored)?;
        let Some(mut entry) = stored.take(key) else {
            return Ok(None);
        };
        let taken = by.take_from(&mut entry);
        if taken.is_some() {
            let is_open = entry.count > 0;
            if is_open {
                self.next_due.note_stored(entry.end);
            }
            store.spill(&self.id, vec![(key.into(), is_open.then_some(entry))])?;
        }
        Ok(taken)
    }
}

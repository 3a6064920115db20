//! Windows in time that a watermark has closed.
//!
//! They leave the state of their operator in the order of their ends and keys, wherever it is: in the tables of actors or in the store. From
//! then on they are on their way like those that are closed at the end of the input ([`closing`](super::closing)), and the operator's
//! closer finishes them. An actor may be in the middle of a turn: no event of that belongs to a window that is closed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Operator;
use super::replica::TakenDue;
use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL, SourceIndex};
use dirigo_ground::windowing::TimeWindows;
use dirigo_state::timed::Due;
use dirigo_state::windows::{HANDED_BYTES_MAX, OpenChange, PartialWindows};
use dirigo_state::{self as state, FirstKeys, Table, due_key, split_due_key};

/// Keys that are looked at in one go: a checkpoint waits for it.
const TAKEN_MAX: usize = 1_024;
/// Keys that the store is asked for at once.
const LOOKED_UP_MAX: usize = 64;

/// Keys of which windows are to close, in order.
#[derive(Debug, Default)]
pub struct DueKeys {
    keys: BTreeSet<Box<[u8]>>,
    /// Whether these are all.
    is_complete: bool,
    /// The watermark that they were looked for by.
    watermark: i64,
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

impl Operator {
    /// How it cuts events into windows in time, if it does.
    #[must_use]
    pub fn time_windows(&self) -> Option<TimeWindows> {
        self.driver.windows()
    }

    /// Says which lines come to the operator, if it has windows in time.
    pub fn set_inputs(&self, lines: &[SourceIndex]) {
        self.driver.set_inputs(lines);
    }

    /// When the next of its windows in time closes, or sooner.
    #[must_use]
    pub fn next_due(&self) -> i64 {
        self.next_due.get()
    }

    /// Looks for further keys of which windows close by `watermark`, once those that were found are used up. `false` where there are none.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn find_due(&self, due: &mut DueKeys, watermark: i64) -> Result<bool, state::Error> {
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
            due.watermark = watermark;
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
                    if entry.end <= watermark {
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

    /// Takes windows of these keys out of the state, in the order of their ends and keys: as many as one turn may be handed, about, and none
    /// where what was found of the keys was out of date. Part of an effect, as [`finish_windows`](Self::finish_windows) is.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub fn take_due(&self, due: &mut DueKeys) -> Result<PartialWindows, state::Error> {
        let watermark = due.watermark;
        let mut taken = PartialWindows::default();
        let mut change = OpenChange::default();
        let mut looked_at = 0;
        while looked_at < TAKEN_MAX && taken.entries.bytes().len() < HANDED_BYTES_MAX {
            let Some(first) = due.keys.pop_first() else { break };
            looked_at += 1;
            let (at, key) = split_due_key(&first);
            // What the store had of a key may be out of date: what is due of it later has its own place in this order.
            let Some(found) = self.take_due_of(key, at)? else {
                continue;
            };
            change.windows += found.change.windows;
            change.events += found.change.events;
            for window in &found.windows {
                taken.push_closed(key, window, found.at);
            }
            if let Some(next) = found.next.filter(|next| *next <= watermark) {
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

    /// Takes the next window of a key, if it closes by `watermark`.
    fn take_due_of(&self, key: &[u8], watermark: i64) -> Result<Option<Due>, state::Error> {
        let Some(windows) = self.time_windows() else {
            return Ok(None);
        };
        let Some(actor) = self.directory.find_or_make(self, key) else {
            return Ok(None);
        };
        let taken = {
            // Nobody loads the key or gives it up meanwhile.
            let mut replica = actor.replicas[0].lock();
            match replica.take_due(&actor, key, windows, watermark) {
                TakenDue::Known(taken) => return Ok(taken),
                TakenDue::Unknown => self.take_stored_due(key, windows, watermark),
            }
        };
        self.directory.retire(&actor);
        taken
    }

    fn take_stored_due(&self, key: &[u8], windows: TimeWindows, watermark: i64) -> Result<Option<Due>, state::Error> {
        let store = &self.context.store;
        let mut stored = Table::default();
        store.look_up(&self.id, &[key], &mut stored)?;
        let Some(mut entry) = stored.take(key) else {
            return Ok(None);
        };
        let taken = entry.take_due(windows, watermark);
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

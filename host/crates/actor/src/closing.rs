//! Windows that no event will complete, since their input has ended.
//!
//! They are closed in the order of their keys. What closes them takes them out of the state of the operator, wherever that
//! is: in the tables of actors or in the store. From then on they are a batch on its way like any other, whose events are
//! windows: it says everything of them, so that they wait, are captured by a checkpoint and are finished without the state.
//! An actor of its own finishes them, the [`Closer`]; it has replicas, since it keeps nothing.

use std::collections::VecDeque;
use std::sync::Arc;

use super::directory::STAYS;
use super::mailbox::MailboxItem;
use super::replica::TakenWindow;
use super::{Actor, ActorIdentity, Operator};
use dirigo_ground::batch::Batch;
use dirigo_ground::sync::Mutex;
use dirigo_state::windows::{HANDED_BYTES_MAX, OpenChange, PartialWindows};
use dirigo_state::{self as state, FirstKeys, Table};

/// Windows that leave the state in one go: a checkpoint waits for it, and the store takes about 3 us for each.
const TAKEN_MAX: usize = 1_024;
/// Windows that the store is asked for at once. Each may be of a megabyte, and all are copied before the first is counted.
const LOOKED_UP_MAX: usize = 16;

/// The keys of an operator whose windows are still to be closed.
#[derive(Debug, Default)]
pub struct OpenKeys {
    keys: VecDeque<Box<[u8]>>,
    /// The last one that was found.
    last: Option<Box<[u8]>>,
    /// Whether all were found.
    is_complete: bool,
}

/// The actor that finishes windows which have left the state. It is made when there are some.
pub(super) struct Closer {
    actor: Mutex<Option<Arc<Actor>>>,
    replicas: u16,
}

impl Closer {
    /// One with so many replicas.
    pub(super) fn of(replicas: u32) -> Self {
        Self {
            actor: Mutex::default(),
            replicas: u16::try_from(replicas).unwrap_or(u16::MAX),
        }
    }

    pub(super) fn get(&self) -> Option<Arc<Actor>> {
        self.actor.lock().clone()
    }

    pub(super) fn get_or_make(&self, operator: &Operator) -> Arc<Actor> {
        let make = || Actor::new(operator.handle(), ActorIdentity::Closer, self.replicas);
        self.actor.lock().get_or_insert_with(make).clone()
    }

    /// Drops it: it and its operator hold each other.
    pub(super) fn clear(&self) {
        let dropped = self.actor.lock().take();
        drop(dropped);
    }
}

impl Operator {
    /// Looks for further keys with open windows, once those that were found are used up. `false` where there are none. Nothing is on
    /// its way to this operator.
    ///
    /// # Errors
    /// When the store can't be read.
    pub fn find_open(&self, open: &mut OpenKeys) -> Result<bool, state::Error> {
        while open.keys.is_empty() && !open.is_complete {
            let mut first = FirstKeys::after(open.last.take());
            // Tables first: what an actor gives up meanwhile is found in the store, and is passed over if it was seen here.
            for actor in self.directory.all() {
                for replica in &actor.replicas {
                    replica.lock().show_open_keys(&mut first);
                }
            }
            self.context.store.show_keys(&self.id, &mut first)?;
            let (keys, has_more) = first.into_keys();
            open.keys.extend(keys);
            open.last = open.keys.back().cloned();
            open.is_complete = !has_more;
        }
        Ok(!open.keys.is_empty())
    }

    /// Takes the windows of the next of these keys out of the state: as many as one turn may be handed, about, and none where
    /// what was found of the keys was out of date. Part of an effect, as [`send_due`](Self::send_due) is.
    ///
    /// # Errors
    /// When the store can't be read or written.
    pub fn take_open(&self, open: &mut OpenKeys) -> Result<PartialWindows, state::Error> {
        let mut taken = PartialWindows::default();
        let mut change = OpenChange::default();
        while !open.keys.is_empty() && taken.len() < TAKEN_MAX && taken.entries.bytes().len() < HANDED_BYTES_MAX {
            let next = open.keys.len().min(LOOKED_UP_MAX);
            let keys: Vec<Box<[u8]>> = open.keys.drain(..next).collect();
            let known: Vec<_> = keys.iter().map(|key| self.take_from_table(key)).collect();
            let is_unknown = |(_, known): &(_, &TakenWindow)| matches!(known, TakenWindow::Unknown);
            let unknown = keys.iter().zip(&known).filter(is_unknown);
            let unknown: Vec<&[u8]> = unknown.map(|(key, _)| &**key).collect();
            let mut stored = Table::default();
            self.context.store.look_up(&self.id, &unknown, &mut stored)?;
            let mut forgotten = Vec::new();
            for (key, known) in keys.iter().zip(known) {
                let entry = match known {
                    TakenWindow::Open(entry) => Some(entry),
                    TakenWindow::Closed => None,
                    TakenWindow::Unknown => stored.take(key).inspect(|_| forgotten.push(key.clone())),
                };
                if let Some(entry) = entry {
                    change.windows -= 1;
                    change.events -= entry.count.cast_signed();
                    taken.push(key, &entry);
                }
            }
            self.context.store.forget(&self.id, forgotten)?;
        }
        self.open_windows.change(change);
        Ok(taken)
    }

    /// Takes the window of a key out of the table of its actor.
    fn take_from_table(&self, key: &[u8]) -> TakenWindow {
        let Some(actor) = self.directory.find(key) else {
            return TakenWindow::Unknown;
        };
        // An actor with state has one replica.
        let mut replica = actor.replicas[0].lock();
        replica.take_window(&actor, key)
    }

    /// Has what has left the state go on its way: windows, whose entries are the values of `batch`, or steps of a process.
    pub fn send_due(&self, batch: Batch) {
        if self.driver.process().is_some() {
            self.take_in_steps(batch);
        } else {
            self.finish_windows(&batch);
        }
    }

    /// Hands steps that event time has come to, to the actors of their keys.
    pub(super) fn take_in_steps(&self, batch: Batch) {
        self.gate.enter(batch.len(), batch.size());
        self.directory.deliver(self, batch);
    }

    /// Has windows finished that have left the state; the values of `batch` are their entries.
    pub(super) fn finish_windows(&self, batch: &Batch) {
        let closer = self.closer.get_or_make(self);
        let mut rest = 0..batch.len();
        while !rest.is_empty() {
            let part = batch.slice(rest.start..first_part(batch, rest.clone()));
            rest.start += part.len();
            self.gate.enter(part.len(), part.size());
            let delivered = closer.clone().deliver(MailboxItem::of(part));
            delivered.expect(STAYS);
        }
    }
}

/// Where the first of these windows end that one turn may be handed.
fn first_part(batch: &Batch, windows: std::ops::Range<usize>) -> usize {
    let mut bytes = 0;
    let fits = |&window: &usize| {
        bytes += batch.values.slice_bytes(window..window + 1);
        bytes <= HANDED_BYTES_MAX
    };
    windows.start + windows.clone().take_while(fits).count().max(1)
}

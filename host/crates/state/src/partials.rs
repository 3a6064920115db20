//! What a replica of an actor folded on its own, starting from nothing: it is merged into what its actor keeps of the keys.

use std::sync::Arc;

use super::entry::Entry;
use super::segments::Segments;
use super::table::Table;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Fold, StaleGroups};

/// Partial accumulators of keys.
#[derive(Debug, Default)]
pub struct Partials {
    keys: Column,
    /// Of each key what some of its events were folded to.
    entries: Vec<Entry>,
    /// How many accumulators there are: windows in time have some of each key.
    accumulators: usize,
}

impl Partials {
    /// What a table has that a fold began with nothing in.
    #[must_use]
    pub fn of(table: &Table) -> Self {
        let mut partials = Self::default();
        for (key, entry) in table.entries() {
            partials.keys.push(key);
            partials.accumulators += if table.goes_by_time() {
                Segments::of(entry).count()
            } else {
                1
            };
            partials.entries.push(entry.clone());
        }
        partials
    }

    /// How many accumulators there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accumulators
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_entries: usize = self.entries.iter().map(|entry| entry.bytes().len()).sum();
        self.keys.bytes().len() + of_entries + self.entries.len() * size_of::<Entry>()
    }

    /// By key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.keys.iter().zip(&self.entries)
    }
}

/// A fold of none of `events`: group `i` has the next `counts[i]` of `accumulators`, which are merged.
pub(super) fn merge_only(events: &Batch, accumulators: Column, counts: Vec<u32>, stale: Vec<StaleGroups>) -> Fold {
    Fold {
        batch: events.slice(0..0),
        groups: Arc::default(),
        accumulators: Arc::new(accumulators),
        merged: Some(Arc::new(counts)),
        closing: None,
        early: None,
        stale,
    }
}

//! What was on its way when a run stopped, as far as it is known without running: where it waits, and where it came from.

use std::collections::{BTreeMap, BTreeSet};

use dirigo_flow::SavedBatch;
use dirigo_state::{Error, InFlight};

/// Events that were on their way.
#[derive(Debug, Default)]
pub(super) struct InFlightCounts {
    /// By the operator or sink that they wait for.
    pub(super) at: BTreeMap<String, u64>,
    /// By the source that they entered by.
    pub(super) of: BTreeMap<String, u64>,
}

impl InFlightCounts {
    /// Counts what is in a store.
    ///
    /// # Errors
    /// When it is not what this version writes.
    pub(super) fn count(in_flight: &[InFlight]) -> Result<Self, Error> {
        let mut waiting = Self::default();
        for one in in_flight {
            let saved = decode(one)?;
            let events = saved.len() as u64;
            *waiting.at.entry(one.item.clone()).or_default() += events;
            *waiting.of.entry(saved.source).or_default() += events;
        }
        Ok(waiting)
    }
}

/// What is left of it once some of it is dropped and the rest has its new names, and how many events went, by the name for
/// which they did.
pub(super) fn changed(
    in_flight: &[InFlight],
    dropped: &BTreeSet<String>,
    renamed: &BTreeMap<String, String>,
) -> Result<(Vec<InFlight>, BTreeMap<String, u64>), Error> {
    let mut left = Vec::with_capacity(in_flight.len());
    let mut gone: BTreeMap<String, u64> = BTreeMap::new();
    for one in in_flight {
        let saved = decode(one)?;
        if let Some(id) = dropped.get(&one.item).or_else(|| dropped.get(&saved.source)) {
            *gone.entry(id.clone()).or_default() += saved.len() as u64;
            continue;
        }
        let bytes = match renamed.get(&saved.source) {
            Some(source) => SavedBatch::with_source(&one.bytes, source).ok_or(UNREADABLE)?,
            None => one.bytes.clone(),
        };
        let item = renamed.get(&one.item).unwrap_or(&one.item).clone();
        left.push(InFlight { item, bytes });
    }
    Ok((left, gone))
}

const UNREADABLE: Error = Error::Unreadable { what: "batches" };

fn decode(one: &InFlight) -> Result<SavedBatch, Error> {
    SavedBatch::decode(&one.bytes).ok_or(UNREADABLE)
}

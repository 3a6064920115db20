//! How what other replicas folded joins the global windows that a table has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Group, HANDED_BYTES_MAX, Plan, group_number, stale};
use crate::partials::{Partials, merge_only};
use crate::table::Table;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::Fold;
use dirigo_ground::windowing::EarlyEvents;

/// A fold of no events, which merges `partials` into the global windows of a table, for an operator that writes accumulators of `state_version`, of
/// which the partials are too; `None` where that is more than one turn can be handed. `events` are those that were folded to the partials;
/// `turn` is not 0 and differs from that of the turn before.
pub fn merge(
    table: &mut Table,
    partials: &Partials,
    events: &Batch,
    turn: u32,
    state_version: u32,
) -> Option<(Fold, Plan)> {
    let mut groups: Vec<Group> = Vec::with_capacity(partials.len());
    let mut accumulators = Column::with_capacity(2 * partials.len(), 0);
    let mut counts = Vec::with_capacity(partials.len());
    let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (key, partial) in partials.iter() {
        let number = table.slot_of(key);
        let slot = table.slot_mut(number);
        let handed_bytes = accumulators.bytes().len() + slot.entry.bytes().len() + partial.bytes().len();
        if handed_bytes > HANDED_BYTES_MAX && !groups.is_empty() {
            return None;
        }
        slot.turn = turn;
        slot.group = group_number(groups.len());
        let resumed = Group::resuming(number, &slot.entry, partial.start);
        if resumed.resumes {
            if slot.entry.state_version != state_version {
                let place = group_number(accumulators.len());
                by_version.entry(slot.entry.state_version).or_default().push(place);
            }
            accumulators.push(slot.entry.bytes());
        }
        accumulators.push(partial.bytes());
        counts.push(1 + u32::from(resumed.resumes));
        groups.push(Group {
            count: resumed.count + partial.count,
            start: resumed.start.min(partial.start),
            end: resumed.end.max(partial.end),
            ..resumed
        });
    }
    let plan = Plan {
        order: (0..group_number(groups.len())).collect(),
        groups,
        closed_by: Arc::default(),
        early: Vec::new(),
        early_events: EarlyEvents::NONE,
        state_version,
    };
    let fold = merge_only(events, accumulators, counts, stale(by_version));
    Some((fold, plan))
}

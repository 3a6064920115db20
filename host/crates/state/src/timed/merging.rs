//! How what other replicas folded joins the segments that a table has.

use std::collections::BTreeMap;

use super::groups::Groups;
use super::{Group, Plan, Resumed, Touched};
use crate::aggregates::{self, Grid};
use crate::partials::{Partials, merge_only};
use crate::segments::Segments;
use crate::table::Table;
use crate::windows::{group_number, stale};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::Fold;
use dirigo_ground::windowing::Sliding;

/// A fold of no events, which merges `partials` into the segments of a table, for an operator that writes accumulators of `state_version`, of which
/// the partials are too; `None` where that is more than one turn can be handed. `events` are those that were folded to the partials; `turn` is not 0
/// and differs from that of the turn before.
///
/// Where windows have many segments, what is complete by `watermark` is merged to aggregates in the same turn.
pub fn merge(
    table: &mut Table,
    partials: &Partials,
    events: &Batch,
    sliding: Sliding,
    turn: u32,
    state_version: u32,
    watermark: impl FnOnce() -> i64,
) -> Option<(Fold, Plan)> {
    let grid = Grid::of(sliding);
    let mut groups = Groups::default();
    let mut merged_in: Vec<&[u8]> = Vec::with_capacity(partials.len());
    for (key, partial) in partials.iter() {
        let slot = table.slot_of(key);
        let entry = &table.slot(slot).entry;
        let own = Segments::of(entry);
        let key_bytes = match grid {
            Some(_) => aggregates::open_bytes(entry, |_| false),
            None => entry.bytes().len(),
        };
        for segment in Segments::of(partial) {
            let (at, before) = match own.place_of(segment.span) {
                Ok(range) => (range.start, own.get(segment.span)),
                Err(at) => (at, None),
            };
            if !groups.has_room_for(entry.bytes().len() - at + segment.accumulator.len()) {
                return None;
            }
            merged_in.push(segment.accumulator);
            groups.push(Group {
                slot,
                span: segment.span,
                added: segment.count,
                resumes: before.iter().map(|before| Resumed::replaced(before.span)).collect(),
                key_bytes,
                ..Group::default()
            });
        }
        groups.touched.push(Touched {
            slot,
            ..Touched::default()
        });
        let slot = table.slot_mut(slot);
        slot.turn = turn;
        slot.group = group_number(groups.touched.len() - 1);
    }
    let hollow = match grid {
        Some(grid) => groups.merge_complete(table, grid, watermark, state_version),
        None => Vec::new(),
    };
    let (mut plan, _) = groups.into_plan(state_version);
    plan.hollow = hollow;
    plan.has_aggregates = grid.is_some();
    let mut accumulators = Column::with_capacity(plan.groups.len(), 0);
    let mut counts = Vec::with_capacity(plan.groups.len());
    let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (number, group) in plan.groups.iter().enumerate() {
        for resumed in Plan::resumed(table, group) {
            if resumed.state_version != state_version {
                let place = group_number(accumulators.len());
                by_version.entry(resumed.state_version).or_default().push(place);
            }
            accumulators.push(resumed.accumulator);
        }
        let partial = merged_in.get(number);
        partial.into_iter().for_each(|partial| accumulators.push(partial));
        counts.push(group_number(group.starts_from() + usize::from(partial.is_some())));
    }
    let fold = merge_only(events, accumulators, counts, stale(by_version));
    Some((fold, plan))
}

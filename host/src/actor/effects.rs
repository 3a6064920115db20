//! What an answer of a guest amounts to: which events are to blame, and which batch leaves.
//!
//! Owns how outputs inherit times, keys and positions from the events that they come from. Changes nothing.

use std::sync::Arc;

use super::operator::Operator;
use crate::batch::Batch;
use crate::engine::{Answer, Failure as Rejection, Folded, Outputs, Trap};
use crate::state::windows;

/// Bytes of keys that outputs without keys of their own may inherit, beyond twice what the batch has: as many as a call may hand
/// over.
const INHERITED_BYTES_ALLOWANCE: usize = 2 << 20;

/// The trap that an answer counts as which puts out more than any may, or than the tenant's budget allows. The budget is looked
/// at event by event: which ones are refused does not depend on how events came to be one batch.
pub(super) fn too_much_output(
    operator: &Operator,
    batch: &Batch,
    answer: &Answer,
    plan: Option<&windows::Plan>,
) -> Option<Trap> {
    let account = &operator.pipe.share.account;
    let outputs = match answer {
        Answer::Mapped(outputs) | Answer::Folded(Folded::Done { outputs, .. }) => outputs,
        Answer::Filtered(_) | Answer::Folded(Folded::Rejected(_) | Folded::Unmigrated(_)) => return None,
    };
    // What closing windows put out comes of the event that completed them.
    let event_of = |origin: u32| plan.map_or(origin, |plan| plan.closed_by()[origin as usize]);
    if let Some(trap) = inherits_too_much(batch, outputs, event_of) {
        return Some(trap);
    }
    if !account.bounds_outputs() {
        return None;
    }
    let mut place = 0;
    for same in outputs.origins.chunk_by(|one, next| one == next) {
        let bytes = outputs.values.slice_bytes(place..place + same.len());
        if let Some(reason) = account.refuses_outputs(same.len(), bytes) {
            return Some(Trap::too_much_output(reason, Some(event_of(same[0]))));
        }
        place += same.len();
    }
    None
}

/// Nothing of what outputs inherit was handed over by the guest, so nothing else bounds it.
fn inherits_too_much(batch: &Batch, outputs: &Outputs, event_of: impl Fn(u32) -> u32) -> Option<Trap> {
    if outputs.keys.is_some() {
        return None;
    }
    let allowed = batch.size().saturating_mul(2).saturating_add(INHERITED_BYTES_ALLOWANCE);
    let runs = outputs.origins.chunk_by(|one, next| one == next);
    let inherited: usize = runs
        .map(|same| same.len() * batch.keys.get(event_of(same[0]) as usize).len())
        .sum();
    (inherited > allowed).then(|| {
        let reason = format!("its outputs would inherit {inherited} bytes of keys, and {allowed} are allowed");
        Trap::too_much_output(reason, None)
    })
}

/// A window that cannot be finished is lost with the event that completed it: that one is rejected.
pub(super) fn blamed(closed_by: &[u32], failures: &[Rejection]) -> Vec<Rejection> {
    let blame = |failure: &Rejection| Rejection {
        index: closed_by[failure.index as usize],
        message: failure.message.clone(),
    };
    failures.iter().map(blame).collect()
}

/// How many events have outputs; origins never descend.
pub(super) fn distinct(origins: &[u32]) -> usize {
    usize::from(!origins.is_empty()) + origins.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// The outputs of a map, with what they inherit from their origins.
pub(super) fn derive(batch: &Batch, outputs: Outputs) -> Batch {
    let is_one_to_one = outputs.origins.len() == batch.len() && distinct(&outputs.origins) == batch.len();
    let values = Arc::new(outputs.values);
    let keys = outputs.keys.map(Arc::new);
    if is_one_to_one {
        return Batch {
            values,
            keys: keys.unwrap_or_else(|| batch.keys.clone()),
            ..batch.clone()
        };
    }
    Batch {
        times: Arc::new(inherited(&batch.times, &outputs.origins)),
        keys: keys.unwrap_or_else(|| Arc::new(batch.keys.gather(&outputs.origins))),
        positions: Arc::new(inherited(&batch.positions, &outputs.origins)),
        values,
        origin: batch.origin.clone(),
    }
}

/// Of each output, what its origin has.
fn inherited<T: Copy>(items: &[T], origins: &[u32]) -> Vec<T> {
    let mut inherited = Vec::with_capacity(origins.len());
    for same in origins.chunk_by(|one, next| one == next) {
        inherited.resize(inherited.len() + same.len(), items[same[0] as usize]);
    }
    inherited
}

/// What closing windows emit: times, keys and positions are those of the events that completed them.
pub(super) fn emitted(batch: &Batch, closed_by: &[u32], outputs: Outputs) -> Batch {
    let origins = outputs
        .origins
        .iter()
        .map(|window| closed_by[*window as usize])
        .collect();
    derive(batch, Outputs { origins, ..outputs })
}

//! What an answer of a guest amounts to: which events are to blame, and which batches leave.
//!
//! It is found out by the turn that got the answer, which lets others run on the way: outputs inherit times, keys and positions
//! from the events that they come from, and there may be a hundred thousand of them. Changes nothing: `replica::settling` takes
//! effects.

use std::ops::Range;
use std::sync::Arc;

use crate::account::Account;
use crate::batch::{Batch, Column};
use crate::engine::way::Service;
use crate::engine::{Answer, Failure as Rejection, Filtered, Folded, Outputs, Setup, Trap};

/// Bytes of keys that outputs without keys of their own may inherit, beyond twice what the batch has: as many as a call may hand
/// over.
const INHERITED_BYTES_ALLOWANCE: usize = 2 << 20;
/// Outputs that leave as one batch: twice as many as the events that a turn takes. More are copied to batches of so many, and
/// of so many bytes if one alone does not have more.
const OUTPUTS_MAX: usize = 2048;
const OUTPUT_BYTES_MAX: usize = 128 << 10;

/// What a turn does once it is settled.
#[derive(Debug)]
pub(super) enum Effects {
    /// Of a map or a filter.
    Passed {
        /// Events that led to outputs.
        passed: usize,
        rejected: Vec<Rejection>,
        outputs: Vec<Batch>,
    },
    /// Of a fold.
    Folded {
        /// Of the windows that stay open.
        accumulators: Column,
        /// Events that completed windows which could not be finished.
        rejected: Vec<Rejection>,
        outputs: Vec<Batch>,
    },
    /// Of a fold that rejected these events; nothing else of it counts.
    Rejected(Vec<Rejection>),
    /// Of a fold whose state cannot be read, for these events.
    Unmigrated(Vec<Rejection>),
}

/// What an answer to a batch amounts to. `closed_by` has, for each window that closes, the event that completed it.
///
/// # Errors
/// When it puts out more than any operator may, or than the tenant's budget allows.
pub(super) async fn of(
    answer: Answer,
    batch: &Batch,
    closed_by: Option<&[u32]>,
    setup: &Setup,
) -> Result<Effects, Trap> {
    Ok(match answer {
        Answer::Mapped(outputs) => {
            let passed = distinct(&outputs.origins);
            let (outputs, rejected) = derive(batch, outputs, passed, setup).await?;
            Effects::Passed {
                passed,
                rejected,
                outputs,
            }
        }
        Answer::Filtered(Filtered { kept, failures }) => Effects::Passed {
            passed: kept.len(),
            rejected: failures,
            outputs: vec![if kept.len() == batch.len() {
                batch.clone()
            } else {
                batch.gather(&kept)
            }],
        },
        Answer::Folded(Folded::Rejected(rejected)) => Effects::Rejected(rejected),
        Answer::Folded(Folded::Unmigrated(failures)) => Effects::Unmigrated(failures),
        Answer::Folded(Folded::Done {
            accumulators,
            mut outputs,
        }) => {
            // What a closing window puts out comes of the event that completed it, and is lost with it if it fails.
            let closed_by = closed_by.unwrap_or_default();
            let event_of = |window: &mut u32| *window = closed_by[*window as usize];
            outputs.origins.iter_mut().for_each(event_of);
            outputs
                .failures
                .iter_mut()
                .for_each(|failure| event_of(&mut failure.index));
            if !outputs.failures.is_empty() && batch.len() > 1 {
                return Ok(Effects::Rejected(outputs.failures));
            }
            let events = distinct(&outputs.origins);
            let (outputs, rejected) = derive(batch, outputs, events, setup).await?;
            Effects::Folded {
                accumulators,
                rejected,
                outputs,
            }
        }
    })
}

/// Outputs of so many events, with what they inherit from them, and what was rejected.
async fn derive(
    batch: &Batch,
    outputs: Outputs,
    events: usize,
    setup: &Setup,
) -> Result<(Vec<Batch>, Vec<Rejection>), Trap> {
    let has_runs = events < outputs.origins.len();
    if let Some(trap) = too_much_output(&setup.account, batch, &outputs, has_runs) {
        return Err(trap);
    }
    let is_one_to_one = events == batch.len() && !has_runs;
    if is_one_to_one {
        let batch = Batch {
            values: Arc::new(outputs.values),
            keys: outputs.keys.map_or_else(|| batch.keys.clone(), Arc::new),
            ..batch.clone()
        };
        return Ok((vec![batch], outputs.failures));
    }
    let batches = if outputs.origins.len() <= OUTPUTS_MAX {
        vec![part(batch, &outputs.origins, outputs.keys, outputs.values)]
    } else {
        in_parts(batch, &outputs, Service::new(setup.clock.clone())).await
    };
    Ok((batches, outputs.failures))
}

/// Many outputs, which leave part by part.
async fn in_parts(batch: &Batch, outputs: &Outputs, mut service: Service) -> Vec<Batch> {
    let mut parts = Vec::with_capacity(outputs.origins.len().div_ceil(OUTPUTS_MAX));
    let mut rest = 0..outputs.origins.len();
    while !rest.is_empty() {
        let range = first_part(&outputs.values, rest.clone());
        rest.start = range.end;
        let keys = outputs.keys.as_ref().map(|keys| keys.slice(range.clone()));
        let values = outputs.values.slice(range.clone());
        parts.push(part(batch, &outputs.origins[range], keys, values));
        service.give_way_when_due().await;
    }
    parts
}

/// As many of these outputs as leave as one batch.
fn first_part(values: &Column, rest: Range<usize>) -> Range<usize> {
    let most = rest.start..rest.end.min(rest.start + OUTPUTS_MAX);
    let start = values.start(rest.start);
    let fitting = values.ends()[most].partition_point(|&end| end as usize - start <= OUTPUT_BYTES_MAX);
    rest.start..rest.start + fitting.max(1)
}

/// Outputs that leave as one batch.
fn part(batch: &Batch, origins: &[u32], keys: Option<Column>, values: Column) -> Batch {
    Batch {
        times: Arc::new(inherited(&batch.times, origins)),
        keys: Arc::new(keys.unwrap_or_else(|| batch.keys.gather(origins))),
        positions: Arc::new(inherited(&batch.positions, origins)),
        values: Arc::new(values),
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

/// How many events have outputs; origins never descend.
fn distinct(origins: &[u32]) -> usize {
    usize::from(!origins.is_empty()) + origins.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// The trap that outputs count as which are more than any may, or than the tenant's budget allows. The budget is looked at event
/// by event: which ones are refused does not depend on how events came to be one batch.
fn too_much_output(account: &Account, batch: &Batch, outputs: &Outputs, has_runs: bool) -> Option<Trap> {
    // Where no event has two outputs, they inherit no more than there is.
    if has_runs && let Some(trap) = inherits_too_much(batch, outputs) {
        return Some(trap);
    }
    if !account.bounds_outputs() {
        return None;
    }
    let mut place = 0;
    for same in outputs.origins.chunk_by(|one, next| one == next) {
        let bytes = outputs.values.slice_bytes(place..place + same.len());
        if let Some(reason) = account.refuses_outputs(same.len(), bytes) {
            return Some(Trap::too_much_output(reason, Some(same[0])));
        }
        place += same.len();
    }
    None
}

/// Nothing of what outputs inherit was handed over by the guest, so nothing else bounds it.
fn inherits_too_much(batch: &Batch, outputs: &Outputs) -> Option<Trap> {
    if outputs.keys.is_some() {
        return None;
    }
    let allowed = batch.size().saturating_mul(2).saturating_add(INHERITED_BYTES_ALLOWANCE);
    let runs = outputs.origins.chunk_by(|one, next| one == next);
    let inherited: usize = runs
        .map(|same| same.len() * batch.keys.get(same[0] as usize).len())
        .sum();
    (inherited > allowed).then(|| {
        let reason = format!("its outputs would inherit {inherited} bytes of keys, and {allowed} are allowed");
        Trap::too_much_output(reason, None)
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::clock::ManualClock;
    use crate::flow::Ticket;

    fn column(items: impl IntoIterator<Item = Vec<u8>>) -> Column {
        let mut column = Column::default();
        items.into_iter().for_each(|item| column.push(&item));
        column
    }

    fn batch(events: u8) -> Batch {
        Batch {
            times: Arc::new((0..events.into()).collect()),
            keys: Arc::new(column((0..events).map(|event| vec![event; event.into()]))),
            values: Arc::new(Column::of_empty(events.into())),
            positions: Arc::new((100..100 + u64::from(events)).collect()),
            origin: Ticket::detached().into(),
        }
    }

    /// So many outputs of each event, with values of as many bytes as `length` says.
    fn outputs(of_each: &[usize], keys: bool, length: impl Fn(usize) -> usize) -> Outputs {
        let origins = (0..).zip(of_each).flat_map(|(event, &times)| vec![event; times]);
        let origins: Vec<u32> = origins.collect();
        let value = |output: usize| vec![u8::try_from(output % 251).unwrap(); length(output)];
        Outputs {
            values: column((0..origins.len()).map(value)),
            keys: keys.then(|| column((0..origins.len()).map(|output| output.to_le_bytes().to_vec()))),
            origins,
            failures: Vec::new(),
        }
    }

    fn parts(batch: &Batch, outputs: &Outputs) -> Vec<Batch> {
        let service = Service::new(Arc::new(ManualClock::default()));
        let polled = pin!(in_parts(batch, outputs, service)).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(parts) = polled else {
            panic!("no time goes by");
        };
        parts
    }

    #[test]
    fn what_leaves_in_parts_is_what_would_leave_as_a_whole() {
        let batch = batch(5);
        for keys in [false, true] {
            let outputs = outputs(&[3, 0, 5_000, 1, 2_000], keys, |output| output % 100);
            let parts = parts(&batch, &outputs);
            assert!(parts.len() > 3, "{}", parts.len());
            let whole = part(&batch, &outputs.origins, outputs.keys.clone(), outputs.values.clone());
            let joined = Batch::concat(&parts);
            assert_eq!(joined.times, whole.times);
            assert_eq!(joined.keys, whole.keys);
            assert_eq!(joined.values, whole.values);
            assert_eq!(joined.positions, whole.positions);
        }
    }

    #[test]
    fn a_part_has_so_many_outputs_or_so_many_bytes_at_the_most_or_a_single_output() {
        let lengths = |outputs: Outputs| -> Vec<usize> { parts(&batch(1), &outputs).iter().map(Batch::len).collect() };
        assert_eq!(lengths(outputs(&[5_000], false, |_| 1)), [2_048, 2_048, 904]);
        assert_eq!(lengths(outputs(&[12], false, |_| 32 << 10)), [4, 4, 4]);
        let one_is_large = outputs(&[5], false, |output| if output == 2 { 1 << 20 } else { 10 });
        assert_eq!(lengths(one_is_large), [2, 1, 2]);
    }
}

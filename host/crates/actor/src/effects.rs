//! What a settled call has leave: its outputs as batches.
//!
//! They are made by the turn that got the answer, which lets others run on the way: outputs inherit times, keys and positions
//! from the events that they come from, and there may be a hundred thousand of them. Changes nothing: `replica::settling` takes
//! effects.

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::driver::{Emission, Failed, Settled, Tally, distinct};
use dirigo_engine::cooperative::Yielder;
use dirigo_engine::{Setup, Trap};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{NamedOutputs, Outputs, Rejection};
use dirigo_ground::lineage::OutputTag;
use dirigo_ground::quota::{MemoryReservation, Quota};

/// Bytes of keys that outputs without keys of their own may inherit, beyond twice what the batch has: as many as a call may hand
/// over.
const INHERITED_BYTES_ALLOWANCE: usize = 2 << 20;
/// Outputs that leave as one batch: twice as many as the events that a turn takes, with so many bytes of inherited keys. More are
/// copied to batches of so many, and of so many bytes if one alone does not have more.
const OUTPUTS_MAX: usize = 2048;
const WHOLE_BYTES_MAX: usize = 256 << 10;
const PART_BYTES_MAX: usize = 128 << 10;

/// What a turn does once it is settled, besides what its call does to state.
#[derive(Debug)]
pub(super) struct Effects {
    pub(super) tally: Tally,
    pub(super) rejected: Vec<Rejection>,
    pub(super) outputs: Emitted,
}

/// Outputs, in the order in which they leave.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) batches: Vec<Batch>,
    /// Their memory, where it is much: actors that take turns may all have outputs that have yet to leave.
    pub(super) held: Option<MemoryReservation>,
    /// How many outputs have names that no input of the pipeline reads: they are counted and dropped.
    pub(super) unread: usize,
}

/// Outputs that have what they inherit.
struct Derived {
    batches: Vec<Batch>,
    bytes: usize,
}

/// The effects of a call over `batch`; or why it has none. What named outputs of the operator are read, `tag_of` says, by their numbers.
///
/// # Errors
/// When it puts out more than any operator may, or than the tenant's budget allows.
pub(super) async fn of(
    settled: Settled,
    batch: &Batch,
    setup: &Setup,
    tag_of: impl Fn(usize) -> Option<OutputTag>,
) -> Result<Result<Effects, Failed>, Trap> {
    let (outputs, rejected, tally) = match settled {
        Settled::Done {
            outputs,
            rejected,
            tally,
        } => (outputs, rejected, tally),
        Settled::Failed(failed) => return Ok(Err(failed)),
    };
    let outputs = match outputs {
        Emission::Derived { outputs, events } => {
            let inherited_bytes = inherited_bytes(batch, &outputs, events < outputs.origins.len());
            check_inherited(batch, inherited_bytes)?;
            check_budget(&setup.quota, &outputs, &[])?;
            let Derived { batches, bytes } = derive(batch, outputs, events, inherited_bytes, setup).await;
            Emitted {
                batches,
                held: hold(bytes, setup),
                unread: 0,
            }
        }
        // Apart from the turn, which is smaller without it.
        Emission::UnderNames { own, named } => Box::pin(derive_all(batch, own, named, setup, tag_of)).await?,
        Emission::Kept(kept) => Emitted {
            batches: vec![if kept.len() == batch.len() {
                batch.clone()
            } else {
                batch.gather(&kept)
            }],
            held: None,
            unread: 0,
        },
    };
    Ok(Ok(Effects {
        tally,
        rejected,
        outputs,
    }))
}

/// The operator's own outputs, and behind them those under names that are read.
async fn derive_all(
    batch: &Batch,
    own: Outputs,
    named: Vec<NamedOutputs>,
    setup: &Setup,
    tag_of: impl Fn(usize) -> Option<OutputTag>,
) -> Result<Emitted, Trap> {
    check_budget(&setup.quota, &own, &named)?;
    let (mut read, mut unread) = (vec![(OutputTag::Own, own)], 0);
    for NamedOutputs { output, outputs } in named {
        match tag_of(output) {
            Some(tag) => read.push((tag, outputs)),
            None => unread += outputs.origins.len(),
        }
    }
    let measured = read.into_iter().map(|(tag, outputs)| {
        let events = distinct(&outputs.origins);
        let inherited_bytes = inherited_bytes(batch, &outputs, events < outputs.origins.len());
        (tag, outputs, events, inherited_bytes)
    });
    let measured: Vec<_> = measured.collect();
    check_inherited(batch, measured.iter().map(|(.., bytes)| bytes).sum())?;
    let (mut batches, mut all_bytes) = (Vec::new(), 0);
    for (tag, outputs, events, inherited_bytes) in measured {
        let derived = derive(batch, outputs, events, inherited_bytes, setup).await;
        all_bytes += derived.bytes;
        batches.extend(derived.batches.into_iter().map(|mut batch| {
            batch.origin.output = tag;
            batch
        }));
    }
    Ok(Emitted {
        batches,
        held: hold(all_bytes, setup),
        unread,
    })
}

/// Counts the memory of outputs, where it is much.
fn hold(bytes: usize, setup: &Setup) -> Option<MemoryReservation> {
    (bytes > WHOLE_BYTES_MAX).then(|| setup.quota.hold(bytes))
}

/// Outputs of `events` events, with the times, positions and keys that they inherit from these. The keys take `inherited_bytes`.
async fn derive(batch: &Batch, outputs: Outputs, events: usize, inherited_bytes: usize, setup: &Setup) -> Derived {
    let bytes = outputs.values.slice_bytes(0..outputs.values.len()) + inherited_bytes;
    let is_one_to_one = events == batch.len() && events == outputs.origins.len();
    if is_one_to_one {
        let batch = Batch {
            times: outputs.times.map_or_else(|| batch.times.clone(), Arc::new),
            values: outputs.values,
            fields: outputs.fields,
            keys: outputs.keys.map_or_else(|| batch.keys.clone(), Arc::new),
            ..batch.clone()
        };
        let batches = vec![batch];
        return Derived { batches, bytes };
    }
    let is_whole = outputs.origins.len() <= OUTPUTS_MAX && inherited_bytes <= WHOLE_BYTES_MAX;
    let batches = if is_whole {
        vec![part(batch, outputs)]
    } else {
        in_parts(batch, &outputs, Yielder::new(setup.clock.clone())).await
    };
    Derived { batches, bytes }
}

/// Bytes of keys that outputs inherit.
fn inherited_bytes(batch: &Batch, outputs: &Outputs, has_runs: bool) -> usize {
    if outputs.keys.is_some() {
        return 0;
    }
    if !has_runs {
        // There is no more.
        return batch.keys.bytes().len();
    }
    let runs = outputs.origins.chunk_by(|one, next| one == next);
    runs.map(|same| same.len() * batch.keys.get(same[0] as usize).len())
        .sum()
}

/// Many outputs, which leave part by part.
async fn in_parts(batch: &Batch, outputs: &Outputs, mut yielder: Yielder) -> Vec<Batch> {
    let mut parts = Vec::with_capacity(outputs.origins.len().div_ceil(OUTPUTS_MAX));
    let mut rest = 0..outputs.origins.len();
    while !rest.is_empty() {
        let range = first_part(batch, outputs, rest.clone());
        rest.start = range.end;
        parts.push(part(batch, outputs.slice(range)));
        yielder.yield_if_due().await;
    }
    parts
}

/// As many of these outputs as leave as one batch.
fn first_part(batch: &Batch, outputs: &Outputs, rest: Range<usize>) -> Range<usize> {
    let length = |column: &Column, item: usize| column.slice_bytes(item..item + 1);
    let mut bytes = 0;
    let fits = |&output: &usize| {
        let key = match &outputs.keys {
            Some(keys) => length(keys, output),
            None => length(&batch.keys, outputs.origins[output] as usize),
        };
        bytes += outputs.values.slice_bytes(output..output + 1) + key;
        bytes <= PART_BYTES_MAX
    };
    let fitting = rest.clone().take(OUTPUTS_MAX).take_while(fits).count();
    rest.start..rest.start + fitting.max(1)
}

/// Outputs that leave as one batch.
fn part(batch: &Batch, outputs: Outputs) -> Batch {
    let origins = &outputs.origins[..];
    let (times, keys) = (outputs.times, outputs.keys);
    Batch {
        times: Arc::new(times.unwrap_or_else(|| inherited(&batch.times, origins))),
        keys: Arc::new(keys.unwrap_or_else(|| batch.keys.gather(origins))),
        positions: Arc::new(inherited(&batch.positions, origins)),
        values: outputs.values,
        fields: outputs.fields,
        origin: batch.origin.of(|behind| behind.gather(origins)),
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

/// Refuses outputs that inherit more than any may. Nothing of that was handed over by the guest, so nothing else bounds it.
fn check_inherited(batch: &Batch, inherited_bytes: usize) -> Result<(), Trap> {
    let allowed = batch.size().saturating_mul(2).saturating_add(INHERITED_BYTES_ALLOWANCE);
    if inherited_bytes > allowed {
        let reason = format!("its outputs would inherit {inherited_bytes} bytes of keys, and {allowed} are allowed");
        return Err(Trap::too_much_output(reason, None));
    }
    Ok(())
}

/// Refuses outputs that are more than the tenant's budget allows, by whichever output they leave. It is looked at event by event: which ones
/// are refused does not depend on how events came to be one batch.
fn check_budget(quota: &Quota, own: &Outputs, named: &[NamedOutputs]) -> Result<(), Trap> {
    if !quota.bounds_outputs() {
        return Ok(());
    }
    // An output has those of an event in one piece.
    let all = || iter::once(own).chain(named.iter().map(|named| &named.outputs));
    let mut places: SmallVec<[usize; 4]> = all().map(|_| 0).collect();
    loop {
        let next = all()
            .zip(&places)
            .filter_map(|(outputs, &place)| outputs.origins.get(place));
        let Some(&event) = next.min() else { return Ok(()) };
        let (mut outputs_of_event, mut bytes) = (0, 0);
        for (outputs, place) in all().zip(&mut places) {
            let start = *place;
            let is_of_event = |origin: &&u32| **origin == event;
            let count = outputs.origins[start..].iter().take_while(is_of_event).count();
            *place += count;
            outputs_of_event += count;
            bytes += outputs.values.slice_bytes(start..start + count);
        }
        if let Some(reason) = quota.refuses_outputs(outputs_of_event, bytes) {
            return Err(Trap::too_much_output(reason, Some(event)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_engine::cooperative::done;
    use dirigo_ground::clock::SlowClock;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn column(items: impl IntoIterator<Item = Vec<u8>>) -> Column {
        let mut column = Column::default();
        items.into_iter().for_each(|item| column.push(&item));
        column
    }

    fn batch(events: u8) -> Batch {
        Batch {
            times: Arc::new((0..events.into()).collect()),
            keys: Arc::new(column((0..events).map(|event| vec![event; event.into()]))),
            values: Column::of_empty(events.into()).into(),
            fields: Fields::default(),
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
            values: column((0..origins.len()).map(value)).into(),
            keys: keys.then(|| column((0..origins.len()).map(|output| output.to_le_bytes().to_vec()))),
            origins,
            ..Outputs::default()
        }
    }

    /// The parts, after each of which others may run.
    fn parts(batch: &Batch, outputs: &Outputs) -> Vec<Batch> {
        let yielder = Yielder::new(Arc::new(SlowClock::default()));
        let (parts, yields) = done(in_parts(batch, outputs, yielder));
        assert_eq!(parts.len(), yields);
        parts
    }

    #[test]
    fn what_leaves_in_parts_is_what_would_leave_as_a_whole() {
        let batch = batch(5);
        for keys in [false, true] {
            let outputs = outputs(&[3, 0, 5_000, 1, 2_000], keys, |output| output % 100);
            let parts = parts(&batch, &outputs);
            assert!(parts.len() > 3, "{}", parts.len());
            let whole = part(&batch, outputs);
            let joined = Batch::concat(&parts);
            assert_eq!(joined.times, whole.times);
            assert_eq!(joined.keys, whole.keys);
            assert_eq!(joined.values.to_column(), whole.values.to_column());
            assert_eq!(joined.positions, whole.positions);
        }
    }

    #[test]
    fn a_part_has_so_many_outputs_or_so_many_bytes_at_the_most_or_a_single_output() {
        let lengths = |outputs: Outputs| -> Vec<usize> { parts(&batch(1), &outputs).iter().map(Batch::len).collect() };
        assert_eq!(lengths(outputs(&[5_000], false, |_| 1)), [2_048, 2_048, 904]);
        let keys = outputs(&[5_000], true, |_| 120);
        assert_eq!(lengths(keys), [1_024, 1_024, 1_024, 1_024, 904], "keys count");
        assert_eq!(lengths(outputs(&[12], false, |_| 32 << 10)), [4, 4, 4]);
        let one_is_large = outputs(&[5], false, |output| if output == 2 { 1 << 20 } else { 10 });
        assert_eq!(lengths(one_is_large), [2, 1, 2]);
    }
}

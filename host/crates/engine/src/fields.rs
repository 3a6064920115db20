//! Fields on the way into a guest and out of it: what it reads is taken out of the values, what it wrote is put into them.
//!
//! Lets others run on the way. How JSON is read and written, `dirigo_fields` knows.

use std::ops::Range;

use crate::cooperative::Yielder;
use crate::failure::Failure;
use dirigo_fields::{Extraction, failures, lacking};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Finished, Folded, KeysAfter, NamedOutputs, Outputs, Processed, Rejection};
use dirigo_ground::fields::{Fields, NamedColumn, OutputMode, Schema};
use dirigo_ground::json::{Unwritable, check, write_extended, write_replaced};
use dirigo_ground::values::Values;

/// Bytes of values between two looks at the clock: some 20 µs.
const PIECE_BYTES: usize = 16 << 10;

/// The batch with the fields that are read of it; or the events that lack one, and why.
pub(crate) async fn provide(batch: &Batch, schema: &Schema, yielder: &mut Yielder) -> Result<Batch, Vec<Rejection>> {
    let mut batch = batch.clone();
    let lacking = lacking(&batch, &schema.reads);
    if (schema.raw || !lacking.is_empty()) && !batch.values.are_bytes() {
        batch.values = whole(&batch.values, yielder).await;
    }
    if !lacking.is_empty() {
        let values = batch.values.to_column();
        let mut extraction = Extraction::of(lacking);
        let mut rest = 0..batch.len();
        while !rest.is_empty() {
            let piece = piece(&rest, |range| values.slice_bytes(range));
            rest.start = piece.end;
            extraction.extend(&values, piece);
            yielder.yield_if_due().await;
        }
        let mut columns = batch.fields.columns().to_vec();
        columns.extend(extraction.finish());
        batch.fields = Fields::new(columns);
    }
    let failures = failures(&batch, &schema.reads);
    if failures.is_empty() { Ok(batch) } else { Err(failures) }
}

/// Values as bytes.
async fn whole(values: &Values, yielder: &mut Yielder) -> Values {
    let mut whole = Column::with_capacity(values.len(), values.size());
    let mut rest = 0..values.len();
    while !rest.is_empty() {
        let piece = piece(&rest, |range| values.slice_bytes(range));
        rest.start = piece.end;
        whole.extend(&values.whole(piece));
        yielder.yield_if_due().await;
    }
    whole.into()
}

/// As many of the rest as are read between two looks at the clock, or one; `slice_bytes` says how many bytes a range has.
fn piece(rest: &Range<usize>, slice_bytes: impl Fn(Range<usize>) -> usize) -> Range<usize> {
    let mut bytes = 0;
    let fits = |&index: &usize| {
        bytes += slice_bytes(index..index + 1);
        bytes <= PIECE_BYTES
    };
    let fitting = rest.clone().take_while(fits).count();
    rest.start..rest.start + fitting.max(1)
}

/// Gives outputs the values that their fields make. What cannot be written is rejected.
///
/// # Errors
/// When the values have more than so many bytes.
pub(crate) async fn write(
    answer: &mut Answer,
    batch: &Batch,
    schema: &Schema,
    bytes_max: usize,
    yielder: &mut Yielder,
) -> Result<(), Failure> {
    let mut bytes_max = bytes_max;
    if let Answer::Processed(Processed::Done(after)) = answer
        && !after.named.is_empty()
    {
        // Apart from the turn, which is smaller without it.
        bytes_max = Box::pin(write_named(after, batch, schema, bytes_max, yielder)).await?;
    }
    let outputs = match answer {
        Answer::Processed(Processed::Done(after)) => &mut after.outputs,
        Answer::Mapped(outputs)
        | Answer::Folded(Folded::Done { outputs, .. })
        | Answer::Finished(Finished::Done(outputs)) => outputs,
        Answer::Filtered(_) | Answer::Folded(_) | Answer::Finished(_) | Answer::Processed(_) | Answer::Unread(_) => {
            return Ok(());
        }
    };
    if schema.outputs == OutputMode::Raw || outputs.origins.is_empty() {
        return Ok(());
    }
    let unwritable = match schema.outputs {
        OutputMode::Extend if are_objects(batch, schema) => extend(outputs, batch, bytes_max)?,
        mode => encode(outputs, batch, mode, bytes_max, yielder).await?,
    };
    if schema.outputs == OutputMode::Extend {
        inherit(outputs, batch);
    }
    if !unwritable.is_empty() {
        reject(outputs, unwritable);
    }
    Ok(())
}

/// The same for outputs with names. Gives how many bytes are left for the values of the operator's own outputs.
async fn write_named(
    after: &mut KeysAfter,
    batch: &Batch,
    schema: &Schema,
    bytes_max: usize,
    yielder: &mut Yielder,
) -> Result<usize, Failure> {
    let mut left = bytes_max;
    for NamedOutputs { output, outputs } in &mut after.named {
        let mode = schema.named[*output].mode;
        if mode == OutputMode::Raw {
            continue;
        }
        let unwritable = encode(outputs, batch, mode, left, yielder).await?;
        left -= outputs.values.slice_bytes(0..outputs.values.len());
        if !unwritable.is_empty() {
            reject(outputs, unwritable);
        }
    }
    Ok(left)
}

/// Whether what the schema writes can be put into every event: each is an object, for a field of it was read, and what is written are
/// members of it.
fn are_objects(batch: &Batch, schema: &Schema) -> bool {
    let mut required = schema.reads.iter().filter(|read| !read.is_optional).peekable();
    schema.writes.iter().all(|written| written.field.is_top_level())
        && required.peek().is_some()
        && (required.any(|read| read.field.is_in_object()) || batch.values.are_objects())
}

/// Keeps written fields as columns next to the values of the events that outputs come from. Gives the origins of outputs that cannot be
/// written.
///
/// # Errors
/// When the values have more than so many bytes.
fn extend(outputs: &mut Outputs, batch: &Batch, bytes_max: usize) -> Result<Vec<Rejection>, Failure> {
    let columns = outputs.fields.columns();
    let mut unwritable = Vec::new();
    for (index, &origin) in outputs.origins.iter().enumerate() {
        if let Err(Unwritable(message)) = check(columns, index) {
            unwritable.push(Rejection { index: origin, message });
        }
    }
    outputs.values = if is_one_to_one(outputs, batch) {
        batch.values.with_written(columns)
    } else {
        let sizes = outputs
            .origins
            .iter()
            .map(|&origin| batch.values.slice_bytes(origin as usize..origin as usize + 1));
        if sizes.sum::<usize>() > bytes_max {
            return Err(Failure::TooMuchOutput { bytes_max });
        }
        batch.values.gather(&outputs.origins).with_written(columns)
    };
    Ok(unwritable)
}

fn is_one_to_one(outputs: &Outputs, batch: &Batch) -> bool {
    outputs.origins.len() == batch.len() && (0..).zip(&outputs.origins).all(|(index, &origin)| index == origin)
}

/// Encodes outputs from the fields that were written. Gives the origins of those that cannot be.
///
/// # Errors
/// When the values have more than so many bytes.
async fn encode(
    outputs: &mut Outputs,
    batch: &Batch,
    mode: OutputMode,
    bytes_max: usize,
    yielder: &mut Yielder,
) -> Result<Vec<Rejection>, Failure> {
    let mut values = Vec::new();
    let mut ends = Vec::with_capacity(outputs.origins.len());
    let mut unwritable = Vec::new();
    let mut piece_start = 0;
    for (index, &origin) in outputs.origins.iter().enumerate() {
        let written = match mode {
            OutputMode::Extend => {
                let document = batch.values.get(origin as usize);
                write_extended(&document, outputs.fields.columns(), index, &mut values)
            }
            _ => write_replaced(outputs.fields.columns(), index, &mut values),
        };
        if let Err(Unwritable(message)) = written {
            unwritable.push(Rejection { index: origin, message });
        }
        if values.len() > bytes_max {
            return Err(Failure::TooMuchOutput { bytes_max });
        }
        ends.push(u32::try_from(values.len()).expect("what a call hands back is bounded far below"));
        if values.len() - piece_start > PIECE_BYTES {
            piece_start = values.len();
            yielder.yield_if_due().await;
        }
    }
    outputs.values = Column::from_parts(values, ends).expect("ends follow the bytes").into();
    Ok(unwritable)
}

/// Outputs that extend events have their other fields as the events have them.
fn inherit(outputs: &mut Outputs, batch: &Batch) {
    let mut columns = outputs.fields.columns().to_vec();
    let is_untouched = |named: &&NamedColumn| !columns.iter().any(|written| written.field.overlaps(&named.field));
    let inherited: Vec<NamedColumn> = batch.fields.columns().iter().filter(is_untouched).cloned().collect();
    let inherited = Fields::new(inherited);
    let inherited = if is_one_to_one(outputs, batch) {
        inherited
    } else {
        inherited.gather(&outputs.origins)
    };
    columns.extend_from_slice(inherited.columns());
    outputs.fields = Fields::new(columns);
}

/// Rejects the origins of outputs that cannot be written, with all that they led to.
#[cold]
fn reject(outputs: &mut Outputs, mut unwritable: Vec<Rejection>) {
    unwritable.dedup_by_key(|failure| failure.index);
    let is_rejected = |origin: u32| {
        unwritable
            .binary_search_by_key(&origin, |failure| failure.index)
            .is_ok()
    };
    let kept: Vec<u32> = (0..)
        .zip(&outputs.origins)
        .filter(|(_, origin)| !is_rejected(**origin))
        .map(|(place, _)| place)
        .collect();
    *outputs = outputs.gather(&kept);
    outputs.failures.extend(unwritable);
    outputs.failures.sort_by_key(|failure| failure.index);
}

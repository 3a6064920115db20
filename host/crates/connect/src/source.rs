//! Where events enter.
//!
//! A source reads records, finds their keys and times, and fills an [`Intake`]. It blocks while it waits for its
//! medium, so the runtime gives each one a thread of its own. It knows nothing of operators, queues or back pressure.

use std::any::Any;
use std::fmt::Debug;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::task::Waker;

use dirigo_disk::Disk;
pub use dirigo_fields::{Cell, Extraction, Pass, Wanted};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_ground::values::{RecordEncoder, Values};

pub use crate::{Error, Keep, Offset};
use crate::{Facets, Files, Format, Pointer, TimeField};

/// What is kept of a refused record, in bytes: it is to be recognised and looked at, and there may be many.
pub const REFUSED_BYTES_MAX: usize = 64 << 10;

/// What a source read in one go.
#[derive(Debug, Default)]
pub struct Intake {
    /// Event times, ms since the epoch; one for each accepted event, as are keys, values and positions.
    pub times: Vec<i64>,
    /// Keys, empty where the source has none.
    pub keys: Column,
    /// Payloads, or records of the encoder that was named last ([`encode_by`](Self::encode_by)).
    pub values: Column,
    /// Which encoder makes payloads of the records from here on.
    encoders: Vec<(usize, Arc<dyn RecordEncoder>)>,
    /// How many bytes longer the payloads are than their records, of all encoders but the last.
    added_bytes: usize,
    /// The fields that operators read of the payloads. A source that looks into each of them anyway takes the fields out in the same pass
    /// ([`Pass`], [`Extraction::push_cells`]); those of the last events may be left to who asked for them.
    pub fields: Extraction,
    /// Record numbers, from 1, rising.
    pub positions: Vec<u64>,
    /// How far event time has come behind all of that, where the source knows it otherwise than by the times of its events: ms since the
    /// epoch.
    pub watermark: Option<i64>,
    /// Records that could not be accepted.
    pub refused: Vec<RefusedRecord>,
    refused_bytes: usize,
}

/// A record that is not an event: a dead letter of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its number in the source, from 1.
    pub position: u64,
    /// What was read, or its first [`REFUSED_BYTES_MAX`] bytes.
    pub value: Vec<u8>,
    /// What is wrong, and where in the record.
    pub reason: String,
}

impl Intake {
    /// An empty one, of whose events these fields are wanted.
    #[must_use]
    pub fn wanting(fields: &[Wanted]) -> Self {
        Self {
            fields: Extraction::of(fields.to_vec()),
            ..Self::default()
        }
    }

    /// Appends a record that could not be accepted, or its first [`REFUSED_BYTES_MAX`] bytes.
    pub fn refuse(&mut self, position: u64, value: &[u8], reason: String) {
        let value = value[..value.len().min(REFUSED_BYTES_MAX)].to_vec();
        self.refused_bytes += value.len();
        self.refused.push(RefusedRecord {
            position,
            value,
            reason,
        });
    }

    /// Says that what is pushed to `values` from here on are records, of which `encoder` makes payloads. What was pushed before is not
    /// touched.
    pub fn encode_by<E: RecordEncoder + 'static>(&mut self, encoder: &Arc<E>) {
        let is_named =
            |(_, last): &(usize, Arc<dyn RecordEncoder>)| ptr::addr_eq(Arc::as_ptr(last), Arc::as_ptr(encoder));
        if !self.encoders.last().is_some_and(is_named) {
            self.added_bytes += self.added_by_last();
            self.encoders.push((self.values.len(), encoder.clone()));
        }
    }

    fn added_by_last(&self) -> usize {
        let added =
            |(start, encoder): &(usize, Arc<dyn RecordEncoder>)| (self.values.len() - start) * encoder.added_bytes();
        self.encoders.last().map_or(0, added)
    }

    /// What counts for [`ReadLimit::bytes`]: the bytes of the payloads, as [`Values::size`] counts them, and of what was kept of refused
    /// records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.values.bytes().len() + self.added_bytes + self.added_by_last() + self.refused_bytes
    }

    /// Takes the payloads out.
    pub fn take_values(&mut self) -> Values {
        let values = std::mem::take(&mut self.values);
        self.added_bytes = 0;
        match &std::mem::take(&mut self.encoders)[..] {
            [] => values.into(),
            [(0, encoder)] => Values::of_records(values, encoder.clone()),
            encoders => {
                let ends = encoders.iter().skip(1).map(|(start, _)| *start).chain([values.len()]);
                let part = |((start, encoder), end): (&(usize, Arc<dyn RecordEncoder>), usize)| {
                    Values::of_records(values.slice(*start..end), encoder.clone())
                };
                let plain = Values::from(values.slice(0..encoders[0].0));
                let parts: Vec<Values> = [plain].into_iter().chain(encoders.iter().zip(ends).map(part)).collect();
                Values::concat(parts.iter().filter(|part| !part.is_empty()))
            }
        }
    }
}

/// How an attempt to read ended. What it appended stands, whichever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is, or may be, more.
    More,
    /// Nothing is due before this much time has passed.
    Wait(std::time::Duration),
    /// The source is at its end.
    End,
}

/// How much is read of a source that knows its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadProgress {
    /// Units (bytes or events) read.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// How many events and bytes one [`Source::read`] takes at most.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Events, and records that were refused.
    pub events: usize,
    /// Bytes of payloads and of records that were refused ([`Intake::bytes`]); the record that crosses it is the last one.
    pub bytes: usize,
}

/// A reader of events.
pub trait Source: Send {
    /// Appends events to `intake`, at most `limit`. Blocks only while it has none: it returns what it has as soon as it
    /// would have to wait for more.
    ///
    /// # Errors
    /// When the medium fails; events already appended stand.
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error>;

    /// Begins to accept pushed input, before the first [`read`](Self::read). The state knows by now where the source begins. A source that says
    /// [`Read::Wait`] wakes its reader by `waker` as soon as there is more.
    ///
    /// # Errors
    /// When the medium cannot be opened.
    fn start(&mut self, _waker: Waker) -> Result<(), Error> {
        Ok(())
    }

    /// Says that no more is read in this run: pushed input is refused from now on.
    fn stop(&mut self) {}

    /// Where to go on after the events returned so far; `None` for a source that cannot be read again.
    fn offset(&self) -> Option<Offset>;

    /// Says that an epoch is durable, for which [`offset`](Self::offset) gave this: what was read before it is not
    /// asked for again, so it may be acknowledged or deleted. What was read since is in no epoch yet. An epoch may pass
    /// without a call, for instance where the run ends abruptly; the next one covers it.
    ///
    /// # Errors
    /// When the medium fails. One that is worth another try gets it at the next epoch; any other ends the pipeline.
    fn committed(&mut self, _offset: &Offset) -> Result<(), Error> {
        Ok(())
    }

    /// Whether what it gave can be read again, from an offset on.
    fn can_be_read_again(&self) -> bool {
        self.offset().is_some()
    }

    /// Whether its end is that of what there is to read, which closes windows in time. Not where it is held instead of read.
    fn ends_its_input(&self) -> bool {
        true
    }

    /// How far it is, when its size is known.
    fn progress(&self) -> Option<ReadProgress>;
}

/// What a source is opened with, beyond its options.
pub struct Opening<'a> {
    /// Its id in the pipeline.
    pub id: &'a str,
    /// The name of the pipeline.
    pub pipeline: &'a str,
    /// Whose the pipeline is.
    pub tenant: &'a str,
    /// Where the key of an event is.
    pub key: Option<&'a Pointer>,
    /// Where the event time is; without it an event's time is when it was read, by `clock`, unless the source [knows one](SourceSpec::has_times).
    pub time: Option<&'a TimeField>,
    /// The fields that operators read of its events, and as what, as far as that is known when it is opened.
    pub reads: &'a [Wanted],
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where an earlier run stopped; `None` for the start.
    pub from: Option<&'a Offset>,
    /// Whether a later run goes on where this one ends. Then a last record that has no end yet can be left to it.
    pub is_continued: bool,
    /// The files of the machine, as far as this pipeline may read them.
    pub disk: &'a Arc<dyn Disk>,
    /// Where the source may keep what cannot be asked for again, next to the state; `None` where the run keeps no state.
    pub keep: Option<Keep>,
}

/// What a pipeline says of one of its sources, validated: the options of its connector.
pub trait SourceSpec: Any + Debug + Send + Sync {
    /// How its records are written: what `key` and `time` can point at, and what a test case hands in.
    fn format(&self) -> Format;

    /// Opens the source at its start, or where the offset of an earlier run says.
    ///
    /// # Errors
    /// When the medium cannot be opened, or has changed in what had been read of it, or the offset is of another
    /// source.
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error>;

    /// Whether it will be able to give again what it gave, without opening it.
    fn can_be_read_again(&self, disk: &dyn Disk) -> bool;

    /// What its offsets depend on, beyond `key` and `time`; paths as they are [seen from](crate::seen_from) the
    /// pipeline `file`. That `kind` is among them keeps the offsets of one connector from another.
    fn facets(&self, file: &Path) -> Facets;

    /// The files that it reads.
    fn files(&self) -> Vec<Files> {
        Vec::new()
    }

    /// Whether its events have a time without [`Opening::time`], which is the same whenever they are read.
    fn has_times(&self) -> bool {
        false
    }

    /// How many events per second it offers, where it paces itself.
    fn rate(&self) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes an object of a record that is a number.
    #[derive(Debug)]
    struct Numbered(&'static str);

    impl RecordEncoder for Numbered {
        fn encode(&self, record: &[u8], payload: &mut Vec<u8>) {
            payload.extend_from_slice(self.0.as_bytes());
            payload.extend_from_slice(record);
            payload.push(b'}');
        }

        fn added_bytes(&self) -> usize {
            self.0.len() + 1
        }
    }

    #[test]
    fn payloads_of_several_encoders_come_in_their_order_and_count_what_they_take() {
        let [short, long] = [r#"{"n":"#, r#"{"number":"#].map(|start| Arc::new(Numbered(start)));
        let mut intake = Intake::default();
        intake.values.push(b"{}");
        for (encoder, record) in [(&short, "1"), (&short, "2"), (&long, "3"), (&short, "4")] {
            intake.encode_by(encoder);
            intake.values.push(record.as_bytes());
        }
        let expected = ["{}", r#"{"n":1}"#, r#"{"n":2}"#, r#"{"number":3}"#, r#"{"n":4}"#];
        assert_eq!(intake.bytes(), expected.concat().len());
        intake.refuse(6, b"what", "it is none".to_owned());
        assert_eq!(intake.bytes(), expected.concat().len() + 4);
        let payloads = intake.take_values().to_column();
        assert!(payloads.iter().eq(expected.map(str::as_bytes)));
        assert_eq!(intake.bytes(), 4, "the payloads were taken out");
    }
}

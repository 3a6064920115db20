//! Sources without end and sinks without bottom: what neighbours are fed from, and where it goes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use dirigo_connect::sink::{self, Sink};
use dirigo_connect::source::{self, Intake, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::batch::Column;

/// Events that one read gives: as many as a pipeline's sources take.
const BATCH_EVENTS: u64 = 256;

/// Which times events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    /// All the same.
    Still,
    /// A millisecond more for each.
    Rising,
    /// Any within a century.
    Scattered,
}

impl Times {
    /// That of the event at a position.
    fn at(self, position: u64) -> i64 {
        const CENTURY_MS: u64 = 36_500 * 24 * 3_600_000;
        let ms = match self {
            Self::Still => 0,
            Self::Rising => position,
            Self::Scattered => position.wrapping_mul(0x9e37_79b9_7f4a_7c15) % CENTURY_MS,
        };
        i64::try_from(ms).expect("a century is short")
    }
}

/// Gives the same events again and again, as fast as they are taken.
pub(super) struct Cycle {
    batches: Arc<Vec<(Column, Column)>>,
    next: usize,
    position: u64,
    times: Times,
}

/// The largest file of events that is taken: all of it is held in memory, next to what is measured.
const FILE_BYTES_MAX: u64 = 256 << 20;

impl Cycle {
    /// Numbered events over `keys` keys that take turns.
    pub(super) fn numbered(keys: u64) -> Self {
        let event = |n: u64| {
            let key = n % keys;
            let value = format!(r#"{{"n":{n},"key":"k-{key}","value":{}.5}}"#, n % 40);
            (format!("k-{key}").into_bytes(), value.into_bytes())
        };
        Self::of((0..keys.max(4 * BATCH_EVENTS)).map(event))
    }

    /// The lines of a file, without keys.
    pub(super) fn lines(path: &Path) -> anyhow::Result<Self> {
        let text = dirigo_disk::read_regular(&dirigo_disk::Real, path, FILE_BYTES_MAX)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let this = Self::of(lines.map(|line| (Vec::new(), line.to_vec())));
        anyhow::ensure!(!this.batches.is_empty(), "{} has no events", path.display());
        Ok(this)
    }

    fn of(events: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let mut batches: Vec<(Column, Column)> = Vec::new();
        for (number, (key, value)) in (0..).zip(events) {
            if u64::is_multiple_of(number, BATCH_EVENTS) {
                batches.push(Default::default());
            }
            let (keys, values) = batches.last_mut().expect("the first event begins a batch");
            keys.push(&key);
            values.push(&value);
        }
        Self {
            batches: Arc::new(batches),
            next: 0,
            position: 1,
            times: Times::Still,
        }
    }

    /// Another source of the same events.
    pub(super) fn again(&self) -> Self {
        Self {
            batches: self.batches.clone(),
            next: 0,
            position: 1,
            times: self.times,
        }
    }

    /// The same events at these times.
    pub(super) fn at(self, times: Times) -> Self {
        Self { times, ..self }
    }
}

impl Source for Cycle {
    fn read(&mut self, intake: &mut Intake, _: ReadLimit) -> Result<Read, source::Error> {
        let (keys, values) = &self.batches[self.next];
        self.next = (self.next + 1) % self.batches.len();
        let events = keys.len() as u64;
        intake.keys.extend(keys);
        intake.values.extend(values);
        let positions = self.position..self.position + events;
        intake.times.extend(positions.map(|position| self.times.at(position)));
        intake.positions.extend(self.position..self.position + events);
        self.position += events;
        Ok(Read::More)
    }

    fn offset(&self) -> Option<source::Offset> {
        Some(source::Offset::Null)
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

/// Takes everything, and takes as long over it as one that compresses.
pub(super) struct Compressor;

impl Sink for Compressor {
    fn write(&mut self, events: sink::Events<'_>) -> Result<(), sink::Error> {
        // FNV-1a (Fowler, Noll and Vo): each byte waits for the one before, 1 to 2 ns. Zstandard takes 2 to 4.
        let over = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for value in events.values.iter() {
            std::hint::black_box(value.iter().chain(value).fold(0xcbf2_9ce4_8422_2325, over));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
        Ok(sink::Prepared::default())
    }

    fn publish(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> sink::DeliveryCapability {
        sink::DeliveryCapability::WritesNothing
    }
}

/// Takes everything.
pub(super) struct Bottomless;

impl Sink for Bottomless {
    fn write(&mut self, _: sink::Events<'_>) -> Result<(), sink::Error> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<sink::Prepared, sink::Error> {
        Ok(sink::Prepared::default())
    }

    fn publish(&mut self) -> Result<(), sink::Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> sink::DeliveryCapability {
        sink::DeliveryCapability::WritesNothing
    }
}

//! Records that are handed in: the source of a test case.
//!
//! Owns that they get their keys and times as if they had been read from a medium. Does not know who hands them in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use crate::records::Extract;
use dirigo_connect::source::{Error, Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_connect::{Pointer, TimeField};
use dirigo_ground::clock::Clock;

/// A source of what is handed in.
pub struct MemorySource {
    extract: Extract,
    clock: Arc<dyn Clock>,
    feed: Receiver<Vec<InputRecord>>,
    pending: VecDeque<InputRecord>,
}

/// What is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// Its number; rises from one to the next.
    pub position: u64,
    /// What a medium would have held.
    pub value: Vec<u8>,
}

/// Hands records in; once it is dropped the source is at its end.
pub type Feed = Sender<Vec<InputRecord>>;

impl MemorySource {
    /// In place of a source with this key and this time.
    #[must_use]
    pub fn new(key: Option<&Pointer>, time: Option<&TimeField>, clock: Arc<dyn Clock>) -> (Self, Feed) {
        let (sender, feed) = mpsc::channel();
        let source = Self {
            extract: Extract::new(key, time),
            clock,
            feed,
            pending: VecDeque::new(),
        };
        (source, sender)
    }

    fn take(&self, record: &InputRecord, intake: &mut Intake) {
        let InputRecord { position, value } = record;
        match self.extract.find(value) {
            Ok(found) => {
                intake.times.push(found.time.unwrap_or_else(|| self.clock.wall_ms()));
                intake.keys.push(&found.key);
                intake.values.push(value);
                intake.positions.push(*position);
            }
            Err(reason) => intake.refuse(*position, value, reason),
        }
    }
}

impl Source for MemorySource {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        if self.pending.is_empty() {
            let Ok(records) = self.feed.recv() else {
                return Ok(Read::End);
            };
            self.pending.extend(records);
        }
        let mut bytes = 0;
        for _ in 0..limit.events {
            let Some(record) = self.pending.pop_front() else { break };
            self.take(&record, intake);
            bytes += record.value.len();
            if bytes >= limit.bytes {
                break;
            }
        }
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        None
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::clock::ManualClock;

    fn record(position: u64, value: &str) -> InputRecord {
        let value = value.as_bytes().to_vec();
        InputRecord { position, value }
    }

    #[test]
    fn what_is_handed_in_is_read_like_a_line() {
        let key = Pointer {
            text: "/k".into(),
            tokens: vec!["k".into()],
        };
        let (mut memory, feed) = MemorySource::new(Some(&key), None, Arc::new(ManualClock::new(7)));
        feed.send(vec![
            record(2, r#"{"k":"a"}"#),
            record(5, "{}"),
            record(6, r#"{"k":1}"#),
        ])
        .unwrap();
        drop(feed);
        let limit = ReadLimit {
            events: 2,
            bytes: 1 << 20,
        };
        let mut intake = Intake::default();
        assert_eq!(memory.read(&mut intake, limit).unwrap(), Read::More);
        assert_eq!((&intake.positions[..], &intake.times[..]), (&[2][..], &[7][..]));
        assert_eq!(intake.refused[0].position, 5);
        assert_eq!(intake.refused[0].reason, "`/k` finds nothing");
        assert_eq!(memory.read(&mut intake, limit).unwrap(), Read::More);
        assert_eq!(intake.keys.iter().collect::<Vec<_>>(), [b"a", b"1"]);
        assert_eq!(memory.read(&mut intake, limit).unwrap(), Read::End);
    }
}

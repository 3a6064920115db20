//! Records that are handed in: the source of a test case.
//!
//! Owns that they get their keys and times as if they had been read from a medium. Does not know who hands them in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use super::{Bookmark, Error, Extract, Intake, Progress, Quota, Read, Source};
use dirigo_ground::clock::Clock;
use dirigo_pipeline as pipeline;

/// A source of what is handed in.
pub struct Memory {
    extract: Extract,
    clock: Arc<dyn Clock>,
    feed: Receiver<Vec<Record>>,
    pending: VecDeque<Record>,
}

/// What is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; rises from one to the next.
    pub position: u64,
    /// What a medium would have held.
    pub value: Vec<u8>,
}

/// Hands records in; once it is dropped the source is at its end.
pub type Feed = Sender<Vec<Record>>;

impl Memory {
    /// In place of `source`: with its key and its time, but nothing of its medium.
    #[must_use]
    pub fn new(source: &pipeline::Source, clock: Arc<dyn Clock>) -> (Self, Feed) {
        let (sender, feed) = mpsc::channel();
        let memory = Self {
            extract: Extract::new(source.key.as_ref(), source.time.as_ref()),
            clock,
            feed,
            pending: VecDeque::new(),
        };
        (memory, sender)
    }

    fn take(&self, record: &Record, intake: &mut Intake) {
        let Record { position, value } = record;
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

impl Source for Memory {
    fn read(&mut self, intake: &mut Intake, quota: Quota) -> Result<Read, Error> {
        if self.pending.is_empty() {
            let Ok(records) = self.feed.recv() else {
                return Ok(Read::End);
            };
            self.pending.extend(records);
        }
        let mut bytes = 0;
        for _ in 0..quota.events {
            let Some(record) = self.pending.pop_front() else { break };
            self.take(&record, intake);
            bytes += record.value.len();
            if bytes >= quota.bytes {
                break;
            }
        }
        Ok(Read::More)
    }

    fn bookmark(&self) -> Option<Bookmark> {
        None
    }

    fn progress(&self) -> Option<Progress> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use dirigo_ground::clock::ManualClock;
    use dirigo_pipeline::{Format, Pointer, SourceKind};

    fn source(key: &str) -> pipeline::Source {
        pipeline::Source {
            id: "in".into(),
            kind: SourceKind::Stdin { format: Format::Jsonl },
            key: Some(Pointer {
                text: format!("/{key}"),
                tokens: vec![key.into()],
            }),
            time: None,
            lateness: Duration::ZERO,
            idle: None,
        }
    }

    fn record(position: u64, value: &str) -> Record {
        let value = value.as_bytes().to_vec();
        Record { position, value }
    }

    #[test]
    fn what_is_handed_in_is_read_like_a_line() {
        let (mut memory, feed) = Memory::new(&source("k"), Arc::new(ManualClock::new(7)));
        feed.send(vec![
            record(2, r#"{"k":"a"}"#),
            record(5, "{}"),
            record(6, r#"{"k":1}"#),
        ])
        .unwrap();
        drop(feed);
        let quota = Quota {
            events: 2,
            bytes: 1 << 20,
        };
        let mut intake = Intake::default();
        assert_eq!(memory.read(&mut intake, quota).unwrap(), Read::More);
        assert_eq!((&intake.positions[..], &intake.times[..]), (&[2][..], &[7][..]));
        assert_eq!(intake.refused[0].position, 5);
        assert_eq!(intake.refused[0].reason, "`/k` finds nothing");
        assert_eq!(memory.read(&mut intake, quota).unwrap(), Read::More);
        assert_eq!(intake.keys.iter().collect::<Vec<_>>(), [b"a", b"1"]);
        assert_eq!(memory.read(&mut intake, quota).unwrap(), Read::End);
    }
}

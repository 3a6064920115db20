//! Records and watermarks that are handed in: the source of a test case.
//!
//! Owns that records get their keys and times as if they had been read from a medium. Does not know who hands them in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use crate::records::Extract;
use dirigo_connect::source::{Error, Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_connect::{Pointer, TimeField};
use dirigo_ground::clock::Clock;

/// A source of what is handed in.
pub struct MemorySource {
    extract: Extract,
    clock: Arc<dyn Clock>,
    feed: Receiver<Vec<FeedEntry>>,
    pending: VecDeque<FeedEntry>,
    /// How many entries it has given out.
    given: u64,
    /// How many of them had been sent on when it was last asked for more.
    sent_on: Arc<AtomicU64>,
}

/// What is handed in at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEntry {
    /// A record.
    Record(InputRecord),
    /// Event time has come so far behind the records before it, in ms since the epoch.
    Watermark(i64),
}

/// A record that is handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRecord {
    /// Its number; rises from one to the next.
    pub position: u64,
    /// What a medium would have held.
    pub value: Vec<u8>,
}

/// Hands entries in; once it is dropped the source is at its end.
#[derive(Debug)]
pub struct Feed {
    sender: Sender<Vec<FeedEntry>>,
    handed_in: u64,
    sent_on: Arc<AtomicU64>,
}

impl Feed {
    /// Hands entries in. A source that has gone takes none.
    pub fn hand_in(&mut self, entries: Vec<FeedEntry>) {
        self.handed_in += entries.len() as u64;
        // A source that has gone is that of a pipeline that ended before its input.
        let _ = self.sender.send(entries);
    }

    /// Whether all that was handed in has been read and sent on.
    #[must_use]
    pub fn is_sent_on(&self) -> bool {
        self.sent_on.load(Ordering::Acquire) >= self.handed_in
    }
}

impl MemorySource {
    /// In place of a source with this key and this time.
    #[must_use]
    pub fn new(key: Option<&Pointer>, time: Option<&TimeField>, clock: Arc<dyn Clock>) -> (Self, Feed) {
        let (sender, receiver) = mpsc::channel();
        let sent_on = Arc::<AtomicU64>::default();
        let source = Self {
            extract: Extract::new(key, time),
            clock,
            feed: receiver,
            pending: VecDeque::new(),
            given: 0,
            sent_on: sent_on.clone(),
        };
        let feed = Feed {
            sender,
            handed_in: 0,
            sent_on,
        };
        (source, feed)
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
        // The source task sends on what a read gave before it calls this again.
        self.sent_on.store(self.given, Ordering::Release);
        if self.pending.is_empty() {
            let Ok(entries) = self.feed.recv() else {
                return Ok(Read::End);
            };
            self.pending.extend(entries);
        }
        let mut bytes = 0;
        for _ in 0..limit.events {
            let Some(entry) = self.pending.pop_front() else { break };
            self.given += 1;
            let record = match entry {
                FeedEntry::Record(record) => record,
                FeedEntry::Watermark(watermark) => {
                    // It counts behind what was read with it, so nothing more is.
                    intake.watermark = Some(watermark);
                    break;
                }
            };
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

    const LIMIT: ReadLimit = ReadLimit {
        events: 2,
        bytes: 1 << 20,
    };

    fn record(position: u64, value: &str) -> FeedEntry {
        let value = value.as_bytes().to_vec();
        FeedEntry::Record(InputRecord { position, value })
    }

    #[test]
    fn what_is_handed_in_is_read_like_a_line() {
        let key = Pointer {
            text: "/k".into(),
            tokens: vec!["k".into()],
        };
        let (mut memory, mut feed) = MemorySource::new(Some(&key), None, Arc::new(ManualClock::new(7)));
        feed.hand_in(vec![
            record(2, r#"{"k":"a"}"#),
            record(5, "{}"),
            record(6, r#"{"k":1}"#),
        ]);
        drop(feed);
        let mut intake = Intake::default();
        assert_eq!(memory.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!((&intake.positions[..], &intake.times[..]), (&[2][..], &[7][..]));
        assert_eq!(intake.refused[0].position, 5);
        assert_eq!(intake.refused[0].reason, "`/k` finds nothing");
        assert_eq!(memory.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!(intake.keys.iter().collect::<Vec<_>>(), [b"a", b"1"]);
        assert_eq!(memory.read(&mut intake, LIMIT).unwrap(), Read::End);
    }

    #[test]
    fn a_watermark_is_that_of_what_was_read_with_it() {
        let (mut memory, mut feed) = MemorySource::new(None, None, Arc::new(ManualClock::new(0)));
        feed.hand_in(vec![
            record(1, "1"),
            FeedEntry::Watermark(5),
            FeedEntry::Watermark(7),
            record(2, "2"),
        ]);
        let mut next = || {
            let mut intake = Intake::default();
            assert_eq!(memory.read(&mut intake, LIMIT).unwrap(), Read::More);
            (intake.positions, intake.watermark)
        };
        assert_eq!(
            [next(), next(), next()],
            [(vec![1], Some(5)), (vec![], Some(7)), (vec![2], None)]
        );
    }

    #[test]
    fn what_was_read_counts_as_sent_on_once_more_is_asked_for() {
        let (mut memory, mut feed) = MemorySource::new(None, None, Arc::new(ManualClock::new(0)));
        assert!(feed.is_sent_on(), "nothing was handed in");
        feed.hand_in(vec![record(1, "1"), FeedEntry::Watermark(5)]);
        let is_sent_on = feed.sent_on.clone();
        let handed_in = feed.handed_in;
        assert_eq!(memory.read(&mut Intake::default(), LIMIT).unwrap(), Read::More);
        assert!(!feed.is_sent_on());
        drop(feed);
        assert_eq!(memory.read(&mut Intake::default(), LIMIT).unwrap(), Read::End);
        assert_eq!(is_sent_on.load(Ordering::SeqCst), handed_in);
    }
}

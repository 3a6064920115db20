//! The source that reads a stream.
//!
//! Its offset is a sequence of the stream, so what it gave can be read again. Owns the place in the stream, and the lines of the message there.

use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use dirigo_connect::source::{Error, Intake, Keep, Offset, Opening, Read, ReadLimit, ReadProgress, Source};
use serde::{Deserialize, Serialize};

use super::NatsSpec;
use super::error::Problem;
use super::feed::{self, Begun, Feed, Message, Next};
use crate::note;
use crate::records::{Reading, SingleLines};
use crate::retries::Party;

/// The longest wait before the line is looked at again; a message wakes the reader.
const PAUSE: Duration = Duration::from_mins(1);

/// The file that says where the source begins, until a checkpoint does.
const BEGUN: &str = "begun.json";

/// Reads a stream.
pub(super) struct NatsSource {
    spec: NatsSpec,
    party: Party,
    lines: SingleLines,
    keep: Option<Keep>,
    place: Place,
    /// The message of which lines are left, and where the next one begins.
    message: Option<(Message, usize)>,
    feed: Option<Feed>,
    is_stopped: bool,
}

/// Where in the stream the source is; what an offset says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// When the stream was created: what tells it from others of its name. Nothing is known before the server was reached.
    created: Option<String>,
    /// The sequence of the last message of which all lines were taken.
    sequence: u64,
    /// How many lines were taken of the next message.
    lines: u64,
    /// The last position.
    position: u64,
}

impl Place {
    /// The position of a line of the message with this sequence. It is the sequence, as long as messages have one line each.
    fn position(&self, sequence: u64) -> u64 {
        sequence.max(self.position + 1)
    }
}

fn fatal(problem: Problem) -> Error {
    Error::fatal(problem)
}

impl NatsSource {
    pub(super) fn open(spec: NatsSpec, opening: Opening<'_>) -> Result<Self, Error> {
        let from = opening.from.cloned().map(serde_json::from_value::<Place>).transpose();
        let from = from.map_err(|error| fatal(Problem::Offset(error)))?;
        let mut place = from.clone().unwrap_or_default();
        if let Some(Keep { disk, folder }) = &opening.keep
            && place.created.is_none()
        {
            let kept = |reason| {
                fatal(Problem::Keep {
                    folder: folder.clone(),
                    reason,
                })
            };
            let path = folder.join(BEGUN);
            if from.is_none() {
                // What it says belongs to a state that was discarded.
                note::discard(&**disk, &path).map_err(kept)?;
            } else if let Some(begun) = note::read(&**disk, &path).map_err(kept)? {
                place = begun;
            }
        }
        let reading = Reading::new(spec.format, &spec.cells, &opening);
        Ok(Self {
            party: spec.party("source", opening.id),
            lines: SingleLines::new(reading),
            keep: opening.keep,
            place,
            message: None,
            feed: None,
            is_stopped: false,
            spec,
        })
    }

    /// Notes where the source begins, before the first event: a run that is killed before its first checkpoint has begun there.
    fn begin(&mut self, begun: Begun) -> Result<(), Error> {
        self.place = Place {
            created: Some(begun.created),
            sequence: begun.sequence,
            ..Place::default()
        };
        let Some(Keep { disk, folder }) = &self.keep else {
            return Ok(());
        };
        note::write(&**disk, folder, BEGUN, &self.place).map_err(|reason| {
            fatal(Problem::Keep {
                folder: folder.clone(),
                reason,
            })
        })
    }

    /// Goes to the next message. `None` for a message.
    fn advance(&mut self) -> Result<Option<Read>, Error> {
        let Some(feed) = &mut self.feed else {
            return Ok(Some(Read::End));
        };
        match feed.next().map_err(fatal)? {
            Next::Begun(begun) => self.begin(begun)?,
            Next::Message(message) => {
                let mut start = 0;
                for _ in 0..self.place.lines {
                    start = start.max(end_of_line(&message.payload, start).1);
                }
                self.message = Some((message, start));
            }
            Next::Nothing => return Ok(Some(Read::Wait(PAUSE))),
            Next::End => return Ok(Some(Read::End)),
        }
        Ok(None)
    }

    /// Takes lines of the message, as far as there is room.
    fn take(&mut self, intake: &mut Intake, limit: ReadLimit) {
        let Self {
            place, message, lines, ..
        } = self;
        lines.take(intake, limit, || next_line(message, place));
    }
}

/// The next line of a message: its position, the time of the message and the line without its end. The message goes with its last line.
fn next_line(message: &mut Option<(Message, usize)>, place: &mut Place) -> Option<(u64, i64, Bytes)> {
    let (current, start) = message.as_mut()?;
    let (end, next) = end_of_line(&current.payload, *start);
    let line = current.payload.slice(*start..end);
    let (position, time) = (place.position(current.sequence), current.time_ms);
    place.position = position;
    if next >= current.payload.len() {
        place.sequence = current.sequence;
        place.lines = 0;
        *message = None;
    } else {
        place.lines += 1;
        *start = next;
    }
    Some((position, time, line))
}

/// Where a line ends that begins at `start`, and where the next one begins.
fn end_of_line(payload: &[u8], start: usize) -> (usize, usize) {
    match memchr::memchr(b'\n', &payload[start..]) {
        None => (payload.len(), payload.len()),
        Some(length) => {
            let end = start + length;
            let is_crlf = length > 0 && payload[end - 1] == b'\r';
            (end - usize::from(is_crlf), end + 1)
        }
    }
}

impl Source for NatsSource {
    fn start(&mut self, waker: Waker) -> Result<(), Error> {
        let from = self.place.created.clone().map(|created| Begun {
            created,
            sequence: self.place.sequence,
        });
        let reading = feed::Reading {
            servers: self.spec.servers.clone(),
            stream: self.spec.stream.clone(),
            subjects: self.spec.subjects.clone(),
            start: self.spec.start,
            from,
            missing: self.spec.missing,
            is_bounded: self.spec.is_bounded,
        };
        self.feed = Some(Feed::start(reading, self.party.clone(), waker));
        Ok(())
    }

    fn stop(&mut self) {
        self.is_stopped = true;
        self.feed = None;
    }

    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        if self.is_stopped {
            return Ok(Read::End);
        }
        let left = |intake: &Intake| ReadLimit {
            events: limit.events - (intake.positions.len() + intake.refused.len()).min(limit.events),
            bytes: limit.bytes.saturating_sub(intake.bytes()),
        };
        loop {
            let left = left(intake);
            if left.events == 0 || left.bytes == 0 {
                return Ok(Read::More);
            }
            if self.message.is_some() {
                self.take(intake, left);
                continue;
            }
            match self.advance() {
                Ok(None) => {}
                Ok(Some(_)) if !(intake.positions.is_empty() && intake.refused.is_empty()) => return Ok(Read::More),
                Ok(Some(read)) => return Ok(read),
                Err(error) => return Err(error),
            }
        }
    }

    fn offset(&self) -> Option<Offset> {
        Some(serde_json::to_value(&self.place).expect("a place has no maps, whose keys could fail"))
    }

    fn ends_its_input(&self) -> bool {
        // Without an end, a later run goes on, so its windows in time stay open.
        self.spec.is_bounded
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dirigo_connect::Format;

    use super::*;

    fn message(sequence: u64, payload: &'static [u8]) -> Message {
        Message {
            sequence,
            time_ms: 7,
            payload: Bytes::from_static(payload),
        }
    }

    /// The lines of messages with their positions, and where the source is after each.
    fn taken(messages: &[Message], mut place: Place) -> Vec<(u64, String, Place)> {
        let mut taken = Vec::new();
        for message in messages {
            let mut current = Some((message.clone(), 0));
            while let Some((position, _, line)) = next_line(&mut current, &mut place) {
                taken.push((position, String::from_utf8(line.to_vec()).unwrap(), place.clone()));
            }
        }
        taken
    }

    #[test]
    fn positions_are_sequences_until_a_message_has_several_lines() {
        let messages = [
            message(4, b"a"),
            message(6, b"b\r\nc\n"),
            message(7, b"d"),
            message(20, b"e"),
        ];
        let taken = taken(&messages, Place::default());
        let positions: Vec<_> = taken
            .iter()
            .map(|(position, line, _)| (*position, line.as_str()))
            .collect();
        assert_eq!(positions, [(4, "a"), (6, "b"), (7, "c"), (8, "d"), (20, "e")]);
        let places: Vec<_> = taken.iter().map(|(.., place)| (place.sequence, place.lines)).collect();
        assert_eq!(places, [(4, 0), (4, 1), (6, 0), (7, 0), (20, 0)]);
    }

    #[test]
    fn events_have_the_time_of_their_message_where_they_bring_none() {
        let mut lines = SingleLines::new(Reading::of_values(Format::Jsonl, &Arc::default()));
        let mut intake = Intake::default();
        let mut current = Some((message(3, b"{\"a\":1}\n\nno\n"), 0));
        let mut place = Place::default();
        let limit = ReadLimit { events: 9, bytes: 99 };
        lines.take(&mut intake, limit, || next_line(&mut current, &mut place));
        assert_eq!(
            (intake.times.as_slice(), intake.positions.as_slice()),
            ([7].as_slice(), [3].as_slice())
        );
        assert_eq!(intake.refused.len(), 1);
        assert_eq!((intake.refused[0].position, place.sequence), (5, 3));
    }
}

//! Standard input as a source.
//!
//! Reads a duplicate of the descriptor, not `std::io::Stdin`: a thread that waits there holds a lock, which any thread
//! that wants to go on or stop would wait for too. Cannot be read again, so it has no offsets.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::records::{Error, Reading, Text};
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::clock::Clock;

const NAME: &str = "standard input";

/// A stream of events that others write.
pub(super) struct Stdin<R> {
    text: Text<R>,
}

impl Stdin<std::fs::File> {
    pub(super) fn open(reading: Reading, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(|reason| Error::Read {
            from: NAME.to_owned(),
            reason,
        })?;
        Ok(Self::new(descriptor.into(), reading, clock))
    }
}

impl<R: io::Read> Stdin<R> {
    fn new(reader: R, reading: Reading, clock: Arc<dyn Clock>) -> Self {
        Self {
            text: Text::new(NAME.to_owned(), reader, reading, clock),
        }
    }
}

impl<R: io::Read + Send> Source for Stdin<R> {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        Ok(self.text.read(intake, limit)?)
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
    use crate::records::Script;
    use dirigo_connect::Format;
    use dirigo_ground::clock::ManualClock;

    const LIMIT: ReadLimit = ReadLimit {
        events: 100,
        bytes: 1 << 20,
    };

    fn stdin(script: Script, format: Format) -> Stdin<Script> {
        Stdin::new(script, Reading::plain(format), Arc::new(ManualClock::new(7)))
    }

    fn read(stdin: &mut impl Source) -> (Read, Vec<String>) {
        let mut intake = Intake::default();
        let read = stdin.read(&mut intake, LIMIT).unwrap();
        (
            read,
            intake
                .take_values()
                .to_column()
                .iter()
                .map(|value| String::from_utf8(value.to_vec()).unwrap())
                .collect(),
        )
    }

    fn more<const N: usize>(values: [&str; N]) -> (Read, Vec<String>) {
        (Read::More, values.map(str::to_owned).to_vec())
    }

    #[test]
    fn a_line_is_passed_on_before_the_next_one_is_waited_for() {
        let mut stdin = stdin(Script::new(["a\nb\nhal", "f\n"]).wall(), Format::Lines);
        assert_eq!(read(&mut stdin), more(["a", "b"]));
        assert_eq!(read(&mut stdin), more(["half"]));
    }

    #[test]
    fn it_waits_only_while_it_has_nothing() {
        let mut stdin = stdin(Script::new(["\n", " \r\n1", "2", "\n3"]).wall(), Format::Jsonl);
        assert_eq!(read(&mut stdin), more(["12"]));
    }

    #[test]
    fn a_csv_record_is_passed_on_before_the_next_one_is_waited_for() {
        let mut stdin = stdin(Script::new(["a,", "b\n1", ",2\n3,"]).wall(), Format::Csv);
        assert_eq!(read(&mut stdin), more([r#"{"a":1,"b":2}"#]));
    }

    #[test]
    fn a_refusal_is_passed_on_too() {
        let mut stdin = stdin(Script::new(["a,b\n1\n"]).wall(), Format::Csv);
        let mut intake = Intake::default();
        assert_eq!(stdin.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!(intake.refused[0].reason, "the record has 1 fields, the header has 2");
    }

    #[test]
    fn an_error_comes_after_the_events_before_it() {
        let mut stdin = stdin(Script::new(["a\nb"]).failing("the wire was cut"), Format::Lines);
        assert_eq!(read(&mut stdin), more(["a"]));
        let error = stdin.read(&mut Intake::default(), LIMIT).unwrap_err();
        assert_eq!(error.to_string(), "cannot read standard input: the wire was cut");
    }

    #[test]
    fn it_has_neither_offset_nor_progress() {
        let stdin = stdin(Script::new(["a\n"]), Format::Lines);
        assert_eq!((stdin.offset(), stdin.progress()), (None, None));
    }
}

//! Standard output as a sink, one value per line.
//!
//! Writes to a duplicate of the descriptor, since `std::io::Stdout` flushes at every line. What was written cannot be
//! taken back, so there are no offsets. A pipe or a file gets the values as they are, a terminal what it can show of them.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::os::fd::AsFd;

use dirigo_connect::sink::{DeliveryCapability, Error, Events, Prepared, Sink};
use dirigo_ground::printable;

/// Bytes gathered before they are written: the capacity of a pipe, so that one write can fill it.
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) const DELIVERY_CAPABILITY: DeliveryCapability = DeliveryCapability::AtLeastOnce {
    why: "standard output cannot be truncated",
};

/// An output that others read.
pub(super) struct Stdout<W> {
    writer: W,
    buffer: Vec<u8>,
    /// Whether a person reads it.
    is_terminal: bool,
}

impl Stdout<File> {
    pub(super) fn open() -> Result<Self, Error> {
        let stdout = io::stdout();
        let writer = stdout.as_fd().try_clone_to_owned().map_err(explain)?;
        Ok(Self::new(writer.into(), stdout.is_terminal()))
    }
}

impl<W: Write> Stdout<W> {
    fn new(writer: W, is_terminal: bool) -> Self {
        Self {
            writer,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            is_terminal,
        }
    }

    fn spill(&mut self) -> Result<(), Error> {
        let result = self.writer.write_all(&self.buffer).and_then(|()| self.writer.flush());
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        result.map_err(explain)
    }
}

fn explain(reason: io::Error) -> Error {
    match reason.kind() {
        ErrorKind::BrokenPipe => Error::Closed,
        kind => Error::caused_by(kind, Unwritable(reason)),
    }
}

/// The medium failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write standard output: {0}")]
struct Unwritable(#[source] io::Error);

impl<W: Write + Send> Sink for Stdout<W> {
    fn write(&mut self, events: Events<'_>) -> Result<(), Error> {
        for value in events.values.iter() {
            if self.is_terminal {
                let shown = String::from_utf8_lossy(value);
                self.buffer.extend_from_slice(printable::line(&shown).as_bytes());
            } else {
                self.buffer.extend_from_slice(value);
            }
            self.buffer.push(b'\n');
            if self.buffer.len() >= BUFFER_BYTES {
                self.spill()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.spill()
    }

    fn prepare(&mut self) -> Result<Prepared, Error> {
        self.spill()?;
        Ok(Prepared::default())
    }

    fn publish(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        DELIVERY_CAPABILITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::write;

    #[test]
    fn values_come_out_line_by_line_when_flushed() {
        let mut stdout = Stdout::new(Vec::new(), false);
        write(&mut stdout, &["a", "", "b"]).unwrap();
        assert!(stdout.writer.is_empty());
        stdout.flush().unwrap();
        assert_eq!(stdout.writer, b"a\n\nb\n");
        assert_eq!(stdout.prepare().unwrap().synced().unwrap(), None);
    }

    #[test]
    fn a_terminal_gets_no_value_that_acts_on_it_and_a_pipe_gets_all_as_they_are() {
        let value = "{\"name\":\"\u{9b}2J\u{202e}\"}";
        for (is_terminal, shown) in [(false, value), (true, "{\"name\":\"\\u{9b}2J\\u{202e}\"}")] {
            let mut stdout = Stdout::new(Vec::new(), is_terminal);
            write(&mut stdout, &[value]).unwrap();
            stdout.flush().unwrap();
            assert_eq!(stdout.writer, format!("{shown}\n").into_bytes());
        }
    }

    #[test]
    fn much_is_written_before_it_is_flushed() {
        let mut stdout = Stdout::new(Vec::new(), false);
        write(&mut stdout, &["x".repeat(BUFFER_BYTES).as_str(), "y"]).unwrap();
        assert_eq!(stdout.writer.len(), BUFFER_BYTES + 1);
    }

    #[test]
    fn a_reader_who_leaves_closes_the_sink() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut stdout = Stdout::new(writer, false);
        write(&mut stdout, &["a"]).unwrap();
        assert!(matches!(stdout.flush(), Err(Error::Closed)));
    }
}

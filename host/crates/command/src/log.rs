//! The log of this process, on standard error.
//!
//! A thread of its own writes it: a thread that logs goes on at once, workers above all, also where nobody reads. Owns
//! the bound on what waits to be written; what comes when that is reached is dropped, counted, and said at the end.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use dirigo_ground::printable;
use dirigo_ground::sync::{Condvar, Mutex};
use tracing_core::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{self, Writer};

use super::{output, report};

/// Lines that may wait: at the 4 KiB that operators may say in one, 32 MiB.
const LINES_MAX: usize = 8 << 10;
/// At the end of the process, how long the log may come no further before the rest is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Rings when there is a line to write.
    arrived: Condvar,
    /// Rings when one was written.
    written: Condvar,
    lines_max: usize,
    within: Mutex<Option<Within>>,
}

/// Calls what it is given, once; makes room for a line before, and draws what it keeps on the terminal again after.
pub type Within = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    is_writing: bool,
    dropped: u64,
}

impl Log {
    /// Logs what `filter` lets through, from now to the end of the process.
    #[must_use]
    pub fn set_up(filter: &str) -> Self {
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
            output::say(&format!("warning: `--log {filter}`: {error}; logging warnings"));
            EnvFilter::new("warn")
        });
        let log = Self::to(io::stderr(), LINES_MAX);
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .with_ansi(report::wants_color())
            .fmt_fields(format::debug_fn(write_field).delimited(" "))
            .init();
        log
    }

    fn to(mut medium: impl Write + Send + 'static, lines_max: usize) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            lines_max,
            within: Mutex::default(),
        });
        let log = Self(shared.clone());
        let write = move || -> ! {
            loop {
                let line = shared.next();
                let mut write = || {
                    // Where the log cannot be written there is nowhere to say so.
                    let _ = medium.write_all(&line);
                };
                let within = shared.within.lock().clone();
                match within {
                    Some(within) => within(&mut write),
                    None => write(),
                }
            }
        };
        let thread = std::thread::Builder::new().name("log".into());
        thread.spawn(write).expect("the system gives a thread to the log");
        log
    }

    /// Has a line written that is no part of the log, in its place among what is; waits no more than that does. What a terminal
    /// would act on is escaped.
    pub fn say(&self, line: &str) {
        let written = self
            .clone()
            .write_all(format!("{}\n", printable::line(line)).as_bytes());
        written.expect("to queue a line does not fail");
    }

    /// Has each line written by calling `within`, until this is called again.
    pub fn write_within(&self, within: Option<Within>) {
        *self.0.within.lock() = within;
    }

    /// Waits until everything is written, unless nobody reads it. What is said on standard error after it stands after it.
    pub fn flush(&self) {
        let mut queue = self.0.queue.lock();
        while !queue.is_idle() {
            let timed_out;
            (queue, timed_out) = self.0.written.wait_for(queue, PATIENCE);
            if timed_out {
                return;
            }
        }
    }

    /// Flushes it for the last time, and gives the number of lines that were never written.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.flush();
        let queue = self.0.queue.lock();
        queue.dropped + queue.lines.len() as u64
    }
}

/// Writes a field of a log line. Guests word messages, and files have names: none of them ends the line, or acts on a terminal.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let shown = printable::line(&value);
    match field.name() {
        "message" => write!(writer, "{shown}"),
        name => write!(writer, "{name}={shown}"),
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// One call is one line, as the subscriber writes it.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut queue = self.0.queue.lock();
        if queue.lines.len() < self.0.lines_max {
            queue.lines.push_back(line.to_vec());
            self.0.arrived.notify_one();
        } else {
            queue.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// The next line, which is waited for; the one before it is written.
    fn next(&self) -> Vec<u8> {
        let mut queue = self.queue.lock();
        queue.is_writing = false;
        self.written.notify_all();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.is_writing = true;
                return line;
            }
            queue = self.arrived.wait(queue);
        }
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.lines.is_empty() && !self.is_writing
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};

    use super::*;

    /// Says of each line that it is being written, and writes it when it is told to.
    struct Slow {
        writing: Sender<Vec<u8>>,
        go_on: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.writing.send(line.to_vec());
            let _ = self.go_on.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_nobody_reads_holds_nobody_up_and_is_dropped_beyond_the_bound() {
        let ((writing, written), (go_on, told)) = (mpsc::channel(), mpsc::channel());
        let mut log = Log::to(Slow { writing, go_on: told }, 3);
        log.write_all(b"0").unwrap();
        assert_eq!(written.recv().unwrap(), b"0", "it is being written and waits no more");
        for line in [b"1", b"2", b"3", b"4", b"5"] {
            log.write_all(line).unwrap();
        }
        drop(go_on);
        assert_eq!(log.finish(), 2);
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    }
}

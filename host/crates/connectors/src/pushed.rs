//! The source of what others send.
//!
//! What comes is appended to a journal by a [`Receiver`], which may acknowledge it once it is durable there; the source reads the journal, and so can be
//! read again. Owns the journal, how far it was read, and when it is trimmed. Does not know how things come.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use dirigo_connect::source::{Error, Intake, Keep, Offset, Opening, Read, ReadLimit, ReadProgress, Source};
use dirigo_connect::{Format, source};
use dirigo_disk::{Disk, PathKind, Real};
use dirigo_ground::clock::Clock;
use dirigo_journal::{Journal, Reader};

use crate::records::{self, CellRules, Reading, StreamOffset, Text};

/// The longest wait before the journal is looked at again; what comes wakes the reader.
const PAUSE: Duration = Duration::from_mins(1);

/// Takes what others send, once it is started.
pub trait Receiver: Send + 'static {
    /// Begins to append to the journal.
    ///
    /// # Errors
    /// When nothing can come.
    fn start(&mut self, inbox: Inbox) -> Result<(), Error>;

    /// Takes nothing more.
    fn stop(&mut self);

    /// Why nothing comes any more, if that is so. It is asked when the source is woken.
    fn failure(&mut self) -> Option<Error> {
        None
    }
}

/// Where a [`Receiver`] puts what comes.
#[derive(Clone)]
pub struct Inbox {
    /// What is appended to it is lines, each with its end.
    pub journal: Arc<Journal>,
    /// Up to where the source has read the journal.
    pub read: Arc<AtomicU64>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the source.
    pub waker: Waker,
}

impl Inbox {
    /// How many bytes wait to be read.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.journal.end().saturating_sub(self.read.load(Ordering::SeqCst))
    }
}

/// Reads what a [`Receiver`] appends.
pub struct Pushed<R> {
    receiver: R,
    /// What the journal is called in errors.
    name: String,
    reading: Reading,
    clock: Arc<dyn Clock>,
    /// Where the journal is to be, once it is known; without one it lives as long as the run.
    keep: Option<Keep>,
    from: Option<StreamOffset>,
    open: Option<Open>,
    is_started: bool,
}

/// What there is once something may come.
struct Open {
    journal: Arc<Journal>,
    text: Text<Reader>,
    /// Up to where the journal was read.
    read: Arc<AtomicU64>,
    /// The folder of a journal that ends with the run.
    temporary: Option<tempfile::TempDir>,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the journal of what was sent: {0}")]
    Journal(#[from] dirigo_journal::Error),
    #[error("the folder for what is sent cannot be used: {0}")]
    Folder(std::io::Error),
    #[error("the offset of the source cannot be read: {0}")]
    Offset(serde_json::Error),
}

fn fatal(problem: impl Into<Problem>) -> Error {
    Error::fatal(problem.into())
}

impl<R: Receiver> Pushed<R> {
    /// A source of lines in `format`, where an earlier run stopped. `name` is what was sent, in errors: "what was sent to `/readings`".
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(receiver: R, name: String, format: Format, opening: Opening<'_>) -> Result<Self, Error> {
        Self::with_cells(receiver, name, format, &Arc::default(), opening)
    }

    /// The same, for records that were cells.
    ///
    /// # Errors
    /// As there.
    pub fn with_cells(
        receiver: R,
        name: String,
        format: Format,
        cells: &Arc<CellRules>,
        opening: Opening<'_>,
    ) -> Result<Self, Error> {
        let from = opening.from.cloned().map(serde_json::from_value).transpose();
        let reading = Reading::new(format, cells, &opening);
        let mut pushed = Self {
            receiver,
            name,
            reading,
            clock: opening.clock,
            keep: opening.keep,
            from: from.map_err(|error| fatal(Problem::Offset(error)))?,
            open: None,
            is_started: false,
        };
        // Without a state directory the journal is made in `start`: those who only look at a pipeline open its sources, too.
        if let Some(Keep { disk, folder }) = pushed.keep.clone() {
            let kind = disk.look(&folder).map_err(|reason| fatal(Problem::Folder(reason)))?;
            if pushed.from.is_none() && kind == PathKind::Folder {
                // What it has belongs to a state that was discarded.
                Journal::discard(&*disk, &folder).map_err(fatal)?;
            }
            pushed.open = Some(pushed.open_journal(disk, &folder, None)?);
        }
        Ok(pushed)
    }

    fn open_journal(
        &self,
        disk: Arc<dyn Disk>,
        folder: &Path,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Open, Error> {
        let journal = Arc::new(Journal::open(disk, folder, self.clock.wall_ms()).map_err(fatal)?);
        let offset = self.from.as_ref().map_or(0, |from| from.offset);
        let reader = Reader::new(journal.clone(), offset).map_err(fatal)?;
        let mut text = Text::new(self.name.clone(), reader, self.reading.clone(), self.clock.clone());
        if let Some(from) = &self.from {
            let stream = text.stream_mut();
            stream.window.jumped_to(offset);
            stream.moved_to(from);
        }
        Ok(Open {
            journal,
            text,
            read: Arc::new(AtomicU64::new(offset)),
            temporary,
        })
    }
}

impl<R: Receiver> Source for Pushed<R> {
    fn start(&mut self, waker: Waker) -> Result<(), Error> {
        if self.open.is_none() {
            let folder = tempfile::tempdir().map_err(|reason| fatal(Problem::Folder(reason)))?;
            let path = folder.path().to_owned();
            self.open = Some(self.open_journal(Arc::new(Real), &path, Some(folder))?);
        }
        let open = self.open.as_ref().expect("it was opened");
        self.receiver.start(Inbox {
            journal: open.journal.clone(),
            read: open.read.clone(),
            clock: self.clock.clone(),
            waker,
        })?;
        self.is_started = true;
        Ok(())
    }

    fn stop(&mut self) {
        if std::mem::take(&mut self.is_started) {
            self.receiver.stop();
        }
    }

    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        if !self.is_started {
            return Ok(Read::End);
        }
        let open = self.open.as_mut().expect("it has started");
        let read = match open.text.read(intake, limit) {
            Err(records::Error::Read { reason, .. }) if reason.kind() == ErrorKind::WouldBlock => Read::Wait(PAUSE),
            read => read?,
        };
        if open.journal.has_failed() {
            return Err(fatal(dirigo_journal::Error::Failed));
        }
        if let Some(failure) = self.receiver.failure() {
            return Err(failure);
        }
        let offset = open.text.stream().window.offset();
        open.read.store(offset, Ordering::SeqCst);
        if open.temporary.is_some() {
            // No later run reads it once more.
            open.journal.trim(offset, self.clock.wall_ms()).map_err(fatal)?;
        }
        Ok(read)
    }

    fn offset(&self) -> Option<Offset> {
        let place = match (&self.open, &self.from) {
            (Some(open), _) => open.text.stream().place(),
            (None, Some(from)) => from.clone(),
            (None, None) => StreamOffset::default(),
        };
        Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail"))
    }

    fn committed(&mut self, offset: &Offset) -> Result<(), Error> {
        let place: StreamOffset =
            serde_json::from_value(offset.clone()).map_err(|error| fatal(Problem::Offset(error)))?;
        if let Some(open) = &self.open {
            open.journal
                .trim(place.offset, self.clock.wall_ms())
                .map_err(|error| source::Error::retryable(Problem::from(error)))?;
        }
        Ok(())
    }

    fn ends_its_input(&self) -> bool {
        // A later run resumes it, so its windows in time stay open.
        false
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

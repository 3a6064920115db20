//! The source behind a route: it reads the journal of what was sent there.

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

use super::HttpSpec;
use super::endpoint::Endpoint;
use super::server::{self, Route};
use crate::records::{self, Reading, StreamOffset, Text};

/// The longest wait before the journal is looked at again; a request wakes the reader.
const PAUSE: Duration = Duration::from_mins(1);

/// Reads what is sent to a route.
pub(super) struct Pushed {
    spec: HttpSpec,
    id: String,
    /// The path of its URL.
    route: String,
    reading: Reading,
    clock: Arc<dyn Clock>,
    /// Where the journal is to be, once it is known; without one it lives as long as the run.
    keep: Option<Keep>,
    from: Option<StreamOffset>,
    open: Option<Open>,
}

/// What there is once requests are taken.
struct Open {
    journal: Arc<Journal>,
    text: Text<Reader>,
    /// Up to where the journal was read.
    read: Arc<AtomicU64>,
    endpoint: Option<Arc<Endpoint>>,
    route: Option<Route>,
    /// The folder of a journal that ends with the run.
    temporary: Option<tempfile::TempDir>,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot listen at {address}: {reason}")]
    Listen {
        address: std::net::SocketAddr,
        reason: std::io::Error,
    },
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

impl Pushed {
    pub(super) fn open(spec: HttpSpec, opening: Opening<'_>) -> Result<Self, Error> {
        let format = match spec.format {
            Format::Lines => Format::Lines,
            Format::Jsonl | Format::Csv => Format::Jsonl,
        };
        let from = opening.from.cloned().map(serde_json::from_value).transpose();
        let reading = Reading::new(format, &spec.cells, &opening);
        let mut pushed = Self {
            id: opening.id.to_owned(),
            route: spec.route.clone().unwrap_or_else(|| format!("/{}", opening.id)),
            spec,
            reading,
            clock: opening.clock,
            keep: opening.keep,
            from: from.map_err(|error| fatal(Problem::Offset(error)))?,
            open: None,
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
        let name = format!("what was sent to `{}`", self.route);
        let mut text = Text::new(name, reader, self.reading.clone(), self.clock.clone());
        if let Some(from) = &self.from {
            let stream = text.stream_mut();
            stream.window.jumped_to(offset);
            stream.moved_to(from);
        }
        Ok(Open {
            journal,
            text,
            read: Arc::new(AtomicU64::new(offset)),
            endpoint: None,
            route: None,
            temporary,
        })
    }

    fn is_finished(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.endpoint.is_none())
    }
}

impl Source for Pushed {
    fn start(&mut self, waker: Waker) -> Result<(), Error> {
        if self.open.is_none() {
            let folder = tempfile::tempdir().map_err(|reason| fatal(Problem::Folder(reason)))?;
            let path = folder.path().to_owned();
            self.open = Some(self.open_journal(Arc::new(Real), &path, Some(folder))?);
        }
        let open = self.open.as_mut().expect("it was opened");
        let endpoint = Arc::new(Endpoint::new(
            &self.spec,
            open.journal.clone(),
            open.read.clone(),
            self.clock.clone(),
            waker,
        ));
        let address = self.spec.address;
        let route = server::listen(address, &self.route, endpoint.clone())
            .map_err(|reason| fatal(Problem::Listen { address, reason }))?;
        tracing::info!(source = self.id, "listens at http://{}{}", route.address, self.route);
        open.endpoint = Some(endpoint);
        open.route = Some(route);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(endpoint) = self.open.as_mut().and_then(|open| open.endpoint.take()) {
            endpoint.close();
        }
    }

    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        if self.is_finished() {
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

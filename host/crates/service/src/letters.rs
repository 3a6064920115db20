//! Dead letters of pipelines that are deployed: counted, shown, and put back into their pipeline.
//!
//! A retry is a run of its own (`dirigo_runtime::retry`). The task of the pipeline carries it out between two others: it ends the present
//! one at a checkpoint, retries, and starts the pipeline again if it is to run.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use dirigo_api::{DeadLetterGroup, DeadLetters, Retried, Retry, State};
use dirigo_command::admission::{Admitted, location_in};
use dirigo_disk::{Disk, open_regular};
use dirigo_flow::DeadLetter;
use dirigo_runtime::retry::{self, Selection};
use dirigo_runtime::{Job, LetterGroup, LetterList, replay};
use tokio::sync::{oneshot, watch};

use crate::entry::{AskedRetry, Entry, Wish};
use crate::pipelines::Pipelines;
use crate::record::Key;
use crate::refused::Refused;
use crate::running::Running;

/// The letters of a pipeline.
struct Letters {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Pipelines {
    /// Where the letters of a pipeline are, by the version that runs or would.
    fn letters_of(&self, key: &Key) -> Result<Letters, Refused> {
        let entry = self.entry(key)?;
        let stored = {
            let record = entry.record.lock();
            record.version(record.current).cloned()
        };
        let stored = stored.ok_or_else(|| Refused::not_found("the pipeline is being deleted"))?;
        let loaded = self
            .load_stored(key, &stored)
            .map_err(|refusal| Refused::of_file(&refusal.problems))?;
        let pipeline = &loaded.pipeline;
        let location = location_in(Some(&self.store.state_of(&pipeline.tenant)), false, pipeline);
        let (disk, path) = retry::letters_of(pipeline, location.directory());
        Ok(Letters { disk, path })
    }

    /// The dead letters of a pipeline, counted: all, or those that failed in one operator.
    pub(crate) fn dead_letters(&self, key: &Key, operator: Option<&str>) -> Result<DeadLetters, Refused> {
        let Letters { disk, path } = self.letters_of(key)?;
        let list = match LetterList::read(&*disk, &path, operator) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DeadLetters::default()),
            Err(error) => return Err(unreadable(key, &error)),
        };
        let group = |group: LetterGroup| DeadLetterGroup {
            operator: group.operator,
            kind: group.kind,
            reason: group.reason,
            letters: group.letters,
            retried: group.retried,
            first_id: group.first_id,
            last_id: group.last_id,
        };
        Ok(DeadLetters {
            letters: list.letters,
            retried: list.retried,
            unreadable: list.unreadable,
            groups: list.groups.into_iter().map(group).collect(),
        })
    }

    /// One dead letter, and whether it was retried.
    pub(crate) fn dead_letter(&self, key: &Key, id: u64) -> Result<(DeadLetter, bool), Refused> {
        let Letters { disk, path } = self.letters_of(key)?;
        let missing = |found: &str| {
            Refused::not_found(format!("pipeline `{}` has no dead letter {id}", key.name)).help(found.to_owned())
        };
        let found = replay::find(&*disk, &path, id).map_err(|error| match error {
            replay::Error::NotFound { found, .. } => missing(&found),
            replay::Error::Read { reason, .. } if reason.kind() == io::ErrorKind::NotFound => missing("it has none"),
            error => unreadable(key, &error),
        });
        Ok((found?, retry::retried(&*disk, &path).contains(id)))
    }

    /// The last whole lines of a pipeline's dead letters, as far as they are within the last `bytes_max` bytes of their file; nothing where there
    /// are none.
    pub(crate) fn latest_letters(&self, key: &Key, bytes_max: u64) -> Result<Vec<u8>, Refused> {
        let Letters { disk, path } = self.letters_of(key)?;
        match last_lines(&*disk, &path, bytes_max) {
            Ok(lines) => Ok(lines),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unreadable(key, &error)),
        }
    }

    /// Has dead letters go back into a pipeline. What came of it is received once it is done.
    pub(crate) fn retry(
        &self,
        key: &Key,
        which: Retry,
    ) -> Result<oneshot::Receiver<Result<Retried, Refused>>, Refused> {
        let entry = self.entry(key)?;
        if entry.state() == State::Deleting {
            return Err(Refused::not_found(format!("pipeline `{}` is being deleted", key.name)));
        }
        let selection = Selection {
            below: None,
            operator: which.operator,
            ids: which.ids,
        };
        let answered = entry.ask_retry(selection).ok_or_else(|| {
            Refused::conflict(format!("dead letters of pipeline `{}` are being retried", key.name))
                .help("try again once that is done")
        });
        if self.closing.borrow().is_some() {
            // Its task may be gone already.
            entry.end_retry();
        }
        answered
    }

    /// Opens a pipeline so that it retries the next letters, if there are any to retry.
    fn open_retry(
        &self,
        admitted: &Admitted,
        selection: &mut Selection,
        retried: &mut Retried,
    ) -> Result<Option<(Job, bool)>, Refused> {
        let directory = admitted.location.directory();
        let opened = retry::open(&self.host, admitted.prepared.clone(), directory, selection);
        let (opened, round) = match opened {
            Ok(opened) => opened,
            // It never ran.
            Err(retry::Error::NoState { .. }) => return Ok(None),
            Err(error) => return Err(failed(&admitted.prepared.pipeline.name, &error)),
        };
        // Those that fail again are for another time.
        selection.below.get_or_insert(round.next_id);
        retried.left = round.left;
        let Some(opened) = opened else { return Ok(None) };
        retried.retried += round.letters;
        retried.resumed |= round.is_resumed;
        Ok(Some((self.host.launch(opened), round.has_more)))
    }
}

fn last_lines(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let (mut file, metadata) = open_regular(disk, path)?;
    let start = metadata.len().saturating_sub(bytes_max);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    if start > 0 {
        // The first line began before.
        let end = bytes.iter().position(|byte| *byte == b'\n');
        bytes.drain(..end.map_or(bytes.len(), |end| end + 1));
    }
    Ok(bytes)
}

/// Retries dead letters of a pipeline that does not run, as far as nothing else is wanted of it meanwhile.
pub(crate) async fn retry_letters(
    pipelines: &Arc<Pipelines>,
    entry: &Arc<Entry>,
    wish: Wish,
    asked: AskedRetry,
    wishes: &mut watch::Receiver<Wish>,
    closing: &mut watch::Receiver<Option<Duration>>,
) {
    entry.enter(
        State::Starting,
        Some("dead letters are retried before it runs again".to_owned()),
    );
    let admitting = {
        let (pipelines, entry) = (pipelines.clone(), entry.clone());
        blocking(move || pipelines.admitted_as_wished(&entry, wish)).await
    };
    let outcome = match admitting {
        Ok(Some(admitted)) => {
            let pipeline = admitted.prepared.pipeline.clone();
            let retried = rounds(pipelines, entry, admitted, wish, asked.selection, (wishes, closing)).await;
            pipelines.left(&pipeline);
            retried
        }
        Ok(None) => Err(interrupted(entry)),
        Err(refusal) => Err(Refused::of_file(&refusal.problems)),
    };
    let (level, said) = match &outcome {
        Ok(retried) => (
            tracing::Level::INFO,
            format!(
                "{} dead letters were retried, {} failed again, {} came too late for their windows",
                retried.retried, retried.failed_again, retried.late
            ),
        ),
        Err(refused) => (tracing::Level::ERROR, refused.problem.error.clone()),
    };
    entry.say(level, &said);
    entry.end_retry();
    // A client that has gone finds the outcome in the log.
    let _ = asked.answer.send(outcome);
}

/// Retries as many letters at a time as one commit takes.
async fn rounds(
    pipelines: &Arc<Pipelines>,
    entry: &Arc<Entry>,
    admitted: Admitted,
    wish: Wish,
    mut selection: Selection,
    (wishes, closing): (&mut watch::Receiver<Wish>, &mut watch::Receiver<Option<Duration>>),
) -> Result<Retried, Refused> {
    let admitted = Arc::new(admitted);
    let mut retried = Retried::default();
    loop {
        let opening = {
            let (pipelines, admitted) = (pipelines.clone(), admitted.clone());
            blocking(move || {
                let opened = pipelines.open_retry(&admitted, &mut selection, &mut retried);
                opened.map(|opened| (opened, selection, retried))
            })
        };
        let opened;
        (opened, selection, retried) = opening.await?;
        let Some((job, has_more)) = opened else {
            return Ok(retried);
        };
        let running = Running::of(pipelines, entry, job, false);
        let (ended, was_told) = running.until_end(wishes, closing, wish).await;
        retried.failed_again += ended.summary.figures.dead_letters;
        retried.late += retry::lost_as_late(&admitted.prepared.pipeline, &ended.operators);
        if was_told && ended.failure.is_some() {
            return Err(interrupted(entry));
        }
        if let Some(failure) = ended.failure {
            let message = format!("the retry failed: {failure}");
            return Err(Refused::conflict(message).help("what was on its way resumes as the pipeline runs"));
        }
        let pipeline = &admitted.prepared.pipeline;
        retry::conclude(pipeline, admitted.location.directory()).map_err(|error| failed(&pipeline.name, &error))?;
        if !has_more {
            return Ok(retried);
        }
        if was_told {
            return Err(interrupted(entry));
        }
    }
}

/// Does what waits for a disk or compiles, where it delays nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn interrupted(entry: &Entry) -> Refused {
    let message = format!(
        "the retry of dead letters of pipeline `{}` was interrupted",
        entry.key.name
    );
    Refused::conflict(message)
        .help("letters that went back resume as the pipeline runs; those that did not are retried by asking again")
}

/// The paths of the host are none of a tenant's business.
fn unreadable(key: &Key, error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(tenant = %key.tenant, pipeline = %key.name, "dead letters cannot be read: {error}");
    let message = "the dead letters cannot be read; the log of the service says why";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

fn failed(pipeline: &str, error: &dyn std::fmt::Display) -> Refused {
    tracing::error!(%pipeline, "dead letters cannot be retried: {error}");
    let message = "the dead letters cannot be retried; the log of the service says why";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

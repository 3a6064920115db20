//! Dead letters: events that failed, with all that it takes to see why and to run them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::halt::{Failure, Halt};
use super::waiter::{Waiter, wake_all};
use crate::batch::Column;
use crate::pipeline::{Limits, Window};
use crate::sink::{self, Bookmark, Sink};

/// An event that failed: a line of the dead-letter file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Counts the dead letters of a pipeline from 1.
    pub id: u64,
    /// The pipeline.
    pub pipeline: String,
    /// The operator, or the source, that it failed in.
    pub operator: String,
    /// SHA-256 of the component; null for a source.
    pub component: Option<String>,
    /// `rejected`, `trap`, `fuel`, `memory`, `malformed`, `key` or `source`.
    pub kind: String,
    /// What happened.
    pub reason: String,
    /// The guest's stack, where it trapped.
    pub backtrace: Option<String>,
    /// The event.
    pub event: Event,
    /// What was kept of the event's key before it (base64).
    pub state: Option<String>,
    /// Fuel that the failing turn burnt.
    pub fuel: u64,
    /// How often the event was tried.
    pub attempt: u32,
    /// What a replay needs besides; null for a source.
    pub setup: Option<Setup>,
}

/// The event of a dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The source that it entered by.
    pub source: String,
    /// Its position there.
    pub position: u64,
    /// Its time, ms since the epoch; null where it has none.
    pub time: Option<i64>,
    /// Its key; a key that is not UTF-8 stands in `key_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its key, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// Its value; one that is not UTF-8 stands in `value_base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its value, where it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

/// How the operator of a dead letter was set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The component, as `builtin:NAME` or a path.
    pub component: String,
    /// Its configuration, as it is written: what comes from the environment stays there.
    pub config: serde_json::Value,
    /// Its limits.
    pub limits: Limits,
    /// Its window, for a reduce.
    pub window: Option<Window>,
}

impl Event {
    /// An event from its parts.
    #[must_use]
    pub fn new(source: &str, position: u64, time: Option<i64>, key: &[u8], value: &[u8]) -> Self {
        let (key, key_base64) = text_or_base64(key);
        let (value, value_base64) = text_or_base64(value);
        Self {
            source: source.to_owned(),
            position,
            time,
            key,
            key_base64,
            value,
            value_base64,
        }
    }

    /// The bytes of its key.
    ///
    /// # Errors
    /// When the base64 is damaged.
    pub fn key_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        bytes(self.key.as_deref(), self.key_base64.as_deref())
    }

    /// The bytes of its value.
    ///
    /// # Errors
    /// When the base64 is damaged.
    pub fn value_bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        bytes(self.value.as_deref(), self.value_base64.as_deref())
    }
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

fn bytes(text: Option<&str>, base64: Option<&str>) -> Result<Vec<u8>, base64::DecodeError> {
    match base64 {
        Some(base64) => BASE64_STANDARD.decode(base64),
        None => Ok(text.unwrap_or_default().as_bytes().to_vec()),
    }
}

/// Opens the file when the first dead letter comes.
type Open = Box<dyn FnOnce() -> Result<Box<dyn Sink>, sink::Error> + Send>;

/// The workers' end of the dead letters of a pipeline.
#[derive(Debug)]
pub struct Letters {
    /// What waits to be written.
    pub gate: Gate<Waiter>,
    count: AtomicU64,
    sender: Sender<Message>,
}

enum Message {
    Letter(Box<DeadLetter>),
    Close,
}

/// What outlives a run of a dead-letter file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LettersBookmark {
    /// The id of the next one.
    pub next_id: u64,
    /// Where it is written.
    pub file: Option<Bookmark>,
}

impl LettersBookmark {
    /// The start of a new file.
    #[must_use]
    pub fn fresh() -> Self {
        Self { next_id: 1, file: None }
    }
}

impl Letters {
    /// The dead letters of a pipeline, which go on from `from`; a thread writes them.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(open: Open, from: LettersBookmark, halt: Arc<Halt>) -> (Arc<Self>, JoinHandle<LettersBookmark>) {
        let (sender, receiver) = mpsc::channel();
        let letters = Arc::new(Self {
            gate: Gate::default(),
            count: AtomicU64::new(0),
            sender,
        });
        let writing = Writing {
            letters: letters.clone(),
            open: Some(open),
            sink: None,
            bookmark: from,
            halt,
        };
        let thread = std::thread::Builder::new().name("dead letters".into());
        let thread = thread
            .spawn(move || writing.run(&receiver))
            .expect("the system gives a thread to each pipeline");
        (letters, thread)
    }

    /// Takes a dead letter, whose id is still to be given; never waits.
    pub fn push(&self, letter: DeadLetter) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.gate.enter(1, letter.size());
        let _ = self.sender.send(Message::Letter(Box::new(letter)));
    }

    /// How many there were in this run.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Lets the thread end once it has written what it has.
    pub fn close(&self) {
        let _ = self.sender.send(Message::Close);
    }
}

impl DeadLetter {
    fn size(&self) -> usize {
        let value = self.event.value.as_ref().map_or(0, String::len);
        let base64 = self.event.value_base64.as_ref().map_or(0, String::len);
        size_of::<Self>() + value + base64 + self.backtrace.as_ref().map_or(0, String::len)
    }
}

struct Writing {
    letters: Arc<Letters>,
    open: Option<Open>,
    sink: Option<Box<dyn Sink>>,
    /// The id of the next one, and where the file ended when it was last closed.
    bookmark: LettersBookmark,
    halt: Arc<Halt>,
}

impl Writing {
    fn run(mut self, messages: &Receiver<Message>) -> LettersBookmark {
        loop {
            let message = messages.try_recv().unwrap_or_else(|_| {
                let flushed = self.sink.as_mut().map_or(Ok(()), |sink| sink.flush());
                self.check(flushed);
                messages.recv().unwrap_or(Message::Close)
            });
            match message {
                Message::Letter(letter) => {
                    let size = letter.size();
                    let written = self.write(*letter);
                    self.check(written);
                    wake_all(self.letters.gate.leave(1, size));
                }
                Message::Close => return self.close(),
            }
        }
    }

    fn write(&mut self, mut letter: DeadLetter) -> Result<(), sink::Error> {
        letter.id = self.bookmark.next_id;
        self.bookmark.next_id += 1;
        if let Some(open) = self.open.take() {
            self.sink = Some(open()?);
        }
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let mut line = Column::default();
        line.push(&serde_json::to_vec(&letter).expect("a dead letter is plain JSON"));
        sink.write(&line)
    }

    fn check(&self, outcome: Result<(), sink::Error>) {
        if let Err(error) = outcome {
            self.halt.blow(Failure::DeadLetters {
                reason: error.to_string(),
            });
        }
    }

    fn close(mut self) -> LettersBookmark {
        // A file that was not opened, because no dead letter came, still ends where it did.
        if let Some(mut sink) = self.sink.take() {
            match sink.commit() {
                Ok(file) => self.bookmark.file = file,
                Err(error) => self.check(Err(error)),
            }
        }
        self.bookmark
    }
}

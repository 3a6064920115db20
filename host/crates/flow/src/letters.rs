//! Dead letters: events that failed, with all that it takes to see why and to run them again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::halt::{Failure, Halt, panicked};
use super::wake_all;
use dirigo_connectors::sink::{self, Bookmark, Sink};
use dirigo_ground::account::Account;
use dirigo_ground::batch::Column;
use dirigo_ground::thread;
use dirigo_pipeline::{Limits, Window};
use dirigo_scheduler::Errands;

/// Bytes of a `reason` that are kept. Guests word it, as long as they please; a person reads it.
const REASON_BYTES_MAX: usize = 64 << 10;

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
    /// `rejected`, `trap`, `fuel`, `memory`, `malformed`, `output`, `state`, `migrate`, `key` or `source`.
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
    /// What a replay needs besides; null for a source. All letters of an operator share it.
    #[serde(with = "shared")]
    pub setup: Option<Arc<Setup>>,
}

/// An `Arc` that is written as what is in it.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Setup;

    #[allow(clippy::ref_option, reason = "serde hands a field over so")]
    pub(super) fn serialize<S: Serializer>(setup: &Option<Arc<Setup>>, serializer: S) -> Result<S::Ok, S::Error> {
        setup.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Setup>>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map(Arc::new))
    }
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
    pub gate: Gate<Waker>,
    count: AtomicU64,
    first: OnceLock<FirstLetter>,
    sender: Sender<Message>,
}

enum Message {
    Letter(Box<DeadLetter>),
    Mark(Sender<MarkedLetters>),
    Publish,
    Close,
}

/// The dead letters at a cut, behind all that came before it.
#[derive(Debug)]
pub struct MarkedLetters {
    /// The id of the next one.
    next_id: u64,
    /// The end of their file; or what was known of that, where none came.
    file: Result<sink::Prepared, Option<Bookmark>>,
}

impl MarkedLetters {
    /// Waits until they are durable. What it gives can be committed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn synced(self) -> Result<LettersBookmark, sink::Error> {
        let file = match self.file {
            Ok(prepared) => prepared.synced()?,
            Err(known) => known,
        };
        Ok(LettersBookmark {
            next_id: self.next_id,
            file,
        })
    }
}

/// The first dead letter of a run: where all events fail they mostly do for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstLetter {
    /// Its id.
    pub id: u64,
    /// The operator, or the source, that it failed in.
    pub item: String,
    /// What happened.
    pub reason: String,
    /// Whether it can be run again.
    pub is_replayable: bool,
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
    /// The dead letters of a pipeline, which go on from `from`, and what writes them.
    #[must_use]
    pub fn new(open: Open, from: LettersBookmark, account: Arc<Account>, halt: Arc<Halt>) -> (Arc<Self>, Writing) {
        let (sender, receiver) = mpsc::channel();
        let letters = Arc::new(Self {
            gate: Gate::new(account),
            count: AtomicU64::new(0),
            first: OnceLock::new(),
            sender,
        });
        let writing = Writing {
            letters: letters.clone(),
            open: Some(open),
            sink: None,
            next_id: from.next_id,
            file: from.file,
            messages: receiver,
            has_failed: false,
            is_closed: false,
            halt,
        };
        (letters, writing)
    }

    /// Takes a dead letter, whose id is still to be given and whose reason may be too long; never waits.
    pub fn push(&self, mut letter: DeadLetter) {
        cut(&mut letter.reason);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.gate.enter(1, letter.size());
        let _ = self.sender.send(Message::Letter(Box::new(letter)));
    }

    /// How many there were in this run.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The first one of this run; known when the thread has ended.
    #[must_use]
    pub fn first(&self) -> Option<&FirstLetter> {
        self.first.get()
    }

    /// Ends the epoch behind all that came so far. What there is then comes by the receiver.
    #[must_use]
    pub fn mark(&self) -> Receiver<MarkedLetters> {
        let (sender, receiver) = mpsc::channel();
        let _ = self.sender.send(Message::Mark(sender));
        receiver
    }

    /// The epoch of the last mark is committed.
    pub fn publish(&self) {
        let _ = self.sender.send(Message::Publish);
    }

    /// Lets the thread end once it has written what it has.
    pub fn close(&self) {
        let _ = self.sender.send(Message::Close);
    }
}

/// Cuts a reason that is too long, and says so in it.
fn cut(reason: &mut String) {
    if reason.len() > REASON_BYTES_MAX {
        let kept = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
        *reason = format!("{kept} … (cut: it has {} bytes)", reason.len());
    }
}

impl DeadLetter {
    /// Whether a component saw the event.
    #[must_use]
    pub fn is_replayable(&self) -> bool {
        self.setup.is_some() && self.kind != "key"
    }

    /// What it takes while it waits, all that guests and inputs say in it included; the set-up is shared.
    fn size(&self) -> usize {
        let event = &self.event;
        let texts = [
            Some(&self.reason),
            self.backtrace.as_ref(),
            self.state.as_ref(),
            event.key.as_ref(),
            event.key_base64.as_ref(),
            event.value.as_ref(),
            event.value_base64.as_ref(),
        ];
        size_of::<Self>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

/// What writes the dead letters of a pipeline.
pub struct Writing {
    letters: Arc<Letters>,
    open: Option<Open>,
    sink: Option<Box<dyn Sink>>,
    next_id: u64,
    /// Where the file ended when this run began.
    file: Option<Bookmark>,
    messages: Receiver<Message>,
    /// After a failure what still comes is dropped.
    has_failed: bool,
    is_closed: bool,
    halt: Arc<Halt>,
}

impl Writing {
    /// Starts a thread that does it.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(mut self, mut errands: Errands) -> JoinHandle<()> {
        let builder = std::thread::Builder::new().name("dead letters".into());
        let run = move || {
            thread::run_at_once();
            while !self.is_over() {
                if !errands.run(|| self.step()) {
                    self.flush();
                    errands.rest();
                    let message = self.messages.recv().unwrap_or(Message::Close);
                    errands.run(|| self.handle(message));
                }
            }
        };
        builder.spawn(run).expect("the system gives a thread to each pipeline")
    }

    /// Whether it was told to close, and has.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_closed
    }

    /// Handles what was sent, if something was; `false` if nothing was.
    pub fn step(&mut self) -> bool {
        match self.messages.try_recv() {
            Ok(message) => self.handle(message),
            Err(_) => return false,
        }
        true
    }

    /// Hands what is buffered to the medium.
    pub fn flush(&mut self) {
        let flushed = self.sink.as_mut().map_or(Ok(()), |sink| sink.flush());
        self.check(flushed);
    }

    fn handle(&mut self, message: Message) {
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle_unguarded(message)));
        if let Err(panic) = handled {
            self.has_failed = true;
            self.halt.blow(Failure::DeadLetters {
                reason: panicked(&*panic),
            });
        }
    }

    fn handle_unguarded(&mut self, message: Message) {
        match message {
            Message::Letter(letter) => {
                let size = letter.size();
                if !self.has_failed {
                    let written = self.write(*letter);
                    self.check(written);
                }
                wake_all(self.letters.gate.leave(1, size));
            }
            Message::Mark(reply) => {
                let marked = self.mark();
                if let Ok(marked) = marked {
                    // Whoever asked has given up only where the pipeline has failed.
                    let _ = reply.send(marked);
                } else {
                    self.check(marked.map(drop));
                }
            }
            Message::Publish => {
                let published = self.sink.as_mut().map_or(Ok(()), |sink| sink.publish());
                self.check(published);
            }
            Message::Close => {
                self.flush();
                self.is_closed = true;
            }
        }
    }

    fn write(&mut self, mut letter: DeadLetter) -> Result<(), sink::Error> {
        letter.id = self.next_id;
        self.next_id += 1;
        self.letters.first.get_or_init(|| FirstLetter {
            id: letter.id,
            item: letter.operator.clone(),
            reason: letter.reason.clone(),
            is_replayable: letter.is_replayable(),
        });
        if let Some(open) = self.open.take() {
            self.sink = Some(open()?);
        }
        let Some(sink) = &mut self.sink else { return Ok(()) };
        let mut line = Column::default();
        line.push(&serde_json::to_vec(&letter).expect("a dead letter is plain JSON"));
        sink.write(&line)
    }

    fn mark(&mut self) -> Result<MarkedLetters, sink::Error> {
        // A file that was not opened, because no dead letter came, still ends where it did.
        let file = match &mut self.sink {
            Some(sink) => Ok(sink.prepare()?),
            None => Err(self.file.clone()),
        };
        Ok(MarkedLetters {
            next_id: self.next_id,
            file,
        })
    }

    fn check(&mut self, outcome: Result<(), sink::Error>) {
        if let Err(error) = outcome {
            self.has_failed = true;
            self.halt.blow(Failure::DeadLetters {
                reason: error.to_string(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_connectors::sink::Memory;

    fn letter(reason: String, event: Event) -> DeadLetter {
        DeadLetter {
            id: 0,
            pipeline: "p".into(),
            operator: "o".into(),
            component: None,
            kind: "rejected".into(),
            reason,
            backtrace: Some("b".repeat(1_000)),
            event,
            state: Some("s".repeat(1_000)),
            fuel: 0,
            attempt: 1,
            setup: None,
        }
    }

    #[test]
    fn all_that_a_guest_can_make_long_counts_at_the_gate() {
        let long = || "r".repeat(1_000);
        let text = letter(long(), Event::new("s", 1, None, &[b'k'; 1_000], &[b'v'; 1_000]));
        assert!(text.size() >= 5_000, "{}", text.size());
        let bytes = letter(long(), Event::new("s", 1, None, &[0xff; 1_000], &[0xff; 1_000]));
        assert!(bytes.size() >= 3_000 + 2 * 4_000 / 3, "{}", bytes.size());
    }

    #[test]
    fn a_reason_without_end_is_cut_and_said_to_be() {
        let (sink, taken) = Memory::new();
        let open = Box::new(|| Ok(Box::new(sink) as Box<dyn Sink>));
        let (letters, mut writing) = Letters::new(open, LettersBookmark::fresh(), Arc::default(), Arc::default());
        letters.push(letter("é".repeat(1 << 20), Event::new("s", 1, None, b"", b"")));
        letters.push(letter("short".into(), Event::new("s", 2, None, b"", b"")));
        while writing.step() {}
        assert_eq!(letters.gate.events(), 0);
        let lines = taken.lock();
        let reasons: Vec<String> = lines
            .iter()
            .map(|line| serde_json::from_slice::<DeadLetter>(line).unwrap().reason)
            .collect();
        let [long, short] = reasons.as_slice() else {
            panic!("{} letters", reasons.len());
        };
        assert!(long.len() < REASON_BYTES_MAX + 100, "{}", long.len());
        assert!(long.starts_with('é') && long.ends_with("é … (cut: it has 2097152 bytes)"));
        assert_eq!(short, "short");
    }
}

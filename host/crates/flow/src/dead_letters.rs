//! Dead letters on their way to their file.
//!
//! Owns their numbers and the form of a line; the thread that writes them is a [`SinkTask`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use serde::{Deserialize, Serialize};

use super::attempts::Attempts;
use super::dead_letter::DeadLetter;
use super::failure_latch::{Failure, FailureLatch};
use super::gate::Gate;
use super::id_ranges::IdRanges;
use super::lazy_sink::{LazySink, OpenSink};
use super::sink_task::{Arrivals, Cause, Encoded, Encoder, Marked, SinkHandle, SinkTask};
use dirigo_connect::sink::Offset;
use dirigo_ground::batch::Column;
use dirigo_ground::clock::Clock;
use dirigo_ground::quota::{DeadLetterAdmission, Quota};
use dirigo_pipeline::DeadLettersMax;

/// The workers' end of the dead letters of a pipeline.
#[derive(Debug)]
pub struct DeadLetters {
    task: SinkHandle<DeadLetterEncoder>,
    count: AtomicU64,
    /// Those of them that are beyond the tenant's rate, and not written.
    left_out: AtomicU64,
    first: OnceLock<FirstDeadLetter>,
    limit: OnceLock<Limit>,
    /// What stays as it is in this run of what outlives it.
    retried: IdRanges,
    attempts: Attempts,
    quota: Arc<Quota>,
    clock: Arc<dyn Clock>,
}

/// When there are too many.
struct Limit {
    max: DeadLettersMax,
    /// How many events there are so far.
    events: Box<dyn Fn() -> u64 + Send + Sync>,
    failure_latch: Arc<FailureLatch>,
}

/// Events after which a share of them is judged while a run goes on: of the first few, any is a large one.
const JUDGED_FROM: u64 = 1_000;

/// The dead letters at a cut, behind all that came before it.
pub type MarkedDeadLetters = Marked<NextId>;

/// The id of the next dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextId(pub u64);

/// The first dead letter of a run: where all events fail they mostly do for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDeadLetter {
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
pub struct DeadLetterOffset {
    /// The id of the next one.
    pub next_id: u64,
    /// Where it is written.
    pub file: Option<Offset>,
    /// Those that were retried: they are on their way, or got through, or are others now.
    #[serde(default, skip_serializing_if = "IdRanges::is_empty")]
    pub retried: IdRanges,
    /// How often the events of those that are on their way had been tried.
    #[serde(default, skip_serializing_if = "Attempts::is_empty")]
    pub attempts: Attempts,
}

impl DeadLetterOffset {
    /// The start of a new file.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            next_id: 1,
            file: None,
            retried: IdRanges::default(),
            attempts: Attempts::default(),
        }
    }
}

impl DeadLetters {
    /// The dead letters of a pipeline, which go on from `from`, and what writes them: `open` opens the file when the first
    /// one comes.
    #[must_use]
    pub fn new(
        open: OpenSink,
        from: DeadLetterOffset,
        quota: Arc<Quota>,
        failure_latch: Arc<FailureLatch>,
        clock: Arc<dyn Clock>,
    ) -> (Arc<Self>, SinkTask<DeadLetterEncoder>) {
        let kept = from.file.as_ref().and_then(|file| file["length"].as_u64());
        quota.add_dead_letters(kept.unwrap_or(0));
        let (task, inbox) = SinkHandle::new(quota.clone());
        let dead_letters = Arc::new(Self {
            task,
            count: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            first: OnceLock::new(),
            limit: OnceLock::new(),
            retried: from.retried,
            attempts: from.attempts,
            quota: quota.clone(),
            clock: clock.clone(),
        });
        let encoder = DeadLetterEncoder {
            dead_letters: dead_letters.clone(),
            next_id: from.next_id,
            quota,
            failure_latch: failure_latch.clone(),
        };
        // A file that was not opened, because no dead letter came, still ends where it did.
        let sink = Box::new(LazySink::new(open, from.file));
        let task = SinkTask::new("dead letters".into(), encoder, sink, inbox, failure_latch, clock);
        (dead_letters, task)
    }

    /// What waits to be written.
    #[must_use]
    pub fn gate(&self) -> &Gate<Waker> {
        self.task.gate()
    }

    /// Takes a dead letter, whose id is still to be given and whose reason may be too long; never waits. One that is beyond what its
    /// tenant may write in a second is counted, and dropped.
    pub fn push(&self, dead_letter: DeadLetter) {
        self.count_one();
        match self.quota.admit_dead_letter(self.clock.now_ns()) {
            DeadLetterAdmission::Admitted => self.write(dead_letter),
            DeadLetterAdmission::LeftOut { is_first } => {
                self.left_out.fetch_add(1, Ordering::Relaxed);
                if is_first {
                    let most = self.quota.budget().dead_letters_per_second.unwrap_or(0);
                    tracing::warn!(
                        pipeline = dead_letter.pipeline,
                        "more dead letters than the {most} a second that the tenant may write (`dead_letters_per_second`); those \
                         beyond are counted, and not written"
                    );
                }
            }
        }
    }

    /// Takes the dead letter that its pipeline ends for, whatever the rate.
    pub fn push_last(&self, dead_letter: DeadLetter) {
        self.count_one();
        self.write(dead_letter);
    }

    fn count_one(&self) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(limit) = self.limit.get() {
            limit.judge(count);
        }
    }

    fn write(&self, mut dead_letter: DeadLetter) {
        dead_letter.cut_reason();
        let event = &dead_letter.event;
        dead_letter.attempt += self.attempts.get(&event.source, event.position);
        let size = dead_letter.size();
        self.task.admit(Box::new(dead_letter), 1, size);
    }

    /// Ends the pipeline once there are more than `max`, of which `events` says how many there are so far.
    pub fn set_limit(
        &self,
        max: DeadLettersMax,
        events: impl Fn() -> u64 + Send + Sync + 'static,
        failure_latch: Arc<FailureLatch>,
    ) {
        self.limit.get_or_init(|| Limit {
            max,
            events: Box::new(events),
            failure_latch,
        });
    }

    /// What there is to be known of them at a cut.
    #[must_use]
    pub fn offset(&self, NextId(next_id): NextId, file: Option<Offset>) -> DeadLetterOffset {
        DeadLetterOffset {
            next_id,
            file,
            retried: self.retried.clone(),
            attempts: self.attempts.clone(),
        }
    }

    /// How many there were in this run.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many of them were not written: more came in a second than the tenant may write.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// The first one of this run; known when the thread has ended.
    #[must_use]
    pub fn first(&self) -> Option<&FirstDeadLetter> {
        self.first.get()
    }

    /// Ends the epoch behind all that came so far, and has what there is then reported. The report is dropped where the file
    /// fails.
    pub fn mark(&self, report: impl FnOnce(MarkedDeadLetters) + Send + 'static) {
        self.task.mark(report);
    }

    /// The epoch of the last mark is committed.
    pub fn publish(&self) {
        self.task.publish();
    }

    /// Lets the thread end once it has written what it has.
    pub fn close(&self) {
        self.task.close();
    }
}

impl Limit {
    fn judge(&self, count: u64) {
        let events = (self.events)();
        let is_early = matches!(self.max, DeadLettersMax::Percent(_)) && events < JUDGED_FROM;
        if !is_early && self.max.is_exceeded(count, events) {
            self.failure_latch
                .fail(Failure::too_many_dead_letters(count, events, self.max));
        }
    }
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Limit")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

/// Makes lines of dead letters, and numbers them.
#[derive(Debug)]
pub struct DeadLetterEncoder {
    dead_letters: Arc<DeadLetters>,
    next_id: u64,
    quota: Arc<Quota>,
    failure_latch: Arc<FailureLatch>,
}

impl Encoder for DeadLetterEncoder {
    type Input = Box<DeadLetter>;
    type AtCut = NextId;

    fn encode(&mut self, mut dead_letter: Box<DeadLetter>) -> Option<Encoded> {
        dead_letter.id = self.next_id;
        self.dead_letters.first.get_or_init(|| FirstDeadLetter {
            id: dead_letter.id,
            item: dead_letter.operator.clone(),
            reason: dead_letter.reason.clone(),
            is_replayable: dead_letter.is_replayable(),
        });
        let json = serde_json::to_vec(&dead_letter).expect("a dead letter is plain JSON");
        if !self.quota.try_add_dead_letter(json.len() as u64 + 1) {
            // To go on without it would lose the event.
            let bound = self.quota.budget().dead_letter_bytes;
            self.failure_latch.fail(Failure::DeadLetters {
                reason: format!(
                    "they would take more than the {bound} bytes that the tenant may keep (`dead_letter_bytes`); remove \
                     old ones, or raise it"
                ),
            });
            return None;
        }
        self.next_id += 1;
        let mut line = Column::default();
        line.push(&json);
        Some(Encoded {
            times: Arc::new(vec![0]),
            keys: Arc::new(Column::of_empty(1)),
            values: Arc::new(line),
            arrivals: Arrivals::new(),
        })
    }

    fn cut(&mut self) -> NextId {
        NextId(self.next_id)
    }

    fn failure(&self, cause: Cause) -> Failure {
        Failure::DeadLetters {
            reason: cause.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dead_letter::{FailedEvent, REASON_BYTES_MAX};
    use super::*;
    use std::sync::mpsc;

    use dirigo_connect::Sink;
    use dirigo_connect::sink;
    use dirigo_connectors::memory::MemorySink;
    use dirigo_ground::clock::ManualClock;
    use dirigo_ground::limits::Budget;

    fn dead_letter(reason: String, event: FailedEvent) -> DeadLetter {
        DeadLetter {
            id: 0,
            pipeline: "p".into(),
            operator: "o".into(),
            component: None,
            kind: "rejected".into(),
            reason,
            backtrace: Some("b".repeat(1_000)),
            event,
            window: None,
            input: None,
            timers: None,
            state: Some("s".repeat(1_000)),
            accumulator: None,
            fuel: 0,
            attempt: 1,
            setup: None,
        }
    }

    fn start(open: OpenSink, from: DeadLetterOffset) -> (Arc<DeadLetters>, SinkTask<DeadLetterEncoder>) {
        let clock = Arc::new(ManualClock::new(0));
        DeadLetters::new(open, from, Arc::default(), Arc::default(), clock)
    }

    #[test]
    fn all_that_a_guest_can_make_long_counts_at_the_gate() {
        let long = || "r".repeat(1_000);
        let text = dead_letter(long(), FailedEvent::new("s", 1, None, &[b'k'; 1_000], &[b'v'; 1_000]));
        assert!(text.size() >= 5_000, "{}", text.size());
        let bytes = dead_letter(long(), FailedEvent::new("s", 1, None, &[0xff; 1_000], &[0xff; 1_000]));
        assert!(bytes.size() >= 3_000 + 2 * 4_000 / 3, "{}", bytes.size());
    }

    #[test]
    fn letters_beyond_the_rate_are_counted_and_not_written_but_for_the_one_that_a_pipeline_ends_for() {
        let (sink, taken) = MemorySink::new();
        let open = Box::new(|| Ok(Box::new(sink) as Box<dyn Sink>));
        let quota = Arc::new(Quota::new(Budget {
            dead_letters_per_second: Some(2),
            ..Budget::default()
        }));
        let clock = Arc::new(ManualClock::new(0));
        let (fresh, latch) = (DeadLetterOffset::fresh(), Arc::default());
        let (dead_letters, mut task) = DeadLetters::new(open, fresh, quota.clone(), latch, clock.clone());
        let letter = |position| dead_letter("no".into(), FailedEvent::new("s", position, None, b"", b""));
        for position in 1..=5 {
            dead_letters.push(letter(position));
        }
        dead_letters.push_last(letter(6));
        clock.advance(std::time::Duration::from_secs(1));
        dead_letters.push(letter(7));
        while task.step() {}
        let written: Vec<(u64, u64)> = taken
            .lock()
            .iter()
            .map(|line| serde_json::from_slice::<DeadLetter>(line).unwrap())
            .map(|letter| (letter.id, letter.event.position))
            .collect();
        assert_eq!(written, [(1, 1), (2, 2), (3, 6), (4, 7)]);
        assert_eq!((dead_letters.count(), dead_letters.left_out()), (7, 3));
        assert_eq!(quota.dead_letters_left_out(), 3);
        assert_eq!(dead_letters.gate().events(), 0, "what is dropped holds nobody up");
    }

    #[test]
    fn a_reason_without_end_is_cut_and_said_to_be() {
        let (sink, taken) = MemorySink::new();
        let open = Box::new(|| Ok(Box::new(sink) as Box<dyn Sink>));
        let (dead_letters, mut task) = start(open, DeadLetterOffset::fresh());
        dead_letters.push(dead_letter(
            "é".repeat(1 << 20),
            FailedEvent::new("s", 1, None, b"", b""),
        ));
        dead_letters.push(dead_letter("short".into(), FailedEvent::new("s", 2, None, b"", b"")));
        while task.step() {}
        assert_eq!(dead_letters.gate().events(), 0);
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

    #[test]
    fn a_file_that_no_letter_opened_ends_where_it_did() {
        let from = DeadLetterOffset {
            next_id: 7,
            file: Some(12.into()),
            ..DeadLetterOffset::fresh()
        };
        let (dead_letters, mut task) = start(Box::new(|| unreachable!("no letter comes")), from.clone());
        let (sender, marked) = mpsc::channel();
        dead_letters.mark(move |marked| sender.send(marked).unwrap());
        dead_letters.publish();
        while task.step() {}
        task.flush();
        let Marked { prepared, at_cut } = marked.recv().unwrap();
        assert_eq!((at_cut, prepared.offset), (NextId(7), from.file));
    }

    #[test]
    fn a_file_that_cannot_be_opened_fails_the_pipeline_and_holds_nobody_up() {
        let failure_latch = Arc::<FailureLatch>::default();
        let open = Box::new(|| Err(sink::Error::Closed));
        let clock = Arc::new(ManualClock::new(0));
        let (dead_letters, mut task) = DeadLetters::new(
            open,
            DeadLetterOffset::fresh(),
            Arc::default(),
            failure_latch.clone(),
            clock,
        );
        dead_letters.push(dead_letter("1".into(), FailedEvent::new("s", 1, None, b"", b"")));
        dead_letters.push(dead_letter("2".into(), FailedEvent::new("s", 2, None, b"", b"")));
        let (sender, marked) = mpsc::channel();
        dead_letters.mark(move |marked| sender.send(marked).unwrap());
        while task.step() {}
        assert_eq!(dead_letters.gate().events(), 0);
        assert!(marked.recv().is_err(), "nothing may be committed");
        let reason = sink::Error::Closed.to_string();
        assert_eq!(failure_latch.failure(), Some(Failure::DeadLetters { reason }));
    }
}

//! Replicas that help the one which keeps the state of an actor.
//!
//! All events of a key go to one actor, and so does the load of a key that has most of them. Where the order of merging does not matter, helpers
//! take batches of its mailbox besides the owner of the state. A helper folds them from nothing, and gives back what that comes to; the owner
//! merges it into the state of the keys. Until then the events wait like any others: they hold back the watermark, a checkpoint finds them, and what
//! was folded is nothing but a short cut, which may be forgotten at any time. So nothing of it is ever stored, and whatever goes wrong is
//! left to the owner, which folds the events one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::driver::{Call, Failed, Settled};
use super::laws::{Laws, Progress, Trial};
use super::mailbox::{Helped, MailboxItem, OWNER};
use super::replica::{ChunkPart, Replica};
use super::turn::TurnOutcome;
use super::{Actor, Operator, Runnable, counters};
use dirigo_engine::Trap;
use dirigo_ground::batch::Batch;
use dirigo_ground::call::Answer;
use dirigo_ground::sync::Mutex;
use dirigo_state::{Partials, Table};

/// Bytes that partial accumulators may take, even if the events that they stand for take less.
const BYTES_ALLOWED: usize = 1 << 10;

/// How often it may remain unclear whether the order of merging matters, before it is not tried any more.
const UNCLEAR_MAX: u32 = 8;

/// The replica that looks at whether the order of merging matters.
const FIRST_HELPER: u16 = OWNER + 1;

/// What helpers of an operator did so far.
#[derive(Debug, Default)]
pub(super) struct Help {
    /// Events that they folded.
    events: AtomicU64,
    /// Accumulators that those came to.
    accumulators: AtomicU64,
    /// Events of which owners merged what helpers folded them to; all of the run.
    merged: AtomicU64,
}

impl Help {
    fn note(&self, events: usize, accumulators: usize) {
        /// What was longer ago counts for less.
        const REMEMBERED: u64 = 1 << 16;
        counters::add(&self.accumulators, accumulators);
        counters::add(&self.events, events);
        if self.events.load(Ordering::Relaxed) > REMEMBERED {
            for counter in [&self.events, &self.accumulators] {
                counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    /// Notes that an owner merged what so many events were folded to.
    pub(super) fn note_merged(&self, events: usize) {
        counters::add(&self.merged, events);
    }

    pub(super) fn forget(&self) {
        self.events.store(0, Ordering::Relaxed);
        self.accumulators.store(0, Ordering::Relaxed);
    }

    /// How many accumulators the owner merges for each event that a helper folds; `None` as long as there were too few to tell.
    pub(super) fn share_left(&self) -> Option<f64> {
        const ENOUGH: u64 = 1_000;
        let events = self.events.load(Ordering::Relaxed);
        let accumulators = self.accumulators.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a share of events")]
        (events >= ENOUGH).then(|| accumulators as f64 / events as f64)
    }
}

impl Operator {
    /// Whether its actors could have helpers.
    pub(super) fn can_be_helped(&self) -> bool {
        self.kind().is_stateful() && self.replicas > 1 && self.broken_law.get().is_none()
    }

    /// Whether an actor may have helpers now. If it is not known whether the order of merging matters, a helper of it looks at that.
    pub(super) fn may_be_helped(&self, actor: &Arc<Actor>) -> bool {
        let mut laws = self.laws.lock();
        match *laws {
            Laws::Hold => true,
            Laws::Wanted(_) | Laws::UnderWay => false,
            Laws::Unknown => {
                let mut mailbox = actor.mailbox.lock();
                let sample = mailbox.sample().filter(|_| !mailbox.is_leaving());
                let trial = sample.and_then(|sample| Trial::of(&sample, self.is_approximate));
                if let Some(trial) = trial
                    && mailbox.rouse(FIRST_HELPER)
                {
                    *laws = Laws::Wanted(Box::new(trial));
                    drop((laws, mailbox));
                    let (actor, replica) = (actor.clone(), FIRST_HELPER);
                    Runnable { actor, replica }.schedule();
                }
                false
            }
        }
    }

    /// Events that helpers folded, and of which the owners of the state merged what that came to.
    #[must_use]
    pub fn helped(&self) -> u64 {
        self.help.merged.load(Ordering::Relaxed)
    }

    /// Why one replica folds all events of a key, however many there are, though the operator says that the order of merging does not matter.
    #[must_use]
    pub fn sequential_because(&self) -> Option<&str> {
        self.broken_law.get().map(String::as_str)
    }

    fn note_law(&self, broken: Option<String>) {
        if let Some(reason) = broken {
            let (pipeline, operator) = (&self.context.name, &self.id);
            tracing::warn!(%pipeline, %operator, "one replica folds all events of a key: {reason}");
            let _ = self.broken_law.set(reason);
        } else {
            *self.laws.lock() = Laws::Hold;
        }
    }

    /// A table without keys, as its actors have them.
    pub(super) fn empty_table(&self) -> Table {
        let epoch = self.context.epochs.current();
        if self.has_timers() {
            Table::keyed_in_epoch(epoch)
        } else if self.time_windows().is_some() {
            Table::timed_in_epoch(epoch)
        } else {
            Table::in_epoch(epoch)
        }
    }
}

/// What a helper looks at.
pub(super) enum Looking {
    /// It is to ask about this next.
    Next(Box<Trial>),
    /// It has asked about this; what comes of the answer is found here.
    Asked(Arc<Mutex<Asked>>),
}

/// What was asked about, until there is an answer, and then what comes of that.
pub(super) enum Asked {
    About(Box<Trial>),
    Answered(Progress),
    /// Neither: the answer was none to what was asked.
    Nothing,
}

/// What came of having a helper look.
pub(super) enum Looked {
    /// There is nothing to look at.
    AtNothing,
    /// It cannot now.
    Waits,
    /// It runs a turn for that.
    Asks,
}

/// A call that a trial asks for.
struct TrialCall(Arc<Mutex<Asked>>);

impl Call for TrialCall {
    fn settle(&mut self, answer: Answer, _: &Batch) -> Result<Settled, Trap> {
        let mut asked = self.0.lock();
        if let Asked::About(trial) = std::mem::replace(&mut *asked, Asked::Nothing) {
            *asked = Asked::Answered(trial.take(answer)?);
        }
        // It takes no effect: what the guest counts meanwhile counts for nothing.
        Ok(Settled::Failed(Failed {
            kind: "tried",
            failures: Vec::new(),
        }))
    }
}

impl Replica {
    /// Has a helper look at whether the order of merging matters, if it is to. Says how the slice ends if that cannot be now.
    pub(super) fn look_at_laws(&mut self, actor: &Arc<Actor>, runnable: &Runnable) -> Looked {
        let operator = &actor.operator;
        if self.looking.is_none() {
            let mut laws = operator.laws.lock();
            if matches!(*laws, Laws::Wanted(_))
                && let Laws::Wanted(trial) = std::mem::replace(&mut *laws, Laws::UnderWay)
            {
                self.looking = Some(Looking::Next(trial));
            }
        }
        // The operator has ended, if it has no actors.
        if self.looking.is_some() && operator.directory.all().is_empty() {
            self.looking = None;
        }
        if self.looking.is_none() {
            return Looked::AtNothing;
        }
        if !self.has_slot() && !self.activate(actor, runnable) {
            return Looked::Waits;
        }
        let Some(Looking::Next(trial)) = self.looking.take() else {
            return Looked::AtNothing;
        };
        let request = trial.request();
        let asked = Arc::new(Mutex::new(Asked::About(trial)));
        self.looking = Some(Looking::Asked(asked.clone()));
        self.ask(operator, request, Box::new(TrialCall(asked)));
        Looked::Asks
    }

    /// Goes on with what a helper looks at, if a turn was for that.
    pub(super) fn settle_look(&mut self, operator: &Operator, outcome: &TurnOutcome) {
        let Some(Looking::Asked(asked)) = self.looking.take() else {
            return;
        };
        let asked = std::mem::replace(&mut *asked.lock(), Asked::Nothing);
        let progress = match (outcome, asked) {
            (TurnOutcome::Trapped(trap), Asked::About(trial)) => trial.take_trap(trap),
            (TurnOutcome::Unopened(unopened), _) => Progress::Breaks(format!("no instance opens: {unopened}")),
            (_, Asked::Answered(progress)) => progress,
            (_, Asked::About(_) | Asked::Nothing) => Progress::Unclear,
        };
        match progress {
            Progress::Goes(trial) => self.looking = Some(Looking::Next(trial)),
            Progress::Holds => operator.note_law(None),
            Progress::Breaks(shown) => {
                let hint = if operator.is_approximate {
                    ""
                } else {
                    "; where only the last digits differ, `approximate = true` allows that"
                };
                operator.note_law(Some(format!(
                    "it says that the order of merging does not matter, but {shown}; `merge` must be associative and commutative, and `zero` \
                     change nothing{hint}"
                )));
            }
            Progress::Unclear => {
                *operator.laws.lock() = Laws::Unknown;
                if operator.unclear_trials.fetch_add(1, Ordering::Relaxed) == UNCLEAR_MAX {
                    let reason = "it refuses the events with which it is tried whether the order of merging matters";
                    operator.note_law(Some(reason.into()));
                }
            }
        }
    }

    /// What a turn of a helper amounts to: its events go to the owner, with what they were folded to if that went well.
    pub(super) fn settle_help(
        &mut self,
        actor: &Arc<Actor>,
        part: ChunkPart,
        call: Box<dyn Call>,
        outcome: TurnOutcome,
    ) -> Option<Duration> {
        let operator = &actor.operator;
        let mut partials = None;
        let mut backoff = None;
        match outcome {
            TurnOutcome::Done(_) => {
                call.commit(&mut self.table);
                let folded = Partials::of(&self.table);
                operator.help.note(part.batch.len(), folded.len());
                let is_less = folded.len() < part.batch.len() && folded.bytes() <= part.batch.size().max(BYTES_ALLOWED);
                partials = is_less.then(|| Arc::new(folded));
            }
            TurnOutcome::Trapped(trap) => {
                call.abandon(&mut self.table);
                backoff = self.note_trap(operator, &trap, part.batch.len());
            }
            TurnOutcome::Failed(_) | TurnOutcome::Unopened(_) => call.abandon(&mut self.table),
        }
        self.table = operator.empty_table();
        self.update_quota(actor);
        let helped = Helped {
            partials,
            tickets: self.tickets_of_chunk(),
        };
        let item = MailboxItem {
            helped: Some(Box::new(helped)),
            ..MailboxItem::of(part.batch)
        };
        let woken = actor.mailbox.lock().push_to_owner(item);
        Self::wake(actor, woken);
        backoff
    }
}

//! When it is checked whether the order of merging matters, and by whom.
//!
//! Before the first helper of an operator folds, it checks that with events that wait for it ([`laws`](super::laws)). Each call of the check is a turn of the
//! helper, which takes no effect.

use std::sync::Arc;

use super::driver::{Call, Failed, Settled};
use super::laws::{Broken, Progress, Trial};
use super::mailbox::OWNER;
use super::replica::Replica;
use super::turn::TurnOutcome;
use super::{Actor, Operator, Runnable};
use dirigo_engine::Trap;
use dirigo_ground::batch::Batch;
use dirigo_ground::call::Answer;
use dirigo_ground::sync::Mutex;

/// How often it may remain unclear whether the order of merging matters. Then it is not checked any more: each time takes a few dozen turns.
const UNCLEAR_MAX: u32 = 8;

/// The replica that checks.
const FIRST_HELPER: u16 = OWNER + 1;

/// What is known of how an operator merges.
#[derive(Debug)]
pub(super) enum Laws {
    /// Nothing yet. The number counts the checks that told nothing.
    Unknown(u32),
    /// The first helper is to run this trial. The number counts the checks before it that told nothing.
    Wanted(Box<Trial>, u32),
    /// A helper runs a trial. The number counts the checks before it that told nothing.
    UnderWay(u32),
    /// In no case does the order matter.
    Hold,
    /// One replica folds all events of a key, for this reason.
    Broken(String),
}

impl Default for Laws {
    fn default() -> Self {
        Self::Unknown(0)
    }
}

/// A check, as a helper has it.
pub(super) enum Check {
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

/// What a helper does for a check.
pub(super) enum CheckStep {
    /// Nothing: there is none.
    None,
    /// It waits for a slot.
    Waits,
    /// It runs a turn.
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

impl Operator {
    /// Whether an actor may have helpers; `None` as long as it is not known whether the order of merging matters. Then a check of that begins.
    pub(super) fn may_be_helped(&self, actor: &Arc<Actor>) -> Option<bool> {
        let mut laws = self.laws.lock();
        match *laws {
            Laws::Hold => Some(true),
            Laws::Broken(_) => Some(false),
            Laws::Wanted(..) | Laws::UnderWay(_) => None,
            Laws::Unknown(checks) => {
                let mut mailbox = actor.mailbox.lock();
                let sample = mailbox.sample().filter(|_| !mailbox.is_leaving());
                let trial = sample.and_then(|sample| Trial::of(&sample, self.is_approximate));
                if let Some(trial) = trial
                    && mailbox.take_resting(FIRST_HELPER)
                {
                    *laws = Laws::Wanted(Box::new(trial), checks);
                    drop((laws, mailbox));
                    actor.wake(Some(FIRST_HELPER));
                }
                None
            }
        }
    }

    /// Why one replica folds all events of a key, however many there are, though the operator says that the order of merging does not matter.
    #[must_use]
    pub fn sequential_because(&self) -> Option<String> {
        match &*self.laws.lock() {
            Laws::Broken(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    fn note_broken(&self, laws: &mut Laws, reason: String) {
        let (pipeline, operator) = (&self.context.name, &self.id);
        tracing::warn!(%pipeline, %operator, "one replica folds all events of a key: {reason}");
        *laws = Laws::Broken(reason);
    }

    /// Notes what came of a check.
    fn note_checked(&self, result: &Result<(), Broken>) {
        let mut laws = self.laws.lock();
        let reason = match result {
            Ok(()) => {
                *laws = Laws::Hold;
                return;
            }
            Err(Broken { shown, is_near }) => {
                let hint = if *is_near {
                    "; `approximate = true` accepts results that differ in their last digits only"
                } else {
                    ""
                };
                format!(
                    "the operator says that the order of merging does not matter, but {shown}; `merge` must be associative and commutative, \
                     and `zero` must change nothing{hint}"
                )
            }
        };
        self.note_broken(&mut laws, reason);
    }

    /// Notes that a check told nothing, which may be since the events were of no use.
    fn note_unclear(&self, is_for_events: bool) {
        let mut laws = self.laws.lock();
        let checks = match *laws {
            Laws::UnderWay(checks) => checks + u32::from(is_for_events),
            _ => 1,
        };
        *laws = Laws::Unknown(checks);
        if checks >= UNCLEAR_MAX {
            let reason = "it could not be checked whether the order of merging matters: the operator accepts too few of the events that it is \
                          tried with";
            self.note_broken(&mut laws, reason.into());
        }
    }
}

impl Replica {
    /// Goes on with a check, if this helper is to make one.
    pub(super) fn check_laws(&mut self, actor: &Arc<Actor>, runnable: &Runnable) -> CheckStep {
        let operator = &actor.operator;
        if self.check.is_none() {
            let mut laws = operator.laws.lock();
            if let Laws::Wanted(_, checks) = *laws
                && let Laws::Wanted(trial, _) = std::mem::replace(&mut *laws, Laws::UnderWay(checks))
            {
                self.check = Some(Check::Next(trial));
            }
        }
        // Keys that go to other actors do not wait for a check. The operator has ended, if it has no actors.
        if self.check.is_some() && (actor.mailbox.lock().is_leaving() || operator.directory.all().is_empty()) {
            self.check = None;
            operator.note_unclear(false);
        }
        if self.check.is_none() {
            return CheckStep::None;
        }
        if !self.has_slot() && !self.activate(actor, runnable) {
            return CheckStep::Waits;
        }
        let Some(Check::Next(trial)) = self.check.take() else {
            return CheckStep::None;
        };
        let request = trial.request();
        let asked = Arc::new(Mutex::new(Asked::About(trial)));
        self.check = Some(Check::Asked(asked.clone()));
        self.ask(operator, request, Box::new(TrialCall(asked)));
        CheckStep::Asks
    }

    /// Takes what came of a turn of a check.
    pub(super) fn settle_check(&mut self, operator: &Operator, outcome: &TurnOutcome) {
        let Some(Check::Asked(asked)) = self.check.take() else {
            return;
        };
        let asked = std::mem::replace(&mut *asked.lock(), Asked::Nothing);
        let progress = match (outcome, asked) {
            (TurnOutcome::Trapped(trap), Asked::About(trial)) => trial.take_trap(trap),
            (_, Asked::Answered(progress)) => progress,
            (TurnOutcome::Unopened(_), _) => {
                operator.note_unclear(false);
                return;
            }
            (_, Asked::About(_) | Asked::Nothing) => Progress::Unclear,
        };
        match progress {
            Progress::Goes(trial) => self.check = Some(Check::Next(trial)),
            Progress::Holds => operator.note_checked(&Ok(())),
            Progress::Breaks(broken) => operator.note_checked(&Err(broken)),
            Progress::Unclear => operator.note_unclear(true),
        }
    }
}

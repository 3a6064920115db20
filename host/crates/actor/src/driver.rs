//! How operators of each kind run.
//!
//! A [`Driver`] makes a call of a batch, and the [`Call`] says what an answer to it amounts to. A further kind is a file here
//! and a line in [`of`]: nothing else of this crate knows which kinds there are.

mod filter;
mod map;
mod merge;
mod process;
mod reduce;
mod timed;

use std::sync::OnceLock;

use dirigo_engine::{Cause, Component, Kind, Trap};
use dirigo_ground::batch::Batch;
use dirigo_ground::call::{Answer, NamedOutputs, Outputs, Rejection, Request};
use dirigo_ground::lineage::{BEFORE_ALL, SourceIndex};
use dirigo_ground::windowing::TimeWindows;
use dirigo_pipeline as pipeline;
use dirigo_pipeline::Window;
use dirigo_state::windows::{CountWindows, OpenChange};
use dirigo_state::{Partials, Table};
pub(super) use process::{CountedKeys, Process};

/// What all operators of a kind have in common.
pub(super) trait Driver: Send + Sync {
    /// Makes a call of `batch`, or of as many events from its start as one call can be handed with their state: the request has
    /// those. `turn` is not 0 and differs from that of the call before.
    fn begin(&self, table: &mut Table, turn: u32, batch: &Batch) -> (Request, Box<dyn Call>);

    /// Makes a call that finishes windows which have left the state; the values of `batch` are their entries.
    fn finish(&self, _batch: &Batch) -> (Request, Box<dyn Call>) {
        unreachable!("only an operator with windows has some that are to be finished")
    }

    /// Whether replicas that keep no state may fold events, for what that comes to to be merged into the state of their keys.
    fn can_be_helped(&self) -> bool {
        false
    }

    /// Makes a call that merges what `events` were folded to elsewhere into the state of their keys; `None` where that is too much for one turn.
    fn merge(
        &self,
        _table: &mut Table,
        _turn: u32,
        _events: &Batch,
        _partials: &Partials,
    ) -> Option<(Request, Box<dyn Call>)> {
        None
    }

    /// How it cuts events into windows in time, if it does.
    fn windows(&self) -> Option<TimeWindows> {
        None
    }

    /// Says which lines come to the operator, and which is its own, if it goes by event time.
    fn set_lines(&self, _inputs: &[SourceIndex], _own: SourceIndex) {}

    /// Itself, if it keeps state and timers by key.
    fn process(&self) -> Option<&Process> {
        None
    }

    /// Whether a watermark has it do something.
    fn goes_by_time(&self) -> bool {
        self.windows().is_some() || self.process().is_some()
    }
}

/// A call under way. It ends with [`commit`](Self::commit), after an answer that takes effect, or with
/// [`abandon`](Self::abandon).
pub(super) trait Call: Send {
    /// What the answer to a request with `batch` amounts to. Nothing but the call itself changes.
    ///
    /// # Errors
    /// When it counts as a trap.
    fn settle(&mut self, answer: Answer, batch: &Batch) -> Result<Settled, Trap>;

    /// Takes effect on state; gives what that changed in what lies in open windows.
    fn commit(self: Box<Self>, _table: &mut Table) -> OpenChange {
        OpenChange::default()
    }

    /// Leaves state as it was before the call.
    fn abandon(self: Box<Self>, _table: &mut Table) {}

    /// After this call failed: has the next calls skip optional work, such as aggregates of segments. `false` if this call did none; if it did, the
    /// optional work may be the cause, and the turn runs again before any event is blamed.
    fn skip_optional_work(&self, _table: &mut Table) -> bool {
        false
    }
}

/// What an answer amounts to.
#[derive(Debug)]
pub(super) enum Settled {
    /// The call takes effect.
    Done {
        outputs: Emission,
        /// Events that failed, each by itself.
        rejected: Vec<Rejection>,
        tally: Tally,
    },
    /// It does not, for these events failed.
    Failed(Failed),
}

/// Events that keep a call from taking effect. Each is tried again alone.
#[derive(Debug)]
pub(super) struct Failed {
    /// What kind of failure a dead letter says that it was.
    pub(super) kind: &'static str,
    pub(super) failures: Vec<Rejection>,
}

/// What leaves.
#[derive(Debug)]
pub(super) enum Emission {
    /// New values, which inherit what they lack from the events that they come from.
    Derived {
        outputs: Outputs,
        /// How many events they come from.
        events: usize,
    },
    /// The same, and others that leave under names, by rising number of the output.
    UnderNames { own: Outputs, named: Vec<NamedOutputs> },
    /// These events, as they are.
    Kept(Vec<u32>),
}

/// Where the events of a call went that did not fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// They led to output at once.
    pub(super) passed: usize,
    /// They led to none, by the operator's choice.
    pub(super) filtered: usize,
    /// They are part of the state.
    pub(super) absorbed: usize,
}

impl Emission {
    fn derived(outputs: Outputs) -> Self {
        Self::Derived {
            events: distinct(&outputs.origins),
            outputs,
        }
    }

    /// How many events lead to outputs.
    fn events(&self) -> usize {
        match self {
            Self::Derived { events, .. } => *events,
            Self::UnderNames { own, named } => distinct_of(own, named),
            Self::Kept(kept) => kept.len(),
        }
    }
}

impl Tally {
    /// Of a call that has events pass or drops them.
    fn of_passed(outputs: &Emission, batch: &Batch, rejected: &[Rejection]) -> Self {
        let passed = outputs.events();
        Self {
            passed,
            filtered: batch.len() - passed - rejected.len(),
            absorbed: 0,
        }
    }
}

/// The driver of an operator that runs `component`.
pub(super) fn of(component: &Component, operator: &pipeline::Operator) -> Box<dyn Driver> {
    let state_bytes_max = operator.limits.state;
    match component.kind() {
        Kind::Process => {
            let order = operator.order;
            Box::new(Process::new(
                component,
                order.expect("a process without an order is refused when its pipeline is loaded"),
                &operator.id,
                operator.inputs.len(),
                state_bytes_max,
            ))
        }
        Kind::Map => Box::new(map::Map),
        Kind::Filter => Box::new(filter::Filter),
        Kind::Reduce => {
            let component = component.clone();
            let window = operator.window;
            match window.expect("a reduce without a window is refused when its pipeline is loaded") {
                Window::Count(size) => Box::new(reduce::Reduce {
                    component,
                    windows: CountWindows::of(size),
                }),
                Window::Global { early_events } => Box::new(reduce::Reduce {
                    component,
                    windows: CountWindows::global(early_events),
                }),
                Window::Time(windows) => Box::new(timed::TimedReduce {
                    component,
                    windows,
                    state_bytes_max,
                    inputs: OnceLock::new(),
                }),
            }
        }
    }
}

/// The watermark by which what waits counts as gone against the limit of a key, though it may not have left the table yet: the operator
/// refuses no event because closing lags behind reading.
fn time_to_come(inputs: &[SourceIndex], batch: &Batch) -> i64 {
    if inputs.is_empty() {
        return BEFORE_ALL;
    }
    batch.origin.ticket.time_to_come(inputs)
}

/// Of events that lack what the operator reads.
fn unread(failures: Vec<Rejection>) -> Settled {
    Settled::Failed(Failed {
        kind: "rejected",
        failures,
    })
}

/// The trap that an answer counts as which is not to what was asked.
pub(super) fn mismatched() -> Trap {
    Trap {
        cause: Cause::Malformed,
        reason: "answers what it was not asked".into(),
        backtrace: None,
        event: None,
    }
}

/// How many events have outputs; origins never descend.
pub(super) fn distinct(origins: &[u32]) -> usize {
    usize::from(!origins.is_empty()) + origins.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// How many events have outputs, to whichever output.
fn distinct_of(own: &Outputs, named: &[NamedOutputs]) -> usize {
    let of_names = named.iter().flat_map(|named| &named.outputs.origins);
    let mut origins: Vec<u32> = own.origins.iter().chain(of_names).copied().collect();
    origins.sort_unstable();
    distinct(&origins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::batch::Column;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;
    use std::sync::Arc;

    /// So many events, each with a key of its own.
    pub(super) fn batch(events: u8) -> Batch {
        let mut keys = Column::default();
        (0..events).for_each(|event| keys.push(&[event]));
        Batch {
            times: Arc::new(vec![0; events.into()]),
            keys: Arc::new(keys),
            values: Column::of_empty(events.into()).into(),
            fields: Fields::default(),
            positions: Arc::new((0..u64::from(events)).collect()),
            origin: Ticket::detached().into(),
        }
    }

    pub(super) fn rejection(index: u32) -> Rejection {
        Rejection {
            index,
            message: "no".into(),
        }
    }

    #[test]
    fn an_answer_to_something_else_is_malformed() {
        let answers = [
            Answer::Mapped(Outputs::default()),
            Answer::Filtered(dirigo_ground::call::Filtered::default()),
        ];
        let drivers: [&dyn Driver; 2] = [&filter::Filter, &map::Map];
        for (driver, answer) in drivers.into_iter().zip(answers) {
            let (request, mut call) = driver.begin(&mut Table::default(), 1, &batch(2));
            let trap = call.settle(answer, request.batch()).expect_err("it was not asked");
            assert_eq!(trap.cause, Cause::Malformed);
        }
    }

    #[test]
    fn events_pass_or_are_filtered_or_fail() {
        let batch = batch(5);
        let (_, mut call) = map::Map.begin(&mut Table::default(), 1, &batch);
        let outputs = Outputs {
            origins: vec![0, 0, 3],
            values: Column::of_empty(3).into(),
            failures: vec![rejection(1)],
            ..Outputs::default()
        };
        let Ok(Settled::Done { tally, rejected, .. }) = call.settle(Answer::Mapped(outputs), &batch) else {
            panic!("a map takes effect")
        };
        let expected = Tally {
            passed: 2,
            filtered: 2,
            absorbed: 0,
        };
        assert_eq!((tally, rejected.len()), (expected, 1));
    }
}

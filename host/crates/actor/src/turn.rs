//! One turn: a call into a guest that can be left and resumed at any slice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Operator;
use super::driver::{Call, Failed};
use super::effects::{self, Effects};
use super::fuel_estimator::FuelEstimator;
use super::turn_waker::TurnWaker;
use dirigo_engine::{Budget, EventOrigins, Instance, Trap, Unopened, cooperative};
use dirigo_ground::call::Request;
use dirigo_pipeline::Isolation;

/// A turn under way.
pub(super) struct Turn {
    future: Pin<Box<dyn Future<Output = TurnEnd> + Send>>,
    /// What it burns between two yields; cannot be changed.
    slice_fuel: u64,
    /// Whether the next poll makes an instance first, which takes time and no fuel.
    is_opening: bool,
    /// How long it has run, in ns.
    pub(super) used_ns: u64,
    /// Whether it gave way since it last burnt a slice of fuel: the next one is partly burnt by then.
    has_yielded: bool,
    /// Whether it ever did: the host took time for it.
    pub(super) was_served: bool,
    /// What it has burnt by its yields so far.
    burnt_fuel: u64,
    /// What of that it burnt in the last poll.
    polled_fuel: u64,
    /// What was charged of it so far.
    charged_fuel: u64,
}

/// What is left when a turn has ended.
pub(super) struct TurnEnd {
    /// The instance, if it can serve again.
    pub(super) instance: Option<Box<Instance>>,
    /// What was asked, for the code that takes the effects or rolls back.
    pub(super) call: Box<dyn Call>,
    pub(super) outcome: TurnOutcome,
    /// Fuel that the turn burnt.
    pub(super) fuel: u64,
}

pub(super) enum TurnOutcome {
    /// It did what was asked of it.
    Done(Effects),
    /// It did not, for some of the events.
    Failed(Failed),
    /// It trapped, or what it answered counts as that.
    Trapped(Trap),
    /// There was no instance to ask.
    Unopened(Unopened),
}

/// How a slice of a turn ended.
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made; the large variant is the usual one"
)]
pub(super) enum PollEnd {
    Ended(TurnEnd),
    /// It burnt its fuel.
    Preempted,
    /// The host did something for it for long enough, and let others run. What it burnt is not known.
    Yielded,
    /// It waits for the host, which will schedule it.
    Waiting,
}

impl Turn {
    /// Asks `request` of an instance of `operator`, which is made if there is none. Each event is a call, if it is known where it comes from.
    pub(super) fn new(
        instance: Option<Box<Instance>>,
        operator: Arc<Operator>,
        request: Request,
        origins: Option<EventOrigins>,
        call: Box<dyn Call>,
        budget: Budget,
    ) -> Self {
        let is_opening = instance.is_none();
        let future = Box::pin(async move {
            let setup = &operator.setup;
            let mut call = call;
            let mut instance = match instance {
                Some(instance) => instance,
                None => match activate(&operator, budget.slice).await {
                    Ok(instance) => instance,
                    Err(unopened) => {
                        return TurnEnd {
                            instance: None,
                            call,
                            outcome: TurnOutcome::Unopened(unopened),
                            fuel: 0,
                        };
                    }
                },
            };
            let (answer, fuel) = match &origins {
                None => instance.run(&request, budget).await,
                // Apart from the turn, which is smaller without it, and rarely a call for each event.
                Some(origins) => Box::pin(instance.run_each(&request, origins, budget)).await,
            };
            let (outcome, can_serve_again) = match answer {
                Ok(answer) => {
                    let schema = instance.schema();
                    let tag_of = |output: usize| operator.output_tag(&schema.named[output].name);
                    let effects = match call.settle(answer, request.batch()) {
                        Ok(settled) => effects::of(settled, request.batch(), setup, tag_of).await,
                        Err(trap) => Err(trap),
                    };
                    let outcome = match effects {
                        Ok(Ok(effects)) => TurnOutcome::Done(effects),
                        Ok(Err(failed)) => TurnOutcome::Failed(failed),
                        Err(trap) => TurnOutcome::Trapped(trap),
                    };
                    (outcome, operator.isolation == Isolation::Actor)
                }
                // Nothing is asked of it again: it may be poisoned.
                Err(trap) => (TurnOutcome::Trapped(trap), false),
            };
            if matches!(outcome, TurnOutcome::Done(_)) {
                instance.commit_counts();
            } else {
                instance.discard_counts();
            }
            let instance = if can_serve_again {
                Some(instance)
            } else {
                instance.end(setup.clock.clone()).await;
                None
            };
            TurnEnd {
                instance,
                call,
                outcome,
                fuel,
            }
        });
        Self {
            future,
            slice_fuel: budget.slice,
            is_opening,
            used_ns: 0,
            has_yielded: false,
            was_served: false,
            burnt_fuel: 0,
            polled_fuel: 0,
            charged_fuel: 0,
        }
    }

    /// Fuel to charge for a slice that ended so: a call that is suspended does not tell what it has burnt, so it is charged
    /// by the slice, and for what it burnt in fact when it ends.
    pub(super) fn fuel_to_charge(&mut self, slice: &PollEnd) -> u64 {
        let burnt = match slice {
            PollEnd::Ended(end) => end.fuel.max(self.charged_fuel),
            PollEnd::Preempted | PollEnd::Yielded | PollEnd::Waiting => self.burnt_fuel,
        };
        burnt - std::mem::replace(&mut self.charged_fuel, burnt)
    }

    /// Notes that a slice ended since the host did something for it.
    pub(super) fn note_service(&mut self) {
        self.has_yielded = true;
        self.was_served = true;
    }

    /// Has `fuel_estimator` learn from a slice that ended with its fuel, after `polled_ns`.
    pub(super) fn teach(&mut self, fuel_estimator: &FuelEstimator, polled_ns: u64) {
        let has_yielded = std::mem::take(&mut self.has_yielded);
        let is_opening = std::mem::take(&mut self.is_opening);
        match (is_opening, has_yielded) {
            (true, _) => {}
            (false, true) => fuel_estimator.observe_part(self.polled_fuel, polled_ns),
            (false, false) => fuel_estimator.observe_slice(self.polled_fuel, polled_ns),
        }
    }

    /// Runs until it ends or waits, or to a yield: the first one by which it has burnt nearly `fuel`, or there is no time left. The
    /// yields of a turn are fixed when it begins; where they prove too near to each other, one poll passes several.
    pub(super) fn poll(&mut self, turn_waker: &Arc<TurnWaker>, fuel: u64, is_time: impl Fn() -> bool) -> PollEnd {
        self.polled_fuel = 0;
        loop {
            let slice = self.poll_once(turn_waker);
            if !matches!(slice, PollEnd::Preempted) {
                return slice;
            }
            self.polled_fuel += self.slice_fuel;
            self.burnt_fuel += self.slice_fuel;
            if self.polled_fuel.saturating_add(self.slice_fuel) > fuel || !is_time() {
                return slice;
            }
        }
    }

    fn poll_once(&mut self, turn_waker: &Arc<TurnWaker>) -> PollEnd {
        let waker = turn_waker.set();
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(end) => PollEnd::Ended(end),
            Poll::Pending if cooperative::take_yielded() => PollEnd::Yielded,
            Poll::Pending if turn_waker.park() => PollEnd::Waiting,
            Poll::Pending => PollEnd::Preempted,
        }
    }
}

/// An instance that has the outputs which the pipeline file reads. Most have said so before the run; one that opens while it goes on says so here.
async fn activate(operator: &Operator, slice: u64) -> Result<Box<Instance>, Unopened> {
    let Operator { component, setup, .. } = operator;
    let instance = Instance::activate(component, setup, slice).await?;
    let is_known = |name: &str| instance.schema().named.iter().any(|named| named.name == name);
    let unknown = operator.named_edges().iter().find(|read| !is_known(&read.name));
    let Some(unknown) = unknown else {
        return Ok(Box::new(instance));
    };
    let reason = format!("it has no output `{}`, which the pipeline file reads", unknown.name);
    instance.end(setup.clock.clone()).await;
    Err(Unopened::Refused(reason))
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;
    use crate::driver::Settled;
    use dirigo_ground::batch::Batch;
    use dirigo_ground::call::Answer;

    /// A call that gets no answer.
    struct Nothing;

    impl Call for Nothing {
        fn settle(&mut self, _answer: Answer, _batch: &Batch) -> Result<Settled, Trap> {
            panic!("nothing was asked")
        }
    }

    #[test]
    fn a_turn_runs_for_as_much_fuel_as_it_is_given_and_is_charged_for_what_it_burnt() {
        // Yields four times after 100 units of fuel each, then waits once, and ends when 50 more are burnt.
        let mut polls = 0;
        let future = std::future::poll_fn(move |context| {
            polls += 1;
            match polls {
                1..=4 => context.waker().wake_by_ref(),
                5 => {}
                _ => {
                    return Poll::Ready(TurnEnd {
                        instance: None,
                        call: Box::new(Nothing),
                        outcome: TurnOutcome::Unopened(Unopened::Refused(String::new())),
                        fuel: 450,
                    });
                }
            }
            Poll::Pending
        });
        let mut turn = Turn {
            future: Box::pin(future),
            slice_fuel: 100,
            is_opening: false,
            used_ns: 0,
            has_yielded: false,
            was_served: false,
            burnt_fuel: 0,
            polled_fuel: 0,
            charged_fuel: 0,
        };
        let turn_waker = TurnWaker::new(Weak::new(), 0);
        let mut poll = |fuel, has_time| {
            let slice = turn.poll(&turn_waker, fuel, || has_time);
            (turn.polled_fuel, turn.fuel_to_charge(&slice))
        };
        let burnt_and_charged = [
            poll(1_000, false),
            poll(299, true),
            poll(1_000, true),
            poll(1_000, true),
        ];
        assert_eq!(burnt_and_charged, [(100, 100), (200, 200), (100, 100), (0, 50)]);
    }
}

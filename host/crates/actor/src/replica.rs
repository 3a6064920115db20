//! What runs the turns of an actor: who takes its batches, makes turns of them, and lets their outputs leave.
//!
//! A replica is a state machine ([`phase`]). It takes a [`chunk`] of what waits, gets the actor an instance if it has none
//! ([`activation`]), and runs turns. A turn is a transaction: outputs, state and dead letters take effect together when it ends
//! well, or not at all ([`settling`]). Then its outputs leave ([`draining`]).
//!
//! The lock of a replica is the right to run it: who has it calls whatever a turn calls, and nobody waits for it but a
//! checkpoint, which finds it free, and the end of the pipeline.

mod activation;
mod chunk;
mod draining;
mod late;
mod phase;
mod settling;
mod slice_clock;
mod waiting;

use std::sync::{Arc, Weak};

use super::driver::Call;
use super::fuel_estimator::{FuelEstimator, comes_nearer};
use super::law_check::{Check, CheckStep};
use super::mailbox::{MailboxItem, Next};
use super::partitions_seen::PartitionsSeen;
use super::turn::{PollEnd, Turn};
use super::turn_waker::TurnWaker;
use super::watchdog::Base;
use super::{Actor, Operator, Runnable, Step, counters};
use activation::Slot;
pub(super) use activation::{Deactivation, TakenDue, TakenWindow};
pub(super) use chunk::ChunkPart;
use chunk::OpenChunk;
use dirigo_engine::{Budget, EventOrigins};
use dirigo_ground::call::Request;
use dirigo_ground::quota::MemoryReservation;
use dirigo_state::{Copies, Table};
use phase::{Ended, Phase, RunningTurn};
use slice_clock::SliceClock;

/// What a replica is to its actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It folds events into the state of their keys, if the operator has state.
    Owner,
    /// It folds events from nothing, for the owner to merge what they come to.
    Helper,
    /// It works on windows that are to be finished, and not on events.
    Closer,
}

/// One of the executors of an actor. It runs one turn at a time.
pub(super) struct Replica {
    number: u16,
    role: Role,
    turn_waker: Arc<TurnWaker>,
    phase: Phase,
    /// What is being worked on. Between two turns it has a part that is still to be run.
    pub(super) chunk: Option<OpenChunk>,
    /// For an instance, while the actor is active.
    slot: Option<Slot>,
    /// The actor's keys, while it is active.
    pub(super) table: Table,
    /// What is charged to the tenant's quota for it.
    table_bytes: u64,
    /// What is charged to the tenant's quota for outputs that have yet to leave.
    held: Vec<MemoryReservation>,
    pub(super) turns: u32,
    traps_in_row: u32,
    failed_openings: u32,
    last_used_ns: u64,
    is_in_idle_queue: bool,
    /// Of the events that it took lately.
    pub(super) partitions_seen: PartitionsSeen,
    /// The check that a helper makes before the first batch is folded.
    pub(super) check: Option<Check>,
    /// Whether it has given up its keys for others to have them.
    pub(super) has_left: bool,
    /// Fuel burnt since it was last taken.
    fuel: u64,
}

impl Replica {
    pub(super) fn new(actor: Weak<Actor>, number: u16, role: Role) -> Self {
        Self {
            number,
            role,
            turn_waker: TurnWaker::new(actor, number),
            phase: Phase::Idle,
            chunk: None,
            slot: None,
            table: Table::default(),
            table_bytes: 0,
            held: Vec::new(),
            turns: 0,
            traps_in_row: 0,
            failed_openings: 0,
            last_used_ns: 0,
            is_in_idle_queue: false,
            partitions_seen: PartitionsSeen::default(),
            check: None,
            has_left: false,
            fuel: 0,
        }
    }

    /// The fuel to charge for what ran since this was last asked.
    pub(super) fn take_fuel(&mut self) -> u64 {
        std::mem::take(&mut self.fuel)
    }

    pub(super) fn last_used_ns(&self) -> u64 {
        self.last_used_ns
    }

    /// Whether a turn is under way, or outputs are leaving. Otherwise nothing is lost with the instance, and state can leave.
    pub(super) fn is_running(&self) -> bool {
        self.phase.is_running()
    }

    /// Whether it keeps no state, and folds for the replica that does.
    pub(super) fn is_helper(&self) -> bool {
        self.role == Role::Helper
    }

    pub(super) fn leave_idle_queue(&mut self) {
        self.is_in_idle_queue = false;
    }

    fn runnable(&self, actor: &Arc<Actor>) -> Runnable {
        Runnable {
            actor: actor.clone(),
            replica: self.number,
        }
    }

    /// Runs turns for about one slice, which began at `started_ns` and is measured from `base`.
    pub(super) fn run(&mut self, actor: &Arc<Actor>, started_ns: u64, base: Base) -> Step {
        let operator = &actor.operator;
        let is_awaited = || operator.is_awaited_by_others();
        let mut clock = SliceClock::new(
            &*operator.context.clock,
            started_ns,
            base,
            operator.slice_ns(),
            &is_awaited,
        );
        // The right to take effects: kept from the end of one turn to the start of the next.
        let mut inside = None;
        loop {
            if operator.context.failure_latch.has_failed() {
                operator.clear_mailbox(actor);
                self.abandon(actor);
                // It may have been woken for a slot that others wait for, of the host or of the tenant.
                operator.context.activations.wake_next();
                operator.context.instances.wake_next();
                return Step::Parked;
            }
            if matches!(self.phase, Phase::Running(_)) {
                inside = None;
            } else if inside.is_none() {
                inside = operator.context.epochs.turns().enter(|| self.runnable(actor).waker());
                if inside.is_none() {
                    return Step::Parked;
                }
            }
            let step = match self.phase {
                Phase::Idle | Phase::AwaitingSlot => self.begin(actor, &mut clock),
                Phase::Running(_) => self.resume(actor, &mut clock),
                Phase::Settling(_) => self.conclude(actor, &mut clock),
                Phase::Draining { backoff } => {
                    let has_drained = self.drain(actor, &clock);
                    clock.lap_ns();
                    if has_drained {
                        self.leave_draining(actor, backoff)
                    } else {
                        Some(Step::Again)
                    }
                }
                Phase::Backoff => {
                    self.phase.enter(Phase::Idle);
                    None
                }
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Starts the next turn; if there is none to start now, says how the slice ends.
    fn begin(&mut self, actor: &Arc<Actor>, clock: &mut SliceClock) -> Option<Step> {
        let operator = &actor.operator;
        let runnable = self.runnable(actor);
        if self.role == Role::Helper && self.chunk.is_none() {
            match self.check_laws(actor, &runnable) {
                CheckStep::None => {}
                CheckStep::Waits => return Some(Step::Parked),
                CheckStep::Asks => return None,
            }
        }
        if operator.must_wait(&runnable) || (self.chunk.is_none() && actor.must_keep_order(&runnable)) {
            // What it waits for may itself wait for a place: an actor between two turns does not hold one against it.
            self.become_idle(actor, clock.now_ns());
            return Some(Step::Parked);
        }
        while self.chunk.is_none() {
            let next = actor
                .mailbox
                .lock()
                .next(self.number, operator.fuel_estimator.turn_events());
            let taken = match next {
                Next::Run(chunk, other) => {
                    actor.wake(other);
                    chunk
                }
                Next::Wait(other) => {
                    self.become_idle(actor, clock.now_ns());
                    actor.wake(other);
                    return Some(Step::Parked);
                }
                Next::Leave(resharding) => return Some(self.leave(actor, &resharding)),
            };
            if self.role == Role::Owner {
                self.partitions_seen.note(actor, &taken.batch);
            }
            actor.urgency(self.number).open(taken.batch.origin.ticket.arrival_ns());
            let taken = self.without_late(operator, taken);
            let chunk = self.chunk.insert(OpenChunk::new(taken, operator.kind().is_stateful()));
            if chunk.is_done() {
                self.phase.enter(Phase::Draining { backoff: None });
                if !self.drain(actor, clock) {
                    return Some(Step::Again);
                }
                self.phase.enter(Phase::Idle);
                if !clock.is_left() {
                    return Some(Step::Again);
                }
            }
        }
        if self.slot.is_none() && !self.activate(actor, &runnable) {
            return Some(Step::Parked);
        }
        let mut load_ns = 0;
        if self.role == Role::Owner && actor.keys().is_some() {
            match self.load_keys(actor) {
                Ok(ns) => load_ns = ns,
                Err(error) => {
                    Self::give_up_state(operator, &error);
                    return Some(Step::Parked);
                }
            }
            clock.advance(load_ns);
        }
        if !self.drop_late_first(operator, clock, load_ns) || !self.have_events_wait(actor, clock, load_ns) {
            return Some(Step::Again);
        }
        if self.chunk.as_ref().is_some_and(OpenChunk::is_done) {
            self.phase.enter(Phase::Draining { backoff: None });
            return (!self.drain(actor, clock))
                .then_some(Step::Again)
                .or_else(|| self.leave_draining(actor, None));
        }
        self.start(actor, load_ns);
        None
    }

    /// Begins a turn over the next part of the chunk.
    fn start(&mut self, actor: &Arc<Actor>, load_ns: u64) {
        let operator = &actor.operator;
        // 0 marks keys that no turn has touched.
        self.turns = self.turns.wrapping_add(1).max(1);
        let chunk = self.chunk.as_mut().expect("a turn is over a part of a chunk");
        let part = chunk.next().expect("a chunk that is not done has a part");
        let merge = part.partials.as_ref().and_then(|partials| {
            operator
                .driver
                .merge(&mut self.table, self.turns, &part.batch, partials)
        });
        let is_merge = merge.is_some();
        if part.partials.is_some() && !is_merge {
            operator.help.note_wasted(part.batch.len());
            // What was touched for the merge is touched by no turn.
            self.turns = self.turns.wrapping_add(1).max(1);
        }
        let (request, call) = merge.unwrap_or_else(|| match self.role {
            Role::Closer => operator.driver.finish(&part.batch),
            Role::Owner | Role::Helper => operator.driver.begin(&mut self.table, self.turns, &part.batch),
        });
        if !is_merge {
            let taken = request.batch().len();
            if taken < part.batch.len() {
                chunk.cut_next(taken);
            }
            chunk.forget_partials();
        }
        let taken = request.batch().len();
        let per_event_max = operator.setup.limits.fuel_per_event;
        let budget = Budget {
            total: if taken == 1 {
                // What stands alone has all that it may burn, whatever was learnt so far.
                per_event_max.saturating_mul(request.items() as u64)
            } else {
                operator.fuel_estimator.turn_fuel(request.items(), per_event_max)
            },
            slice: operator.fuel_estimator.slice_fuel(operator.looked_up_ns()),
        };
        let instance = self.slot.as_mut().and_then(|slot| slot.instance.take());
        let origins = chunk.twins().map(|twins| EventOrigins {
            source: operator.context.sources[usize::from(request.batch().origin.ticket.source())].clone(),
            twins: twins.to_vec(),
        });
        let turn = Turn::new(instance, operator.clone(), request, origins, call, budget);
        self.phase.enter(Phase::Running(RunningTurn { turn, load_ns }));
        counters::add(&operator.counters.turns, 1_u64);
    }

    /// Begins a turn that is over no part of a chunk.
    pub(super) fn ask(&mut self, operator: &Arc<Operator>, request: Request, call: Box<dyn Call>) {
        let per_event_max = operator.setup.limits.fuel_per_event;
        let budget = Budget {
            total: per_event_max.saturating_mul(request.items() as u64),
            slice: operator.fuel_estimator.slice_fuel(operator.looked_up_ns()),
        };
        let instance = self.slot.as_mut().and_then(|slot| slot.instance.take());
        let turn = Turn::new(instance, operator.clone(), request, None, call, budget);
        self.phase.enter(Phase::Running(RunningTurn { turn, load_ns: 0 }));
        counters::add(&operator.counters.turns, 1_u64);
    }

    /// Whether it has a slot for an instance.
    pub(super) fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// Goes on with the turn under way; unless it is to go on, says how the slice ends.
    fn resume(&mut self, actor: &Arc<Actor>, clock: &mut SliceClock) -> Option<Step> {
        let Phase::Running(running) = &mut self.phase else {
            return None;
        };
        let operator = &actor.operator;
        let turn = &mut running.turn;
        let fuel = operator.fuel_estimator.slice_fuel(operator.looked_up_ns());
        let until_ns = clock.now_ns() + FuelEstimator::look_ns(operator.looked_up_ns());
        let sliced = turn.poll(&self.turn_waker, fuel, || clock.is_before(until_ns));
        let polled_ns = clock.lap_ns();
        counters::at_least(&operator.counters.poll_us_max, polled_ns / 1_000);
        turn.used_ns += polled_ns;
        self.fuel += turn.fuel_to_charge(&sliced);
        actor.urgency(self.number).note_ran(turn.used_ns);
        counters::add(&operator.counters.slices, 1_u64);
        match sliced {
            PollEnd::Waiting => return Some(Step::Parked),
            PollEnd::Ended(end) => {
                let ended = Ended {
                    end,
                    used_ns: turn.used_ns,
                    was_served: turn.was_served,
                    load_ns: running.load_ns,
                };
                self.phase.enter(Phase::Settling(ended));
                // What it amounts to takes as long as there are outputs.
                return clock.is_used_up().then_some(Step::Again);
            }
            PollEnd::Yielded => turn.note_service(),
            PollEnd::Preempted => turn.teach(&operator.fuel_estimator, polled_ns),
        }
        let may_go_on =
            comes_nearer(clock.used_ns(), polled_ns, clock.length_ns()) && !operator.context.epochs.turns().is_raised();
        (!may_go_on).then_some(Step::Again)
    }

    /// Takes what a turn that ended amounts to, and lets its outputs leave.
    fn conclude(&mut self, actor: &Arc<Actor>, clock: &mut SliceClock) -> Option<Step> {
        let Phase::Settling(ended) = self.phase.enter(Phase::Draining { backoff: None }) else {
            return None;
        };
        let operator = &actor.operator;
        let load_ns = ended.load_ns;
        if self.check.is_some() {
            self.settle_turn_apart(operator, ended);
            self.phase.enter(Phase::Draining { backoff: None });
            clock.lap_ns();
            return self.leave_draining(actor, None);
        }
        let (events, backoff) = self.settle(actor, ended);
        self.phase.enter(Phase::Draining { backoff });
        let has_drained = self.drain(actor, clock);
        let settled_ns = clock.lap_ns();
        operator.fuel_estimator.observe_settling(events, settled_ns + load_ns);
        if !has_drained {
            return Some(Step::Again);
        }
        let step = self.leave_draining(actor, backoff);
        let has_room = operator
            .fuel_estimator
            .has_room_for_a_turn(clock.used_ns(), clock.length_ns());
        step.or((!has_room).then_some(Step::Again))
    }

    /// Charges the tenant's quota for what the table takes.
    pub(super) fn update_quota(&mut self, actor: &Actor) {
        let bytes = self.table.bytes() as u64;
        if bytes != self.table_bytes {
            actor
                .operator
                .context
                .instances
                .quota
                .change_memory(self.table_bytes, bytes);
            self.table_bytes = bytes;
        }
    }

    /// Copies what changed of its keys since the last cut.
    pub(super) fn capture_table(&mut self, actor: &Actor, copies: &mut Copies) {
        let epochs = &actor.operator.context.epochs;
        self.table.capture(epochs.committed(), epochs.current() + 1, copies);
        self.update_quota(actor);
    }

    /// What is left of the chunk that is being worked on, with its number: outputs first, then what has had no effect yet,
    /// the batch of a turn under way included.
    pub(super) fn unfinished(&self) -> Option<(u64, Vec<MailboxItem>)> {
        self.chunk.as_ref().map(|chunk| (chunk.number, chunk.item()))
    }

    /// Drops everything under way.
    pub(super) fn abandon(&mut self, actor: &Arc<Actor>) {
        self.phase = Phase::Idle;
        if let Some(chunk) = self.chunk.take() {
            chunk.parts().for_each(|part| Self::done(&actor.operator, &part.batch));
        }
        self.held.clear();
        self.check = None;
        self.table = Table::default();
        self.update_quota(actor);
        actor.urgency(self.number).close();
        self.give_up_instance(actor);
    }
}

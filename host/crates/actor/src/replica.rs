//! What runs the turns of an actor: who takes its batches, makes turns of them, and lets their outputs leave.
//!
//! A turn is a transaction: outputs, state and dead letters take effect together when it ends well, or not at all
//! ([`settling`]). An actor has an instance only while there are turns to run, more or less ([`activation`]).

mod activation;
mod settling;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::mailbox::{Chunk, Mail};
use super::operator::Operator;
use super::pace::{Pace, comes_nearer};
use super::turn::{Alarm, End, Slice, Turn};
use super::{Actor, Cell, Step, counters, watchdog};
use dirigo_engine::{Budget, Instance};
use dirigo_ground::account::Held;
use dirigo_ground::batch::Batch;
use dirigo_ground::lineage::Ticket;
use dirigo_state::{Copies, Table};

/// One of the hands of an actor. It runs one turn at a time.
pub(super) struct Replica {
    number: u16,
    alarm: Arc<Alarm>,
    /// For an instance.
    place: Place,
    instance: Option<Box<Instance>>,
    turn: Option<Running>,
    /// How the turn ended, where a checkpoint or the end of its slice keeps its effects from being taken.
    ended: Option<End>,
    /// What is left of the chunk, in order.
    pub(super) work: VecDeque<Part>,
    chunk: Option<Open>,
    /// What the tenant's account bears of outputs that have yet to leave.
    held: Vec<Held>,
    /// Whether there are outputs that may leave, and the slice ended before they had.
    is_leaving: bool,
    /// For how long it is to be quarantined, once they have.
    pause: Option<Duration>,
    /// The actor's keys, while it is active.
    pub(super) table: Table,
    /// What the tenant's account bears of it.
    table_bytes: u64,
    pub(super) turns: u32,
    /// What it took to have the keys of the turn at hand, in ns.
    warming_up_ns: u64,
    traps_in_row: u32,
    failed_openings: u32,
    last_used_ns: u64,
    is_in_idle_queue: bool,
    /// Fuel burnt since it was last taken.
    fuel: u64,
}

/// Whether a replica holds a place for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    None,
    /// It asked for one and waits.
    Awaited,
    Held,
}

/// Part of a chunk that is run as one turn.
pub(super) struct Part {
    pub(super) batch: Batch,
    /// How often its events were tried before.
    pub(super) attempts: u32,
}

/// What came of an attempt to deactivate an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It is dormant now.
    Gone,
    /// It has given up some of its keys, and still has too many to give them up at once.
    Shrunk,
    /// It was dormant, or is in the middle of a turn.
    Stays,
}

struct Running {
    turn: Turn,
    part: Part,
}

/// The chunk that is being worked on.
struct Open {
    number: u64,
    outputs: VecDeque<Batch>,
    /// Held so that nothing of the chunk is done with before all of it is.
    _tickets: smallvec::SmallVec<[Arc<Ticket>; 4]>,
}

impl Replica {
    pub(super) fn new(actor: Weak<Actor>, number: u16) -> Self {
        Self {
            number,
            alarm: Alarm::new(actor, number),
            place: Place::None,
            instance: None,
            turn: None,
            ended: None,
            work: VecDeque::new(),
            chunk: None,
            held: Vec::new(),
            is_leaving: false,
            pause: None,
            table: Table::default(),
            table_bytes: 0,
            turns: 0,
            warming_up_ns: 0,
            traps_in_row: 0,
            failed_openings: 0,
            last_used_ns: 0,
            is_in_idle_queue: false,
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
        self.turn.is_some() || self.is_leaving
    }

    pub(super) fn leave_idle_queue(&mut self) {
        self.is_in_idle_queue = false;
    }

    /// Runs turns for about one slice, which began at `started_ns`.
    pub(super) fn run(&mut self, actor: &Arc<Actor>, started_ns: u64) -> Step {
        let operator = &actor.operator;
        let clock = &operator.pipe.clock;
        let mut now_ns = started_ns;
        loop {
            if operator.pipe.halt.is_blown() {
                operator.drop_mail(actor);
                self.abandon(actor);
                // It may have been woken for a place that others wait for.
                operator.pipe.activations.wake_next();
                return Step::Parked;
            }
            if self.ended.is_some() || self.turn.is_none() {
                let Some(_inside) = operator.pipe.epochs.turns().enter(|| self.cell(actor).waker()) else {
                    return Step::Parked;
                };
                let is_time = || clock.now_ns() - started_ns < operator.slice_ns;
                let mut is_over = false;
                if let Some(end) = self.ended.take() {
                    self.pause = self.conclude(actor, end, &mut now_ns, is_time);
                    is_over = !operator
                        .pace
                        .has_room_for_a_turn(now_ns - started_ns, operator.slice_ns);
                } else if self.is_leaving {
                    self.let_outputs_leave(actor, is_time);
                    now_ns = clock.now_ns();
                }
                if !self.is_leaving
                    && let Some(pause) = self.pause.take()
                {
                    self.quarantine(actor, pause);
                    return Step::Parked;
                }
                if is_over || self.is_leaving {
                    return Step::Again;
                }
                if let Some(step) = self.begin(actor, &mut now_ns, is_time) {
                    return step;
                }
            }
            let Some(running) = &mut self.turn else {
                return Step::Again;
            };
            let fuel = operator.pace.slice_fuel(operator.slice_ns);
            let until_ns = now_ns + Pace::look_ns(operator.slice_ns);
            let sliced = running.turn.poll(&self.alarm, fuel, || clock.now_ns() < until_ns);
            let wall_ns = clock.now_ns() - now_ns;
            now_ns += wall_ns;
            let polled_ns = watchdog::after(wall_ns);
            counters::at_least(&operator.counters.poll_us_max, polled_ns / 1_000);
            running.turn.used_ns += polled_ns;
            self.fuel += running.turn.fuel_to_charge(&sliced);
            actor.urgency(self.number).note_ran(running.turn.used_ns);
            counters::add(&operator.counters.slices, 1_u64);
            match sliced {
                Slice::Preempted | Slice::GaveWay => {
                    let turn = &mut running.turn;
                    if matches!(sliced, Slice::GaveWay) {
                        turn.gave_way = true;
                        turn.was_served = true;
                    } else {
                        let (gave_way, opened) =
                            (std::mem::take(&mut turn.gave_way), std::mem::take(&mut turn.is_opening));
                        match (opened, gave_way) {
                            (true, _) => {}
                            (false, true) => operator.pace.observe_part(turn.polled_fuel, polled_ns),
                            (false, false) => operator.pace.observe_slice(turn.polled_fuel, polled_ns),
                        }
                    }
                    let may_go_on = comes_nearer(now_ns - started_ns, polled_ns, operator.slice_ns);
                    if may_go_on && !operator.pipe.epochs.turns().is_raised() {
                        continue;
                    }
                    return Step::Again;
                }
                Slice::Waiting => return Step::Parked,
                Slice::Ended(end) => {
                    self.ended = Some(end);
                    // What it amounts to takes as long as there are outputs.
                    if now_ns - started_ns >= operator.slice_ns {
                        return Step::Again;
                    }
                }
            }
        }
    }

    /// Takes what a turn that ended amounts to. Gives the time to wait before the next one, if it must.
    fn conclude(
        &mut self,
        actor: &Arc<Actor>,
        end: End,
        now_ns: &mut u64,
        is_time: impl Fn() -> bool,
    ) -> Option<Duration> {
        let operator = &actor.operator;
        let events = self.turn.as_ref().map_or(0, |running| running.part.batch.len());
        let pause = self.settle(actor, end);
        self.let_outputs_leave(actor, is_time);
        let settled_ns = operator.pipe.clock.now_ns() - *now_ns;
        *now_ns += settled_ns;
        let warming_up_ns = std::mem::take(&mut self.warming_up_ns);
        operator
            .pace
            .observe_settling(events, watchdog::after(settled_ns) + warming_up_ns);
        pause
    }

    fn cell(&self, actor: &Arc<Actor>) -> Cell {
        Cell {
            actor: actor.clone(),
            replica: self.number,
        }
    }

    /// Starts the next turn; if there is none to start now, says how the slice ends.
    fn begin(&mut self, actor: &Arc<Actor>, now_ns: &mut u64, is_time: impl Fn() -> bool) -> Option<Step> {
        let operator = &actor.operator;
        let cell = self.cell(actor);
        let is_at_rest = self.work.is_empty();
        if operator.must_wait(&cell) || (is_at_rest && actor.must_keep_order(&cell)) {
            // What it waits for may itself wait for a place: an actor between two turns does not hold one against it.
            self.become_idle(actor, *now_ns);
            return Some(Step::Parked);
        }
        while self.work.is_empty() {
            // Idle is decided under the mailbox's lock: a batch that comes after it finds the replica among the idle.
            let chunk = {
                let mut mailbox = actor.mailbox.lock();
                let chunk = mailbox.take(operator.pace.turn_events());
                if chunk.is_none() {
                    mailbox.idle.push(self.number);
                }
                chunk
            };
            let Some(chunk) = chunk else {
                self.become_idle(actor, *now_ns);
                return Some(Step::Parked);
            };
            actor.urgency(self.number).open(chunk.batch.origin.ticket.arrival_ns());
            self.open_chunk(chunk);
            if self.work.is_empty() {
                self.let_outputs_leave(actor, &is_time);
                if self.is_leaving || !is_time() {
                    return Some(Step::Again);
                }
            }
        }
        if self.place != Place::Held && !self.activate(actor, &cell) {
            return Some(Step::Parked);
        }
        if operator.kind().is_stateful() {
            match self.warm_up(actor) {
                Ok(ns) => {
                    self.warming_up_ns += ns;
                    *now_ns += ns;
                }
                Err(error) => {
                    Self::give_up_state(operator, &error);
                    return Some(Step::Parked);
                }
            }
        }
        let part = self.work.pop_front().expect("a chunk has at least one part");
        self.start(operator, part);
        None
    }

    fn open_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            batch,
            is_done,
            number,
            tickets,
        } = chunk;
        let mut outputs = VecDeque::new();
        if is_done {
            outputs.push_back(batch);
        } else {
            self.work.push_back(Part { batch, attempts: 0 });
        }
        self.chunk = Some(Open {
            number,
            outputs,
            _tickets: tickets,
        });
    }

    /// Lets outputs leave in their order while there `is_time`: those of the chunk that there are so far if it is its turn, the
    /// rest when it is finished, and those of other chunks that had to wait for them.
    fn let_outputs_leave(&mut self, actor: &Arc<Actor>, is_time: impl Fn() -> bool) {
        self.is_leaving = !self.let_leave_while(actor, is_time);
        if !self.is_leaving && self.chunk.is_none() {
            self.held.clear();
        }
    }

    /// Whether all have left that may.
    fn let_leave_while(&mut self, actor: &Arc<Actor>, is_time: impl Fn() -> bool) -> bool {
        let forward = |batch| actor.operator.forward(batch);
        if !self.work.is_empty() {
            let chunk = self.chunk.as_mut().expect("work is part of a chunk");
            if actor.sequence.is_next(chunk.number) {
                while let Some(batch) = chunk.outputs.pop_front() {
                    forward(batch);
                    if !is_time() {
                        return chunk.outputs.is_empty();
                    }
                }
            }
            return true;
        }
        let mut has_early = true;
        if let Some(chunk) = self.chunk.take() {
            actor.urgency(self.number).close();
            let completed = actor.sequence.complete(chunk.number, chunk.outputs, forward);
            has_early = completed.has_early;
            completed.can_go_on.into_iter().for_each(Cell::schedule);
        }
        while has_early {
            if !is_time() {
                return false;
            }
            let completed = actor.sequence.send_early(forward);
            has_early = completed.has_early;
            completed.can_go_on.into_iter().for_each(Cell::schedule);
        }
        true
    }

    /// Brings the tenant's account up to date with what the table takes.
    pub(super) fn account_table(&mut self, actor: &Actor) {
        let bytes = self.table.bytes() as u64;
        if bytes != self.table_bytes {
            actor.operator.pipe.share.account.change_memory(self.table_bytes, bytes);
            self.table_bytes = bytes;
        }
    }

    fn start(&mut self, operator: &Arc<Operator>, mut part: Part) {
        // 0 marks keys that no turn has touched.
        self.turns = self.turns.wrapping_add(1).max(1);
        let (request, call) = operator.driver.begin(&mut self.table, self.turns, &part.batch);
        let taken = request.batch().len();
        if taken < part.batch.len() {
            self.put_back(&part.batch.slice(taken..part.batch.len()), part.attempts, &[]);
            part.batch = request.batch().clone();
        }
        let budget = Budget {
            total: operator.pace.turn_fuel(taken, operator.setup.limits.fuel_per_event),
            slice: operator.pace.slice_fuel(operator.slice_ns),
        };
        let turn = Turn::new(self.instance.take(), operator.clone(), request, call, budget);
        self.turn = Some(Running { turn, part });
        counters::add(&operator.counters.turns, 1_u64);
    }

    fn quarantine(&self, actor: &Arc<Actor>, pause: Duration) {
        counters::add(&actor.operator.counters.quarantines, 1_u64);
        let cell = self.cell(actor);
        actor.operator.pipe.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            cell.schedule();
        });
    }

    /// Copies what changed of its keys since the last cut.
    pub(super) fn capture_table(&mut self, actor: &Actor, copies: &mut Copies) {
        let epochs = &actor.operator.pipe.epochs;
        self.table.capture(epochs.committed(), epochs.current() + 1, copies);
        self.account_table(actor);
    }

    /// What is left of the chunk that is being worked on, with its number: outputs first, then what has had no effect yet,
    /// the batch of a turn under way included.
    pub(super) fn unfinished(&self) -> Option<(u64, Vec<Mail>)> {
        let chunk = self.chunk.as_ref()?;
        let done = chunk.outputs.iter().map(|batch| (batch, true));
        let running = self.turn.iter().map(|running| &running.part);
        let open = running.chain(&self.work).map(|part| (&part.batch, false));
        let mail = |(batch, is_done): (&Batch, bool)| Mail {
            batch: batch.clone(),
            is_done,
        };
        Some((chunk.number, done.chain(open).map(mail).collect()))
    }

    /// Drops everything under way.
    pub(super) fn abandon(&mut self, actor: &Arc<Actor>) {
        let running = self.turn.take().map(|running| running.part);
        for part in running.into_iter().chain(std::mem::take(&mut self.work)) {
            Self::done(&actor.operator, &part.batch);
        }
        self.chunk = None;
        self.held.clear();
        self.is_leaving = false;
        self.pause = None;
        self.ended = None;
        self.table = Table::default();
        self.account_table(actor);
        actor.urgency(self.number).close();
        self.give_up_instance(actor);
    }
}

//! What runs the turns of an actor.
//!
//! A turn is a transaction: outputs, state and dead letters take effect together when it ends well, or not at all. After a
//! trap the batch is split until the failing event stands alone; that one goes to the dead letters, the rest goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::counters;
use super::effects::{blamed, derive, distinct, emitted, too_much_output};
use super::mailbox::{Chunk, Mail};
use super::operator::{Death, Operator};
use super::pace::comes_nearer;
use super::turn::{Alarm, End, Outcome, Slice, Turn};
use super::{Actor, Cell, Identity, Step, watchdog};
use crate::batch::{Batch, Column};
use crate::engine::{
    Answer, Budget, Failure as Rejection, Filtered, Folded, Instance, Kind, Outputs, Request, Trap, Unopened,
};
use crate::flow::{Failure, wake_all};
use crate::pipeline::Window;
use crate::state::{self, Copies, Table, windows};

/// Traps in a row after which an actor is quarantined: more than it takes to find one bad event in the largest batch.
const QUARANTINE_AFTER: u32 = 16;
/// The first quarantine; each further one lasts twice as long.
const QUARANTINE_MIN: Duration = Duration::from_millis(1);
/// The longest quarantine: an input of which every event traps still gets through, slowly.
const QUARANTINE_MAX: Duration = Duration::from_millis(100);
/// Attempts to open an instance before the pipeline is given up: no event is to blame for those.
const OPEN_ATTEMPTS_MAX: u32 = 5;

/// One of the hands of an actor. It runs one turn at a time.
pub(super) struct Replica {
    number: u16,
    alarm: Arc<Alarm>,
    /// Whether it holds a place for an instance.
    is_active: bool,
    instance: Option<Box<Instance>>,
    turn: Option<Running>,
    /// How the turn ended, where a checkpoint or the end of its slice keeps its effects from being taken.
    ended: Option<End>,
    /// What is left of the chunk, in order.
    pub(super) work: VecDeque<Part>,
    chunk: Option<Open>,
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
    plan: Option<windows::Plan>,
}

/// The chunk that is being worked on.
struct Open {
    number: u64,
    outputs: Vec<Batch>,
    /// Held so that nothing of the chunk is done with before all of it is.
    _tickets: smallvec::SmallVec<[Arc<crate::flow::Ticket>; 4]>,
}

impl Replica {
    pub(super) fn new(actor: Weak<Actor>, number: u16) -> Self {
        Self {
            number,
            alarm: Alarm::new(actor, number),
            is_active: false,
            instance: None,
            turn: None,
            ended: None,
            work: VecDeque::new(),
            chunk: None,
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

    /// Whether a turn is under way. Between two of them nothing is lost with the instance, and state can leave.
    pub(super) fn is_running(&self) -> bool {
        self.turn.is_some()
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
                let Some(_inside) = operator.pipe.epochs.enter_turn(|| self.cell(actor)) else {
                    return Step::Parked;
                };
                if let Some(end) = self.ended.take() {
                    let pause = self.conclude(actor, end, &mut now_ns);
                    if let Some(pause) = pause {
                        self.quarantine(actor, pause);
                        return Step::Parked;
                    }
                    if !operator
                        .pace
                        .has_room_for_a_turn(now_ns - started_ns, operator.slice_ns)
                    {
                        return Step::Again;
                    }
                }
                if !self.begin(actor, &mut now_ns) {
                    return Step::Parked;
                }
            }
            let Some(running) = &mut self.turn else {
                return Step::Again;
            };
            let sliced = running.turn.poll(&self.alarm);
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
                    } else {
                        let (gave_way, opened) =
                            (std::mem::take(&mut turn.gave_way), std::mem::take(&mut turn.is_opening));
                        match (opened, gave_way) {
                            (true, _) => {}
                            (false, true) => operator.pace.observe_part(turn.slice_fuel, polled_ns),
                            (false, false) => operator.pace.observe_slice(turn.slice_fuel, polled_ns),
                        }
                    }
                    // The fuel between two yields of a turn under way cannot be changed: where it proves too little, the
                    // turn goes on until its time is up, or switching would take longer than running.
                    let may_go_on = comes_nearer(now_ns - started_ns, polled_ns, operator.slice_ns);
                    if may_go_on && !operator.pipe.epochs.is_pausing() {
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
    fn conclude(&mut self, actor: &Arc<Actor>, end: End, now_ns: &mut u64) -> Option<Duration> {
        let operator = &actor.operator;
        let events = self.turn.as_ref().map_or(0, |running| running.part.batch.len());
        let pause = self.settle(actor, end);
        self.let_outputs_leave(actor);
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

    /// Starts the next turn; `false` if there is none to start now.
    fn begin(&mut self, actor: &Arc<Actor>, now_ns: &mut u64) -> bool {
        let operator = &actor.operator;
        let cell = self.cell(actor);
        let is_at_rest = self.work.is_empty();
        if operator.must_wait(&cell) || (is_at_rest && actor.must_keep_order(&cell)) {
            // What it waits for may itself wait for a place: an actor between two turns does not hold one against it.
            self.become_idle(actor, *now_ns);
            return false;
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
                return false;
            };
            actor.urgency(self.number).open(chunk.batch.origin.ticket.arrival_ns());
            self.open_chunk(chunk);
            if self.work.is_empty() {
                self.let_outputs_leave(actor);
            }
        }
        if !self.is_active && !self.activate(actor, &cell) {
            return false;
        }
        if operator.kind().is_stateful() {
            match self.warm_up(actor) {
                Ok(ns) => {
                    self.warming_up_ns += ns;
                    *now_ns += ns;
                }
                Err(error) => {
                    Self::give_up_state(operator, &error);
                    return false;
                }
            }
        }
        let part = self.work.pop_front().expect("a chunk has at least one part");
        self.start(operator, part);
        true
    }

    fn open_chunk(&mut self, chunk: Chunk) {
        let Chunk {
            batch,
            is_done,
            number,
            tickets,
        } = chunk;
        let mut outputs = Vec::new();
        if is_done {
            outputs.push(batch);
        } else {
            self.work.push_back(Part { batch, attempts: 0 });
        }
        self.chunk = Some(Open {
            number,
            outputs,
            _tickets: tickets,
        });
    }

    /// Lets the outputs of the chunk leave in their order: all that there are so far if it is its turn, the rest when it is
    /// finished.
    fn let_outputs_leave(&mut self, actor: &Arc<Actor>) {
        let forward = |batch| actor.operator.forward(batch);
        if !self.work.is_empty() {
            let chunk = self.chunk.as_mut().expect("work is part of a chunk");
            actor.sequence.lock().offer(chunk.number, &mut chunk.outputs, forward);
        } else if let Some(chunk) = self.chunk.take() {
            actor.urgency(self.number).close();
            let woken = actor.sequence.lock().complete(chunk.number, chunk.outputs, forward);
            woken.into_iter().for_each(Cell::schedule);
        }
    }

    /// Takes a place for an instance, and loads the actor's keys.
    fn activate(&mut self, actor: &Arc<Actor>, cell: &Cell) -> bool {
        let operator = &actor.operator;
        if !operator.pipe.activations.acquire(cell) {
            return false;
        }
        self.is_active = true;
        counters::add(&operator.counters.activations, 1_u64);
        if operator.kind().is_stateful() {
            self.table = Table::in_epoch(operator.pipe.epochs.current());
            let loaded = operator
                .pipe
                .store
                .load_few(&operator.id, &actor.keys(), &mut self.table);
            if let Err(error) = loaded {
                Self::give_up_state(operator, &error);
                return false;
            }
            self.account_table(actor);
        }
        true
    }

    /// Ends the pipeline, since the store failed.
    fn give_up_state(operator: &Operator, error: &state::Error) {
        operator.pipe.halt.blow(Failure::State {
            reason: error.to_string(),
        });
    }

    /// Brings the tenant's account up to date with what the table takes.
    pub(super) fn account_table(&mut self, actor: &Actor) {
        let bytes = self.table.bytes() as u64;
        if bytes != self.table_bytes {
            actor.operator.pipe.share.account.change_memory(self.table_bytes, bytes);
            self.table_bytes = bytes;
        }
    }

    fn start(&mut self, operator: &Operator, mut part: Part) {
        let (request, plan) = match operator.kind() {
            Kind::Map | Kind::Filter => (Request::Batch(part.batch.clone()), None),
            Kind::Reduce => {
                // 0 marks slots that no turn has touched.
                self.turns = self.turns.wrapping_add(1).max(1);
                let Some(Window::Count(size)) = operator.window else {
                    unreachable!("a reduce without a window is refused when its pipeline is loaded")
                };
                let (fold, plan) = windows::assign(
                    &mut self.table,
                    &part.batch,
                    size,
                    self.turns,
                    operator.component.state_version(),
                );
                let taken = fold.batch.len();
                if taken < part.batch.len() {
                    self.put_back(&part.batch.slice(taken..part.batch.len()), part.attempts, &[]);
                    part.batch = fold.batch.clone();
                }
                (Request::Fold(fold), Some(plan))
            }
        };
        let budget = Budget {
            total: operator
                .pace
                .turn_fuel(part.batch.len(), operator.setup.limits.fuel_per_event),
            slice: operator.pace.slice_fuel(operator.slice_ns),
        };
        let turn = Turn::new(
            self.instance.take(),
            operator.component.clone(),
            operator.setup.clone(),
            request,
            budget,
            operator.isolation,
        );
        self.turn = Some(Running { turn, part, plan });
        counters::add(&operator.counters.turns, 1_u64);
    }

    /// Takes a turn's effects, or rolls it back. Gives the time to wait before the next one, if it must.
    fn settle(&mut self, actor: &Arc<Actor>, end: End) -> Option<Duration> {
        let operator = &actor.operator;
        let Running { turn, part, plan } = self.turn.take().expect("a turn that ended was running");
        counters::add(&operator.counters.fuel, end.fuel);
        counters::add(&operator.counters.worker_ns, turn.used_ns);
        self.instance = end.instance;
        if !matches!(end.outcome, Outcome::Unopened(_)) {
            self.failed_openings = 0;
        }
        match end.outcome {
            Outcome::Answered(answer) => {
                if let Some(trap) = too_much_output(operator, &part.batch, &answer, plan.as_ref()) {
                    self.roll_back(operator, plan);
                    self.split(operator, &part, trap, end.fuel);
                    return self.count_trap();
                }
                operator.observe_turn(part.batch.len(), end.fuel, turn.used_ns);
                self.traps_in_row = 0;
                self.apply(operator, &part, plan, answer, end.fuel);
                self.account_table(actor);
                None
            }
            Outcome::Trapped(trap) => {
                self.roll_back(operator, plan);
                self.split(operator, &part, trap, end.fuel);
                self.count_trap()
            }
            Outcome::Unopened(unopened) => {
                self.roll_back(operator, plan);
                self.work.push_front(part);
                Some(self.blame_opening(operator, unopened))
            }
        }
    }

    fn roll_back(&mut self, operator: &Operator, plan: Option<windows::Plan>) {
        counters::add(&operator.counters.traps, 1_u64);
        if let Some(plan) = plan {
            plan.abandon(&mut self.table);
        }
    }

    fn count_trap(&mut self) -> Option<Duration> {
        self.traps_in_row += 1;
        let doublings = self.traps_in_row.checked_sub(QUARANTINE_AFTER)?;
        Some(
            QUARANTINE_MIN
                .saturating_mul(1 << doublings.min(16))
                .min(QUARANTINE_MAX),
        )
    }

    fn blame_opening(&mut self, operator: &Operator, unopened: Unopened) -> Duration {
        let reason = match unopened {
            Unopened::Refused(message) => format!("refuses its configuration: {message}"),
            Unopened::Trapped(trap) => format!("cannot be opened: {}", trap.reason),
        };
        self.failed_openings += 1;
        if self.failed_openings >= OPEN_ATTEMPTS_MAX {
            operator.pipe.halt.blow(Failure::Operator {
                id: operator.id.clone(),
                reason,
            });
        }
        QUARANTINE_MIN
    }

    /// Puts what trapped back, in parts: around the event that the guest blames, or in halves. A single event is buried.
    fn split(&mut self, operator: &Operator, part: &Part, trap: Trap, fuel: u64) {
        let events = part.batch.len();
        let attempts = part.attempts + 1;
        if events == 1 {
            let state = self.state_of(operator, &part.batch, 0);
            let Trap {
                cause,
                reason,
                backtrace,
                ..
            } = trap;
            let death = Death {
                kind: cause.name(),
                reason,
                backtrace,
                state,
                fuel,
                attempt: attempts,
            };
            operator.bury(&part.batch, 0, death);
            Self::done(operator, &part.batch);
            return;
        }
        match trap.event.map(|event| event as usize).filter(|&event| event < events) {
            Some(event) => self.put_back(&part.batch, attempts, &[event, event + 1]),
            None => self.put_back(&part.batch, attempts, &[events / 2]),
        }
    }

    /// Puts a batch back at the front of the work, cut at these places.
    pub(super) fn put_back(&mut self, batch: &Batch, attempts: u32, cuts: &[usize]) {
        let ends = cuts.iter().copied().chain([batch.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ranges: Vec<_> = starts
            .zip(ends)
            .map(|(start, end)| start..end)
            .filter(|range| !range.is_empty())
            .collect();
        for range in ranges.into_iter().rev() {
            self.work.push_front(Part {
                batch: batch.slice(range),
                attempts,
            });
        }
    }

    fn apply(&mut self, operator: &Operator, part: &Part, plan: Option<windows::Plan>, answer: Answer, fuel: u64) {
        match answer {
            Answer::Mapped(outputs) => self.apply_mapped(operator, part, outputs, fuel),
            Answer::Filtered(filtered) => self.apply_filtered(operator, part, &filtered, fuel),
            Answer::Folded(folded) => {
                let plan = plan.expect("a fold is run by a plan");
                match folded {
                    Folded::Rejected(rejected) => {
                        plan.abandon(&mut self.table);
                        self.run_again(operator, part, &rejected, fuel);
                        return;
                    }
                    Folded::Unmigrated(failures) => {
                        plan.abandon(&mut self.table);
                        self.bury_unmigrated(operator, part, failures, fuel);
                        return;
                    }
                    Folded::Done { outputs, .. } if !outputs.failures.is_empty() && part.batch.len() > 1 => {
                        let rejected = blamed(plan.closed_by(), &outputs.failures);
                        plan.abandon(&mut self.table);
                        self.run_again(operator, part, &rejected, fuel);
                        return;
                    }
                    Folded::Done { accumulators, outputs } => {
                        self.apply_folded(operator, part, plan, &accumulators, outputs, fuel);
                    }
                }
            }
        }
        Self::done(operator, &part.batch);
    }

    fn apply_mapped(&mut self, operator: &Operator, part: &Part, outputs: Outputs, fuel: u64) {
        self.reject(operator, part, &outputs.failures, fuel);
        let passed = distinct(&outputs.origins);
        let filtered = part.batch.len() - passed - outputs.failures.len();
        counters::add(&operator.counters.passed, passed);
        counters::add(&operator.counters.filtered, filtered);
        self.put_out(derive(&part.batch, outputs));
    }

    fn apply_filtered(&mut self, operator: &Operator, part: &Part, filtered: &Filtered, fuel: u64) {
        self.reject(operator, part, &filtered.failures, fuel);
        let dropped = part.batch.len() - filtered.kept.len() - filtered.failures.len();
        counters::add(&operator.counters.passed, filtered.kept.len());
        counters::add(&operator.counters.filtered, dropped);
        let is_whole = filtered.kept.len() == part.batch.len();
        self.put_out(if is_whole {
            part.batch.clone()
        } else {
            part.batch.gather(&filtered.kept)
        });
    }

    fn apply_folded(
        &mut self,
        operator: &Operator,
        part: &Part,
        plan: windows::Plan,
        accumulators: &Column,
        outputs: Outputs,
        fuel: u64,
    ) {
        let closed_by = plan.closed_by();
        let rejected = blamed(closed_by, &outputs.failures);
        self.reject(operator, part, &rejected, fuel);
        counters::add(&operator.counters.absorbed, part.batch.len() - rejected.len());
        let emitted = emitted(&part.batch, closed_by, outputs);
        plan.commit(&mut self.table, accumulators);
        self.put_out(emitted);
    }

    /// A fold that rejects takes no effect. Each rejected event is run again alone, behind those before it, so that its dead
    /// letter bears the state that it met; one that was alone is buried.
    fn run_again(&mut self, operator: &Operator, part: &Part, rejected: &[Rejection], fuel: u64) {
        if part.batch.len() == 1 {
            self.reject(operator, part, rejected, fuel);
            Self::done(operator, &part.batch);
            return;
        }
        let cuts: Vec<usize> = rejected
            .iter()
            .map(|rejection| rejection.index as usize)
            .flat_map(|at| [at, at + 1])
            .collect();
        self.put_back(&part.batch, part.attempts, &cuts);
    }

    /// Events that meet state which the operator cannot read: found apart like rejected ones, but it is the state that fails.
    fn bury_unmigrated(&mut self, operator: &Operator, part: &Part, mut failures: Vec<Rejection>, fuel: u64) {
        if part.batch.len() > 1 {
            self.run_again(operator, part, &failures, fuel);
            return;
        }
        let failure = failures.pop().expect("there is an event that cannot be folded");
        let death = Death {
            state: self.state_of(operator, &part.batch, 0),
            fuel,
            attempt: part.attempts + 1,
            ..Death::of("migrate", failure.message)
        };
        operator.bury(&part.batch, 0, death);
        Self::done(operator, &part.batch);
    }

    fn reject(&mut self, operator: &Operator, part: &Part, rejected: &[Rejection], fuel: u64) {
        for rejection in rejected {
            let event = rejection.index as usize;
            let state = self.state_of(operator, &part.batch, event);
            let death = Death {
                state,
                fuel,
                attempt: part.attempts + 1,
                ..Death::of("rejected", rejection.message.clone())
            };
            operator.bury(&part.batch, event, death);
        }
    }

    /// What is kept of an event's key, for its dead letter.
    fn state_of(&mut self, operator: &Operator, batch: &Batch, event: usize) -> Option<String> {
        if !operator.kind().is_stateful() {
            return None;
        }
        self.table
            .get(batch.keys.get(event))
            .map(|entry| BASE64_STANDARD.encode(entry.encode()))
    }

    /// Keeps outputs until the chunk is finished.
    fn put_out(&mut self, batch: Batch) {
        if !batch.is_empty() {
            let chunk = self.chunk.as_mut().expect("outputs come from a chunk");
            chunk.outputs.push(batch);
        }
    }

    /// Notes that events no longer wait here.
    fn done(operator: &Operator, batch: &Batch) {
        wake_all(operator.gate.leave(batch.len(), batch.size()));
    }

    fn quarantine(&self, actor: &Arc<Actor>, pause: Duration) {
        counters::add(&actor.operator.counters.quarantines, 1_u64);
        let cell = self.cell(actor);
        actor.operator.pipe.runtime.spawn(async move {
            tokio::time::sleep(pause).await;
            cell.schedule();
        });
    }

    fn become_idle(&mut self, actor: &Arc<Actor>, now_ns: u64) {
        let operator = &actor.operator;
        self.last_used_ns = now_ns;
        if self.is_active && !self.is_in_idle_queue {
            self.is_in_idle_queue = true;
            operator.note_idle(actor, self.number, now_ns);
        }
        // Looked at last: whoever comes to wait after it finds the replica among the idle.
        let share = &operator.pipe.share;
        if operator.pipe.activations.is_short(share) || share.is_short() {
            self.deactivate(actor);
        }
    }

    /// Gives up the instance of an actor between two turns, and its keys to the store: very many of them little by little, for
    /// whoever waits for it or for the store must not wait for long.
    pub(super) fn deactivate(&mut self, actor: &Arc<Actor>) -> Leaving {
        let operator = &actor.operator;
        if !self.is_active || self.is_running() {
            return Leaving::Stays;
        }
        let committed = operator.pipe.epochs.committed();
        let is_large = self.table.has_more_than(operator.pipe.store.kept_min());
        let records = if is_large {
            self.table.shrink(committed)
        } else {
            self.table.drain(committed)
        };
        if let Err(error) = self.spill(actor, records) {
            Self::give_up_state(operator, &error);
        }
        if is_large {
            return Leaving::Shrunk;
        }
        if matches!(actor.identity, Identity::Key(_)) {
            operator.retire(actor);
        }
        self.give_up_instance(actor);
        Leaving::Gone
    }

    /// Gives up the instance and its place.
    pub(super) fn give_up_instance(&mut self, actor: &Arc<Actor>) {
        self.instance = None;
        if std::mem::take(&mut self.is_active) {
            counters::add(&actor.operator.counters.deactivations, 1_u64);
            actor.operator.pipe.activations.release(&actor.operator.pipe.share);
        }
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
        self.ended = None;
        self.table = Table::default();
        self.account_table(actor);
        actor.urgency(self.number).close();
        self.give_up_instance(actor);
    }
}

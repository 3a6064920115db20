//! Synthetic work on virtual time, in the order of the very scheduler that hosts use.
//!
//! Actors here are mailboxes of messages that take a stated time; workers poll them as the crate of actors has its turns
//! polled: one slice, or as many short turns as fit into one. Nothing is random and nothing is real: the same [`Workload`]
//! gives the same [`Report`]. [`Seeded`] makes workloads.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use dirigo_scheduler::{PolicyKind, Ready, ReadyQueue, Share, TenantIndex, Urgency};

/// How often a report notes what tenants have used.
pub const TICK_NS: u64 = 10_000_000;
/// What every guest here burns.
pub const FUEL_PER_NS: u64 = 10;
/// A new turn counts for one part in this many of what turns usually take.
const SMOOTHING: u64 = 8;

/// What is to be done, and by how many.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Workers.
    pub workers: usize,
    /// How long a slice is.
    pub slice_ns: u64,
    /// By tenant.
    pub shares: Vec<Share>,
    /// The actors.
    pub actors: Vec<Actor>,
    /// When to stop.
    pub until_ns: u64,
}

/// Something that takes turns.
#[derive(Clone, Debug, Default)]
pub struct Actor {
    /// Who pays for it.
    pub tenant: TenantIndex,
    /// From the arrival of a message until it has left the last actor.
    pub slo_ns: Option<u64>,
    /// What it has to do, besides what other actors send it.
    pub input: Input,
    /// To whom it sends a message for each that it got: the index of an actor behind it, and how long that one takes.
    pub sends: Option<(usize, u64)>,
    /// How many messages may wait for it before those that send to it have to.
    pub room: Option<usize>,
}

/// What an actor has to do.
#[derive(Clone, Debug)]
pub enum Input {
    /// It is never done: turns that take so many ns.
    Endless(u64),
    /// Messages, by arrival.
    Messages(Vec<Message>),
}

impl Default for Input {
    fn default() -> Self {
        Input::Messages(Vec::new())
    }
}

/// Work for one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it comes.
    pub arrival_ns: u64,
    /// How long its turn takes.
    pub turn_ns: u64,
}

/// What came of a workload.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What each tenant had used of the workers at each tick, the first at 0.
    pub used_ns: Vec<Vec<u64>>,
    /// The longest time for which each actor was ready and did not run.
    pub waited_ns: Vec<u64>,
    /// Messages that left the pipeline in time, by the actor that they left.
    pub met: Vec<u64>,
    /// Messages that left it late, or are late and have not left, by actor.
    pub missed: Vec<u64>,
    /// The longest slice.
    pub slice_ns: u64,
}

impl Report {
    /// What part of all messages with a deadline missed it.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn miss_rate(&self) -> f64 {
        let (met, missed) = (self.met.iter().sum::<u64>(), self.missed.iter().sum::<u64>());
        missed as f64 / (met + missed).max(1) as f64
    }

    /// What a tenant used between two ticks.
    #[must_use]
    pub fn used_between(&self, tenant: usize, from: usize, to: usize) -> u64 {
        self.used_ns[to][tenant] - self.used_ns[from][tenant]
    }
}

/// Runs a workload in the order of a policy.
#[must_use]
pub fn run(choice: PolicyKind, workload: &Workload) -> Report {
    let mut run = Run::new(choice, workload);
    while let Some(Reverse((at_ns, _, event))) = run.events.pop() {
        if at_ns > workload.until_ns {
            break;
        }
        run.now_ns = at_ns;
        run.happen(event);
        run.dispatch();
    }
    run.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The next message of an actor comes.
    Arrival(usize),
    /// A worker's guest yields.
    Polled(usize),
    /// A tenant may have fuel again.
    Refill,
    Tick,
}

struct Run<'a> {
    workload: &'a Workload,
    queue: ReadyQueue<usize>,
    now_ns: u64,
    /// What happens, by time; what happens at one time, in the order in which it was foreseen.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    foreseen: u64,
    actors: Vec<ActorState>,
    busy: Vec<Option<Slice>>,
    refill_at_ns: Option<u64>,
    used_ns: Vec<u64>,
    report: Report,
}

#[derive(Default)]
struct ActorState {
    arrived: usize,
    mailbox: VecDeque<Message>,
    turn: Option<Turn>,
    urgency: Urgency,
    turn_ns: u64,
    after_ns: u64,
    /// Whether it is neither ready nor running, nor waits for room.
    is_idle: bool,
    ready_since_ns: u64,
    waiters: Vec<usize>,
}

struct Turn {
    message: Message,
    ran_ns: u64,
}

struct Slice {
    ready: Ready<usize>,
    started_ns: u64,
    polled_ns: u64,
}

impl<'a> Run<'a> {
    fn new(choice: PolicyKind, workload: &'a Workload) -> Self {
        let mut run = Self {
            workload,
            queue: ReadyQueue::new(choice),
            now_ns: 0,
            events: BinaryHeap::new(),
            foreseen: 0,
            actors: Vec::new(),
            busy: (0..workload.workers).map(|_| None).collect(),
            refill_at_ns: None,
            used_ns: vec![0; workload.shares.len()],
            report: Report {
                waited_ns: vec![0; workload.actors.len()],
                met: vec![0; workload.actors.len()],
                missed: vec![0; workload.actors.len()],
                ..Report::default()
            },
        };
        for (tenant, share) in (0..).zip(&workload.shares) {
            run.queue.set_share(tenant, *share, 0);
        }
        run.actors.resize_with(workload.actors.len(), ActorState::default);
        run.foresee(0, Event::Tick);
        for (index, actor) in workload.actors.iter().enumerate() {
            match &actor.input {
                Input::Endless(_) => run.make_ready(index),
                Input::Messages(messages) => {
                    run.actors[index].is_idle = true;
                    if let Some(first) = messages.first() {
                        run.foresee(first.arrival_ns, Event::Arrival(index));
                    }
                }
            }
        }
        run
    }

    fn foresee(&mut self, at_ns: u64, event: Event) {
        self.foreseen += 1;
        self.events.push(Reverse((at_ns, self.foreseen, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(index) => {
                let Input::Messages(messages) = &self.workload.actors[index].input else {
                    unreachable!("only messages arrive")
                };
                let next = self.actors[index].arrived;
                self.actors[index].arrived += 1;
                if let Some(later) = messages.get(next + 1) {
                    self.foresee(later.arrival_ns, Event::Arrival(index));
                }
                self.receive(index, messages[next]);
            }
            Event::Polled(worker) => self.polled(worker),
            Event::Refill => self.refill_at_ns = None,
            Event::Tick => {
                self.report.used_ns.push(self.used_ns.clone());
                self.foresee(self.now_ns + TICK_NS, Event::Tick);
            }
        }
    }

    fn receive(&mut self, index: usize, message: Message) {
        self.actors[index].mailbox.push_back(message);
        if std::mem::take(&mut self.actors[index].is_idle) {
            self.make_ready(index);
        }
    }

    fn make_ready(&mut self, index: usize) {
        let ready = self.ready(index);
        self.queue.push(ready);
    }

    fn ready(&mut self, index: usize) -> Ready<usize> {
        let actor = &self.workload.actors[index];
        let state = &mut self.actors[index];
        state.ready_since_ns = self.now_ns;
        let waiting_since_ns = state.mailbox.front().map(|message| message.arrival_ns);
        let start_by_ns = actor.slo_ns.and_then(|slo_ns| {
            state
                .urgency
                .start_by_ns(waiting_since_ns, slo_ns, state.turn_ns, state.after_ns)
        });
        Ready {
            tenant: actor.tenant,
            start_by_ns,
            item: index,
        }
    }

    /// Gives work to the workers that have none.
    fn dispatch(&mut self) {
        while let Some(worker) = self.busy.iter().position(Option::is_none) {
            let Some(ready) = self.queue.pop(self.now_ns) else {
                break;
            };
            let index = ready.item;
            let waited_ns = self.now_ns - self.actors[index].ready_since_ns;
            self.report.waited_ns[index] = self.report.waited_ns[index].max(waited_ns);
            let slice = Slice {
                ready,
                started_ns: self.now_ns,
                polled_ns: 0,
            };
            self.begin(worker, slice);
        }
        // A worker that is busy looks for itself when its slice ends.
        let is_any_idle = self.busy.iter().any(Option::is_none);
        let refill_at_ns = self.queue.refill_at_ns().filter(|_| is_any_idle);
        if let Some(at_ns) = refill_at_ns
            && self.refill_at_ns.is_none_or(|known| at_ns < known)
        {
            self.refill_at_ns = refill_at_ns;
            self.foresee(at_ns, Event::Refill);
        }
    }

    /// Polls the turn of an actor, its next one if none is under way; settles the slice if there is none.
    fn begin(&mut self, worker: usize, slice: Slice) {
        let index = slice.ready.item;
        if self.actors[index].turn.is_none() && !self.take(index) {
            self.settle(&slice, false);
            return;
        }
        let turn = self.actors[index].turn.as_ref().expect("it has a turn");
        let polled_ns = (turn.message.turn_ns - turn.ran_ns).clamp(1, self.workload.slice_ns);
        self.foresee(self.now_ns + polled_ns, Event::Polled(worker));
        self.busy[worker] = Some(Slice { polled_ns, ..slice });
    }

    /// Takes a message from the mailbox; `false` if there is none, or no room for what comes of it.
    fn take(&mut self, index: usize) -> bool {
        let actor = &self.workload.actors[index];
        if let Some((target, _)) = actor.sends
            && let Some(room) = self.workload.actors[target].room
            && self.actors[target].mailbox.len() >= room
        {
            self.actors[target].waiters.push(index);
            return false;
        }
        let now_ns = self.now_ns;
        let state = &mut self.actors[index];
        let message = match actor.input {
            Input::Endless(turn_ns) => Some(Message {
                arrival_ns: now_ns,
                turn_ns,
            }),
            Input::Messages(_) => state.mailbox.pop_front(),
        };
        let Some(message) = message else {
            state.is_idle = true;
            return false;
        };
        state.urgency.open(message.arrival_ns);
        state.turn = Some(Turn { message, ran_ns: 0 });
        if actor.room.is_some_and(|room| state.mailbox.len() <= room / 2) {
            for waiter in std::mem::take(&mut state.waiters) {
                self.make_ready(waiter);
            }
        }
        true
    }

    fn polled(&mut self, worker: usize) {
        let slice = self.busy[worker].take().expect("a worker that is polled is busy");
        let index = slice.ready.item;
        self.used_ns[slice.ready.tenant as usize] += slice.polled_ns;
        let state = &mut self.actors[index];
        let turn = state.turn.as_mut().expect("what is polled is a turn");
        turn.ran_ns += slice.polled_ns;
        state.urgency.note_ran(turn.ran_ns);
        let has_ended = turn.ran_ns >= turn.message.turn_ns;
        if has_ended {
            self.end_turn(index);
        }
        if !has_ended || self.now_ns - slice.started_ns >= self.workload.slice_ns {
            self.settle(&slice, true);
        } else {
            self.begin(worker, slice);
        }
    }

    fn settle(&mut self, slice: &Slice, is_again: bool) {
        let ns = self.now_ns - slice.started_ns;
        self.report.slice_ns = self.report.slice_ns.max(ns);
        let used = slice.ready.used(ns, ns * FUEL_PER_NS);
        let again = is_again.then(|| self.ready(slice.ready.item));
        self.queue.settle(used, again, self.now_ns);
    }

    fn end_turn(&mut self, index: usize) {
        let actor = &self.workload.actors[index];
        let state = &mut self.actors[index];
        let Turn { message, ran_ns } = state.turn.take().expect("a turn that ends is under way");
        state.urgency.close();
        state.turn_ns = match state.turn_ns {
            0 => ran_ns,
            usual => usual - usual / SMOOTHING + ran_ns / SMOOTHING,
        };
        if let Some((target, turn_ns)) = actor.sends {
            self.actors[index].after_ns = self.actors[target].turn_ns + self.actors[target].after_ns;
            let arrival_ns = message.arrival_ns;
            self.receive(target, Message { arrival_ns, turn_ns });
        } else if let Some(slo_ns) = actor.slo_ns {
            let is_met = self.now_ns <= message.arrival_ns + slo_ns;
            let counts = if is_met {
                &mut self.report.met
            } else {
                &mut self.report.missed
            };
            counts[index] += 1;
        }
    }

    fn finish(mut self) -> Report {
        for (index, state) in self.actors.iter().enumerate() {
            let Some(slo_ns) = self.workload.actors[index].slo_ns else {
                continue;
            };
            let under_way = state.turn.iter().map(|turn| turn.message);
            let unfinished = state.mailbox.iter().copied().chain(under_way);
            let late = unfinished.filter(|message| message.arrival_ns + slo_ns < self.workload.until_ns);
            self.report.missed[index] += late.count() as u64;
        }
        self.report
    }
}

/// The case that deadlines are for: each tenant has four pipelines of two short turns (0.1 ms together on average) that must
/// be done in 2 ms, and four of long turns (1 to 9 ms) that have 200 ms. A fifth of the `load` is of short turns.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub fn tight_and_loose(workers: usize, tenants: u32, load: f64, seed: u64, until_ns: u64) -> Workload {
    const PIPELINES: u32 = 4;
    let mut seeded = Seeded::new(seed);
    let mut actors = Vec::new();
    let each = load * workers as f64 / f64::from(tenants * PIPELINES);
    for tenant in 0..tenants {
        for _ in 0..PIPELINES {
            let tight = seeded.messages(100_000.0 / (each * 0.2), (25_000, 75_000), until_ns);
            let first = actors.len();
            let actor = Actor {
                tenant,
                slo_ns: Some(2_000_000),
                ..Actor::default()
            };
            actors.push(Actor {
                input: Input::Messages(tight),
                sends: Some((first + 1, 50_000)),
                ..actor.clone()
            });
            actors.push(actor);
            let loose = seeded.messages(5_000_000.0 / (each * 0.8), (1_000_000, 9_000_000), until_ns);
            actors.push(Actor {
                tenant,
                slo_ns: Some(200_000_000),
                input: Input::Messages(loose),
                ..Actor::default()
            });
        }
    }
    Workload {
        workers,
        slice_ns: 100_000,
        shares: vec![Share::default(); tenants as usize],
        actors,
        until_ns,
    }
}

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The numbers of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `from..to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// Messages at random, `gap_ns` apart on average, with turns of `turn_ns.0..turn_ns.1`.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a random number may lose its last bits"
    )]
    pub fn messages(&mut self, gap_ns: f64, turn_ns: (u64, u64), until_ns: u64) -> Vec<Message> {
        let mut arrival_ns = 0.0;
        let mut messages = Vec::new();
        loop {
            let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
            arrival_ns -= gap_ns * (1.0 - uniform).ln();
            if arrival_ns >= until_ns as f64 {
                return messages;
            }
            messages.push(Message {
                arrival_ns: arrival_ns as u64,
                turn_ns: self.between(turn_ns.0, turn_ns.1),
            });
        }
    }
}

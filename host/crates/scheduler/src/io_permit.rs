//! Permits for the threads next to the workers, which read and write for a tenant.
//!
//! Such a thread runs before the workers, so that a tenant that uses little is served at once. One that has enough to
//! do to keep a core busy would take it from the turns of all tenants, with no tenant charged for it. So where tenants share a host it
//! runs in place of a worker: of one that has nothing to do, or of one that the policy leases to it as it hands out
//! slices. Only a tenant that is owed time goes at once, as its turns do. Then no more threads work than there are
//! workers, but for those, and what each of them spends is charged to its tenant.
//!
//! Knows nothing of what is read or written.

use std::sync::Arc;
use std::time::Duration;

use super::policy::TenantIndex;
use dirigo_ground::clock;
use dirigo_ground::sync::{Condvar, Mutex};

/// For how long a worker is leased to I/O at a time: a slice of the default length. With two, the p99 of victims next
/// to all hostile kinds at once was 1.4 to 2 times as long (docs/design/004-isolation.md). I/O begins no step that is likely to
/// exceed it, by how long the one before took; a worker does not wait for one that does.
const LEASE_NS: u64 = 100_000;
/// How long a thread waits for a worker before it goes without: far longer than taking turns lasts between tens of
/// tenants, within which it goes before all else that its tenant has ready. It sees to it that no policy, and no worker
/// that is stuck, can stop a pipeline from draining.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// What a step of a tenant that is owed time is taken to use when it begins: four threads of one tenant have used up what
/// it is owed, however many begin at once.
pub(super) const OWED_NS: u64 = 25_000;

/// Where a thread may run, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// One step, at once: its tenant is owed time, and was charged for [`OWED_NS`] already.
    Owed,
    /// One step, after it has waited for [`WAIT_MAX`].
    Late,
    /// In place of a worker that sleeps.
    OfSleeper,
    /// Once a worker hands it its place.
    Queued,
}

/// Grants permits.
pub(super) trait PermitIssuer: Send + Sync {
    /// The time.
    fn now_ns(&self) -> u64;
    /// Whether there is another tenant, whose workers I/O could slow down.
    fn is_shared(&self) -> bool;
    /// Grants a permit, or puts the request for it in the queue.
    fn ask(&self, io_permit: &Arc<IoPermit>) -> Grant;
    /// Charges its tenant for time that no worker is charged for; the place of a sleeping worker is free again if
    /// `grant` was for one. `was_overdue` says whether a worker had resumed its own work before.
    fn end(&self, io_permit: &IoPermit, grant: Grant, ns: u64, was_overdue: bool);
}

/// What became of a worker's place that I/O had.
pub(super) struct Leased {
    /// To be charged for it, so far.
    pub(super) ns: u64,
    /// Whether the I/O still runs.
    pub(super) is_overdue: bool,
}

/// A request for a permit, which is in the queue once at most.
pub(super) struct IoPermit {
    pub(super) tenant: TenantIndex,
    /// Whether its pipeline has a latency target: then it is as urgent as can be when it asks.
    pub(super) is_timed: bool,
    state: Mutex<LeaseState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    /// It waits for a worker.
    Waiting,
    /// It waited for too long, and goes without one.
    Gone,
    /// A worker stands back for it.
    Leased,
    /// It is done, after so many ns of processor time, and the worker may go on.
    Returned(u64),
    /// The worker stood back for long enough, and was charged for so many ns.
    Overdue(u64),
}

impl IoPermit {
    pub(super) fn new(tenant: TenantIndex, is_timed: bool) -> Arc<Self> {
        Arc::new(Self {
            tenant,
            is_timed,
            state: Mutex::new(LeaseState::Waiting),
            changed: Condvar::new(),
        })
    }

    /// The next one of the same thread. The queue may still have this one.
    fn anew(&self) -> Arc<Self> {
        Self::new(self.tenant, self.is_timed)
    }

    /// Waits for a worker; whether one came.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while *state == LeaseState::Waiting {
            let (guard, timed_out) = self.changed.wait_for(state, WAIT_MAX);
            state = guard;
            if timed_out && *state == LeaseState::Waiting {
                *state = LeaseState::Gone;
                return false;
            }
        }
        true
    }

    /// Stands back until the I/O is done, for [`LEASE_NS`] at most. What it charges is what the I/O took of a processor, and what
    /// standing back took of the worker's.
    pub(super) fn lease(&self) -> Leased {
        let begun_ns = clock::thread_spent_ns();
        let leased = self.stand_back();
        Leased {
            ns: leased.ns + (clock::thread_spent_ns() - begun_ns),
            ..leased
        }
    }

    fn stand_back(&self) -> Leased {
        let mut state = self.state.lock();
        if *state != LeaseState::Waiting {
            return Leased {
                ns: 0,
                is_overdue: false,
            };
        }
        *state = LeaseState::Leased;
        // The I/O thread preempts this one as soon as it is woken, and takes the lock.
        drop(state);
        self.changed.notify_one();
        state = self.state.lock();
        loop {
            if let LeaseState::Returned(ns) = *state {
                return Leased { ns, is_overdue: false };
            }
            let (guard, timed_out) = self.changed.wait_for(state, Duration::from_nanos(LEASE_NS));
            state = guard;
            if timed_out && *state == LeaseState::Leased {
                *state = LeaseState::Overdue(LEASE_NS);
                return Leased {
                    ns: LEASE_NS,
                    is_overdue: true,
                };
            }
        }
    }

    /// Returns the worker's place after `ns` of processor time. Gives the part of it that is still to be charged, and whether the worker had
    /// resumed its own work before.
    fn give_back(&self, ns: u64) -> (u64, bool) {
        let mut state = self.state.lock();
        match *state {
            LeaseState::Leased => {
                *state = LeaseState::Returned(ns);
                drop(state);
                self.changed.notify_one();
                (0, false)
            }
            LeaseState::Overdue(charged_ns) => (ns.saturating_sub(charged_ns), true),
            LeaseState::Waiting | LeaseState::Gone | LeaseState::Returned(_) => (ns, false),
        }
    }
}

/// The permits of one thread that reads or writes for a tenant, step by step.
pub struct IoPermits {
    /// `None` where nothing is shared, ever.
    issuer: Option<Arc<dyn PermitIssuer>>,
    io_permit: Arc<IoPermit>,
    active: Option<ActiveGrant>,
    /// The processor time of the thread that was charged for so far, once it is shared.
    charged_ns: Option<u64>,
}

/// A permit that was granted.
#[derive(Clone, Copy)]
struct ActiveGrant {
    grant: Grant,
    until_ns: u64,
}

impl IoPermits {
    pub(super) fn new(issuer: Option<Arc<dyn PermitIssuer>>, tenant: TenantIndex, is_timed: bool) -> Self {
        Self {
            issuer,
            io_permit: IoPermit::new(tenant, is_timed),
            active: None,
            charged_ns: None,
        }
    }

    /// Permits that no worker has to make room for.
    #[must_use]
    pub fn unshared() -> Self {
        Self::new(None, 0, false)
    }

    /// Whether there is another tenant, whose turns wait for a step.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.issuer.as_ref().is_some_and(|issuer| issuer.is_shared())
    }

    /// Whether a step would ask for a permit.
    #[must_use]
    pub fn must_ask(&self) -> bool {
        self.active.is_none() && self.is_shared()
    }

    /// Does a step, when it may. To be called on one thread only.
    pub fn run<R>(&mut self, step: impl FnOnce() -> R) -> R {
        let Some(issuer) = self.issuer.clone().filter(|issuer| issuer.is_shared()) else {
            self.rest();
            return step();
        };
        if self.active.is_none() {
            self.begin(&*issuer);
        }
        let begun_ns = issuer.now_ns();
        let done = step();
        let now_ns = issuer.now_ns();
        // If the next takes as long as this one.
        let next_ends_ns = now_ns + (now_ns - begun_ns);
        if self.active.is_some_and(|active| next_ends_ns >= active.until_ns) {
            self.rest();
        }
        done
    }

    fn begin(&mut self, issuer: &dyn PermitIssuer) {
        let grant = match issuer.ask(&self.io_permit) {
            Grant::Queued if !self.io_permit.wait() => {
                self.io_permit = self.io_permit.anew();
                Grant::Late
            }
            grant => grant,
        };
        self.charged_ns.get_or_insert_with(clock::thread_spent_ns);
        let until_ns = match grant {
            Grant::Owed | Grant::Late => 0,
            Grant::OfSleeper | Grant::Queued => issuer.now_ns() + LEASE_NS,
        };
        self.active = Some(ActiveGrant { grant, until_ns });
    }

    /// Charges for a step that was done without asking, since it may wait for ever, and then waits like for one that asks.
    pub fn catch_up(&mut self) {
        let Some(issuer) = self.issuer.clone().filter(|issuer| issuer.is_shared()) else {
            return;
        };
        let ns = self.uncharged_ns();
        issuer.end(&self.io_permit, Grant::Late, ns, false);
        self.begin(&*issuer);
        self.rest();
    }

    /// What the thread has spent since this was last asked.
    fn uncharged_ns(&mut self) -> u64 {
        let spent_ns = clock::thread_spent_ns();
        let charged_ns = self.charged_ns.replace(spent_ns);
        charged_ns.map_or(0, |charged_ns| spent_ns.saturating_sub(charged_ns))
    }

    /// Gives the place back before the thread waits for something.
    pub fn rest(&mut self) {
        let Some(ActiveGrant { grant, .. }) = self.active.take() else {
            return;
        };
        let (mut ns, mut was_overdue) = (self.uncharged_ns(), false);
        if grant == Grant::Queued {
            (ns, was_overdue) = self.io_permit.give_back(ns);
            self.io_permit = self.io_permit.anew();
        }
        if let Some(issuer) = &self.issuer {
            issuer.end(&self.io_permit, grant, ns, was_overdue);
        }
    }
}

impl Drop for IoPermits {
    /// Whatever ends a thread, its place is free again.
    fn drop(&mut self) {
        self.rest();
    }
}

impl std::fmt::Debug for IoPermits {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("IoPermits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::super::{PolicyKind, Ready, Scheduler};
    use super::*;
    use dirigo_ground::clock::ManualClock;

    type Workers = Arc<Scheduler<&'static str>>;

    fn shared(choice: PolicyKind) -> Workers {
        let scheduler = Arc::new(Scheduler::new(choice, Arc::new(ManualClock::default())));
        scheduler.share();
        scheduler
    }

    fn push(scheduler: &Workers, tenant: TenantIndex, item: &'static str) {
        scheduler.push(Ready {
            tenant,
            start_by_ns: None,
            item,
        });
    }

    /// Does one step of a thread of its own; what is received once it is done.
    fn step_of(mut io_permits: IoPermits) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            io_permits.run(|| ());
            io_permits.rest();
            sender.send(()).unwrap();
        });
        receiver
    }

    /// Gives a tenant more time than others had.
    fn charge(scheduler: &Workers, tenant: TenantIndex) {
        push(scheduler, tenant, "greedy");
        let chosen = scheduler.next().unwrap();
        scheduler.settle(chosen.used(10_000_000, 0), None);
        push(scheduler, tenant, "greedy");
        scheduler.settle(scheduler.next().unwrap().used(0, 0), None);
    }

    fn until_it_waits(scheduler: &Workers) {
        while !scheduler.state.lock().queue.has_ready() {
            thread::yield_now();
        }
    }

    #[test]
    fn an_io_permit_of_a_tenant_that_had_its_share_waits_for_a_worker() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        let done = step_of(scheduler.io_permits(0, false));
        until_it_waits(&scheduler);
        push(&scheduler, 1, "turn");
        // Its tenant had its share, so the other's turn is first.
        let turn = scheduler.next().unwrap();
        assert_eq!((turn.item, done.try_recv()), ("turn", Err(mpsc::TryRecvError::Empty)));
        push(&scheduler, 1, "next turn");
        scheduler.settle(turn.used(20_000_000, 0), None);
        let next = scheduler.next().unwrap();
        assert_eq!(next.item, "next turn", "a worker that stood back goes on");
        done.recv().unwrap();
    }

    #[test]
    fn an_io_permit_of_a_tenant_that_is_owed_time_waits_for_nobody() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        step_of(scheduler.io_permits(1, false)).recv().unwrap();
    }

    /// What the steps of the next test take of a processor, far more than is charged of any in advance.
    const STEP_NS: u64 = 3_000_000;

    fn take_long() {
        let begun = clock::thread_spent_ns();
        while clock::thread_spent_ns() - begun < STEP_NS {}
    }

    fn run_one(scheduler: &Workers) {
        let mut io_permits = scheduler.io_permits(0, false);
        io_permits.run(take_long);
        io_permits.rest();
    }

    #[test]
    fn all_that_an_io_permit_takes_is_on_its_tenants_account() {
        type Run = fn(&Workers);
        let ways: [(&str, TenantIndex, Run); 5] = [
            ("its tenant is owed time", 2, run_one),
            ("a worker sleeps", 0, |scheduler| {
                scheduler.state.lock().sleeping = 1;
                run_one(scheduler);
                scheduler.state.lock().sleeping = 0;
            }),
            ("a worker stands back", 0, |scheduler| {
                let io_permit = {
                    let scheduler = scheduler.clone();
                    thread::spawn(move || run_one(&scheduler))
                };
                until_it_waits(scheduler);
                assert!(scheduler.try_next().is_none(), "there is nothing but the permit");
                io_permit.join().unwrap();
            }),
            ("no worker comes", 0, run_one),
            ("it asks when it is over", 0, |scheduler| {
                scheduler.state.lock().sleeping = 1;
                let mut io_permits = scheduler.io_permits(0, false);
                io_permits.catch_up();
                take_long();
                io_permits.catch_up();
                scheduler.state.lock().sleeping = 0;
            }),
        ];
        for (way, greedy, run) in ways {
            let scheduler = shared(PolicyKind::Fair);
            charge(&scheduler, greedy);
            let before = scheduler.usage(0).worker_ns;
            run(&scheduler);
            let used_ns = scheduler.usage(0).worker_ns - before;
            assert!(used_ns >= STEP_NS, "{way}: {used_ns} ns are in the summary");
            push(&scheduler, 1, "turn");
            scheduler.settle(scheduler.next().unwrap().used(STEP_NS / 3, 0), None);
            push(&scheduler, 0, "busy");
            push(&scheduler, 1, "idle");
            let next = scheduler.next().map(|ready| ready.item);
            assert_eq!(next, Some("idle"), "{way}: who has used less is next");
        }
    }

    #[test]
    fn an_io_permit_runs_in_the_stead_of_a_worker_that_sleeps() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        let sleeper = {
            let scheduler = scheduler.clone();
            thread::spawn(move || scheduler.next().map(|ready| ready.item))
        };
        while scheduler.state.lock().sleeping == 0 {
            thread::yield_now();
        }
        step_of(scheduler.io_permits(0, false)).recv().unwrap();
        assert_eq!(scheduler.state.lock().leased, 0, "its place is free again");
        scheduler.close();
        assert_eq!(sleeper.join().unwrap(), None);
    }

    #[test]
    fn a_thread_that_ends_leaves_no_place_taken() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        scheduler.state.lock().sleeping = 1;
        let mut io_permits = scheduler.io_permits(0, false);
        io_permits.run(|| ());
        assert_eq!(scheduler.state.lock().leased, 1);
        drop(io_permits);
        assert_eq!(scheduler.state.lock().leased, 0);
    }

    #[test]
    fn an_io_permit_that_no_worker_makes_room_for_goes_without() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        push(&scheduler, 0, "turn that never ends");
        let _stuck = scheduler.next();
        step_of(scheduler.io_permits(0, false)).recv().unwrap();
        push(&scheduler, 1, "turn");
        assert_eq!(
            scheduler.next().map(|ready| ready.item),
            Some("turn"),
            "nobody waits for it"
        );
    }

    #[test]
    fn the_next_io_permit_of_a_tenant_waits_for_one_that_takes_long() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        let (mut io_permits, next) = (scheduler.io_permits(0, false), scheduler.io_permits(0, false));
        let ((runs, is_run), (go_on, wait)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
        let io_permit = thread::spawn(move || {
            io_permits.run(|| {
                drop(runs);
                let _ = wait.recv();
            });
            io_permits.rest();
        });
        until_it_waits(&scheduler);
        assert!(scheduler.try_next().is_none(), "the worker stood back for long enough");
        assert!(is_run.recv().is_err(), "it was let run");
        let next_is_done = step_of(next);
        until_it_waits(&scheduler);
        assert!(scheduler.try_next().is_none());
        assert_eq!(scheduler.state.lock().overdue.waiting(0), 1);
        // One of another tenant does not wait.
        charge(&scheduler, 1);
        let of_another = step_of(scheduler.io_permits(1, false));
        until_it_waits(&scheduler);
        assert!(scheduler.try_next().is_none());
        of_another.recv().unwrap();
        drop(go_on);
        io_permit.join().unwrap();
        assert!(scheduler.state.lock().queue.has_ready(), "it waits for a worker again");
        assert!(scheduler.try_next().is_none());
        next_is_done.recv().unwrap();
    }

    #[test]
    fn a_worker_does_not_wait_for_an_io_permit_that_takes_long() {
        let scheduler = shared(PolicyKind::Fair);
        charge(&scheduler, 0);
        let mut io_permits = scheduler.io_permits(0, false);
        let (go_on, wait) = mpsc::channel::<()>();
        let io_permit = thread::spawn(move || {
            // It ends when the other end is dropped.
            let _ = io_permits.run(|| wait.recv());
            io_permits.rest();
        });
        until_it_waits(&scheduler);
        push(&scheduler, 0, "turn");
        assert_eq!(scheduler.next().map(|ready| ready.item), Some("turn"));
        drop(go_on);
        io_permit.join().unwrap();
    }
}

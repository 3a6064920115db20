//! The workers, and what all pipelines share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_ground::sync::Mutex;

use super::job::Job;
use super::scaling;
use super::slo_monitor::DemandMeter;
use super::summary::TenantSummary;
use dirigo_actor::{Activations, InstanceQuota, Runnable, SliceReport, Step, replicas_max};
use dirigo_engine::{self as engine, Engine, prepare_staging_buffers};
use dirigo_ground::clock::Clock;
use dirigo_ground::quota::Quota;
use dirigo_ground::thread;
use dirigo_pipeline::{Budget, Pipeline};
use dirigo_scheduler::{self as scheduler, PolicyKind, Ready, Scheduler, TenantIndex, Used};

/// How often idle actors are looked for: the resolution of `idle_timeout`.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// Instances of the engine that are left to tools which open one next to the actors.
const INSTANCES_RESERVED: u32 = 8;

/// How a host runs.
#[derive(Clone)]
pub struct HostOptions {
    /// Threads that run turns; at least 1.
    pub workers: u32,
    /// Who runs next.
    pub policy: PolicyKind,
    /// The most instances alive at once; the engine's bound if that is lower.
    pub instances_max: u32,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Runs pipelines.
pub struct Host {
    pub(super) engine: Engine,
    pub(super) options: HostOptions,
    pub(super) scheduler: Arc<Scheduler<Runnable>>,
    pub(super) activations: Arc<Activations>,
    pub(super) runtime: tokio::runtime::Handle,
    tenants: Mutex<Vec<(String, Arc<InstanceQuota>)>>,
    workers: Vec<JoinHandle<()>>,
    /// What looks at all operators again and again: which are idle, and which have more to do than they can.
    watchers: Vec<tokio::task::JoinHandle<()>>,
}

/// How many instances the pool of an engine needs for these pipelines on a host with `workers` workers: all that can be alive at once;
/// `u32::MAX` if an operator has an actor per key, whose number the events decide.
#[must_use]
pub fn instances_wanted<'p>(pipelines: impl IntoIterator<Item = &'p Pipeline>, workers: u32) -> u32 {
    /// The next instance of a replica is made before the last one is given back, and one closes windows.
    const PER_REPLICA: u32 = 2;
    /// Instances that are made while pipelines are prepared.
    const SPARE: u32 = 64;
    let operators = pipelines.into_iter().flat_map(|pipeline| &pipeline.operators);
    let mut replicas = operators.map(|operator| replicas_max(operator, workers));
    let all = replicas.try_fold(0_u32, |all, replicas| {
        Some(all.saturating_add(replicas?).saturating_add(1))
    });
    all.map_or(u32::MAX, |all| {
        all.saturating_mul(PER_REPLICA)
            .saturating_add(SPARE + INSTANCES_RESERVED)
    })
}

impl Host {
    /// Starts the workers. Sources, sinks and timers run next to them in `runtime`.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn start(engine: Engine, options: HostOptions, runtime: tokio::runtime::Handle) -> Self {
        let mut host = Self::unmanned(engine, options, runtime);
        let worker = |number| {
            let (scheduler, runtime) = (host.scheduler.clone(), host.runtime.clone());
            let thread = std::thread::Builder::new().name(format!("worker {number}"));
            thread
                .spawn(move || work(&scheduler, &runtime))
                .expect("the system gives a thread to each worker")
        };
        host.workers = (0..host.options.workers.max(1)).map(worker).collect();
        let (activations, clock) = (&host.activations, &host.options.clock);
        let sweeper = sweep(activations.clone(), clock.clone());
        let scaler = scaling::watch(activations.clone(), host.workers(), clock.clone());
        host.watchers = vec![host.runtime.spawn(sweeper), host.runtime.spawn(scaler)];
        host
    }

    /// A host without workers: the caller does their work with [`step`](Self::step).
    #[must_use]
    pub fn unmanned(engine: Engine, options: HostOptions, runtime: tokio::runtime::Handle) -> Self {
        let scheduler = Arc::new(Scheduler::new(options.policy, options.clock.clone()));
        let instances = options
            .instances_max
            .min(engine.instances_max().saturating_sub(INSTANCES_RESERVED))
            .max(1);
        let activations = Activations::new(instances as usize);
        Self {
            engine,
            options,
            scheduler,
            activations,
            runtime,
            tenants: Mutex::default(),
            workers: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// Runs one slice of what is ready, passing over the first `passed_over`; `false` if there are no more.
    pub fn step(&self, passed_over: usize) -> bool {
        let passed: Vec<_> = (0..passed_over).map_while(|_| self.scheduler.try_next()).collect();
        let next = self.scheduler.try_next();
        let has_run = next.is_some();
        if let Some(ready) = next {
            let _context = self.runtime.enter();
            let (used, again) = run(ready);
            self.scheduler.settle(used, again);
        }
        for ready in passed {
            self.scheduler.settle(ready.used(0, 0), Some(ready));
        }
        has_run
    }

    /// Deactivates what has been idle for long.
    pub fn sweep(&self) {
        self.activations.sweep(self.options.clock.now_ns());
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The most instances that were alive at once so far.
    #[must_use]
    pub fn instances_peak(&self) -> usize {
        self.activations.peak()
    }

    /// Says what a tenant may use, before any of its pipelines starts; until then it has the weight 1 and no bound.
    pub fn set_budget(&self, tenant: &str, budget: Budget) {
        let (index, _) = self.enter(tenant, || budget);
        let share = scheduler::Share {
            weight: budget.weight,
            fuel_per_s: budget.fuel_per_second,
        };
        self.scheduler.set_share(index, share);
    }

    pub(super) fn tenant(&self, name: &str) -> (TenantIndex, Arc<InstanceQuota>) {
        self.enter(name, Budget::default)
    }

    /// The place of a tenant among all, and its share, which is made if it has none.
    fn enter(&self, name: &str, budget: impl FnOnce() -> Budget) -> (TenantIndex, Arc<InstanceQuota>) {
        let mut tenants = self.tenants.lock();
        let known = tenants.iter().position(|(known, _)| known == name);
        let index = known.unwrap_or_else(|| {
            tenants.push((name.to_owned(), InstanceQuota::new(Arc::new(Quota::new(budget())))));
            tenants.len() - 1
        });
        let instances = tenants[index].1.clone();
        drop(tenants);
        if known.is_none() && index > 0 {
            self.scheduler.share();
            // For the turn that each worker runs, and for turns that gave way while they copied.
            prepare_staging_buffers(2 * self.options.workers as usize + 2);
        }
        let index = TenantIndex::try_from(index).expect("a host has fewer than 2^32 tenants");
        (index, instances)
    }

    /// A meter of what `job` takes of the workers.
    #[must_use]
    pub fn meter(&self, job: &Job) -> DemandMeter {
        let (_, instances) = self.tenant(&job.pipeline().account);
        DemandMeter::new(job, instances.quota.budget().weight)
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.options.clock
    }

    /// The threads that run turns.
    #[must_use]
    pub fn workers(&self) -> u32 {
        self.options.workers.max(1)
    }

    /// What the tenants used so far.
    #[must_use]
    pub fn tenants(&self) -> Vec<TenantSummary> {
        let tenants = self.tenants.lock();
        let summary = |(index, (name, instances)): (TenantIndex, &(String, Arc<InstanceQuota>))| {
            let usage = self.scheduler.usage(index);
            TenantSummary {
                name: name.clone(),
                weight: instances.quota.budget().weight,
                worker_s: seconds(usage.worker_ns),
                fuel: usage.fuel,
                held_s: seconds(usage.held_ns),
                memory_peak: instances.quota.memory_peak(),
                memory_denied: instances.quota.memory_denied(),
                active_actors_peak: instances.active_peak() as u64,
                actors_waited: instances.waited(),
                log_lines_left_out: instances.quota.lines_dropped(),
                dead_letter_bytes: instances.quota.dead_letter_bytes(),
                dead_letters_left_out: instances.quota.dead_letters_left_out(),
            }
        };
        (0..).zip(tenants.iter()).map(summary).collect()
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.watchers.iter().for_each(tokio::task::JoinHandle::abort);
        self.scheduler.close();
        for worker in self.workers.drain(..) {
            // It holds nothing that could be lost, and a panic in it was reported when it happened.
            let _ = worker.join();
        }
    }
}

fn work(scheduler: &Scheduler<Runnable>, runtime: &tokio::runtime::Handle) {
    // Guests that wait for the host wait on its timers.
    let _context = runtime.enter();
    engine::prepare_thread();
    thread::set_niceness(thread::WORKER_NICENESS);
    thread::wake_on_time();
    let mut next = scheduler.next();
    while let Some(ready) = next {
        let (used, again) = run(ready);
        next = scheduler.settle_and_next(used, again);
    }
}

/// Runs one slice; gives what it used, and what ran if it wants to go on.
fn run(ready: Ready<Runnable>) -> (Used, Option<Ready<Runnable>>) {
    let SliceReport { step, ns, fuel } = catch_unwind(AssertUnwindSafe(|| ready.item.run())).unwrap_or_else(|_| {
        ready.item.give_up();
        SliceReport {
            step: Step::Parked,
            ns: 0,
            fuel: 0,
        }
    });
    let used = ready.used(ns, fuel);
    (used, (step == Step::Again).then(|| ready.item.into_ready()))
}

async fn sweep(activations: Arc<Activations>, clock: Arc<dyn Clock>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        activations.sweep(clock.now_ns());
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Host")
            .field("workers", &self.options.workers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pipeline(operator: &str) -> Pipeline {
        let text = format!(
            r#"
            [pipeline]
            name = "p"
            [[source]]
            id = "in"
            kind = "stdin"
            [[operator]]
            id = "op"
            component = "builtin:reduce"
            window = {{ count = 3 }}
            {operator}
            [[sink]]
            id = "out"
            kind = "null"
            "#
        );
        let loaded = dirigo_pipeline::parse(&text, Path::new("p.toml"), &[], &dirigo_connectors::builtin());
        loaded.unwrap_or_else(|problems| panic!("{problems}")).pipeline
    }

    #[test]
    fn an_engine_holds_what_the_operators_of_a_run_can_have() {
        let wanted = |operators: &[&str], workers| {
            let pipelines: Vec<Pipeline> = operators.iter().map(|operator| pipeline(operator)).collect();
            instances_wanted(&pipelines, workers)
        };
        let one = wanted(&[""], 2);
        assert!(one < 256, "{one}");
        assert_eq!(wanted(&["", ""], 2) - one, 2 * 3);
        assert_eq!(wanted(&[""], 10) - one, 2 * 8, "a shard for each worker");
        assert_eq!(wanted(&["shards = 500"], 2) - one, 2 * 498);
        assert_eq!(
            wanted(&["", "actors = \"per-key\""], 2),
            u32::MAX,
            "keys decide how many there are"
        );
    }
}

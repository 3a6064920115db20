//! The workers, and what all pipelines share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use crate::actor::{Activations, Cell, Step};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::scheduler::{Choice, Scheduler, TenantIndex};

/// How much the workers give way to sources and sinks where guests fill every core: beside guests that never pause, a
/// source-to-sink p99 of 1.3 ms at equal niceness falls to 0.14 ms (docs/design/001-engine.md).
pub const WORKER_NICENESS: i32 = 10;
/// How often idle actors are looked for: the resolution of `idle_timeout`.
const SWEEP_INTERVAL: Duration = Duration::from_millis(50);
/// Instances of the engine that are left to tools which open one beside the actors.
const INSTANCES_RESERVED: u32 = 8;

/// How a host runs.
#[derive(Clone)]
pub struct Options {
    /// Threads that run turns; at least 1.
    pub workers: u32,
    /// Who runs next.
    pub policy: Choice,
    /// The most instances alive at once; the engine's bound if that is lower.
    pub instances_max: u32,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Runs pipelines.
pub struct Host {
    pub(super) engine: Engine,
    pub(super) options: Options,
    pub(super) scheduler: Arc<Scheduler<Cell>>,
    pub(super) activations: Arc<Activations>,
    pub(super) runtime: tokio::runtime::Handle,
    tenants: Mutex<Vec<String>>,
    workers: Vec<JoinHandle<()>>,
    sweeper: tokio::task::JoinHandle<()>,
}

impl Host {
    /// Starts the workers. Sources, sinks and timers run beside them in `runtime`.
    ///
    /// # Panics
    /// When the system gives no threads.
    #[must_use]
    pub fn start(engine: Engine, options: Options, runtime: tokio::runtime::Handle) -> Self {
        let scheduler = Arc::new(Scheduler::new(options.policy));
        let instances = options
            .instances_max
            .min(engine.instances_max().saturating_sub(INSTANCES_RESERVED))
            .max(1);
        let activations = Activations::new(instances as usize);
        let worker = |number| {
            let (scheduler, clock, runtime) = (scheduler.clone(), options.clock.clone(), runtime.clone());
            let thread = std::thread::Builder::new().name(format!("worker {number}"));
            thread
                .spawn(move || work(&scheduler, &*clock, &runtime))
                .expect("the system gives a thread to each worker")
        };
        let workers = (0..options.workers.max(1)).map(worker).collect();
        let sweeper = runtime.spawn(sweep(activations.clone(), options.clock.clone()));
        Self {
            engine,
            options,
            scheduler,
            activations,
            runtime,
            tenants: Mutex::default(),
            workers,
            sweeper,
        }
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

    /// Sets the share of the workers that a tenant gets relative to others; 1 until then.
    pub fn set_weight(&self, tenant: &str, weight: u32) {
        self.scheduler.set_weight(self.tenant(tenant), weight);
    }

    pub(super) fn tenant(&self, name: &str) -> TenantIndex {
        let mut tenants = self.tenants.lock();
        let index = tenants.iter().position(|known| known == name).unwrap_or_else(|| {
            tenants.push(name.to_owned());
            tenants.len() - 1
        });
        TenantIndex::try_from(index).expect("a host has fewer than 2^32 tenants")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.sweeper.abort();
        self.scheduler.close();
        for worker in self.workers.drain(..) {
            // It holds nothing that could be lost, and a panic in it was reported when it happened.
            let _ = worker.join();
        }
    }
}

fn work(scheduler: &Scheduler<Cell>, clock: &dyn Clock, runtime: &tokio::runtime::Handle) {
    // Guests that wait for the host wait on its timers.
    let _context = runtime.enter();
    wasmtime::Engine::tls_eager_initialize();
    if let Err(error) = rustix::process::setpriority_process(None, WORKER_NICENESS) {
        tracing::debug!(%error, "a worker keeps its priority");
    }
    while let Some(ready) = scheduler.next() {
        let started_ns = clock.now_ns();
        let step = catch_unwind(AssertUnwindSafe(|| ready.item.run())).unwrap_or_else(|_| {
            ready.item.give_up();
            Step::Parked
        });
        let used_ns = clock.now_ns().saturating_sub(started_ns);
        let tenant = ready.tenant;
        scheduler.settle(tenant, used_ns, (step == Step::Again).then(|| ready.item.into_ready()));
    }
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

//! What a benchmark runs on: an engine, guests, hosts, jobs with ends of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use dirigo_command::Globals;
use dirigo_command::pipeline_files::PipelineFiles;
use dirigo_command::setup::CommandContext;
use dirigo_connect::sink::Sink;
use dirigo_connect::source::Source;
use dirigo_flow::DeadLetterOffset;
use dirigo_ground::clock;
use dirigo_pipeline::{Budget, Diagnostics};
use dirigo_runtime::{Connectors, Host, HostOptions, Job, Opened, Patience, Prepared, RecoveredBatches, prepare_with};
use dirigo_scheduler::PolicyKind;
use dirigo_state::Store;

use super::greedy::{Bottomless, Cycle};
use super::guests::Guests;
use super::kinds::Kind;

/// What diagnostics name as the file of a pipeline that a benchmark makes.
const NO_FILE: &str = "(the pipeline that the benchmark makes)";

/// Everything that lasts from cell to cell.
pub(super) struct Testbed {
    pub(super) setup: CommandContext,
    pub(super) guests: Guests,
    pub(super) workers: u32,
}

impl Testbed {
    pub(super) fn new(globals: &Globals, workers: u32) -> anyhow::Result<Self> {
        Ok(Self {
            guests: Guests::write()?,
            setup: CommandContext::with(globals, PipelineFiles::of_user(globals), u32::MAX)?,
            workers,
        })
    }

    /// A pipeline file's text with its components compiled, and as far opened as a run waits for; `config` in place of that of its
    /// operators.
    pub(super) fn prepare(&self, text: &str, config: Option<&serde_json::Value>) -> Result<Prepared, Diagnostics> {
        let mut loaded = dirigo_pipeline::parse(text, Path::new(NO_FILE), &[], &self.setup.files.connectors)?;
        if let Some(config) = config {
            for operator in &mut loaded.pipeline.operators {
                operator.config = config.clone();
                operator.config_as_written = config.clone();
            }
        }
        let CommandContext {
            engine, clock, runtime, ..
        } = &self.setup;
        runtime.block_on(prepare_with(engine, loaded, clock, &Patience::of_run()))
    }

    /// [`prepare`](Self::prepare) for a text of the benchmark's own.
    pub(super) fn prepare_own(&self, text: &str) -> anyhow::Result<Prepared> {
        self.prepare(text, None)
            .map_err(|problems| anyhow::anyhow!("a pipeline of the benchmark is refused:\n{problems}"))
    }

    /// A host with nothing on it.
    pub(super) fn host(&self, policy: PolicyKind) -> Host {
        let options = HostOptions {
            workers: self.workers,
            policy,
            instances_max: u32::MAX,
            clock: self.setup.clock.clone(),
        };
        Host::start(self.setup.engine.clone(), options, self.setup.runtime.handle().clone())
    }
}

/// Starts a pipeline with one source and one sink. Its dead letters are made, and go nowhere.
pub(super) fn start(host: &Host, prepared: Prepared, source: impl Source + 'static, sink: impl Sink + 'static) -> Job {
    launch(host, prepared, vec![Box::new(source)], vec![Box::new(sink)])
}

/// Starts the pipeline of a neighbour with as many sources and sinks as it has, all of the same events. One that is of no kind
/// is the user's own.
pub(super) fn start_neighbour(host: &Host, prepared: Prepared, events: &Cycle, kind: Option<&Kind>) -> Job {
    let sink = |_| kind.map_or_else(|| Box::new(Bottomless) as Box<dyn Sink>, Kind::sink);
    let sources = prepared.pipeline.sources.iter().map(|_| Box::new(events.again()) as _);
    let (sources, sinks) = (sources.collect(), prepared.pipeline.sinks.iter().map(sink).collect());
    launch(host, prepared, sources, sinks)
}

fn launch(host: &Host, prepared: Prepared, sources: Vec<Box<dyn Source>>, sinks: Vec<Box<dyn Sink>>) -> Job {
    let tenant = &prepared.pipeline.tenant;
    if host.tenants().iter().all(|known| known.name != *tenant) {
        // They take no room, so what a tenant may keep of them must not end a neighbour.
        let budget = Budget {
            dead_letter_bytes: u64::MAX,
            ..Budget::default()
        };
        host.set_budget(tenant, budget);
    }
    let connectors = Connectors {
        sources,
        sinks,
        dead_letters: Box::new(|| Ok(Box::new(Bottomless) as Box<dyn Sink>)),
        dead_letter_offset: DeadLetterOffset::fresh(),
        store: Store::temporary(),
        recovered_batches: RecoveredBatches::default(),
        is_resumed: false,
        batch_events: 256,
    };
    host.launch(Opened { prepared, connectors })
}

/// Native threads that never pause, at the niceness of workers: neighbours whom only the machine's scheduler holds back.
pub(super) struct NativeHogs {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl NativeHogs {
    pub(super) fn start(threads: u32) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let hog = |_| {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                dirigo_ground::thread::set_niceness(dirigo_ground::thread::WORKER_NICENESS);
                let mut longest_ns = 0;
                let mut before_ns = clock::thread_spent_ns();
                while !is_over.load(Ordering::Relaxed) {
                    let now_ns = clock::thread_spent_ns();
                    longest_ns = longest_ns.max(now_ns - before_ns);
                    before_ns = now_ns;
                }
                longest_ns
            })
        };
        let threads = (0..threads).map(hog).collect();
        Self { is_over, threads }
    }

    /// Ends them. Gives the longest time between two looks of one at its own processor time, in µs: they do nothing else, so
    /// that is what the machine did meanwhile on the thread's account.
    pub(super) fn stop(mut self) -> u64 {
        self.join() / 1_000
    }

    fn join(&mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        // A loop that only reads a clock does not panic.
        let longest_ns = self.threads.drain(..).filter_map(|thread| thread.join().ok());
        longest_ns.max().unwrap_or(0)
    }
}

impl Drop for NativeHogs {
    fn drop(&mut self) {
        self.join();
    }
}

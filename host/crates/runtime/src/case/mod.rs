//! The cases of `dirigo test`: events in, events out, in the real runtime.
//!
//! Owns the stage: sources and sinks in memory, a clock that stands still at the start of 1970, one worker. What stands
//! between source and sink is what a run has there, compiled components included. Does not print.

mod checks;
mod compare;
mod edits;
mod entering;

use std::pin::pin;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

pub use checks::{DeadLetterDifference, FuelExcess, LateDifference, value_of};
pub use compare::{Difference, FirstDifference, UnorderedDifference};
pub use edits::{Edit, edits};

use super::RecoveredBatches;
use super::connectors::BATCH_EVENTS;
use super::{Connectors, Ended, Host, HostOptions, Opened, Prepared};
use dirigo_connect::sink::DeliveryCapability;
use dirigo_connect::{Sink, Source};
use dirigo_connectors::memory::{Feed, MemorySink, MemorySource, Taken};
use dirigo_disk as disk;
use dirigo_engine::Engine;
use dirigo_flow::{self as flow, DeadLetter, DeadLetterOffset};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::ManualClock;
use dirigo_pipeline::{Order, Pipeline, Test};
use dirigo_scheduler::PolicyKind;
use dirigo_state::Store;

/// Where cases are run, one after the other.
#[derive(Debug)]
pub struct CaseRunner {
    host: Host,
}

/// What came of a case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseOutcome {
    /// By sink.
    pub sinks: Vec<SinkOutputs>,
    /// The events that failed on the way.
    pub dead_letters: Vec<DeadLetter>,
    /// How those differ from what the case expects of them, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter_difference: Option<DeadLetterDifference>,
    /// Where other events were late than the case expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_difference: Option<LateDifference>,
    /// The operators that burnt more than the case allows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fuel_excesses: Vec<FuelExcess>,
    /// What ended the case before its time.
    pub failure: Option<String>,
}

/// What left by one sink.
#[derive(Clone, Debug, Serialize)]
pub struct SinkOutputs {
    /// The sink.
    pub sink: String,
    /// What should have left.
    pub expected: Vec<Value>,
    /// What left; a value that is not JSON stands as a string.
    pub actual: Vec<Value>,
    /// How they differ.
    pub difference: Option<Difference>,
}

/// Why a case cannot be run, or not to its end.
#[derive(Debug, thiserror::Error)]
enum CaseFailure {
    #[error("event {number} cannot enter at `{source_id}`: a csv record is an object of its fields")]
    NoRecord { number: u64, source_id: String },
    #[error("the pipeline stopped: {0}")]
    Stopped(flow::Failure),
}

impl CaseOutcome {
    /// Whether everything was as expected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.failure.is_none()
            && self.sinks.iter().all(|outputs| outputs.difference.is_none())
            && self.dead_letter_difference.is_none()
            && self.late_difference.is_none()
            && self.fuel_excesses.is_empty()
    }

    fn failed(failure: &CaseFailure) -> Self {
        Self {
            sinks: Vec::new(),
            dead_letters: Vec::new(),
            dead_letter_difference: None,
            late_difference: None,
            fuel_excesses: Vec::new(),
            failure: Some(failure.to_string()),
        }
    }
}

impl CaseRunner {
    /// A stage with a host of its own, next to `runtime`.
    #[must_use]
    pub fn new(engine: Engine, runtime: tokio::runtime::Handle) -> Self {
        let options = HostOptions {
            // Actors that run side by side would leave the order between keys to chance.
            workers: 1,
            policy: PolicyKind::default(),
            instances_max: u32::MAX,
            clock: Arc::new(ManualClock::new(0)),
        };
        Self {
            host: Host::start(engine, options, runtime),
        }
    }

    /// Runs a case of a pipeline.
    ///
    /// Events enter one after the other as they are listed: before one enters by another source than the one in front of
    /// it, or behind a watermark, all that came of what is in front of it has been through the whole pipeline. Outputs are in the
    /// order of their inputs at every sink, whatever order it keeps in a run; those of windows in time come behind the others of
    /// what closed them, in the order in which the windows closed. A `null` sink that the case does not name is not looked at.
    pub async fn run(&self, prepared: &Prepared, test: &Test) -> CaseOutcome {
        let parts = match entering::parts(&prepared.pipeline, &test.input) {
            Ok(parts) => parts,
            Err(failure) => return CaseOutcome::failed(&failure),
        };
        let CaseSetup {
            connectors,
            feeds,
            taken,
            dead_letters,
        } = self.case_setup(&prepared.pipeline);
        let job = self.host.launch(Opened {
            prepared: in_order(prepared),
            connectors,
        });
        let graph = job.graph().clone();
        let mut finish = pin!(job.finished());
        let ended = tokio::select! {
            // A pipeline that fails does so while events are still to enter.
            ended = &mut finish => ended,
            () = entering::enter(parts, feeds, graph) => finish.await,
        };
        outcome(&prepared.pipeline, test, &ended, &taken, &dead_letters)
    }

    fn case_setup(&self, pipeline: &Pipeline) -> CaseSetup {
        let clock = &self.host.options.clock;
        let sources = pipeline.sources.iter().map(|source| {
            let (memory, feed) = MemorySource::new(source.key.as_ref(), source.time.as_ref(), clock.clone());
            (Box::new(memory) as Box<dyn Source>, feed)
        });
        let (sources, feeds) = sources.unzip();
        let (sinks, taken) = pipeline.sinks.iter().map(|_| memory_sink()).unzip();
        let (dead_letter_sink, dead_letters) = memory_sink();
        let connectors = Connectors {
            sources,
            sinks,
            dead_letters: Box::new(|| Ok(dead_letter_sink)),
            dead_letter_offset: DeadLetterOffset::fresh(),
            store: Store::temporary(),
            recovered_batches: RecoveredBatches::default(),
            is_resumed: false,
            batch_events: BATCH_EVENTS,
        };
        CaseSetup {
            connectors,
            feeds,
            taken,
            dead_letters,
        }
    }
}

/// What a case is run with.
struct CaseSetup {
    connectors: Connectors,
    feeds: Vec<Feed>,
    taken: Vec<Taken>,
    dead_letters: Taken,
}

fn memory_sink() -> (Box<dyn Sink>, Taken) {
    let (memory, taken) = MemorySink::new();
    (Box::new(memory), taken)
}

/// The pipeline, with sinks that keep the order of the input.
fn in_order(prepared: &Prepared) -> Prepared {
    let mut prepared = prepared.clone();
    for sink in &mut prepared.pipeline.sinks {
        sink.order = Order::Source;
    }
    prepared
}

fn outcome(pipeline: &Pipeline, test: &Test, ended: &Ended, taken: &[Taken], dead_letters: &Taken) -> CaseOutcome {
    let mut sinks = Vec::new();
    for (sink, taken) in pipeline.sinks.iter().zip(taken) {
        let at_sink = test.output.iter().filter(|event| event.at == sink.id);
        let expected: Vec<Value> = at_sink.map(|event| event.value.clone()).collect();
        if expected.is_empty() && sink.spec.delivery_capability(&disk::Real) == DeliveryCapability::WritesNothing {
            continue;
        }
        let actual = values(&taken.lock());
        sinks.push(SinkOutputs {
            sink: sink.id.clone(),
            difference: Difference::of(&expected, &actual, test.order),
            expected,
            actual,
        });
    }
    let parse =
        |dead_letter: &[u8]| serde_json::from_slice(dead_letter).expect("a dead letter is written as it is read");
    let mut dead_letters: Vec<DeadLetter> = dead_letters.lock().iter().map(parse).collect();
    // Sources and operators fail side by side.
    dead_letters.sort_by_key(|dead_letter| dead_letter.event.position);
    CaseOutcome {
        sinks,
        dead_letter_difference: test
            .dead_letters
            .as_ref()
            .and_then(|expected| DeadLetterDifference::of(expected, &dead_letters)),
        dead_letters,
        late_difference: checks::late_difference(test, &ended.operators),
        fuel_excesses: checks::fuel_excesses(test, &ended.operators),
        failure: ended
            .failure
            .clone()
            .map(|failure| CaseFailure::Stopped(failure).to_string()),
    }
}

fn values(column: &Column) -> Vec<Value> {
    column.iter().map(value).collect()
}

/// A value; one that is not JSON stands as a string.
fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

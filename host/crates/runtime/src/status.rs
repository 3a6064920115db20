//! How a pipeline is doing while it runs: what it has read and written, what waits, and what the rest waits for.
//!
//! Reads counters and never waits. Does not know who asks, or how often.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use dirigo_actor::Counts;
use dirigo_flow::{Edge, Receiver as _, TapReader};
use dirigo_ground::lineage::Watermark;

use super::graph::{Ended, Graph};
use super::summary::{EdgeSummary, Latency};

/// Looks at a pipeline without keeping it alive.
#[derive(Clone)]
pub struct Monitor {
    name: String,
    tenant: String,
    graph: Weak<Graph>,
}

/// A pipeline at one moment. Its counts are read one after the other, so they may be a batch apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// By source.
    pub sources: Vec<SourceStatus>,
    /// By operator, in the order of the events.
    pub operators: Vec<OperatorStatus>,
    /// By sink.
    pub sinks: Vec<SinkStatus>,
    /// By connection.
    pub edges: Vec<EdgeSummary>,
    /// Events and records that failed.
    pub dead_letters: u64,
    /// For how long the oldest events that are on their way have been, in ns.
    pub behind_ns: u64,
}

/// A source at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub id: String,
    /// Events that it sent on.
    pub events: u64,
    /// Those that are on their way: sent on, and neither written, filtered, taken into a window nor failed.
    pub in_flight: u64,
    /// Records that were no events.
    pub dead_letters: u64,
    /// Units read, such as bytes.
    pub units_read: u64,
    /// Units in all; 0 where that is not known.
    pub units_total: u64,
    /// Whether nothing more comes of it.
    pub has_ended: bool,
    /// Up to where event time has come, in ms since the epoch; `None` before the first event time and after the last.
    pub watermark: Option<Watermark>,
}

/// An operator at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorStatus {
    /// Its name.
    pub id: String,
    /// What it did.
    pub counts: Counts,
    /// Events that wait for it or are in a turn of it.
    pub queued: u64,
    /// Whether those in front of it wait until it has room.
    pub is_full: bool,
    /// Up to where event time has come at an operator that has windows or timers, in ms since the epoch; `None` as for a source.
    pub watermark: Option<Watermark>,
}

/// A sink at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub id: String,
    /// Events that it has written.
    pub events: u64,
    /// Events that wait to be written.
    pub queued: u64,
    /// Whether those in front of it wait until it has room.
    pub is_full: bool,
}

/// The part of a pipeline at which events wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Events at an operator, or in a turn of it.
    Operator {
        /// Which.
        id: String,
        /// How many.
        events: u64,
    },
    /// Events that a sink has yet to write.
    Sink {
        /// Which.
        id: String,
        /// How many.
        events: u64,
    },
    /// A source that has not stopped reading.
    Source {
        /// Which.
        id: String,
    },
    /// Nothing is on its way; the last checkpoint is being taken and files are being closed.
    Closing,
}

impl Monitor {
    pub(super) fn of(graph: &Arc<Graph>) -> Self {
        Self {
            name: graph.pipeline.name.clone(),
            tenant: graph.pipeline.tenant.clone(),
            graph: Arc::downgrade(graph),
        }
    }

    /// The name of the pipeline.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// How it is doing; `None` once it has ended.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.graph.upgrade().map(|graph| Status::of(&graph))
    }

    /// How long events have taken from arrival to sink since the pipeline was started; `None` where none has reached one, and once it has
    /// ended.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.graph.upgrade()?.latency()
    }

    /// Looks at the events that leave or reach `item` from now on, with the edge of each reader. `None` once it has ended; empty where there is no
    /// such source, operator, output or sink, and no edge of this name, such as `readings..map-1`.
    #[must_use]
    pub fn tap(&self, item: &str) -> Option<Vec<(String, TapReader)>> {
        let graph = self.graph.upgrade()?;
        let mut edges: Vec<(String, String, &Edge)> = Vec::new();
        for (from, edge) in graph.edges() {
            edges.push((format!("{from}..{}", edge.receiver_id()), from, edge));
        }
        // What leaves an item is what people look for; a sink has only what reaches it.
        let leaving = edges.iter().filter(|(name, from, _)| from == item || name == item);
        let mut found: Vec<_> = leaving.collect();
        if found.is_empty() {
            found = edges.iter().filter(|(_, _, edge)| edge.receiver_id() == item).collect();
        }
        Some(
            found
                .into_iter()
                .map(|(name, _, edge)| (name.clone(), edge.tap().watch()))
                .collect(),
        )
    }

    /// The names of its edges; `None` once it has ended.
    #[must_use]
    pub fn edges(&self) -> Option<Vec<String>> {
        let graph = self.graph.upgrade()?;
        Some(
            graph
                .edges()
                .map(|(from, edge)| format!("{from}..{}", edge.receiver_id()))
                .collect(),
        )
    }

    /// What it has done so far; `None` once it has ended.
    #[must_use]
    pub fn so_far(&self) -> Option<Ended> {
        self.graph.upgrade().map(|graph| graph.report())
    }

    /// What there is to report of a pipeline that does not end, for when the process ends without it; `None` once it has ended.
    #[must_use]
    pub fn report(&self) -> Option<Ended> {
        self.graph.upgrade().map(|graph| {
            graph.note_unfinished();
            graph.report()
        })
    }
}

impl Status {
    fn of(graph: &Graph) -> Self {
        let sources = graph.source_handles.iter().enumerate().map(|(place, source_handle)| {
            // Before what is read: else more could be finished than was read.
            let in_flight = source_handle.in_flight();
            SourceStatus {
                id: source_handle.id.clone(),
                events: source_handle.events_in.load(Ordering::Acquire),
                in_flight,
                dead_letters: source_handle.dead_letters.load(Ordering::Relaxed),
                units_read: source_handle.done.load(Ordering::Relaxed),
                units_total: source_handle.total.load(Ordering::Relaxed),
                has_ended: source_handle.has_ended(),
                watermark: graph.time.watermark_of_source(place),
            }
        });
        let operators = graph.operators.iter().map(|operator| OperatorStatus {
            id: operator.id().to_owned(),
            counts: operator.counters().read(),
            queued: operator.gate().events() as u64,
            is_full: operator.gate().is_full(),
            watermark: graph.time.watermark_of_operator(operator.id()),
        });
        let sinks = graph.event_sinks.iter().map(|event_sink| SinkStatus {
            id: event_sink.id.clone(),
            events: event_sink.events_out.load(Ordering::Relaxed),
            queued: event_sink.gate().events() as u64,
            is_full: event_sink.gate().is_full(),
        });
        let oldest = graph
            .source_handles
            .iter()
            .filter_map(|source_handle| source_handle.oldest_arrival_ns());
        let oldest_ns = oldest.min();
        let now_ns = graph.context.clock.now_ns();
        Self {
            behind_ns: oldest_ns.map_or(0, |oldest_ns| now_ns.saturating_sub(oldest_ns)),
            sources: sources.collect(),
            operators: operators.collect(),
            sinks: sinks.collect(),
            edges: graph.edge_summaries(),
            dead_letters: graph.context.dead_letters.count(),
        }
    }

    /// Records that the sources read, those that were no events included.
    #[must_use]
    pub fn events_in(&self) -> u64 {
        let of_source = |source: &SourceStatus| source.events + source.dead_letters;
        self.sources.iter().map(of_source).sum()
    }

    /// Events that the sinks wrote.
    #[must_use]
    pub fn events_out(&self) -> u64 {
        self.sinks.iter().map(|sink| sink.events).sum()
    }

    /// Events that were read and are on their way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sources.iter().map(|source| source.in_flight).sum()
    }

    /// Where events wait, in their order.
    #[must_use]
    pub fn waiting(&self) -> Vec<Waiting> {
        let reading = self.sources.iter().filter(|source| !source.has_ended);
        let reading = reading.map(|source| Waiting::Source { id: source.id.clone() });
        let operators = self.operators.iter().filter(|operator| operator.queued > 0);
        let operators = operators.map(|operator| Waiting::Operator {
            id: operator.id.clone(),
            events: operator.queued,
        });
        let sinks = self.sinks.iter().filter(|sink| sink.queued > 0);
        let sinks = sinks.map(|sink| Waiting::Sink {
            id: sink.id.clone(),
            events: sink.queued,
        });
        let waiting: Vec<_> = reading.chain(operators).chain(sinks).collect();
        if waiting.is_empty() {
            return vec![Waiting::Closing];
        }
        waiting
    }

    /// What the pipeline is as slow as: of the operators and sinks that have no room for more, the one that lies furthest
    /// downstream. `None` where none is full: then its sources are.
    #[must_use]
    pub fn bottleneck(&self) -> Option<&str> {
        let full_sink = self.sinks.iter().find(|sink| sink.is_full).map(|sink| &*sink.id);
        let full_operator = self.operators.iter().rfind(|operator| operator.is_full);
        full_sink.or(full_operator.map(|operator| &*operator.id))
    }
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of_events = |events: u64| if events == 1 { "event" } else { "events" };
        match self {
            Self::Operator { id, events } => {
                write!(formatter, "operator `{id}` ({events} {} queued)", of_events(*events))
            }
            Self::Sink { id, events } => write!(formatter, "sink `{id}` ({events} {} to write)", of_events(*events)),
            Self::Source { id } => write!(formatter, "source `{id}` (it is reading)"),
            Self::Closing => formatter.write_str("the last checkpoint"),
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Monitor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(id: &str, queued: u64, is_full: bool) -> OperatorStatus {
        OperatorStatus {
            id: id.into(),
            queued,
            is_full,
            ..OperatorStatus::default()
        }
    }

    #[test]
    fn a_pipeline_is_as_slow_as_the_last_part_that_is_full() {
        let mut status = Status {
            operators: vec![
                operator("parse", 9, true),
                operator("score", 7, true),
                operator("count", 1, false),
            ],
            ..Status::default()
        };
        assert_eq!(
            status.bottleneck(),
            Some("score"),
            "what lies in front of it waits for it"
        );
        status.sinks = vec![SinkStatus {
            id: "out".into(),
            is_full: true,
            ..SinkStatus::default()
        }];
        assert_eq!(status.bottleneck(), Some("out"));
        status.sinks.clear();
        status.operators.clear();
        assert_eq!(status.bottleneck(), None);
    }

    #[test]
    fn what_a_drain_waits_for_is_named_with_how_much_is_there() {
        let status = Status {
            operators: vec![
                operator("idle", 0, false),
                operator("busy", 2, false),
                operator("last", 1, false),
            ],
            ..Status::default()
        };
        let said: Vec<String> = status.waiting().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["operator `busy` (2 events queued)", "operator `last` (1 event queued)"]
        );
        assert_eq!(Status::default().waiting(), [Waiting::Closing]);
    }
}

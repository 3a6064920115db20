//! Which windows in time are closed, which timers fire and which events that wait are processed, and when (docs/design/008-event-time.md).
//!
//! Timed operators, which are those with windows in time and processes, stand in topological order. Each waits for the lines that come to it: sources, and operators of the same
//! kind in front of it. When the watermark of those has passed the end of a window, the window leaves the operator's state and is put on its
//! way to be finished; when all of them have, and are done with, the operator's own line has come to that watermark.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::closing::{enter, send};
use super::graph::Graph;
use super::summary::EventTimeSummary;
use super::wiring::{self, Lines};
use dirigo_actor::{DueKeys, Operator};
use dirigo_ground::lineage::{AFTER_ALL, BEFORE_ALL, Progress, SourceIndex, Watermark};
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::Pipeline;
use dirigo_state::{Error, ReachedTime};

/// Bytes of windows of one operator that may be on their way before further ones follow.
const ON_THEIR_WAY_MAX: u64 = 16 << 20;
/// The shortest time between two looks at which sources are silent.
const IDLE_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// The longest.
const IDLE_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// The timed operators of a pipeline.
pub(super) struct EventTime {
    operators: Vec<TimedOperator>,
    progress: Arc<Progress>,
}

struct TimedOperator {
    operator: Arc<Operator>,
    /// Its own line.
    line: SourceIndex,
    /// The lines that come to it.
    inputs: Vec<SourceIndex>,
    /// The sources that lead to it, by whatever way.
    sources: Vec<SourceIndex>,
    /// The operators in front of it.
    before: BTreeSet<String>,
    /// Whether it is a process whose line goes to another timed operator, which may find late what its timers put out.
    is_advanced_in_waves: bool,
    /// Where the line is on its way to: it comes there once nothing that is due by then is left, or on its way.
    wave: Mutex<Option<ReachedTime>>,
}

impl EventTime {
    pub(super) fn new(
        pipeline: &Pipeline,
        lines: &Lines,
        operators: &[Arc<Operator>],
        progress: &Arc<Progress>,
    ) -> Self {
        let sources = wiring::sources_of_operators(pipeline);
        let feeds_others = |line| {
            lines
                .timed()
                .any(|(place, _)| lines.into_operators[place].contains(&line))
        };
        let operator = |(place, line): (usize, SourceIndex)| TimedOperator {
            operator: operators[place].clone(),
            line,
            inputs: lines.into_operators[place].clone(),
            sources: sources[place].iter().copied().collect(),
            before: before(pipeline, place),
            is_advanced_in_waves: operators[place].has_timers() && feeds_others(line),
            wave: Mutex::default(),
        };
        let operators: Vec<TimedOperator> = lines.timed().map(operator).collect();
        for timed in &operators {
            timed.operator.set_lines(&timed.inputs, timed.line);
        }
        progress.set_inputs(operators.iter().map(|timed| timed.inputs.clone()).collect());
        Self {
            operators,
            progress: progress.clone(),
        }
    }

    /// Whether the operator of a line has windows open, as far as is known.
    pub(super) fn has_windows(&self, line: SourceIndex) -> bool {
        let timed = self.operators.iter().find(|timed| timed.line == line);
        timed.is_some_and(|timed| timed.operator.next_due() != AFTER_ALL)
    }

    /// For each source those that lead to an operator which it leads to, too.
    pub(super) fn peers(&self, source: SourceIndex) -> Vec<SourceIndex> {
        let shared = self.operators.iter().filter(|timed| timed.sources.contains(&source));
        let mut peers: Vec<SourceIndex> = shared.flat_map(|timed| timed.sources.iter().copied()).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| *peer != source);
        peers
    }

    /// Whether no operator is timed.
    pub(super) fn is_empty(&self) -> bool {
        self.operators.is_empty()
    }

    /// Whether an operator may have windows that are closed: its sources are past the end of one.
    pub(super) fn is_due(&self) -> bool {
        let is_due = |timed: &TimedOperator| {
            let watermark = self.progress.watermark_seen(&timed.sources);
            let next_due = timed.operator.next_due();
            next_due != AFTER_ALL && watermark.is_some_and(|watermark| watermark >= next_due)
        };
        self.operators.iter().any(is_due)
    }

    /// Up to where event time has come at a source, by its place; `None` before the first event time and after the last.
    pub(super) fn watermark_of_source(&self, place: usize) -> Option<Watermark> {
        let source = SourceIndex::try_from(place).expect("sources are numbered by their places");
        self.time_on(&[source])
    }

    /// Up to where event time has come at a timed operator; `None` as for a source.
    pub(super) fn watermark_of_operator(&self, id: &str) -> Option<Watermark> {
        let timed = self.operators.iter().find(|timed| timed.operator.id() == id)?;
        self.time_on(&timed.inputs)
    }

    fn time_on(&self, lines: &[SourceIndex]) -> Option<Watermark> {
        let watermark = self.progress.watermark_seen(lines);
        watermark.filter(|watermark| !matches!(*watermark, BEFORE_ALL | AFTER_ALL))
    }

    /// Whether no operator has windows left that its watermark has passed.
    pub(super) fn has_closed_all(&self) -> bool {
        self.operators.iter().all(|timed| {
            let next = timed.operator.next_due();
            let watermark = self.progress.watermark_seen(&timed.inputs);
            next == AFTER_ALL || watermark.is_none_or(|watermark| next > watermark)
        })
    }

    /// Puts windows on their way that are closed, a part of those of each operator. Gives how many: where there were some, there may be more.
    /// One of more than a KiB counts for each. An operator in front of which others are still to close windows at the end of the input waits for those, as `is_to_close` says.
    pub(super) fn close(
        &self,
        graph: &Graph,
        due: &mut Vec<DueKeys>,
        is_to_close: impl Fn(&str) -> bool,
    ) -> Result<usize, Error> {
        due.resize_with(self.operators.len(), DueKeys::default);
        let mut begun = 0;
        for (timed, due) in self.operators.iter().zip(due) {
            let Some(watermark) = self.progress.watermark(&timed.inputs) else {
                continue;
            };
            if watermark == AFTER_ALL && timed.before.iter().any(|id| is_to_close(id)) {
                continue;
            }
            let before_end = self.progress.before_end(&timed.inputs);
            let now = ReachedTime { watermark, before_end };
            begun += self.advance(graph, timed, due, now)?;
        }
        Ok(begun)
    }

    /// Brings an operator to where its inputs have come, and then its line. Gives how much was put on its way.
    ///
    /// While steps of a key are on their way, its timers stay in its entry, which is not due for them. So a later watermark finds nothing due there,
    /// though a timer is. If the operator's line came to that watermark, what the timer puts out would be late for the operator behind it, or
    /// not, as it happens. So where there is one, the line comes to a watermark once nothing is on its way and nothing is due; and what has become
    /// due meanwhile waits for that.
    fn advance(
        &self,
        graph: &Graph,
        timed: &TimedOperator,
        due: &mut DueKeys,
        now: ReachedTime,
    ) -> Result<usize, Error> {
        if !timed.is_advanced_in_waves {
            let (begun, is_complete) = self.close_of(graph, timed, due, now)?;
            if is_complete {
                self.pass(timed, now);
            }
            return Ok(begun);
        }
        let mut wave = timed.wave.lock();
        loop {
            let by = *wave.get_or_insert(now);
            let is_at_rest = self.progress.in_flight(timed.line) == 0;
            let (begun, is_complete) = self.close_of(graph, timed, due, by)?;
            if begun > 0 || !is_complete || !is_at_rest {
                return Ok(begun);
            }
            self.pass(timed, by);
            *wave = None;
            if by == now {
                return Ok(0);
            }
        }
    }

    /// Advances an operator's line to `by`.
    fn pass(&self, timed: &TimedOperator, by: ReachedTime) {
        if by.watermark == AFTER_ALL {
            self.progress.pass_time(timed.line, by.before_end);
        }
        self.progress.pass_time(timed.line, by.watermark);
    }

    /// How much of an operator was put on its way, and whether nothing else is due.
    fn close_of(
        &self,
        graph: &Graph,
        timed: &TimedOperator,
        due: &mut DueKeys,
        by: ReachedTime,
    ) -> Result<(usize, bool), Error> {
        let next_due = timed.operator.next_due();
        if next_due > by.watermark || next_due == AFTER_ALL {
            return Ok((0, true));
        }
        while timed.operator.find_due(due, by)? {
            let on_their_way = self.progress.bytes_in_flight(timed.line);
            let is_short = graph.context.instances.quota.is_over_memory();
            // When one of them is done with, time passes on this line, and its windows are looked for again.
            if on_their_way > ON_THEIR_WAY_MAX
                || (is_short && on_their_way > 0)
                || graph.context.failure_latch.has_failed()
            {
                return Ok((0, false));
            }
            let _inside = enter(&graph.context.epochs);
            let windows = timed.operator.take_due(due)?;
            if !windows.is_empty() {
                let first = self.progress.next_position(timed.line).max(1);
                let begun = windows.len().max(windows.entries.bytes().len() / 1_024);
                send(graph, &timed.operator, timed.line, windows, first);
                return Ok((begun, false));
            }
        }
        Ok((0, true))
    }

    /// How far event time has come for an operator, if it is timed and not at the end of its input.
    pub(super) fn summary(&self, graph: &Graph, operator: &str) -> Option<EventTimeSummary> {
        let timed = self.operators.iter().find(|timed| timed.operator.id() == operator)?;
        let lines = timed
            .inputs
            .iter()
            .filter_map(|line| Some((self.progress.time(*line)?, *line)));
        let ((watermark, _), held_back_by) = lines.clone().min()?;
        let furthest = lines.map(|((_, read), _)| read).filter(|read| *read != AFTER_ALL).max();
        let known = |watermark: i64| Some(watermark).filter(|watermark| *watermark != BEFORE_ALL);
        (watermark != AFTER_ALL).then(|| EventTimeSummary {
            watermark: known(watermark),
            behind_ms: known(watermark)
                .zip(furthest)
                .map(|(own, furthest)| furthest.saturating_sub(own).max(0)),
            held_back_by: graph.context.sources[usize::from(held_back_by)].to_string(),
        })
    }

    /// Whether each operator has come to the watermark of what comes to it, and is done with the windows which that closes. Nothing of sources
    /// is on its way. Operators in front come first: what they are done with changes nothing any more for those behind.
    pub(super) fn has_settled(&self) -> bool {
        self.operators.iter().all(|timed| {
            let watermark = self.progress.watermark_seen(&timed.inputs);
            let own = self.progress.time(timed.line);
            // An operator says that it has come so far after it has put its windows on their way.
            let has_come = watermark
                .zip(own)
                .is_none_or(|(watermark, (_, read))| read >= watermark);
            has_come && self.progress.in_flight(timed.line) == 0
        })
    }

    /// How often to look which sources are silent, where some hold nobody back then.
    pub(super) fn idle_interval(&self, pipeline: &Pipeline) -> Option<Duration> {
        let idle = pipeline.sources.iter().filter_map(|source| source.idle).min()?;
        (!self.is_empty()).then(|| (idle / 4).clamp(IDLE_INTERVAL_MIN, IDLE_INTERVAL_MAX))
    }

    /// Has sources hold nobody back that were silent for long enough.
    pub(super) fn rest_silent(graph: &Graph) {
        let now_ns = graph.context.clock.now_ns();
        for (source, handle) in graph.pipeline.sources.iter().zip(&graph.source_handles) {
            if let Some(idle) = source.idle {
                handle.rest_if_silent(idle, now_ns);
            }
        }
    }
}

/// The operators in front of the one at `place`.
fn before(pipeline: &Pipeline, place: usize) -> BTreeSet<String> {
    let mut before = BTreeSet::new();
    let mut places = vec![place];
    while let Some(place) = places.pop() {
        for input in &pipeline.operators[place].inputs {
            if let Some(place) = input.operator()
                && before.insert(pipeline.operators[place].id.clone())
            {
                places.push(place);
            }
        }
    }
    before
}

impl std::fmt::Debug for EventTime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let operators = self.operators.iter().map(|timed| timed.operator.id());
        formatter.debug_list().entries(operators).finish()
    }
}

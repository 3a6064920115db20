//! How far event time has come, per source and per timed operator.
//!
//! A watermark says that no event before it is to come but those that are late. A source has one of all that it has read; what counts
//! for operators is the one of all that is *done with*: each ticket bears the watermark behind its batch, and as tickets are done with in
//! order, time passes. So an operator knows its watermark without a message through actors: when it is there, all events that were read
//! before it are in the operator's windows. (Akidau et al., The Dataflow Model, VLDB 2015, section 2.3, has watermarks; that they
//! follow what is in flight is as in Naiad, SOSP 2013, section 2.3.)
//!
//! What an operator's windows put out is a *line* of its own, next to the sources: it has tickets, positions and a watermark as a source
//! has, and operators behind it wait for that.

use std::sync::atomic::Ordering;

use super::{Progress, SourceIndex, SourceProgress, SourceState};

/// A point in event time: ms since the epoch.
pub type Watermark = i64;

/// The watermark where nothing was read yet.
pub const BEFORE_ALL: Watermark = i64::MIN;
/// The watermark where nothing more comes.
pub const AFTER_ALL: Watermark = i64::MAX;

/// How far event time has come on one line.
#[derive(Debug)]
pub(super) struct Time {
    /// Behind all that was read.
    read: Watermark,
    /// Behind all that was read, the end of the line left out: what the next run goes on from.
    before_end: Watermark,
    /// The furthest watermark that operators behind it were given while it held nobody back: when it wakes up, it starts there.
    passed_by: Watermark,
    /// Behind all that is done with.
    done: Watermark,
    /// Whether it has been silent for so long that it holds nobody back.
    is_idle: bool,
}

impl Default for Time {
    fn default() -> Self {
        Self {
            read: BEFORE_ALL,
            before_end: BEFORE_ALL,
            passed_by: BEFORE_ALL,
            done: BEFORE_ALL,
            is_idle: false,
        }
    }
}

impl Time {
    pub(super) fn is_at_end(&self) -> bool {
        self.read == AFTER_ALL
    }

    /// Notes the watermark behind a batch that is opened. Whether time has passed by it.
    pub(super) fn read(&mut self, watermark: Watermark) -> bool {
        let has_passed = watermark > self.read;
        self.read = self.read.max(watermark);
        if watermark < AFTER_ALL {
            self.before_end = self.before_end.max(watermark);
        }
        has_passed
    }

    /// Notes the watermark behind a batch that is done with, as all before it are; and whether `is_last` of what is in flight.
    pub(super) fn done(&mut self, watermark: Watermark, is_last: bool) {
        self.done = self.done.max(if is_last { self.read } else { watermark });
    }
}

impl SourceState {
    fn watermark(&self) -> Watermark {
        if self.open.is_empty() {
            self.time.read
        } else {
            self.time.done
        }
    }

    /// Whether a source holds time back: one that is at its end says so by its watermark.
    fn holds_back(&self) -> bool {
        !self.time.is_idle || !self.open.is_empty() || self.time.read == AFTER_ALL
    }
}

impl Progress {
    /// Notes that a line has come to `watermark` with all that it has read: it counts once that is done with.
    pub fn pass_time(&self, line: SourceIndex, watermark: Watermark) {
        let (is_further, is_done) = {
            let mut state = self.sources[usize::from(line)].state.lock();
            let is_further = state.time.read(watermark);
            if let Some(last) = state.open.back_mut() {
                last.watermark = last.watermark.max(watermark);
            }
            (is_further, state.open.is_empty())
        };
        if is_further {
            self.ring_for_faster();
        }
        if is_further && is_done {
            self.listener.time_passed();
        }
    }

    /// The watermark behind all that a line has read, for the next run to go on from: its end is left out, since more may come by then.
    #[must_use]
    pub fn read_watermark(&self, line: SourceIndex) -> Watermark {
        let state = self.sources[usize::from(line)].state.lock();
        state.time.before_end.max(state.time.passed_by)
    }

    /// The watermark behind a batch of a line that is on its way, as far as it is known.
    pub(super) fn watermark_behind(&self, line: SourceIndex, number: u64) -> Watermark {
        let state = self.sources[usize::from(line)].state.lock();
        let place = usize::try_from(number - state.oldest).expect("tickets in flight are bounded");
        state.open[place].watermark.max(state.time.done)
    }

    /// How far any of these lines has brought event time, their ends left out.
    #[must_use]
    pub fn before_end(&self, lines: &[SourceIndex]) -> Watermark {
        let of_line = |line: &SourceIndex| self.sources[usize::from(*line)].state.lock().time.before_end;
        lines.iter().map(of_line).max().unwrap_or(BEFORE_ALL)
    }

    /// How far event time has come of all that is done with on these lines: of those that hold it back, the least; of all of them, where none
    /// does. `None` of no lines.
    ///
    /// A line of windows holds time back while its operator has windows open, something is on the line, or one of the lines that come to the
    /// operator holds time back. Where only idle lines are not at their end, the end counts as where the others had come to before it: more
    /// is to come.
    ///
    /// The sources that did not count start from what this gives when they wake up, so that their events are late for what may have been
    /// closed meanwhile.
    #[must_use]
    pub fn watermark(&self, lines: &[SourceIndex]) -> Option<Watermark> {
        // No source wakes up between a look at it and what follows from that.
        let _no_wake = self.wakes.lock();
        let (watermark, passed_by) = self.look(lines)?;
        for source in passed_by {
            let time = &mut self.sources[usize::from(source)].state.lock().time;
            time.passed_by = time.passed_by.max(watermark);
        }
        Some(watermark)
    }

    /// What [`watermark`](Self::watermark) would give, for callers that close nothing by it.
    #[must_use]
    pub fn watermark_seen(&self, lines: &[SourceIndex]) -> Option<Watermark> {
        self.look(lines).map(|(watermark, _)| watermark)
    }

    /// The watermark on these lines, and the idle sources that did not count.
    fn look(&self, lines: &[SourceIndex]) -> Option<(Watermark, Vec<SourceIndex>)> {
        let (mut least, mut before_end) = (None, BEFORE_ALL);
        let mut passed_by = Vec::new();
        for line in lines {
            if !self.holds_back(*line, &mut passed_by) {
                continue;
            }
            let state = self.sources[usize::from(*line)].state.lock();
            let own = state.watermark();
            least = Some(least.map_or(own, |least: Watermark| least.min(own)));
            before_end = before_end.max(state.time.before_end);
        }
        let Some(least) = least else {
            // No line holds time back, and none moves it on: it stays where all lines have come to.
            let reached = |line: &SourceIndex| self.sources[usize::from(*line)].state.lock().watermark();
            return Some((lines.iter().map(reached).min()?, Vec::new()));
        };
        let watermark = if least == AFTER_ALL && !passed_by.is_empty() {
            before_end
        } else {
            least
        };
        Some((watermark, passed_by))
    }

    /// The watermark on these lines once all that they have read is done with: windows up to it will be closed without further input. The
    /// end of line `own` does not count.
    pub(super) fn time_to_come(&self, lines: &[SourceIndex], own: SourceIndex) -> Watermark {
        let of_line = |line: SourceIndex| {
            if line == own {
                return Some(self.sources[usize::from(line)].state.lock().time.before_end);
            }
            let holds_back = self.holds_back(line, &mut Vec::new());
            holds_back.then(|| self.sources[usize::from(line)].state.lock().time.read)
        };
        lines.iter().copied().filter_map(of_line).min().unwrap_or(BEFORE_ALL)
    }

    /// Whether a line holds time back; the idle sources are added that make it so that it does not.
    fn holds_back(&self, line: SourceIndex, idle: &mut Vec<SourceIndex>) -> bool {
        let index = usize::from(line);
        if index < self.read {
            let holds = self.sources[index].state.lock().holds_back();
            if !holds {
                idle.push(line);
            }
            return holds;
        }
        let before = idle.len();
        let inputs = self.inputs.get().map_or(&[][..], |inputs| &inputs[index - self.read]);
        // Looked at before the windows are: what has come through has opened its windows by then.
        let is_fed = inputs.iter().any(|input| self.holds_back(*input, idle));
        let is_busy = || !self.sources[index].state.lock().open.is_empty() || self.listener.has_windows(line);
        let holds = is_fed || is_busy();
        if holds {
            idle.truncate(before);
        }
        holds
    }

    /// Says which lines come to the timed operators, in their order.
    pub fn set_inputs(&self, inputs: Vec<Vec<SourceIndex>>) {
        self.inputs.get_or_init(|| inputs);
    }

    /// Notes that a line is silent and holds nobody back until it [wakes](Self::wake), if it is silent still.
    pub fn rest(&self, line: SourceIndex, is_silent: impl FnOnce() -> bool) {
        let has_changed = {
            let mut state = self.sources[usize::from(line)].state.lock();
            let rests = !state.time.is_idle && state.time.read < AFTER_ALL && is_silent();
            state.time.is_idle |= rests;
            rests
        };
        if has_changed {
            self.ring_for_faster();
            self.listener.time_passed();
        }
    }

    /// Notes that a source has something again. Gives the watermark that it starts from, if it was silent.
    pub fn wake(&self, source: SourceIndex) -> Option<Watermark> {
        let _no_look = self.wakes.lock();
        let mut state = self.sources[usize::from(source)].state.lock();
        let was_idle = std::mem::replace(&mut state.time.is_idle, false);
        was_idle.then_some(state.time.passed_by)
    }

    /// Whether a source has read more than `drift` ms of event time past the slowest of `others` that hold time back. If so, its signal rings
    /// when one of them has gone on. It waits for none of which a sink holds events back to keep the order of the sources: that one may
    /// wait for it.
    #[must_use]
    pub fn is_too_far_ahead(&self, source: SourceIndex, others: &[SourceIndex], drift: i64) -> bool {
        let line = &self.sources[usize::from(source)];
        let own = line.state.lock().time.before_end;
        let is_ahead = || {
            let of = |other: &SourceIndex| {
                let state = self.sources[usize::from(*other)].state.lock();
                (state.holds_back() && state.held.events == 0).then_some(state.time.read)
            };
            let slowest = others.iter().filter_map(of).min();
            slowest.is_some_and(|slowest| own > slowest.saturating_add(drift))
        };
        if !is_ahead() {
            return false;
        }
        line.is_ahead.store(true, Ordering::SeqCst);
        // Looked at again: another may have gone on before it was noted that somebody waits.
        is_ahead()
    }

    /// Has sources wait, or go on: while more windows are due than can be closed as fast as they open, what is read only makes more of them.
    pub fn set_closing_behind(&self, is_behind: bool) {
        let was_behind = self.is_closing_behind.swap(is_behind, Ordering::SeqCst);
        if was_behind && !is_behind {
            self.sources.iter().for_each(SourceProgress::make_room);
        }
    }

    /// Rings for sources that wait for slower ones.
    pub(super) fn ring_for_faster(&self) {
        self.sources[..self.read].iter().for_each(SourceProgress::let_faster_on);
    }

    /// The watermark of what a line has done with, and of what it has read; `None` for one that holds no time back.
    #[must_use]
    pub fn time(&self, line: SourceIndex) -> Option<(Watermark, Watermark)> {
        self.holds_back(line, &mut Vec::new()).then(|| {
            let state = self.sources[usize::from(line)].state.lock();
            (state.watermark(), state.time.read)
        })
    }

    /// How many bytes of a line are in flight.
    #[must_use]
    pub fn bytes_in_flight(&self, line: SourceIndex) -> u64 {
        self.sources[usize::from(line)].state.lock().live.bytes
    }

    /// Whether a line is what a timed operator put out when event time came to it.
    #[must_use]
    pub fn is_of_windows(&self, line: SourceIndex) -> bool {
        usize::from(line) >= self.read
    }

    /// The lines: sources first, then timed operators.
    pub fn lines(&self) -> impl Iterator<Item = SourceIndex> + use<> {
        let lines = SourceIndex::try_from(self.sources.len()).expect("a pipeline file bounds the number of sources");
        0..lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Listener, ReadBatch};
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone, Debug, Default)]
    struct Passed(Arc<AtomicUsize>);

    impl Listener for Passed {
        fn advanced(&self) {}
        fn emptied(&self) {}
        fn time_passed(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read(first: u64, watermark: Watermark) -> ReadBatch {
        ReadBatch {
            first,
            last: first,
            events: 1,
            bytes: 1,
            arrival_ns: 0,
            watermark,
        }
    }

    fn progress(sources: usize) -> (Arc<Progress>, Passed) {
        let passed = Passed::default();
        let rooms = (0..sources).map(|_| Arc::default()).collect();
        (
            Progress::with_windows(rooms, 1, Box::new(passed.clone()), false),
            passed,
        )
    }

    #[test]
    fn time_passes_as_what_was_read_before_it_is_done_with() {
        let (progress, passed) = progress(1);
        assert_eq!(progress.watermark(&[0]), Some(BEFORE_ALL));
        let (first, second) = (progress.open(0, &read(1, 10)), progress.open(0, &read(2, 20)));
        drop(second);
        assert_eq!(
            progress.watermark(&[0]),
            Some(BEFORE_ALL),
            "the first batch is under way"
        );
        drop(first);
        assert_eq!(progress.watermark(&[0]), Some(20));
        let third = progress.open(0, &read(3, 15));
        assert_eq!(progress.watermark(&[0]), Some(20), "it never goes back");
        progress.pass_time(0, 40);
        assert_eq!((progress.watermark(&[0]), progress.read_watermark(0)), (Some(20), 40));
        let before = passed.0.load(Ordering::SeqCst);
        drop(third);
        assert_eq!(progress.watermark(&[0]), Some(40));
        assert!(passed.0.load(Ordering::SeqCst) > before, "who waits for it is told");
    }

    #[test]
    fn the_slowest_line_holds_time_back_unless_it_is_idle() {
        let (progress, _) = progress(2);
        progress.pass_time(0, 50);
        progress.pass_time(1, 30);
        assert_eq!(progress.watermark(&[0, 1]), Some(30));
        progress.rest(1, || true);
        assert_eq!(progress.watermark(&[0, 1]), Some(50));
        assert_eq!(
            progress.watermark(&[1]),
            Some(30),
            "nobody holds it back, and nobody pushes it on"
        );
        assert_eq!(
            progress.wake(1),
            Some(50),
            "what comes now is late for what was closed meanwhile"
        );
        assert_eq!(progress.wake(1), None);
        assert_eq!(progress.watermark(&[0, 1]), Some(30));
    }

    #[test]
    fn the_end_of_a_line_is_not_that_of_an_idle_one() {
        let (progress, _) = progress(2);
        progress.pass_time(0, 50);
        progress.pass_time(0, AFTER_ALL);
        progress.rest(1, || true);
        assert_eq!(progress.watermark(&[0, 1]), Some(50));
        assert_eq!(progress.wake(1), Some(50));
        progress.pass_time(1, AFTER_ALL);
        assert_eq!(progress.watermark(&[0, 1]), Some(AFTER_ALL));
        progress.rest(1, || true);
        assert_eq!(
            progress.watermark(&[0, 1]),
            Some(AFTER_ALL),
            "it has nothing more to bring"
        );
    }

    #[test]
    fn a_source_that_is_too_far_ahead_is_told_when_the_slowest_has_gone_on() {
        let signals: Vec<_> = (0..3).map(|_| Arc::<crate::signal::Signal>::default()).collect();
        let progress = Progress::new(signals.clone(), Box::<Passed>::default(), false);
        progress.pass_time(0, 100);
        progress.pass_time(1, 80);
        assert!(progress.is_too_far_ahead(0, &[1, 2], 50), "the third has read nothing");
        let seen = signals[0].seen();
        drop(progress.open(2, &read(1, 60)));
        assert!(signals[0].seen() > seen && !progress.is_too_far_ahead(0, &[1, 2], 50));
        assert!(progress.is_too_far_ahead(0, &[1, 2], 30) && !progress.is_too_far_ahead(2, &[0, 1], 0));
        let seen = signals[0].seen();
        progress.rest(2, || true);
        assert!(
            signals[0].seen() > seen && !progress.is_too_far_ahead(0, &[1, 2], 30),
            "an idle one keeps nobody waiting"
        );
        progress.pass_time(1, AFTER_ALL);
        assert!(!progress.is_too_far_ahead(0, &[1, 2], 0));
    }

    #[test]
    fn an_idle_line_counts_until_what_it_has_read_is_done_with() {
        let (progress, _) = progress(2);
        progress.pass_time(0, 50);
        let ticket = progress.open(1, &read(1, 10));
        progress.rest(1, || true);
        assert_eq!(progress.watermark(&[0, 1]), Some(BEFORE_ALL));
        drop(ticket);
        assert_eq!(progress.watermark(&[0, 1]), Some(50));
    }

    #[test]
    fn a_line_of_windows_keeps_a_pipeline_from_being_empty_only_while_something_is_on_it() {
        let (progress, _) = progress(1);
        progress.end(0);
        assert!(progress.is_empty());
        let window = progress.open(1, &read(1, 10));
        assert!(!progress.is_empty() && progress.has_room(0, false));
        assert_eq!(progress.frontier(1), 1);
        drop(window);
        assert!(progress.is_empty());
        assert_eq!(progress.frontier(1), 2, "it may go on");
    }
}

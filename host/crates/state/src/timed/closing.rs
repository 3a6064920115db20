//! Which windows of a key a watermark closes, and what is left of the key then.

use std::collections::BTreeSet;

use crate::aggregates;
use crate::entry::Entry;
use crate::parts::Part;
use crate::segments::{self, ClosedWindow, Segment, Segments, SessionState, Stage};
use crate::windows::{OpenChange, group_number};
use dirigo_ground::windowing::{Session, Sliding, Span, TimeWindows};

/// What is due of a key at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: i64,
    /// The windows that are finished then, by their ends; none where nothing is left but to forget.
    pub windows: Vec<ClosedWindow>,
    /// By how much what lies in open windows shrinks.
    pub change: OpenChange,
    /// When the next window of the key is due, if there is one.
    pub next: Option<i64>,
}

impl Entry {
    /// Takes out what is due next, if that is by `watermark`; `None` where it is not. The entry has what is left: nothing, or when the next
    /// window is due.
    pub fn take_due(&mut self, windows: TimeWindows, watermark: i64) -> Option<Due> {
        if self.count == 0 || self.end > watermark {
            return None;
        }
        let at = self.end;
        if let TimeWindows::Sliding(sliding) = windows
            && sliding.allowed_ms == 0
            && sliding.early_ms == 0
        {
            let due = if sliding.are_of_many_segments() {
                self.take_next_of_many(sliding)
            } else {
                self.take_next(sliding)
            };
            return Some(due);
        }
        if let TimeWindows::Session(session) = windows
            && session.allowed_ms == 0
            && let Some(first) = Segments::of(self).next()
            && first.span.end == at
            && first.session.is_none()
        {
            let closed = ClosedWindow::new(first.span, session.early_events.results(first.count), &[first]);
            let (bytes, events) = (first.encoded_bytes(), first.count);
            return Some(self.take_session(closed, bytes, events));
        }
        let segments: Vec<Segment<'_>> = Segments::of(self).collect();
        let (closed, left, next) = match windows {
            TimeWindows::Sliding(sliding) if sliding.early_ms > 0 => {
                let left = |segment: &Segment<'_>| forgotten_at(sliding, segment.span) > at;
                let left: Vec<Segment<'_>> = segments.iter().copied().filter(left).collect();
                let next = left.iter().map(|segment| next_early(sliding, segment.span, at)).min();
                (due_early(sliding, &segments, at), left, next)
            }
            TimeWindows::Sliding(sliding) => {
                let left = |segment: &Segment<'_>| forgotten_at(sliding, segment.span) > at;
                let left: Vec<Segment<'_>> = segments.iter().copied().filter(left).collect();
                let next = left.iter().map(|segment| next_due(sliding, segment.span, at)).min();
                (due_sliding(sliding, &segments, at), left, next)
            }
            TimeWindows::Session(windows) => {
                let (due, mut left): (Vec<_>, Vec<_>) =
                    segments.iter().copied().partition(|session| session.span.end == at);
                let closed = due.iter().filter_map(|session| due_session(windows, *session));
                let closed: Vec<ClosedWindow> = closed.collect();
                left.extend(due.iter().filter_map(|session| kept(windows, *session, at)));
                left.sort_unstable_by_key(|session| session.span);
                let next = left.iter().map(|session| session.span.end).min();
                (closed, left, next)
            }
        };
        let left_count: u64 = left.iter().map(|segment| segment.count).sum();
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let due = Due {
            at,
            windows: closed,
            change: OpenChange {
                windows: signed(left.len()) - signed(segments.len()),
                events: left_count.cast_signed() - self.count.cast_signed(),
            },
            next,
        };
        let left_start = left.first().map_or(0, |segment| segment.span.start);
        let bytes = segments::encode(left);
        *self = Entry::new(
            left_count,
            (left_start, next.unwrap_or_default()),
            self.state_version,
            &bytes,
        );
        Some(due)
    }
}

impl Entry {
    /// Takes out the window that is due next, where windows take no late events in. What the key has behind that window is not looked at, if
    /// that can be: it may be much, where closing is behind.
    fn take_next(&mut self, sliding: Sliding) -> Due {
        let at = self.end;
        // Where windows took late events in before, something may be due in between.
        let is_end = sliding.next_end(at - 1) == at;
        let next_end = sliding.next_end(at);
        let (mut held, mut gone, mut next) = (Vec::new(), (0, 0, 0), None);
        for segment in Segments::of(self).take_while(|segment| segment.span.start < at) {
            if segment.span.end <= at {
                held.push(segment);
            }
            if sliding.last_end(segment.span) <= at {
                let (segments, bytes, events) = gone;
                gone = (segments + 1, bytes + segment.encoded_bytes(), events + segment.count);
            } else {
                let own = segment.span.end.max(next_end);
                next = Some(next.map_or(own, |next: i64| next.min(own)));
            }
        }
        let span = Span {
            start: sliding.start_of(at),
            end: at,
        };
        let count = held.iter().map(|segment| segment.count).sum();
        let pane = sliding.early_events.results(count);
        let window = (is_end && !held.is_empty()).then(|| ClosedWindow::new(span, pane, &held));
        drop(held);
        let (segments, bytes, events) = gone;
        self.remove(0..bytes);
        self.count -= events;
        let mut left = Segments::of(self).map(|segment| segment.span);
        let first = left.next();
        let is_known = next == Some(next_end) || first.is_some_and(|first| Self::is_first_due(sliding, first, at));
        if is_known {
            next = next.or(first.map(|first| first.end));
        } else {
            next = first.into_iter().chain(left).map(|span| span.end.max(next_end)).min();
        }
        self.leave(window, (segments, events), first, next)
    }

    /// The same, where windows have many segments, and aggregates of these.
    fn take_next_of_many(&mut self, sliding: Sliding) -> Due {
        let at = self.end;
        let is_end = sliding.next_end(at - 1) == at;
        let span = Span {
            start: sliding.start_of(at),
            end: at,
        };
        let parts = aggregates::parts_of(self, span);
        let window = (is_end && !parts.is_empty()).then(|| ClosedWindow::of_parts(span, &parts));
        drop(parts);
        let (mut bytes, mut segments, mut events) = (0, 0, 0);
        let mut rest = self.bytes();
        while let Some((part, behind)) = Part::first(rest) {
            // What an aggregate in front was merged from is gone.
            if !part.covers() {
                if sliding.last_end(part.segment.span) > at {
                    break;
                }
                (segments, events) = (segments + 1, events + part.segment.count);
            }
            bytes += part.encoded_bytes();
            rest = behind;
        }
        self.remove(0..bytes);
        self.count -= events;
        let next_end = sliding.next_end(at);
        let mut left = Segments::of(self).map(|segment| segment.span);
        let first = left.next();
        let next = match first {
            Some(first) if first.start < at && first.end <= next_end => Some(next_end),
            Some(first) if Self::is_first_due(sliding, first, at) => Some(first.end),
            _ => first.into_iter().chain(left).map(|span| span.end.max(next_end)).min(),
        };
        self.leave(window, (segments, events), first, next)
    }

    /// What is due now: `window`. The given numbers of segments and events leave the entry; `first` is the first segment that stays. Notes when the next window of
    /// the key is due.
    fn leave(
        &mut self,
        window: Option<ClosedWindow>,
        (segments, events): (usize, u64),
        first: Option<Span>,
        next: Option<i64>,
    ) -> Due {
        let at = self.end;
        self.start = first.map_or(0, |first| first.start);
        self.end = next.unwrap_or_default();
        Due {
            at,
            windows: window.into_iter().collect(),
            change: OpenChange {
                windows: -i64::from(group_number(segments)),
                events: -events.cast_signed(),
            },
            next,
        }
    }

    /// Takes out the first session, of so many bytes and events, which is the one that ends first.
    fn take_session(&mut self, closed: ClosedWindow, bytes: usize, events: u64) -> Due {
        self.remove(0..bytes);
        self.count -= events;
        // Sessions overlap where one was closed for an event that came later. What begins behind the end of one ends behind it.
        let mut sessions = Segments::of(self).map(|session| session.span);
        let first = sessions.next();
        let next = first.map(|first| {
            sessions.try_fold(first.end, |next, session| {
                if session.start < next {
                    Ok(next.min(session.end))
                } else {
                    Err(next)
                }
            })
        });
        let next = next.map(|next| next.unwrap_or_else(|next| next));
        self.leave(Some(closed), (1, events), first, next)
    }

    /// Whether no segment is due before the first one: it is seen by the first window that it is in, and begins behind `at`.
    fn is_first_due(sliding: Sliding, first: Span, at: i64) -> bool {
        let own = sliding.segment(first.start, sliding.segment_ms());
        first.start >= at && first.end == sliding.first_end(own)
    }
}

/// The result of a session that is due, if it has one then.
fn due_session(windows: Session, session: Segment<'_>) -> Option<ClosedWindow> {
    let span = session.session_span();
    let closed = Segment {
        span,
        session: None,
        ..session
    };
    let has_result = session.stage() != Stage::Finished;
    has_result.then(|| ClosedWindow::new(span, session.next_pane(windows.early_events), &[closed]))
}

/// What is kept of a session for late events, once it has had the result that was due at a time.
fn kept(windows: Session, session: Segment<'_>, at: i64) -> Option<Segment<'_>> {
    let span = session.session_span();
    let forgotten_at = span.end.saturating_add(windows.allowed_ms);
    let state = SessionState {
        end: span.end,
        pane: session.next_pane(windows.early_events).saturating_add(1),
        stage: Stage::Finished,
    };
    let is_kept = session.stage() == Stage::Pending && forgotten_at > at;
    is_kept.then_some(Segment {
        span: Span {
            end: forgotten_at,
            ..span
        },
        session: Some(state),
        ..session
    })
}

/// When the last window of a segment takes nothing in any more.
fn forgotten_at(sliding: Sliding, segment: Span) -> i64 {
    sliding.last_end(segment) + sliding.allowed_ms
}

/// When something is due of a segment next, behind `time`, by which it is not forgotten.
fn next_due(sliding: Sliding, segment: Span, time: i64) -> i64 {
    if segment.end > time {
        return segment.end;
    }
    let next = sliding.next_end(time);
    if next <= sliding.last_end(segment) {
        next
    } else {
        forgotten_at(sliding, segment)
    }
}

/// The windows of these segments that are finished at a time: the one that ends then, and those before it that late events have come to which
/// are seen from then on.
fn due_sliding(sliding: Sliding, segments: &[Segment<'_>], at: i64) -> Vec<ClosedWindow> {
    let mut ends: BTreeSet<i64> = BTreeSet::new();
    let first_seen = segments.iter().filter(|segment| segment.span.end == at);
    for segment in first_seen.filter(|_| sliding.allowed_ms > 0) {
        let own = Span {
            end: segment.span.start + sliding.segment_ms(),
            ..segment.span
        };
        let last = sliding.last_end(own).min(at - 1);
        // Those before it take nothing in any more.
        let first = sliding
            .first_end(own)
            .max(sliding.next_end(at - sliding.allowed_ms - 1));
        let of_segment = std::iter::successors(Some(first), |end| Some(sliding.next_end(*end)));
        ends.extend(of_segment.take_while(|end| *end <= last));
    }
    if sliding.next_end(at - 1) == at {
        ends.insert(at);
    }
    let window = |end: i64| {
        let span = Span {
            start: sliding.start_of(end),
            end,
        };
        let is_in = |segment: &Segment<'_>| (span.start..end).contains(&segment.span.start) && segment.span.end <= at;
        let held: Vec<Segment<'_>> = segments.iter().copied().filter(is_in).collect();
        // It was finished at its end, and whenever late events had come to it.
        let times: BTreeSet<i64> = held.iter().map(|segment| segment.span.end.max(end)).collect();
        let in_time = held.iter().filter(|segment| segment.span.end <= end);
        let early = sliding.early_events.results(in_time.map(|segment| segment.count).sum());
        let pane = early + group_number(times.len().saturating_sub(1));
        (!held.is_empty()).then(|| ClosedWindow::new(span, pane, &held))
    };
    ends.into_iter().filter_map(window).collect()
}

/// When something is due of a segment of windows with early results next, behind `time`, by which it is not forgotten.
fn next_early(sliding: Sliding, segment: Span, time: i64) -> i64 {
    let ends = [segment.end, sliding.last_end(segment)];
    let next = ends.into_iter().find(|end| *end > time);
    next.unwrap_or_else(|| forgotten_at(sliding, segment))
}

/// The windows with early results of these segments that have a result at a time: those which events are first seen in then, and the one that
/// ends then.
fn due_early(sliding: Sliding, segments: &[Segment<'_>], at: i64) -> Vec<ClosedWindow> {
    let end_of = |segment: &Segment<'_>| sliding.last_end(segment.span);
    let of_windows = segments.chunk_by(|one, other| end_of(one) == end_of(other));
    let result = |of_window: &[Segment<'_>]| {
        let end = end_of(&of_window[0]);
        let held: Vec<Segment<'_>> = of_window
            .iter()
            .copied()
            .filter(|segment| segment.span.end <= at)
            .collect();
        let mut times: BTreeSet<i64> = held.iter().map(|segment| segment.span.end).collect();
        // Where all events came behind its end, it had no result then.
        if end <= at && times.first().is_some_and(|first| *first < end) {
            times.insert(end);
        }
        let span = Span {
            start: sliding.start_of(end),
            end,
        };
        let pane = group_number(times.len().saturating_sub(1));
        times.contains(&at).then(|| ClosedWindow::new(span, pane, &held))
    };
    of_windows.filter_map(result).collect()
}

//! Which session an event opens or joins.
//!
//! A session takes events in until the watermark has passed its end, and for the allowed lateness after it. What a result holds follows from the input
//! alone: a session whose result is due by the watermark before an event has that result without the event, whether or not it has left the table by then. So
//! such a session stays as it is until then, next to the one that takes its events over ([`Stage::Replaced`]).

use smallvec::{SmallVec, smallvec};

use super::groups::Groups;
use super::{Group, OwnResult, Resumed};
use crate::entry::Entry;
use crate::segments::{Segments, Stage};
use crate::table::Table;
use dirigo_ground::batch::Batch;
use dirigo_ground::windowing::{Session, Span};

/// A session as an event of the turn finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Its bounds.
    span: Span,
    /// When it is due.
    due: i64,
    /// Whether a result is due then: else it was finished, and is to be forgotten.
    is_pending: bool,
    /// The group that it is in this turn.
    group: Option<u32>,
}

/// The sessions of an entry that events may join.
pub(super) fn known(entry: &Entry) -> SmallVec<[Known; 1]> {
    let joinable = Segments::of(entry).filter(|session| session.stage() != Stage::Replaced);
    let known = joinable.map(|session| Known {
        span: session.session_span(),
        due: session.span.end,
        is_pending: session.stage() == Stage::Pending,
        group: None,
    });
    known.collect()
}

/// Whether an event reaches a session which ends at `end` before that takes nothing in any more.
fn is_in_time(windows: Session, end: i64, behind: Option<i64>) -> bool {
    behind.is_none_or(|watermark| end.saturating_add(windows.allowed_ms) > watermark)
}

/// Whether an event is late that [`late`](super::late) says may be: it reaches no session that takes it in.
#[must_use]
pub fn is_late(table: &Table, batch: &Batch, event: usize, windows: Session) -> bool {
    let behind = batch.origin.behind.watermark_before(event);
    let own = windows.span(batch.times[event]);
    if is_in_time(windows, own.end, behind) {
        return false;
    }
    let reaches = |known: &Known| is_in_time(windows, known.span.end, behind) && known.span.overlaps(own);
    let entry = table.get(batch.keys.get(event));
    !entry.is_some_and(|entry| known(entry).iter().any(reaches))
}

impl Groups {
    /// Adds the event at `place` to the session that it opens or joins, `own` being that of the event alone. Gives its group; `None` where that is too
    /// much for one turn, the event may be late and is not the first, or what it joins has a result of this turn's events without it.
    pub(super) fn add_to_session(
        &mut self,
        touched: usize,
        entry: &Entry,
        windows: Session,
        own: Span,
        behind: Option<i64>,
        place: usize,
    ) -> Option<u32> {
        // One that takes nothing in any more is closed for the event, whether or not it has left the table.
        let is_met = |known: &Known| is_in_time(windows, known.span.end, behind) && known.span.overlaps(own);
        let known = &self.touched[touched].sessions;
        let looked_through = known.len() * size_of::<Known>();
        let met: SmallVec<[Known; 2]> = known.iter().copied().filter(is_met).collect();
        if met.is_empty() && !is_in_time(windows, own.end, behind) && place > 0 {
            return None;
        }
        let new = met.iter().filter(|known| known.group.is_none());
        let bytes = new.filter_map(|known| Segments::of(entry).get(known.stored()));
        let bytes: usize = bytes.map(|session| session.accumulator.len()).sum();
        if !self.has_room_for(bytes + looked_through) {
            return None;
        }
        // A result that is due by the watermark before the event does not hold it.
        let is_result_due = |known: &Known| known.is_pending && behind.is_some_and(|watermark| known.due <= watermark);
        let has_result = |known: &Known| {
            let group = known.group.map(|group| &self.all[group as usize]);
            group.is_some_and(|group| group.early.is_some() || is_result_due(known))
        };
        if met.iter().any(has_result) {
            return None;
        }
        let slot = self.touched[touched].slot;
        let key_bytes = entry.bytes().len();
        let span = met.iter().fold(own, |joined, known| joined.joined(known.span));
        let mut groups: SmallVec<[u32; 2]> = SmallVec::new();
        for known in &met {
            groups.push(known.group.unwrap_or_else(|| {
                self.push(Group {
                    slot,
                    key_bytes,
                    ..self.resuming_session(entry, windows, *known, is_result_due(known))
                })
            }));
        }
        let pane = self.next_pane(&groups);
        let group = groups.into_iter().reduce(|group, other| self.join(group, other));
        let group = group.unwrap_or_else(|| {
            self.push(Group {
                slot,
                key_bytes,
                ..self.resuming(0)
            })
        });
        let is_open = behind.is_none_or(|watermark| span.end > watermark);
        let due = match behind {
            Some(watermark) if !is_open => {
                // Late events of several sources make one result.
                let pending = met.iter().filter(|known| known.is_pending && !is_result_due(known));
                pending.fold(watermark + 1, |due, known| due.max(known.due))
            }
            _ => span.end,
        };
        let of = &mut self.all[group as usize];
        of.span = Span { end: due, ..span };
        of.session = (!is_open || pane.is_some()).then(|| (span.end, pane.unwrap_or(0)));
        let known = &mut self.touched[touched].sessions;
        known.retain(|known| !is_met(known));
        known.push(Known {
            span,
            due,
            is_pending: true,
            group: Some(group),
        });
        self.add(group, is_open.then_some(place))
    }

    /// The number of the next result of the session that these become, if it does not follow from the number of its events: one of them was
    /// finished, or opened by a late event.
    fn next_pane(&self, groups: &[u32]) -> Option<u32> {
        let groups = groups.iter().map(|group| &self.all[*group as usize]);
        let has_state = groups.clone().any(|group| group.session.is_some());
        let next = |group: &Group| match group.session {
            Some((_, pane)) => pane,
            None => self.early_events.results(group.count),
        };
        groups.map(next).max().filter(|_| has_state)
    }

    /// What goes on from a session, whose result that is due is to hold no further event where `has_own` says so.
    fn resuming_session(&self, entry: &Entry, windows: Session, known: Known, has_own: bool) -> Group {
        let session = Segments::of(entry).get(known.stored());
        let session = session.expect("what a turn knows stays until it ends");
        let pane = session.next_pane(self.early_events);
        let has_state = has_own || session.session.is_some();
        let result = has_own.then(|| OwnResult {
            pane,
            kept_until: known.span.end.saturating_add(windows.allowed_ms),
        });
        Group {
            resumes: smallvec![Resumed {
                span: known.stored(),
                result,
            }],
            session: has_state.then(|| (known.span.end, pane + u32::from(has_own))),
            ..self.resuming(session.count)
        }
    }
}

impl Known {
    /// The span that it has in its entry.
    fn stored(self) -> Span {
        Span {
            end: self.due,
            ..self.span
        }
    }
}

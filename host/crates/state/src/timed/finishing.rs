//! How windows that are closed are finished: from which accumulators, and in which pairs these are merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aggregates::{self, Grid};
use crate::parts::Part;
use crate::segments::ClosedWindow;
use crate::windows::{group_number, stale};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Finish, Windows};
use dirigo_ground::windowing::TimeWindows;

/// What finishes windows that are closed: the values of `batch` are [`ClosedWindow`]s of these `windows`.
///
/// # Panics
/// When a value is none: whatever brings back such a batch looks at that.
#[must_use]
pub fn finish(batch: &Batch, windows: TimeWindows, state_version: u32) -> Finish {
    let grid = match windows {
        TimeWindows::Sliding(sliding) => Grid::of(sliding),
        TimeWindows::Session(_) => None,
    };
    let mut closed = Windows::default();
    let mut accumulators = Column::default();
    let mut merges = Merges::default();
    let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (key, value) in batch.keys.iter().zip(batch.values.to_column().iter()) {
        let window = ClosedWindow::decode(value).expect("the values of closed windows are such windows");
        closed.keys.push(key);
        closed.starts.push(window.span.start);
        closed.ends.push(window.span.end);
        closed.counts.push(window.count);
        closed.panes.push(window.pane);
        let before = accumulators.len();
        for segment in window.segments() {
            if segment.state_version != state_version {
                let place = group_number(accumulators.len());
                by_version.entry(segment.state_version).or_default().push(place);
            }
            accumulators.push(segment.accumulator);
        }
        let rounds = grid.map_or_else(Vec::new, |grid| {
            let parts: Vec<Part<'_>> = window.parts().collect();
            aggregates::rounds(&parts, grid, window.span)
        });
        merges.push(group_number(accumulators.len() - before), rounds);
    }
    Finish {
        batch: batch.clone(),
        windows: Arc::new(closed),
        accumulators: Arc::new(accumulators),
        merged: merges.into_rounds().map(Arc::new),
        stale: stale(by_version),
    }
}

/// How many of these windows have come to their end: the others have early results.
///
/// # Panics
/// As [`finish`].
#[must_use]
pub fn closed(batch: &Batch, windows: TimeWindows) -> usize {
    match windows {
        TimeWindows::Sliding(sliding) if sliding.early_ms > 0 => {
            let values = batch.values.to_column();
            let has_ended = |(value, time): &(&[u8], &i64)| {
                let window = ClosedWindow::decode(value).expect("the values of closed windows are such windows");
                **time >= window.span.end - 1
            };
            values.iter().zip(batch.times.iter()).filter(has_ended).count()
        }
        _ => batch.len(),
    }
}

/// How the accumulators of windows are merged to one for each.
#[derive(Default)]
struct Merges {
    /// Of each window how many accumulators it has before the last round, and the rounds before that.
    windows: Vec<(u32, Vec<Vec<u32>>)>,
}

impl Merges {
    /// Adds a window of so many accumulators, of which those of each group in `rounds` are merged to one, round by round.
    fn push(&mut self, count: u32, rounds: Vec<Vec<u32>>) {
        self.windows.push((count, rounds));
    }

    /// Of each round the sizes of all groups, the last one with a group for each window; `None` where nothing is to be merged.
    fn into_rounds(self) -> Option<Vec<Vec<u32>>> {
        let several = self.windows.iter().any(|(count, _)| *count > 1);
        let most = self.windows.iter().map(|(_, rounds)| rounds.len()).max()?;
        let mut left: Vec<u32> = self.windows.iter().map(|(count, _)| *count).collect();
        let mut all = Vec::with_capacity(most + 1);
        for round in 0..most {
            let mut sizes = Vec::new();
            for ((_, rounds), left) in self.windows.iter().zip(&mut left) {
                if let Some(of_window) = rounds.get(round) {
                    *left = group_number(of_window.len());
                    sizes.extend_from_slice(of_window);
                } else {
                    sizes.extend(std::iter::repeat_n(1, *left as usize));
                }
            }
            all.push(sizes);
        }
        all.push(left);
        several.then_some(all)
    }
}

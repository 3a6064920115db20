//! What the entries of an operator hold: one accumulator, those of windows in time, or what a process keeps.

use super::entry::Entry;
use super::keyed::Keyed;
use super::segments::{self, Segment, Segments};

/// What an entry holds, besides its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryForm {
    /// The accumulator of a count window.
    Window,
    /// The [`Segments`] of windows in time.
    Segments,
    /// What a process [keeps](Keyed).
    Keyed,
}

impl Entry {
    /// What the operator keeps in it, each with the state version that it was written by: the accumulator of a window, those of segments, or
    /// the state of a process.
    #[must_use]
    pub fn accumulators(&self, form: EntryForm) -> Vec<(u32, &[u8])> {
        match form {
            EntryForm::Window => vec![(self.state_version, self.bytes())],
            EntryForm::Segments => {
                let segments = Segments::of(self);
                segments
                    .map(|segment| (segment.state_version, segment.accumulator))
                    .collect()
            }
            EntryForm::Keyed => {
                let state = Keyed::of(self).state;
                let state = Some(state).filter(|state| !state.is_empty());
                state.into_iter().map(|state| (self.state_version, state)).collect()
            }
        }
    }

    /// The entry with others in place of [these](Self::accumulators), as many and in their order, all written by `state_version`.
    #[must_use]
    pub fn with_accumulators(&self, form: EntryForm, accumulators: &[Vec<u8>], state_version: u32) -> Self {
        let mut entry = self.clone();
        entry.state_version = state_version;
        match (form, accumulators) {
            (EntryForm::Window, [only]) => entry.set_bytes(only),
            (EntryForm::Keyed, [state]) => {
                let timers = Keyed::of(self).timers();
                entry.put_keyed(state, timers, state_version);
                // What was on its way is on its way still.
                entry.end = self.end;
            }
            (EntryForm::Keyed, _) => {}
            (EntryForm::Window | EntryForm::Segments, several) => {
                let segments = Segments::of(self).zip(several);
                let segments = segments.map(|(segment, accumulator)| Segment {
                    state_version,
                    accumulator,
                    ..segment
                });
                entry.set_bytes(&segments::encode(segments));
            }
        }
        entry
    }

    /// Whether it is one of this form, as much as one can tell.
    #[must_use]
    pub fn is_sound(&self, form: EntryForm) -> bool {
        match form {
            EntryForm::Window => true,
            EntryForm::Segments => Segments::of(self).are_sound(),
            EntryForm::Keyed => Keyed::is_sound(self),
        }
    }
}

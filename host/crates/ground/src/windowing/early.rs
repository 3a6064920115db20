//! Early results by the number of events: which event brings one, and how many there have been.
//!
//! All of it follows from how many events a window holds, so nothing else is kept.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

/// After how many events a window has a result before its end, and after as many again the next one; or that it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EarlyEvents(Option<NonZeroU64>);

impl EarlyEvents {
    /// No early results.
    pub const NONE: Self = Self(None);

    /// A result after each `events` events; none where that is 0.
    #[must_use]
    pub fn every(events: u64) -> Self {
        Self(NonZeroU64::new(events))
    }

    /// After how many events one comes; 0 where none does.
    #[must_use]
    pub fn events(self) -> u64 {
        self.0.map_or(0, NonZeroU64::get)
    }

    /// Whether there are no early results.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.0.is_none()
    }

    /// How many early results a window of `count` events has had, if it has not been merged from several: the number of the next result.
    #[must_use]
    pub fn results(self, count: u64) -> u32 {
        self.0
            .map_or(0, |events| u32::try_from(count / events).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_result_after_each_so_many_events() {
        let early = EarlyEvents::every(3);
        let results: Vec<u32> = (0..8).map(|count| early.results(count)).collect();
        assert_eq!(results, [0, 0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(EarlyEvents::every(1).results(u64::MAX), u32::MAX);
        assert_eq!(
            (EarlyEvents::every(0), EarlyEvents::NONE.results(9)),
            (EarlyEvents::NONE, 0)
        );
    }
}

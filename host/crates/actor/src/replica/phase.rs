//! What a replica is in the middle of, and what may follow what.

use std::time::Duration;

use crate::turn::{Turn, TurnEnd};

/// What a replica is in the middle of.
#[derive(Default)]
pub(super) enum Phase {
    /// Nothing: it waits for events, or has a part of a chunk that waits for room behind it.
    #[default]
    Idle,
    /// A part of a chunk waits until its actor may have an instance.
    AwaitingSlot,
    /// A turn over the next part of the chunk.
    Running(RunningTurn),
    /// A turn that has ended, and whose effects are still to be taken.
    Settling(Ended),
    /// Outputs leave, for as long as the slice lasts. It backs off once they have, for `backoff`.
    Draining { backoff: Option<Duration> },
    /// It failed too often in a row, and is woken when it may try again.
    Backoff,
}

/// A turn under way.
pub(super) struct RunningTurn {
    pub(super) turn: Turn,
    /// What it took to have its keys, in ns.
    pub(super) load_ns: u64,
}

/// What is left of a turn.
pub(super) struct Ended {
    pub(super) end: TurnEnd,
    pub(super) used_ns: u64,
    pub(super) was_served: bool,
    /// See [`RunningTurn::load_ns`].
    pub(super) load_ns: u64,
}

impl Phase {
    /// Goes on to `next`, and gives what came before it.
    pub(super) fn enter(&mut self, next: Phase) -> Phase {
        assert!(self.leads_to(&next), "a replica goes from {self} to {next}");
        std::mem::replace(self, next)
    }

    fn leads_to(&self, next: &Phase) -> bool {
        match self {
            Phase::Idle => matches!(next, Phase::AwaitingSlot | Phase::Running(_) | Phase::Draining { .. }),
            Phase::AwaitingSlot => matches!(next, Phase::Running(_) | Phase::Draining { .. }),
            Phase::Running(_) => matches!(next, Phase::Settling(_)),
            Phase::Settling(_) => matches!(next, Phase::Draining { .. }),
            Phase::Draining { .. } => matches!(next, Phase::Draining { .. } | Phase::Idle | Phase::Backoff),
            Phase::Backoff => matches!(next, Phase::Idle),
        }
    }

    /// Whether something would be lost with the instance, or with the keys.
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Phase::Running(_) | Phase::Settling(_) | Phase::Draining { .. })
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Phase::Idle => "idle",
            Phase::AwaitingSlot => "awaiting a slot",
            Phase::Running(_) => "running",
            Phase::Settling(_) => "settling",
            Phase::Draining { .. } => "draining",
            Phase::Backoff => "backing off",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_traps_again_and_again_backs_off_only_once_its_outputs_have_left() {
        let mut phase = Phase::Idle;
        phase.enter(Phase::AwaitingSlot);
        assert!(!phase.is_running());
        let mut phase = Phase::Draining {
            backoff: Some(Duration::ZERO),
        };
        assert!(phase.is_running());
        phase.enter(Phase::Backoff);
        assert!(!phase.is_running());
        phase.enter(Phase::Idle);
    }

    #[test]
    #[should_panic(expected = "a replica goes from backing off to draining")]
    fn a_phase_that_may_not_follow_is_a_fault_of_the_host() {
        Phase::Backoff.enter(Phase::Draining { backoff: None });
    }
}

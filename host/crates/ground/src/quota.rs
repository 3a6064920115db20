//! What a tenant uses of a host, against what it may use.
//!
//! One per tenant, shared by all its pipelines. Owns the counts and their bounds; the time of workers is the scheduler's to
//! share, and instance slots are those of the actors. A tenant over a bound waits or loses what is
//! too much; no other tenant's count moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::Budget;
use crate::sync::Mutex;

/// The quota of one tenant, with what it has used of it.
#[derive(Debug)]
pub struct Quota {
    budget: Budget,
    memory: AtomicU64,
    memory_peak: AtomicU64,
    memory_denied: AtomicU64,
    lines_dropped: AtomicU64,
    dead_letter_bytes: AtomicU64,
    dead_letters_left_out: AtomicU64,
    log: Mutex<LogRate>,
    dead_letters: Mutex<DeadLetterRate>,
}

/// How near a tenant is to its memory bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPressure {
    /// There is enough left, or no bound.
    None,
    /// Less than an eighth is left: state takes no more of it, so that events and instances find some.
    High,
    /// All of it is in use.
    Exhausted,
}

/// Memory that is charged to a quota for as long as this lives.
#[derive(Debug)]
pub struct MemoryReservation {
    quota: Arc<Quota>,
    bytes: u64,
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.quota.remove_memory(self.bytes);
    }
}

/// What was logged in a second.
#[derive(Debug, Default)]
struct LogRate {
    second: u64,
    lines: u64,
    bytes: u64,
}

/// What was written of dead letters in a second.
#[derive(Debug, Default)]
struct DeadLetterRate {
    second: u64,
    letters: u64,
    /// The last second in which one was left out.
    left_out: Option<u64>,
}

/// Whether a dead letter may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterAdmission {
    /// It may.
    Admitted,
    /// It is one too many in this second.
    LeftOut {
        /// Whether the first of a burst: none was left out in the second before this one, nor in this one before it.
        is_first: bool,
    },
}

impl Default for Quota {
    /// One without bounds.
    fn default() -> Self {
        Self::new(Budget::default())
    }
}

impl Quota {
    /// A quota of which nothing is used.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            memory: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            memory_denied: AtomicU64::new(0),
            lines_dropped: AtomicU64::new(0),
            dead_letter_bytes: AtomicU64::new(0),
            dead_letters_left_out: AtomicU64::new(0),
            log: Mutex::default(),
            dead_letters: Mutex::default(),
        }
    }

    /// What the tenant may use.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Counts bytes of dead letters that are kept, unless they are beyond the bound.
    #[must_use]
    pub fn try_add_dead_letter(&self, bytes: u64) -> bool {
        let bound = self.budget.dead_letter_bytes;
        let kept = self
            .dead_letter_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
                kept.checked_add(bytes).filter(|kept| *kept <= bound)
            });
        kept.is_ok()
    }

    /// Counts bytes of dead letters that were kept before the run, whatever the bound.
    pub fn add_dead_letters(&self, bytes: u64) {
        self.dead_letter_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of dead letters that are kept.
    #[must_use]
    pub fn dead_letter_bytes(&self) -> u64 {
        self.dead_letter_bytes.load(Ordering::Relaxed)
    }

    /// Whether a dead letter may be written now, in ns on the host's clock. One that may not is counted.
    #[must_use]
    pub fn admit_dead_letter(&self, now_ns: u64) -> DeadLetterAdmission {
        let Some(most) = self.budget.dead_letters_per_second else {
            return DeadLetterAdmission::Admitted;
        };
        let mut rate = self.dead_letters.lock();
        let second = now_ns / 1_000_000_000;
        if rate.second != second {
            (rate.second, rate.letters) = (second, 0);
        }
        if rate.letters < most {
            rate.letters += 1;
            return DeadLetterAdmission::Admitted;
        }
        let is_first = rate.left_out.is_none_or(|last| last + 1 < second);
        rate.left_out = Some(second);
        drop(rate);
        self.dead_letters_left_out.fetch_add(1, Ordering::Relaxed);
        DeadLetterAdmission::LeftOut { is_first }
    }

    /// How many dead letters were not written.
    #[must_use]
    pub fn dead_letters_left_out(&self) -> u64 {
        self.dead_letters_left_out.load(Ordering::Relaxed)
    }

    /// Adds memory that is in use whatever the bound: what is under way is finished.
    pub fn add_memory(&self, bytes: u64) {
        let used = self.memory.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.memory_peak.fetch_max(used, Ordering::Relaxed);
    }

    /// Adds memory that is in use whatever the bound, until what this gives is dropped.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> MemoryReservation {
        let bytes = bytes as u64;
        self.add_memory(bytes);
        MemoryReservation {
            quota: self.clone(),
            bytes,
        }
    }

    /// Adds memory, unless the bound denies it.
    #[must_use]
    pub fn try_add_memory(&self, bytes: u64) -> bool {
        let bound = self.budget.memory.unwrap_or(u64::MAX);
        let taken = self.memory.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= bound)
        });
        if let Ok(before) = taken {
            self.memory_peak.fetch_max(before + bytes, Ordering::Relaxed);
        } else {
            self.memory_denied.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Takes back what was added.
    pub fn remove_memory(&self, bytes: u64) {
        self.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Replaces an amount that was added by another.
    pub fn change_memory(&self, from: u64, to: u64) {
        if to >= from {
            self.add_memory(to - from);
        } else {
            self.remove_memory(from - to);
        }
    }

    /// Whether all its memory is in use.
    #[must_use]
    pub fn is_over_memory(&self) -> bool {
        self.memory_pressure() == MemoryPressure::Exhausted
    }

    /// How near the tenant is to its memory bound.
    #[must_use]
    pub fn memory_pressure(&self) -> MemoryPressure {
        let Some(bound) = self.budget.memory else {
            return MemoryPressure::None;
        };
        let used = self.memory.load(Ordering::Relaxed);
        if used >= bound {
            MemoryPressure::Exhausted
        } else if used >= bound - bound / 8 {
            MemoryPressure::High
        } else {
            MemoryPressure::None
        }
    }

    /// The most memory that was in use at once.
    #[must_use]
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Ordering::Relaxed)
    }

    /// How often more memory was denied.
    #[must_use]
    pub fn memory_denied(&self) -> u64 {
        self.memory_denied.load(Ordering::Relaxed)
    }

    /// Notes that log lines were left out, whichever bound they were beyond.
    pub fn count_dropped_lines(&self, lines: u64) {
        self.lines_dropped.fetch_add(lines, Ordering::Relaxed);
    }

    /// How many log lines were left out.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.lines_dropped.load(Ordering::Relaxed)
    }

    /// Whether a log line of so many bytes may be written now, in ns on the host's clock.
    #[must_use]
    pub fn admits_line(&self, bytes: usize, now_ns: u64) -> bool {
        let Budget {
            log_lines_per_second: lines_max,
            log_bytes_per_second: bytes_max,
            ..
        } = self.budget;
        if lines_max.is_none() && bytes_max.is_none() {
            return true;
        }
        let mut log = self.log.lock();
        let second = now_ns / 1_000_000_000;
        if log.second != second {
            *log = LogRate {
                second,
                ..LogRate::default()
            };
        }
        let (lines, bytes) = (log.lines + 1, log.bytes + bytes as u64);
        let is_admitted = lines <= lines_max.unwrap_or(u64::MAX) && bytes <= bytes_max.unwrap_or(u64::MAX);
        if is_admitted {
            (log.lines, log.bytes) = (lines, bytes);
        }
        is_admitted
    }

    /// Whether there is a bound on what an operator may put out.
    #[must_use]
    pub fn bounds_outputs(&self) -> bool {
        self.budget.outputs_per_event.is_some() || self.budget.output_bytes_per_event.is_some()
    }

    /// Why one event may not lead to so many outputs of so many bytes together, if it may not.
    #[must_use]
    pub fn refuses_outputs(&self, outputs: usize, bytes: usize) -> Option<String> {
        let exceeded = |most: Option<u64>, found: usize| most.filter(|most| found as u64 > *most);
        if let Some(most) = exceeded(self.budget.outputs_per_event, outputs) {
            return Some(format!(
                "it led to {outputs} outputs, its tenant's budget allows {most} (`outputs_per_event`)"
            ));
        }
        let most = exceeded(self.budget.output_bytes_per_event, bytes)?;
        Some(format!(
            "it led to {bytes} bytes of output, its tenant's budget allows {most} (`output_bytes_per_event`)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(budget: Budget) -> Quota {
        Quota::new(budget)
    }

    #[test]
    fn memory_past_the_bound_is_denied_but_what_is_under_way_is_counted() {
        let quota = quota(Budget {
            memory: Some(100),
            ..Budget::default()
        });
        assert!(quota.try_add_memory(60));
        assert!(!quota.try_add_memory(41) && quota.memory_pressure() == MemoryPressure::None);
        quota.add_memory(29);
        assert_eq!(quota.memory_pressure(), MemoryPressure::High);
        quota.add_memory(21);
        assert!(quota.is_over_memory());
        quota.remove_memory(50);
        assert!(quota.try_add_memory(40));
        assert_eq!((quota.memory_peak(), quota.memory_denied()), (110, 1));
    }

    #[test]
    fn lines_are_admitted_by_number_and_by_bytes_anew_each_second() {
        let quota = quota(Budget {
            log_lines_per_second: Some(2),
            log_bytes_per_second: Some(10),
            ..Budget::default()
        });
        assert!(quota.admits_line(4, 0) && !quota.admits_line(7, 1) && quota.admits_line(6, 2));
        assert!(!quota.admits_line(0, 3), "two lines were written");
        assert!(quota.admits_line(10, 1_000_000_000));
    }

    #[test]
    fn dead_letters_beyond_the_rate_are_counted_and_each_burst_has_a_first() {
        let quota = quota(Budget {
            dead_letters_per_second: Some(2),
            ..Budget::default()
        });
        let mut at = |second: u64| match quota.admit_dead_letter(second * 1_000_000_000 + 7) {
            DeadLetterAdmission::Admitted => "written",
            DeadLetterAdmission::LeftOut { is_first: true } => "first left out",
            DeadLetterAdmission::LeftOut { is_first: false } => "left out",
        };
        let seconds = [0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 3];
        let said = [
            "written",
            "written",
            "first left out",
            "left out",
            "written",
            "written",
            "left out",
            "written",
            "written",
            "written",
            "first left out",
        ];
        assert_eq!(seconds.map(&mut at), said);
        assert_eq!(quota.dead_letters_left_out(), 4);
    }

    #[test]
    fn outputs_of_an_event_are_bounded_in_number_and_bytes() {
        let quota = quota(Budget {
            outputs_per_event: Some(3),
            output_bytes_per_event: Some(100),
            ..Budget::default()
        });
        assert_eq!(quota.refuses_outputs(3, 100), None);
        assert!(quota.refuses_outputs(4, 0).unwrap().contains("allows 3"));
        assert!(quota.refuses_outputs(1, 101).unwrap().contains("101 bytes"));
    }
}

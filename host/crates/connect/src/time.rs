//! Where the time of an event is, and how it is written there.

use std::fmt;

use crate::Pointer;
use dirigo_ground::zone::Zone;

/// Where the time of an event is, and how it is written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField {
    /// Where it is.
    pub pointer: Pointer,
    /// What a number counts since the epoch; ms where nothing is said.
    pub unit: Option<TimeUnit>,
    /// The zone of a time that says none.
    pub zone: Option<Zone>,
}

impl From<Pointer> for TimeField {
    fn from(pointer: Pointer) -> Self {
        Self {
            pointer,
            unit: None,
            zone: None,
        }
    }
}

/// What a number counts since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds, and parts of them.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// As the pipeline file writes it.
impl fmt::Display for TimeUnit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        })
    }
}

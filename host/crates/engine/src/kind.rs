//! The kinds of operators.

use std::fmt;

/// What kind of operator a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any number of values from each event.
    Map,
    /// Which events go on.
    Filter,
    /// A fold over keys and windows.
    Reduce,
    /// State and timers by key.
    Process,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Map, Kind::Filter, Kind::Reduce, Kind::Process];

    /// As it is written in files and in WIT.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Map => "map",
            Kind::Filter => "filter",
            Kind::Reduce => "reduce",
            Kind::Process => "process",
        }
    }

    /// Whether it needs state that lasts from one event to the next.
    #[must_use]
    pub fn is_stateful(self) -> bool {
        matches!(self, Kind::Reduce | Kind::Process)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

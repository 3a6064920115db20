//! Bounds on what operators and tenants may use.
//!
//! Owns the figures and their defaults. Who enforces them is said at each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one actor of an operator may use. Each is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory, in bytes.
    pub memory: u64,
    /// What is kept of one key, in bytes. Dead letters of before this limit do not have it.
    #[serde(default = "state_default")]
    pub state: u64,
    /// Fuel that one event may burn.
    pub fuel_per_event: u64,
    /// Table elements.
    pub table_elements: u64,
    /// How long `open` may run, in ms; what it waits for a worker does not count. Dead letters of before this limit do not have it.
    #[serde(default = "open_ms_default")]
    pub open_ms: u64,
}

impl Default for Limits {
    /// What an operator gets whose file states none.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            state: state_default(),
            fuel_per_event: 10_000_000,
            table_elements: 10_000,
            open_ms: open_ms_default(),
        }
    }
}

fn state_default() -> u64 {
    1 << 20
}

/// Tables are built and patterns compiled in a fraction of a second; a busy host may take ten times as long.
fn open_ms_default() -> u64 {
    10_000
}

/// What a tenant may use of a host, all its pipelines together; `None` is without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its share of the workers, relative to the other tenants'.
    pub weight: u32,
    /// Fuel that it may burn per second.
    pub fuel_per_second: Option<u64>,
    /// Bytes of linear memories, state and waiting events.
    pub memory: Option<u64>,
    /// Actors that have an instance at the same time.
    pub active_actors: Option<u32>,
    /// Log lines per second.
    pub log_lines_per_second: Option<u64>,
    /// Bytes of log lines per second.
    pub log_bytes_per_second: Option<u64>,
    /// Events that an operator may put out for one that it gets.
    pub outputs_per_event: Option<u64>,
    /// Bytes that an operator may put out for one event.
    pub output_bytes_per_event: Option<u64>,
    /// Bytes of dead letters that are kept.
    pub dead_letter_bytes: u64,
    /// Dead letters that are written per second.
    pub dead_letters_per_second: Option<u64>,
}

impl Default for Budget {
    /// What a tenant gets of which nothing is said: the weight 1, and no bound but that of dead letters, which would else
    /// fill the disk of all where every event fails.
    fn default() -> Self {
        Self {
            weight: 1,
            fuel_per_second: None,
            memory: None,
            active_actors: None,
            log_lines_per_second: None,
            log_bytes_per_second: None,
            outputs_per_event: None,
            output_bytes_per_event: None,
            dead_letter_bytes: 1 << 30,
            dead_letters_per_second: None,
        }
    }
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The processor time, of all threads together.
    pub time: Duration,
    /// Bytes of memory.
    pub memory: u64,
}

impl Default for CompileLimits {
    /// What a component gets where nothing is said. Code takes about 3.2 s and 57 MB for each MB: that of an interpreter with
    /// its libraries, 8 MB, half of it.
    fn default() -> Self {
        Self {
            time: Duration::from_mins(1),
            memory: 1 << 30,
        }
    }
}

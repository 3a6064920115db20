//! What an operator tells the people who run it: log lines and counters. Both are one way: no operator learns anything
//! from them, so they don't touch its result.
//!
//! ```
//! use dirigo_operator::log;
//!
//! log::info!("opened with {} rules", 3);
//! log::count("rules", 3.0);
//! ```

pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step.
    Trace,
    /// For whoever works on the operator.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Wrong.
    Error,
}

/// Writes a line to the host's log, under the name of the operator; natively, to stderr. The macros format it.
pub fn write(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    eprintln!("{level:?}: {message}");
}

/// Adds to a counter of this operator; natively, does nothing.
pub fn count(name: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::guest::count(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, value);
}

/// Logs at the level [`Trace`](Level::Trace), written as for `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, &::std::format!($($message)+)) };
}

/// Logs at the level [`Debug`](Level::Debug), written as for `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)+)) };
}

/// Logs at the level [`Info`](Level::Info), written as for `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)+)) };
}

/// Logs at the level [`Warn`](Level::Warn), written as for `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)+)) };
}

/// Logs at the level [`Error`](Level::Error), written as for `format!`.
#[macro_export]
#[doc(hidden)]
macro_rules! __error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)+)) };
}

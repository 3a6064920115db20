//! Dirigo runs stream operators, compiled to WebAssembly components, as virtual actors on a shared host.
//!
//! The way of a batch: a [`source`] reads it, [`flow`] carries it from [`actor`] to actor, the [`scheduler`] says whose turn
//! it is, the [`engine`] runs the guest, [`state`] keeps what lasts, a [`sink`] writes what comes out. [`pipeline`] says how
//! they are put together.

pub mod account;
pub mod actor;
pub mod batch;
pub mod call;
pub mod clock;
pub mod disk;
pub mod engine;
pub mod flow;
pub mod limits;
pub mod lineage;
pub mod pipeline;
pub mod runtime;
pub mod scheduler;
pub mod signal;
pub mod sink;
pub mod source;
pub mod state;
pub mod sync;
pub mod thread;

//! Dirigo runs stream operators, compiled to WebAssembly components, as virtual actors on a shared host.
//!
//! The way of a batch: a [`source`] reads it, [`flow`] carries it from [`actor`] to actor, the [`scheduler`] says whose turn
//! it is, the [`engine`] runs the guest, [`state`] keeps what lasts, a [`sink`] writes what comes out. [`pipeline`] says how
//! they are put together, and [`runtime`] does it. What kinds of sources and sinks there are, a registry says: that of
//! [`connectors`], with those of other crates added.
//!
//! Each is a crate of its own under `host/crates`; here they are as one library.

pub use dirigo_actor as actor;
pub use dirigo_connect::{self as connect, sink, source};
pub use dirigo_connectors as connectors;
pub use dirigo_disk as disk;
pub use dirigo_engine as engine;
pub use dirigo_flow as flow;
pub use dirigo_ground::{batch, call, clock, fields, limits, lineage, printable, quota, signal, sync, thread};
pub use dirigo_pipeline as pipeline;
pub use dirigo_runtime as runtime;
pub use dirigo_scheduler as scheduler;
pub use dirigo_state as state;

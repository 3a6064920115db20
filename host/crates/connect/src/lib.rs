//! What a connector is.
//!
//! A connector is a kind of source or sink. Here is what the rest of the host knows of one: a [`SourceSpec`] or
//! [`SinkSpec`], the options that a pipeline gives it, which open a [`Source`] or [`Sink`] that reads or writes. Knows
//! neither the pipeline file, whose keys become those options, nor any connector.

mod error;
mod facets;
mod files;
mod format;
mod keep;
mod pointer;
pub mod sink;
pub mod source;
mod time;

pub use error::Error;
pub use facets::{Facets, facets, seen_from};
pub use files::{Files, Pattern};
pub use format::Format;
pub use keep::Keep;
pub use pointer::Pointer;
pub use sink::{Sink, SinkSpec};
pub use source::{Opening, Source, SourceSpec};
pub use time::{TimeField, TimeUnit};

/// Where to go on after a restart; opaque to all but the source or sink that gave it.
pub type Offset = serde_json::Value;

//! Pipelines: from a TOML file to what the host runs.
//!
//! Owns the pipeline file: its syntax, its keys, its defaults, its wiring, and above all what is said to the author of
//! a broken one. A file goes through four forms, and each step reports all that it finds:
//!
//! ```text
//! text → document (a tree that knows its places), overrides applied → raw (typed keys) → model (a trusted Pipeline)
//! ```
//!
//! Knows nothing of components and engines: what a `.wasm` file needs, the engine finds out and tells through
//! [`Loaded::error_at`]. Of connectors it knows what a [`Registry`] says: their names and their keys, which they declare
//! and check themselves with what is in [`keys`].
//!
//! Relative paths, those of overrides included, start from the folder of the pipeline file.

mod admission;
mod budget;
mod budgets;
mod choice;
mod config;
mod connector;
mod count;
mod diagnostic;
mod document;
mod early;
mod entries;
mod grant;
mod graph;
pub mod keys;
mod loaded;
mod mistaken;
mod model;
mod name;
mod operator;
mod order;
mod outside;
pub mod overrides;
mod paths;
mod pointer;
mod raw;
mod reference;
mod render;
mod schema;
mod section;
mod sink;
mod source;
mod span;
mod suggest;
mod tenants;
mod test_case;
mod time;
mod together;
mod token;
mod units;
mod validate;
mod window;
mod window_text;

pub use admission::{Admission, Caps};
pub use config::{Environment, hide, resolve};
pub use connector::{Exclusive, Registry, SinkConnector, SourceConnector};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use loaded::{Loaded, OpenedFile, Sent, SpanIndex, load, load_admitted, load_sent, parse, parse_in, refused};
pub use model::*;
pub use name::is_name;
pub use overrides::Override;
pub use reference::reference;
pub use schema::schema;
pub use suggest::{help as suggestion, nearest};
pub use tenants::Tenants;
pub use together::{Names, Place, SideBySide};
pub use token::{Role, Token};
pub use validate::{Inputs, Surroundings};

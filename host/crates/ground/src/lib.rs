//! What the rest of the host stands on.
//!
//! Events in [`batch`]es, their [`fields`] as typed columns, where they come from ([`lineage`]), what is asked of guests and what they answer ([`call`]), what
//! tenants and operators may use ([`limits`]) and do ([`quota`]), the [`clock`], time [`zone`]s, locks and threads, and text
//! of others as it is [`printable`]. Knows nothing of
//! WebAssembly, files, scheduling or pipelines.

pub mod batch;
pub mod behind;
pub mod call;
pub mod clock;
pub mod column;
pub mod fields;
pub mod items;
pub mod json;
pub mod limits;
pub mod lineage;
mod picked;
pub mod printable;
pub mod quota;
pub mod signal;
pub mod sync;
pub mod thread;
pub mod values;
pub mod windowing;
pub mod zone;

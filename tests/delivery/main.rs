//! What comes out is what should: complete, in order, once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    clippy::similar_names,
    clippy::needless_pass_by_value,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod checkpoints;
mod csv;
mod csv_source;
mod dead_letters;
mod delivery_semantics;
mod evolution;
mod fields;
mod folders;
mod follow;
mod helping;
mod http;
mod http_sink;
mod interrupt;
pub(crate) mod kill;
mod layout;
mod mqtt;
mod named_outputs;
mod nats;
mod nexmark;
mod order;
mod outputs;
mod partial;
mod parts;
mod postgres;
mod process;
mod real_data;
mod real_time;
mod resume;
mod scaling;
mod shapes;
mod state_directory;
mod time;

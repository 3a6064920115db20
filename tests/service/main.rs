//! The service: pipelines deployed over HTTP and by its clients, watched, upgraded, stopped, and brought back after a kill.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::similar_names,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../delivery/nats/server.rs"]
#[allow(dead_code, reason = "the suite of delivery uses the rest")]
mod nats_server;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "no suite uses all of it")]
mod support;

mod access;
mod api;
mod clients;
mod console;
mod first_hour;
mod kills;
mod letters;
mod past;
mod serving;
mod upgrades;

pub(crate) use serving::{Serving, command, deployment, hostile_map, idle, passing, pushed};

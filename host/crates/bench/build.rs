//! Compiles the hostile guests that benchmarks set next to their victims, for release builds.

use std::env;

use dirigo_component_build::{Guest, embed};

/// Guests of `tests/hostile`.
const HOSTILE: [Guest; 2] = [
    Guest {
        name: "map",
        package: "dirigo-hostile-map",
    },
    Guest {
        name: "reduce",
        package: "dirigo-hostile-reduce",
    },
];

fn main() {
    // Cargo's word for what the profile inherits from: `release` or `debug`. Nothing is measured with the latter, so who
    // works on the host does not wait for guests.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let guests = if is_release { &HOSTILE[..] } else { &[] };
    embed(guests, &["tests/hostile"], "hostile.rs");
}

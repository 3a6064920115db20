//! Compiles the hostile guests that benchmarks set next to their victims, for release builds.

use std::env;
use std::fs;
use std::path::PathBuf;

use dirigo_component_build::{Guest, embed};

/// Guests of `tests/hostile`.
const HOSTILE: [Guest; 4] = [
    Guest {
        name: "map",
        package: "dirigo-hostile-map",
    },
    Guest {
        name: "reduce",
        package: "dirigo-hostile-reduce",
    },
    Guest {
        name: "sum",
        package: "dirigo-hostile-sum",
    },
    Guest {
        name: "process",
        package: "dirigo-hostile-process",
    },
];

/// A guest that is no crate: no compiler of Rust makes one that speaks UTF-16. What it says stands in the place of a word.
const SPEAKER: &str = "../../../tests/isolation/kinds/speaker.wat";
const PLACE: &str = "AT_A_BATCH";
/// At each batch, it logs a line of a mebibyte, and rejects each event in a message of as much.
const SPEECH: &str = "
    (call $log (i32.const 2) (i32.const 0x10000) (i32.const 500000))
    (loop $next
        (local.set $at (i32.add (i32.const 4096) (i32.mul (local.get $index) (i32.const 12))))
        (i32.store (local.get $at) (local.get $index))
        (i32.store offset=4 (local.get $at) (i32.const 0x10000))
        (i32.store offset=8 (local.get $at) (i32.const 500000))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $index) (local.get 1))))
    (i32.store (i32.const 2104) (i32.const 4096))
    (i32.store (i32.const 2108) (local.get 1))";

fn main() {
    // Cargo's word for what the profile inherits from: `release` or `debug`. Nothing is measured with the latter, so who
    // works on the host does not wait for guests.
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let guests = if is_release { &HOSTILE[..] } else { &[] };
    embed(
        guests,
        &["tests/hostile", "tests/isolation/kinds/speaker.wat"],
        "hostile.rs",
    );
    let text = fs::read_to_string(SPEAKER).expect("it is there in a checkout");
    let wasm = wat::parse_str(text.replace(PLACE, SPEECH)).expect("it is a component");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets the variables of build scripts"));
    fs::write(out.join("utf16.wasm"), wasm).expect("the output directory can be written");
}

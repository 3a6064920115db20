//! Guests that speak UTF-16, as those of some languages do, and at length. None is made by a compiler: they are written here.

use crate::beside::beside_a_victim;
use crate::support::{DeadLetter, dead_letters, guest, numbered, pipeline};

/// Half a million units: a mebibyte.
const UNITS: u32 = 500_000;

/// A map that does this at each batch, and hands on nothing. Its memory is full of zeros, which are texts.
fn speaker(at_a_batch: &str) -> Vec<u8> {
    wat::parse_str(include_str!("speaker.wat").replace("AT_A_BATCH", at_a_batch)).unwrap()
}

/// Runs it over one event, which becomes a dead letter.
fn run(at_a_batch: &str, limits: &str) -> DeadLetter {
    let folder = pipeline("map", "{}", limits);
    folder.write("guest.wasm", speaker(at_a_batch));
    let text = folder.read("pipeline.toml");
    let component = guest("map");
    folder.write(
        "pipeline.toml",
        text.replace(&*component.to_string_lossy(), "guest.wasm"),
    );
    folder.write("events.jsonl", numbered(1, 1));
    beside_a_victim(&folder);
    let mut dead_letters = dead_letters(&folder, "dead.jsonl");
    assert_eq!(dead_letters.len(), 1);
    dead_letters.remove(0)
}

pub(crate) fn a_long_reason_in_utf16_is_cut_before_it_is_read() {
    // One failure, at 4096, of event 0.
    let dead_letter = run(
        &format!(
            "(i32.store (i32.const 2104) (i32.const 4096)) (i32.store (i32.const 2108) (i32.const 1))
             (i32.store (i32.const 4100) (i32.const 0x10000)) (i32.store (i32.const 4104) (i32.const {UNITS}))"
        ),
        "",
    );
    assert_eq!(dead_letter.kind, "rejected");
    let length = dead_letter.reason.len();
    assert!((2_048..5_000).contains(&length), "{length}");
    assert!(dead_letter.reason.ends_with('…'));
}

pub(crate) fn long_lines_in_utf16_are_cut_and_yield_between_them() {
    let dead_letter = run(
        &format!("(loop (call $log (i32.const 1) (i32.const 0x10000) (i32.const {UNITS})) (br 0))"),
        "[operator.limits]\nfuel_per_event = 1_000_000",
    );
    assert_eq!(dead_letter.kind, "fuel");
}

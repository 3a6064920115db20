//! What all suites share: a folder per test, the binary as a process, the guests that attack, the books.
//!
//! Every suite goes through one boundary: pipeline files and events in, events, dead letters and the summary out. Nothing
//! here links the library.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod books;
mod dead_letters;
mod folder;
pub(crate) mod generated;
mod guests;
mod http;
mod process;
mod proxy;
mod random;
mod receiver;
mod striker;
mod summed;
mod wheel;

pub(crate) use books::Summary;
pub(crate) use dead_letters::{DeadLetter, dead_letters};
pub(crate) use folder::Folder;
pub(crate) use guests::{guest, map_to_file, nexmark, pipeline, target_directory};
pub(crate) use http::{Answer, Client};
pub(crate) use process::{Dirigo, Finished, Running};
pub(crate) use proxy::Proxy;
pub(crate) use random::{Random, number_of};
pub(crate) use receiver::{Received, Receiver, Reply};
pub(crate) use striker::StrikerKey;
pub(crate) use summed::summed;
pub(crate) use wheel::{shared_wheel, wheel};

/// Events `{"n":0,"key":"k-0","value":0.5}` and so on: numbered from 0, over `keys` keys that take turns.
pub(crate) fn numbered(count: u64, keys: u64) -> String {
    (0..count).map(|n| event(n, &format!("k-{}", n % keys))).collect()
}

/// One event, as a line.
pub(crate) fn event(n: u64, key: &str) -> String {
    format!("{{\"n\":{n},\"key\":\"{key}\",\"value\":{n}.5}}\n")
}

/// The numbers of such events, in the order of the lines.
pub(crate) fn numbers(lines: &str) -> Vec<u64> {
    let number = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        event["n"].as_u64().unwrap_or_else(|| panic!("no number in {line}"))
    };
    lines.lines().map(number).collect()
}

/// Asserts that each of `parts` is said somewhere in `text`.
#[track_caller]
pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not said in\n{text}");
    }
}

//! Components that wasm-smith makes: whatever they are, the host says so or runs them, and stands.
//!
//! `DIRIGO_COMPONENTS` is how many of each kind, `DIRIGO_SEED` the number of the first.

use crate::support::generated::{any_component, any_map, components};
use crate::support::{Dirigo, Finished, Folder, number_of, numbered};

/// Asserts that a command ended by itself, and well or with an error.
#[track_caller]
fn has_ended_cleanly(finished: &Finished) {
    assert!([0, 1, 78].contains(&finished.code()), "{finished:?}");
    assert!(!finished.stderr.contains("panicked at"), "{finished:?}");
    if finished.code() != 0 {
        finished.ends_with(finished.code(), &["error"]);
    }
}

/// Inspects and runs so many components; gives how many were inspected, and how many ran to their end.
fn attack(make: impl Fn(&[u8]) -> arbitrary::Result<Vec<u8>>) -> [usize; 2] {
    let (first, count) = (number_of("DIRIGO_SEED", 1), number_of("DIRIGO_COMPONENTS", 25));
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "p"
        [[source]]
        id = "events"
        kind = "file"
        path = "events.jsonl"
        [[operator]]
        id = "guest"
        component = "operator.wasm"
        [operator.limits]
        fuel_per_event = 100_000
        [[sink]]
        id = "out"
        kind = "file"
        path = "out.jsonl"
        "#,
    );
    folder.write("events.jsonl", numbered(20, 1));
    let mut done = [0; 2];
    for (seed, wasm) in components(first, make).take(count as usize) {
        println!("seed {seed}: {} bytes", wasm.len());
        folder.write("operator.wasm", wasm);
        let inspected = Dirigo::command(&folder, "inspect").args(["operator.wasm"]).finish();
        let run = Dirigo::run(&folder, ["pipeline.toml"])
            .args(["--cache-dir", "off"])
            .finish();
        for (done, finished) in done.iter_mut().zip([&inspected, &run]) {
            has_ended_cleanly(finished);
            *done += usize::from(finished.code() == 0);
        }
        if run.code() == 0 {
            assert_eq!(run.succeeds().count("events_in"), 20);
        }
    }
    println!(
        "{count} components, of which {} were inspected, and {} ran to their end",
        done[0], done[1]
    );
    done
}

#[test]
fn a_component_of_any_kind_is_refused_or_inspected_and_the_host_stands() {
    attack(any_component);
}

#[test]
fn a_map_that_does_anything_is_refused_or_runs_and_the_host_stands() {
    let [inspected, _] = attack(any_map);
    assert!(inspected > 0, "none got as far as that");
}

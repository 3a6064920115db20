//! The protocol of docs/design/005-state-and-delivery.md, run against machines that lose power.
//!
//! The runtime is the real one, with real guests; but one thread does what all threads do, step by step in an order that a
//! seed decides, and files lie on a disk that loses what was not synchronised, or fails for once as one does that is full.
//! Every run is ended again and again, in any operation of the disk or between any two steps, until it comes to its end; then
//! everything must be there, once.
//!
//! - `DIRIGO_SEEDS=2000` says how many seeds are tried, `DIRIGO_SEED=7` from which one on. A failure names its seed;
//!   `DIRIGO_SEED=7 DIRIGO_SEEDS=1 cargo test --release --test simulation` runs it again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a test that cannot go on fails; seeds are printed; plain words matter more than speed here"
)]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

mod faults;
mod machine;
mod oracle;

use faults::{Fault, SUMS};
use machine::{Machine, Trial};

use crate::support::number_of;

/// Seeds that are tried where nothing else is said: each is crashed about ten times.
const SEEDS: u64 = 2_000;
/// Seeds for which a bit of the state changes between two lives, where nothing else is said.
const FLIPPED_SEEDS: u64 = 1_000;
/// Seeds within which each planted fault has to be found.
const FAULT_SEEDS: u64 = 2_000;

#[test]
fn nothing_is_lost_doubled_or_shown_early_whenever_the_machine_stops() {
    let (first, seeds) = (number_of("DIRIGO_SEED", 1), number_of("DIRIGO_SEEDS", SEEDS));
    println!("DIRIGO_SEED={first} DIRIGO_SEEDS={seeds}");
    let machine = Machine::new(SUMS);
    let mut crashes = 0;
    let (mut found_in_flight, mut helped) = (0, 0);
    for seed in first..first + seeds {
        match machine.run(seed, Trial::Crashes) {
            Ok(course) => {
                crashes += course.crashes;
                found_in_flight += course.resumed;
                helped += course.helped;
            }
            Err(violation) => panic!("DIRIGO_SEED={seed} DIRIGO_SEEDS=1: {violation}"),
        }
    }
    println!("{crashes} crashes, {found_in_flight} of them with batches in flight; helpers folded {helped} events");
    assert!(seeds < 100 || helped > seeds, "helpers fold events");
    assert!(
        seeds < 100 || found_in_flight > seeds,
        "checkpoints find batches on their way"
    );
}

#[test]
fn a_changed_bit_of_the_stored_state_is_refused_or_changes_nothing() {
    let (first, seeds) = (number_of("DIRIGO_SEED", 1), number_of("DIRIGO_SEEDS", FLIPPED_SEEDS));
    println!("DIRIGO_SEED={first} DIRIGO_SEEDS={seeds}");
    let machine = Machine::new(SUMS);
    let mut refused = 0;
    for seed in first..first + seeds {
        match machine.run(seed, Trial::FlippedBit) {
            Ok(course) => refused += u64::from(course.is_refused),
            Err(violation) => panic!("DIRIGO_SEED={seed} DIRIGO_SEEDS=1: {violation}"),
        }
    }
    println!("{refused} refused");
    assert!(seeds < 100 || refused * 20 > seeds, "damage is found");
}

#[test]
fn each_planted_fault_is_found() {
    let machine = Machine::new(SUMS);
    for fault in Fault::ALL {
        let other = (fault.sums() != SUMS).then(|| Machine::new(fault.sums()));
        let machine = other.as_ref().unwrap_or(&machine);
        let found = (1..=FAULT_SEEDS).find_map(|seed| Some((seed, machine.run(seed, Trial::Planted(fault)).err()?)));
        let (seed, violation) = found.unwrap_or_else(|| panic!("{fault:?} is not found in {FAULT_SEEDS} seeds"));
        println!(
            "{fault:?}: seed {seed}: {}",
            violation.lines().next().unwrap_or_default()
        );
    }
}

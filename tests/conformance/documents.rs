//! Documents as members of events: which of them an operator that reads its events takes for JSON.

use std::collections::BTreeSet;

use crate::support::{Dirigo, Folder, dead_letters};

/// The numbers of those that are taken, of documents without line ends.
pub(crate) fn taken(documents: &[Vec<u8>]) -> BTreeSet<usize> {
    let folder = Folder::with_pipeline(
        r#"
        [pipeline]
        name = "documents"
        [dead_letters]
        path = "dead.jsonl"
        [[source]]
        id = "in"
        kind = "file"
        path = "in.jsonl"
        [[operator]]
        id = "double"
        component = "builtin:map"
        config = { field = "number", scale = 1.0 }
        [[sink]]
        id = "out"
        kind = "null"
        "#,
    );
    let mut lines = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        lines.extend_from_slice(&event(number, document));
        lines.push(b'\n');
    }
    folder.write("in.jsonl", lines);
    Dirigo::run(&folder, ["pipeline.toml"]).finish().succeeds();
    let dead = dead_letters(&folder, "dead.jsonl");
    let refused: BTreeSet<u64> = dead.iter().map(|letter| letter.event.position - 1).collect();
    (0..documents.len())
        .filter(|number| !refused.contains(&(*number as u64)))
        .collect()
}

/// The event that has a document as its member.
pub(crate) fn event(number: usize, document: &[u8]) -> Vec<u8> {
    [
        format!("{{\"number\":{number},\"document\":").as_bytes(),
        document,
        b"}",
    ]
    .concat()
}

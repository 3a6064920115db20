//! What a pipeline file means, and what is said of a broken one, with the kinds of sources and sinks that Dirigo brings
//! along.
//!
//! Each test writes its files into a folder of its own: the folder's `examples/sensors.jsonl` exists, as the contract's
//! example wants it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod broken;
mod contract;
mod diagnostics;
mod overriding;
mod robustness;
mod together;
mod wiring;

use std::any::Any;
use std::env::VarError;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use dirigo_pipeline::{Diagnostics, Inputs, Loaded, Override, Surroundings, parse_in};

/// A folder for a pipeline file and what it refers to.
struct TestFolder(TempDir);

impl TestFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("examples")).unwrap();
        for file in [
            "examples/sensors.jsonl",
            "readings.csv",
            "readings.dat",
            "lines.log.gz",
            "anomaly.wasm",
        ] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn parse(&self, text: &str, overrides: &[&str]) -> Result<Loaded, Diagnostics> {
        self.parse_with(text, overrides, Inputs::OfSources)
    }

    fn parse_with(&self, text: &str, overrides: &[&str], inputs: Inputs) -> Result<Loaded, Diagnostics> {
        let overrides: Vec<Override> = overrides.iter().map(|text| Override::parse(text).unwrap()).collect();
        let environment = |name: &str| match name {
            "TOKEN" => Ok("s3cret".to_owned()),
            "SLO" => Ok("50ms".to_owned()),
            "NUMBER" => Ok("7".to_owned()),
            "LIST" => Ok("[\"s\"]".to_owned()),
            "WINDOW" => Ok("{ count = 5 }".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let surroundings = Surroundings {
            connectors: &dirigo_connectors::builtin(),
            environment: &environment,
            inputs,
            admission: &dirigo_pipeline::Admission::default(),
            stored: None,
        };
        parse_in(text, &self.path("pipeline.toml"), &overrides, surroundings)
    }
}

fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    TestFolder::new().parse(text, &[])
}

fn good(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is said of a file that is refused.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(loaded) => panic!("accepted: {:?}", loaded.pipeline),
        Err(problems) => problems.render(false),
    }
}

/// Asserts that each part is said, in this order.
#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => panic!("{part:?} is not said in\n{said}"),
        }
    }
}

/// What a source reads, or a sink writes to, as its connector knows it.
#[track_caller]
fn spec<T: Any>(spec: &dyn Any) -> &T {
    spec.downcast_ref().expect("a spec of another kind")
}

/// A pipeline of a generator, an operator and a null sink, with `text` in place of the operator's keys.
fn with_operator(text: &str) -> String {
    format!(
        "[pipeline]\nname = \"p\"\n[[source]]\nid = \"s\"\nkind = \"generator\"\ntime = \"/ts\"\n\
         [[operator]]\nid = \"o\"\n{text}\n[[sink]]\nid = \"out\"\nkind = \"null\"\n"
    )
}

/// A pipeline of a source with these keys and a null sink.
fn with_source(text: &str) -> String {
    format!("[pipeline]\nname = \"p\"\n[[source]]\nid = \"s\"\n{text}\n[[sink]]\nid = \"out\"\nkind = \"null\"\n")
}

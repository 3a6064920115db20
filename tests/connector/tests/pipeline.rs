//! The example connector, named in a pipeline file like those that Dirigo brings along.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;

use dirigo::clock::{Clock, SystemClock};
use dirigo::connect::source::{Intake, Read, ReadLimit, ReadProgress};
use dirigo::connect::{Error, Offset, Source};
use dirigo::connectors;
use dirigo::engine::{Engine, Machine};
use dirigo::pipeline::{self, Registry};
use dirigo::runtime::{Host, HostOptions, StateLocation, compatibility, prepare};
use dirigo::scheduler::PolicyKind;
use dirigo_example_connector::{Countdown, Notebook};
use serde_json::json;

const FILE: &str = r#"
[pipeline]
name = "numbers"
[[source]]
id = "numbers"
kind = "countdown"
from = 3
[[sink]]
id = "out"
kind = "notebook"
order = "source"
"#;

/// The kinds that Dirigo brings along, and those of the example.
fn registry(countdown: &Countdown, notebook: &Notebook) -> Registry {
    let registry = connectors::builtin().with_source(countdown.clone());
    registry.with_sink(notebook.clone())
}

/// Runs a pipeline file to its end, with state and with what `edit` makes of its source; says what ended it before.
fn run(
    file: &Path,
    registry: &Registry,
    state: &Path,
    edit: impl FnOnce(Box<dyn Source>) -> Box<dyn Source>,
) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let engine = Engine::new(&Machine::read(), None).unwrap();
    let loaded = pipeline::load(file, &[], registry).unwrap_or_else(|problems| panic!("{problems}"));
    let prepared = runtime.block_on(prepare(&engine, loaded, &clock));
    let prepared = prepared.unwrap_or_else(|problems| panic!("{problems}"));
    let place = StateLocation::Directory {
        path: state.to_owned(),
        fresh: false,
    };
    let prepared = compatibility::resume(prepared, &place).unwrap();
    let options = HostOptions {
        workers: 1,
        policy: PolicyKind::Fair,
        instances_max: u32::MAX,
        clock,
    };
    let host = Host::start(engine, options, runtime.handle().clone());
    let mut opened = host.open(prepared, &place).unwrap();
    let source = opened.connectors.sources.pop().unwrap();
    opened.connectors.sources.push(edit(source));
    let ended = runtime.block_on(host.launch(opened).finished());
    ended.failure.map(|failure| failure.to_string())
}

/// A source that cannot take what it is told of epochs.
struct Deaf(Box<dyn Source>, fn(&'static str) -> Error);

impl Source for Deaf {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        self.0.read(intake, limit)
    }

    fn offset(&self) -> Option<Offset> {
        self.0.offset()
    }

    fn committed(&mut self, _: &Offset) -> Result<(), Error> {
        Err(self.1("the broker is gone"))
    }

    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

#[test]
fn a_pipeline_runs_from_a_source_to_a_sink_of_kinds_that_the_host_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let (file, state) = (folder.path().join("pipeline.toml"), folder.path().join("state"));
    let (countdown, notebook) = (Countdown::default(), Notebook::default());
    let registry = registry(&countdown, &notebook);
    std::fs::write(&file, FILE).unwrap();
    assert_eq!(run(&file, &registry, &state, |source| source), None);
    let note = |time, key: &str, value: &str| (time, key.to_owned(), value.to_owned());
    let first = [note(1, "odd", "3"), note(2, "even", "2"), note(3, "odd", "1")];
    assert_eq!(*notebook.0.lock().unwrap(), first);
    assert_eq!(countdown.committed.lock().unwrap().last(), Some(&json!(3)));

    // It goes on where it stopped: behind the three numbers that were taken.
    std::fs::write(&file, FILE.replace("from = 3", "from = 5")).unwrap();
    assert_eq!(run(&file, &registry, &state, |source| source), None);
    assert_eq!(
        notebook.0.lock().unwrap()[3..],
        [note(4, "even", "2"), note(5, "odd", "1")]
    );
    assert_eq!(countdown.committed.lock().unwrap().last(), Some(&json!(5)));
}

#[test]
fn a_source_that_fails_to_take_an_epoch_ends_the_pipeline_unless_it_may_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    std::fs::write(&file, FILE).unwrap();
    let registry = registry(&Countdown::default(), &Notebook::default());
    let ended = |name: &str, error: fn(&'static str) -> Error| {
        run(&file, &registry, &folder.path().join(name), |source| {
            Box::new(Deaf(source, error))
        })
    };
    assert_eq!(ended("retryable", Error::retryable), None);
    assert_eq!(
        ended("fatal", Error::fatal).as_deref(),
        Some("source `numbers`: the broker is gone")
    );
}

#[test]
fn a_misspelt_key_is_told_the_one_that_was_meant() {
    let refused = |text: &str| {
        let registry = registry(&Countdown::default(), &Notebook::default());
        let loaded = pipeline::parse(text, Path::new("pipeline.toml"), &[], &registry);
        loaded.expect_err("it is refused").render(false)
    };
    let said = refused(&FILE.replace("from =", "form ="));
    for part in [
        "unknown key `form` in `[[source]]`",
        "pipeline.toml:7:1",
        "did you mean `from`?",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("has no `from`"), "one mistake is one error: {said}");
    let said = refused(&FILE.replace("from = 3", "from = 0"));
    assert!(said.contains("it is at least 1"), "{said}");
    let said = refused(&FILE.replace("from = 3", "from = 3\npath = \"x\""));
    assert!(said.contains("a countdown source has no `path`"), "{said}");
    let said = refused(&FILE.replace("countdown", "countdwon"));
    assert!(said.contains("did you mean `countdown`?"), "{said}");
}

#[test]
fn the_schema_describes_the_keys_of_every_kind() {
    let schema = pipeline::schema(&registry(&Countdown::default(), &Notebook::default()));
    let source = &schema["definitions"]["Source"]["properties"];
    assert_eq!(
        source["kind"]["enum"],
        json!(["file", "http", "nats", "stdin", "generator", "nexmark", "countdown"])
    );
    assert_eq!(source["from"]["maximum"], 1_000_000);
    let sinks = &schema["definitions"]["Sink"]["properties"]["kind"]["enum"];
    assert_eq!(*sinks, json!(["file", "http", "nats", "stdout", "null", "notebook"]));
}

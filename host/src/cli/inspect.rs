//! `dirigo inspect`: what is in this component, and what does it get of the outside world?

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use bytesize::ByteSize;
use dirigo::call::StateVersions;
use dirigo::engine::{self, Instance, Kind};
use dirigo::fields::{OutputMode, Schema};
use dirigo::printable;
use dirigo::runtime::listed_settings;
use serde::Serialize;

use super::output::Format;
use super::setup::CommandContext;
use super::{Exit, Globals, output};

/// The fuel between two yields of an operator that opens; no other task runs meanwhile.
const OPEN_SLICE_FUEL: u64 = 10_000_000;

/// Arguments of `dirigo inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A component, or `builtin:NAME`
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The settings to open it with, as a JSON object: which fields it reads and writes may depend on them
    #[arg(long, value_name = "JSON", value_parser = settings)]
    config: Option<String>,
}

const OBJECT: &str = "settings are a JSON object, such as '{\"field\": \"amount\"}'";

fn settings(text: &str) -> Result<String, String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(settings)) => Ok(serde_json::Value::Object(settings).to_string()),
        Ok(_) => Err(OBJECT.to_owned()),
        Err(error) => Err(format!("{error}; {OBJECT}")),
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Inspection<'a> {
    kind: dirigo::engine::Kind,
    sha256: &'a str,
    size: usize,
    initial_memory: u64,
    /// Whether it is handed one event at a time: it imports random numbers or a clock.
    is_per_event: bool,
    /// Of a reduce; null for what keeps no state.
    state_versions: Option<StateVersions>,
    /// How a reduce lays out its accumulators; null where it does not say so.
    state_layout: Option<&'a str>,
    /// A JSON Schema of its `config`; null where the component says nothing of it.
    settings: Option<serde_json::Value>,
    /// Which fields it reads and writes, opened with the given settings; null where it refuses those.
    fields: Option<Fields>,
    /// Why it cannot be opened with the given settings.
    unopened: Option<String>,
    /// Whether settings were given.
    #[serde(skip)]
    has_settings: bool,
    imports: &'a [String],
    /// By import: what it is answered with. None leads out of the sandbox.
    answers: BTreeMap<&'a str, &'static str>,
    limits: dirigo::pipeline::Limits,
}

/// A schema.
#[derive(Debug, Serialize)]
struct Fields {
    reads: Vec<Read>,
    /// Whether it reads the whole value.
    reads_value: bool,
    writes: Vec<Written>,
    /// What its outputs are: `raw` values, the event `extend`ed by what is written, or an object that `replace`s it. A filter has none.
    outputs: Option<&'static str>,
    /// The outputs that a process has besides, each with a name.
    named_outputs: Vec<NamedOutput>,
}

#[derive(Debug, Serialize)]
struct NamedOutput {
    name: String,
    writes: Vec<Written>,
    /// What is put out: `raw` values, or an object that `replace`s the event.
    outputs: &'static str,
}

#[derive(Debug, Serialize)]
struct Read {
    field: String,
    #[serde(rename = "type")]
    field_type: &'static str,
    is_optional: bool,
    is_exact: bool,
}

#[derive(Debug, Serialize)]
struct Written {
    field: String,
    #[serde(rename = "type")]
    field_type: &'static str,
}

impl Fields {
    fn of(schema: &Schema, kind: Kind) -> Self {
        let reads = schema.reads.iter().map(|read| Read {
            field: read.field.to_string(),
            field_type: read.field_type.name(),
            is_optional: read.is_optional,
            is_exact: read.is_exact,
        });
        Self {
            reads: reads.collect(),
            reads_value: schema.raw,
            writes: written(&schema.writes),
            outputs: (kind != Kind::Filter).then_some(mode(schema.outputs)),
            named_outputs: schema
                .named
                .iter()
                .map(|named| NamedOutput {
                    name: named.name.clone(),
                    writes: written(&named.writes),
                    outputs: mode(named.mode),
                })
                .collect(),
        }
    }

    fn to_text(&self) -> String {
        let mut reads: Vec<String> = self
            .reads
            .iter()
            .map(|read| {
                let exact = if read.is_exact {
                    ", or an s64 that it does not hold"
                } else {
                    ""
                };
                let optional = if read.is_optional { ", or nothing" } else { "" };
                format!(
                    "{} ({}{exact}{optional})",
                    printable::line(&read.field),
                    read.field_type
                )
            })
            .collect();
        if self.reads_value {
            reads.push("the whole value".to_owned());
        }
        let writes = match self.outputs {
            None => "nothing: events are kept as they are, or dropped".to_owned(),
            Some(mode) => put_out(mode, &self.writes),
        };
        let named = self.named_outputs.iter().fold(String::new(), |mut text, output| {
            let written = put_out(output.outputs, &output.writes);
            writeln!(text, "  as `{}`  {written}", output.name).expect("a string takes what is written");
            text
        });
        let reads = if reads.is_empty() {
            "nothing of an event".to_owned()
        } else {
            reads.join(", ")
        };
        format!("reads           {reads}\nwrites          {writes}\n{named}")
    }
}

fn written(writes: &[dirigo::fields::Written]) -> Vec<Written> {
    let written = |written: &dirigo::fields::Written| Written {
        field: written.field.to_string(),
        field_type: written.field_type.name(),
    };
    writes.iter().map(written).collect()
}

fn mode(mode: OutputMode) -> &'static str {
    match mode {
        OutputMode::Raw => "raw",
        OutputMode::Extend => "extend",
        OutputMode::Replace => "replace",
    }
}

/// What is put out to an output, for people.
fn put_out(mode: &str, writes: &[Written]) -> String {
    let written = |written: &Written| format!("{} ({})", printable::line(&written.field), written.field_type);
    let writes: Vec<String> = writes.iter().map(written).collect();
    match mode {
        "raw" => "values of its own".to_owned(),
        "extend" => format!("{} in the event", writes.join(", ")),
        _ => format!("an object of {}", writes.join(", ")),
    }
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let setup = CommandContext::new(globals)?;
    let loaded = setup.engine.load_named(&args.file);
    let component = loaded.map_err(|error| match error {
        // It names the file, and what is in its way.
        engine::Error::Read { .. } => match args.file.to_str().filter(|name| engine::builtin::get(name).is_some()) {
            Some(name) => anyhow!("{error}; the built-in operator is `builtin:{name}`"),
            None => anyhow!("{error}"),
        },
        error => anyhow!("{}: {error}", args.file.display()),
    })?;
    let asked = setup
        .runtime
        .block_on(Instance::ask_state_versions(&component, &unplaced(&setup)));
    let state_versions = asked.map_err(|trap| {
        anyhow!(
            "{}: it does not say which state it reads: {}",
            args.file.display(),
            trap.reason
        )
    })?;
    let unplaced = unplaced(&setup);
    setup.runtime.block_on(Instance::learn_state_layout(
        &component,
        &unplaced,
        unplaced.limits.open_ms,
    ));
    let settings = setup.runtime.block_on(Instance::ask_settings(&component, &unplaced));
    let with_settings = engine::Setup {
        config: args.config.as_deref().unwrap_or("{}").into(),
        ..unplaced.clone()
    };
    let opened = setup
        .runtime
        .block_on(Instance::activate(&component, &with_settings, OPEN_SLICE_FUEL));
    let (fields, unopened) = match opened {
        Ok(instance) => (Some(Fields::of(instance.schema(), component.kind())), None),
        Err(unopened) => (None, Some(unopened.to_string())),
    };
    let inspection = Inspection {
        fields,
        unopened,
        has_settings: args.config.is_some(),
        kind: component.kind(),
        sha256: component.sha256(),
        size: component.size(),
        initial_memory: component.initial_memory(),
        is_per_event: component.is_per_event(),
        state_versions,
        state_layout: component.state_layout(),
        settings: settings.as_deref().and_then(|schema| serde_json::from_str(schema).ok()),
        imports: component.imports(),
        answers: component
            .imports()
            .iter()
            .map(|import| (import.as_str(), engine::answer(import)))
            .collect(),
        limits: dirigo::pipeline::Limits::default(),
    };
    match globals.format {
        Format::Json => output::print_json(&inspection)?,
        Format::Text => output::print(&inspection.to_text())?,
    }
    Ok(Exit::Success)
}

/// What an instance is made from that is asked about itself.
fn unplaced(setup: &CommandContext) -> engine::Setup {
    engine::Setup {
        schema: None,
        limits: dirigo::pipeline::Limits::default(),
        config: "{}".into(),
        log: Arc::new(engine::GuestLog::new(
            "inspect",
            "component",
            setup.clock.clone(),
            Arc::default(),
        )),
        quota: Arc::default(),
        seed: engine::Seed::new("inspect", "component"),
        clock: setup.clock.clone(),
    }
}

impl Inspection<'_> {
    fn to_text(&self) -> String {
        let settings = self
            .settings
            .as_ref()
            .and_then(|schema| listed_settings(&schema.to_string()));
        let settings: String = match settings {
            Some(lines) if lines.is_empty() => "\n  none".into(),
            Some(lines) => lines.iter().fold(String::new(), |mut text, line| {
                write!(text, "\n  {}", printable::line(line)).expect("a string takes what is written");
                text
            }),
            None => "\n  the component does not say".into(),
        };
        let calls = if self.is_per_event {
            "calls           one event each: it draws random numbers or reads a clock\n"
        } else {
            ""
        };
        let layout = match (self.state_layout, self.state_versions) {
            (Some(layout), _) => format!("state layout    {}\n", printable::line(layout)),
            (None, Some(_)) => {
                let raise = "raise the state version whenever it changes";
                format!("state layout    not said, so no run notices that it has changed: {raise}\n")
            }
            (None, None) => String::new(),
        };
        let fields = match (&self.fields, &self.unopened) {
            (Some(fields), _) => fields.to_text(),
            (None, Some(reason)) if self.has_settings => {
                format!(
                    "fields          not known with these settings: it {}\n",
                    printable::line(reason)
                )
            }
            (None, Some(reason)) => format!(
                "fields          depend on its settings, which `--config JSON` gives (without them it {})\n",
                printable::line(reason)
            ),
            (None, None) => String::new(),
        };
        let size = |bytes: u64| ByteSize::b(bytes).display().iec().to_string();
        let width = self.imports.iter().map(|import| import.chars().count()).max();
        let width = width.unwrap_or(0);
        let mut imports = String::new();
        for import in self.imports {
            let (import, answer) = (printable::line(import), engine::answer(import));
            write!(imports, "\n  {import:<width$}  {answer}").expect("a string takes what is written");
        }
        format!(
            "kind            {}\nsha256          {}\nsize            {}\ninitial memory  {}\n{calls}{}{}{fields}\
             limits          memory {}, state {}, {} fuel per event, {} table elements, {} ms to open\nsettings{settings}\n\
             imports, and what they are answered with{}\n",
            self.kind,
            self.sha256,
            size(self.size as u64),
            size(self.initial_memory),
            self.state_versions.map(state).unwrap_or_default(),
            layout,
            size(self.limits.memory),
            size(self.limits.state),
            self.limits.fuel_per_event,
            self.limits.table_elements,
            self.limits.open_ms,
            if imports.is_empty() { "\n  none" } else { &imports },
        )
    }
}

/// The line about the state of a reduce.
fn state(StateVersions { written, oldest }: StateVersions) -> String {
    let older = match written - oldest {
        0 => String::new(),
        1 => format!(", migrates {oldest}"),
        _ => format!(", migrates {oldest} to {}", written - 1),
    };
    format!("state version   {written}{older}\n")
}

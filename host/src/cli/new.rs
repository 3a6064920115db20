//! `dirigo new`: a project for an operator of one's own.

use std::path::PathBuf;

use clap::ValueEnum;
use dirigo::printable;
use serde::Serialize;

use super::crate_name::CrateName;
use super::output::Format;
use super::project::Project;
use super::{Exit, Globals, output};

/// Arguments of `dirigo new`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The project has the operator with tests, a pipeline that runs it with a test case, some events, and the SDK and the \
interface that it is built against under `vendor/dirigo`. An existing directory is only written to if it is empty.

Exit code: 0 if the project was made, 1 if it could not be, 2 if it cannot bear this name.")]
pub(crate) struct Args {
    /// Name of the operator's crate
    #[arg(value_name = "NAME")]
    name: CrateName,
    /// What kind of operator it is
    #[arg(long, value_name = "KIND")]
    kind: Kind,
    /// The language that it is written in
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
    /// Directory of the project [default: NAME]
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// The kinds of operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Any number of events from each event
    Map,
    /// Which events go on
    Filter,
    /// A fold over keys and windows
    Reduce,
    /// State and timers by key
    Process,
}

/// What operators are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// Rust
    Rust,
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct Made<'a> {
    name: &'a str,
    kind: Kind,
    path: PathBuf,
    files: Vec<PathBuf>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let template = match (args.lang, args.kind) {
        (Language::Rust, Kind::Map) => "map",
        (Language::Rust, Kind::Filter) => "filter",
        (Language::Rust, Kind::Reduce) => "reduce",
        (Language::Rust, Kind::Process) => "process",
    };
    let name = args.name.as_str();
    let path = args.path.clone().unwrap_or_else(|| name.into());
    let project = Project::from_template(template, &args.name);
    project.write(&path)?;
    match globals.format {
        Format::Json => output::print_json(&Made {
            name,
            kind: args.kind,
            path,
            files: project.paths().map(PathBuf::from).collect(),
        })?,
        Format::Text => {
            let place = path.display().to_string();
            let place = printable::line(&place);
            output::print(&format!(
                "made the {template} operator `{name}` in {place}:\n\
                 \x20 src/lib.rs      the operator, with tests\n\
                 \x20 pipeline.toml   a pipeline that runs it, with a test case\n\
                 \x20 data.jsonl      some events\n\
                 \x20 vendor/dirigo/  the SDK and the interface that it is built against\n\
                 next, in {place}:\n\
                 \x20 dirigo build\n\
                 \x20 dirigo test pipeline.toml\n\
                 \x20 dirigo run pipeline.toml\n"
            ))?;
        }
    }
    Ok(Exit::Success)
}

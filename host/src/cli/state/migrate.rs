//! `dirigo state migrate`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::bail;
use dirigo::pipeline::Override;
use dirigo::printable;
use dirigo::runtime::StateLocation;
use dirigo::runtime::compatibility::Incompatible;
use dirigo::runtime::state_migration::{self, MigrationOptions, Report, migrate_state};

use crate::cli::output::{self, Format, grouped};
use crate::cli::setup::CommandContext;
use crate::cli::{Exit, Globals, own_state, report};

/// Arguments of `dirigo state migrate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Adapts the state that an earlier run left to the pipeline as it is now. Each incompatible part needs an option of its \
own. Every entry of an older state version is migrated at once, so that failures show now. All of it is one commit: if \
anything fails, nothing changes.

Exit code: 0 if it was done, or could be, 78 if the pipeline still does not fit its state, 1 if an entry cannot be \
migrated.")]
pub(super) struct Args {
    /// Pipeline file, as it is now
    #[arg(value_name = "PIPELINE")]
    file: PathBuf,
    /// State directory, as given to `run --state`; no process may be running on it
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// This operator, source or sink has another name now
    #[arg(long, value_name = "OLD=NEW")]
    rename: Vec<String>,
    /// This operator, source or sink is gone: what is kept of it is deleted, events on their way to or from it included
    #[arg(long, value_name = "ID")]
    drop: Vec<String>,
    /// Accept the changed settings of this one and resume anyway: an operator with its windows, a source at its
    /// position. A sink with another path starts there, where nothing may exist yet
    #[arg(long, value_name = "ID")]
    accept: Vec<String>,
    /// This source is read from its start again, whatever it reads now; windows stay as they are
    #[arg(long, value_name = "SOURCE")]
    restart: Vec<String>,
    /// Print what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What tenants may do, as `dirigo run` is given it: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Put a value in place of the file's, such as `operator.map-1.config.scale=2`
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    set: Vec<Override>,
}

pub(super) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let mut options = MigrationOptions {
        dropped: args.drop.iter().cloned().collect(),
        accepted: args.accept.iter().cloned().collect(),
        restarted: args.restart.iter().cloned().collect(),
        ..MigrationOptions::default()
    };
    for pair in &args.rename {
        let Some((old, new)) = pair.split_once('=') else {
            bail!("`--rename {pair}` gives no new name: write `--rename OLD=NEW`");
        };
        options.renamed.insert(old.to_owned(), new.to_owned());
    }
    let Some(setup) = CommandContext::for_pipelines(globals, args.tenants.as_deref(), Some(&args.state))? else {
        return Ok(Exit::Configuration);
    };
    let prepared = match setup.load(&args.file, &args.set) {
        Ok(prepared) => prepared,
        Err(problems) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
    };
    let directory = args.state.join(&prepared.pipeline.name);
    if !directory.is_dir() {
        bail!(
            "{} holds no state of pipeline `{}`",
            args.state.display(),
            prepared.pipeline.name
        );
    }
    let location = StateLocation::Directory {
        path: directory.clone(),
        fresh: false,
    };
    if let Err(refusal) = own_state::expect_of_tenant(setup.files.tenants.is_some(), &prepared, &location) {
        return refusal.reported(globals);
    }
    let done = setup
        .runtime
        .block_on(migrate_state(&prepared, &directory, &options, args.dry_run));
    match done {
        Ok(done) => match globals.format {
            Format::Json => output::print_json(&done)?,
            Format::Text => output::print(&text(&done, args.dry_run))?,
        },
        Err(state_migration::Error::Incompatible(Incompatible::Changed(problems))) => {
            report::diagnostics(&problems, globals.format)?;
            return Ok(Exit::Configuration);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Success)
}

fn text(done: &Report, is_dry: bool) -> String {
    let (was, ends, begins) = if is_dry {
        ("would be ", "would be read", "would begin")
    } else {
        ("", "is read", "begins")
    };
    let counted = |what: &str, of: &BTreeMap<String, u64>, unit: &str| -> Vec<String> {
        let line = |(id, count): (&String, &u64)| format!("{was}{what} {} {unit} `{id}`", grouped(*count));
        of.iter().map(line).collect()
    };
    let mut lines = counted("migrated ", &done.migrated, "entries of");
    lines.extend(done.renamed.iter().map(|(old, renamed)| {
        let entries = grouped(renamed.entries);
        format!("{was}renamed   `{old}` to `{}`, with {entries} entries", renamed.to)
    }));
    lines.extend(counted("dropped  ", &done.dropped, "entries of"));
    let in_flight = "events that were on their way to or from";
    lines.extend(counted("dropped  ", &done.dropped_in_flight, in_flight));
    let begun = done.begun.iter();
    lines.extend(begun.map(|id| format!("sink `{id}` {begins} in its new location, which is empty")));
    let restarted = done.restarted.iter();
    lines.extend(restarted.map(|id| format!("source `{id}` {ends} from its start")));
    lines.push(if is_dry {
        "nothing was changed: this was a dry run".to_owned()
    } else {
        "the state belongs to the pipeline as it is now".to_owned()
    });
    lines.iter().map(|line| printable::line(line) + "\n").collect()
}

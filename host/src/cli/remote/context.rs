//! `dirigo context`: the services that this user has to do with.

use std::path::PathBuf;

use anyhow::bail;

use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::contexts::{Contexts, ServiceContext};
use super::table;

/// Arguments of `dirigo context`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the services that are known
    List,
    /// Use a service where none is named
    Use {
        /// The name of the context
        name: String,
    },
    /// Add a service, or change what is known of it
    Add(Add),
    /// Forget a service
    Remove {
        /// The name of the context
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Add {
    /// What to call it
    name: String,
    /// Its address, such as `https://dirigo.example.org`
    #[arg(long, value_name = "URL")]
    server: String,
    /// The file with the token
    #[arg(long, value_name = "FILE", required_unless_present = "token_env")]
    token_file: Option<PathBuf>,
    /// The environment variable with the token
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    token_env: Option<String>,
    /// Whose pipelines are meant where none are named
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let mut contexts = Contexts::load()?;
    match &args.command {
        Command::List => return list(&contexts, globals),
        Command::Use { name } => {
            contexts.named(Some(name))?;
            contexts.current = Some(name.clone());
        }
        Command::Add(add) => {
            let context = ServiceContext {
                server: add.server.clone(),
                token_file: add.token_file.as_deref().map(std::path::absolute).transpose()?,
                token_env: add.token_env.clone(),
                tenant: add.tenant.clone(),
            };
            contexts.contexts.insert(add.name.clone(), context);
            contexts.current.get_or_insert_with(|| add.name.clone());
        }
        Command::Remove { name } => {
            if contexts.contexts.remove(name).is_none() {
                bail!("there is no context `{name}`");
            }
            contexts.current.take_if(|current| current == name);
        }
    }
    contexts.save()?;
    Ok(Exit::Success)
}

fn list(contexts: &Contexts, globals: &Globals) -> anyhow::Result<Exit> {
    if globals.format == Format::Json {
        output::print_json(contexts)?;
        return Ok(Exit::Success);
    }
    let row = |(name, context): (&String, &ServiceContext)| {
        let is_current = contexts.current.as_ref() == Some(name);
        vec![
            name.clone(),
            context.server.clone(),
            context.tenant.clone().unwrap_or_default(),
            if is_current { "current" } else { "" }.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = contexts.contexts.iter().map(row).collect();
    if rows.is_empty() {
        output::say("no service is known; `dirigo serve` notes the one that it starts");
    } else {
        table::print(&["CONTEXT", "SERVER", "TENANT", ""], &rows, &[])?;
    }
    Ok(Exit::Success)
}

//! The command line: one file per subcommand, each with an `execute` that returns how it ended.
//!
//! Data goes to standard output, all else to standard error.

mod build;
mod case_report;
mod check;
mod compile_for_parent;
mod completions;
mod crate_name;
mod dead_letters;
mod delivery_semantics;
mod inspect;
mod interrupts;
mod junit;
mod new;
mod outputs;
mod progress;
mod project;
mod remote;
mod replay;
mod run;
mod schema;
mod serve;
mod slo_monitor;
mod state;
mod summary;
mod test;
mod throttling;
mod written_file;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dirigo_command::log::Log;
use dirigo_command::output::{self, Format};
use dirigo_command::{Exit, Globals, admission, own_state, pipeline_files, report, setup};

/// Runs stream operators, compiled to WebAssembly components, as virtual actors.
#[derive(Debug, Parser)]
#[command(name = "dirigo", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How results are printed
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Where compiled components are kept; `off` to compile them at every start
    #[arg(long, global = true, value_name = "DIR", env = "DIRIGO_CACHE_DIR")]
    cache_dir: Option<String>,
    /// The key that tells compiled components of this user's making from others; made where it is missing, by default
    /// `~/.local/state/dirigo/cache.key`
    #[arg(long, global = true, value_name = "FILE", env = "DIRIGO_CACHE_KEY")]
    cache_key: Option<PathBuf>,
    /// What is logged to standard error, such as `debug` or `guest=info`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "DIRIGO_LOG",
        default_value = "warn"
    )]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipelines to the end of their sources, or until Ctrl-C
    Run(run::Args),
    /// Run a service to which pipelines are deployed
    Serve(serve::Args),
    /// Deploy a pipeline to a service
    Deploy(remote::deploy::Args),
    /// List the pipelines of a service
    List(remote::list::Args),
    /// Show how a pipeline of a service is doing
    Status(remote::status::Args),
    /// Show what the operators of a pipeline of a service have said
    Logs(remote::logs::Args),
    /// Show events as they pass through a pipeline of a service
    Tap(remote::tap::Args),
    /// Show what pipelines and tenants of a service are doing, the busiest first
    Top(remote::top::Args),
    /// Put another version of a pipeline in place of the one that a service runs
    Upgrade(remote::deploy::UpgradeArgs),
    /// Return to an earlier version of a pipeline of a service
    Rollback(remote::manage::RollbackArgs),
    /// List the versions of a pipeline of a service
    Versions(remote::manage::Args),
    /// Stop a pipeline of a service; its state is kept
    Stop(remote::manage::StopArgs),
    /// Start a pipeline of a service that was stopped, has finished or has failed
    Start(remote::manage::Args),
    /// Delete a pipeline of a service, with its state; what it wrote stays
    Delete(remote::manage::Args),
    /// List, add, remove or choose the services that commands talk to
    Context(remote::context::Args),
    /// Validate a pipeline file and its components; run nothing
    Check(check::Args),
    /// Show what kind of operator a component is, and what it imports
    Inspect(inspect::Args),
    /// Create a project for a new operator
    New(new::Args),
    /// Compile an operator crate to a component
    Build(build::Args),
    /// Run the test cases in a pipeline file
    Test(test::Args),
    /// Replay one dead letter on its own
    Replay(replay::Args),
    /// List dead letters, show one, or put them back into the pipeline
    DeadLetters(dead_letters::Args),
    /// Inspect a state directory
    State(state::Args),
    /// Measure what neighbours cost each other, on this machine
    #[cfg(feature = "bench")]
    Bench(dirigo_bench::Args),
    /// Print the JSON Schema of the pipeline file
    Schema(schema::Args),
    /// Print shell completions
    Completions(completions::Args),
    /// Compile one component for the process that started this one
    #[command(hide = true, name = dirigo::engine::COMPILER_SUBCOMMAND)]
    CompileForParent(compile_for_parent::Args),
}

/// This process's executable, also where its file was replaced since.
const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the guests of a benchmark say is part of the attack, and of no use to a reader.
    let filter = match cli.command {
        #[cfg(feature = "bench")]
        Command::Bench(_) => format!("guest=off,{}", cli.log),
        _ => cli.log,
    };
    let globals = Globals {
        format: cli.output,
        cache_dir: cli.cache_dir,
        cache_key: cli.cache_key,
        compiler: Some(OWN_EXECUTABLE.into()),
        log: Log::set_up(&filter),
    };
    let outcome = match cli.command {
        Command::Run(args) => run::execute(&args, &globals),
        Command::Serve(args) => serve::execute(&args, &globals),
        Command::Deploy(args) => remote::deploy::execute(&args, &globals),
        Command::List(args) => remote::list::execute(&args, &globals),
        Command::Status(args) => remote::status::execute(&args, &globals),
        Command::Logs(args) => remote::logs::execute(&args, &globals),
        Command::Tap(args) => remote::tap::execute(&args, &globals),
        Command::Top(args) => remote::top::execute(&args, &globals),
        Command::Upgrade(args) => remote::deploy::upgrade(&args, &globals),
        Command::Rollback(args) => remote::manage::rollback(&args, &globals),
        Command::Versions(args) => remote::manage::versions(&args, &globals),
        Command::Stop(args) => remote::manage::stop(&args, &globals),
        Command::Start(args) => remote::manage::start(&args, &globals),
        Command::Delete(args) => remote::manage::delete(&args, &globals),
        Command::Context(args) => remote::context::execute(&args, &globals),
        Command::Check(args) => check::execute(&args, &globals),
        Command::Inspect(args) => inspect::execute(&args, &globals),
        Command::New(args) => new::execute(&args, &globals),
        Command::Build(args) => build::execute(&args, &globals),
        Command::Test(args) => test::execute(&args, &globals),
        Command::Replay(args) => replay::execute(&args, &globals),
        Command::DeadLetters(args) => dead_letters::execute(&args, &globals),
        Command::State(args) => state::execute(&args, &globals),
        #[cfg(feature = "bench")]
        Command::Bench(args) => dirigo_bench::execute(&args, &globals),
        Command::Schema(args) => schema::execute(&args),
        Command::Completions(args) => completions::execute(&args),
        Command::CompileForParent(args) => compile_for_parent::execute(&args),
    };
    let dropped = globals.log.finish();
    if dropped > 0 {
        eprintln!("warning: {dropped} log lines were dropped: they came faster than standard error was read");
    }
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            match error.downcast_ref::<remote::Refusal>() {
                Some(refusal) => refusal.say(),
                None => output::say(&format!("error: {error:#}")),
            }
            Exit::Failure.into()
        }
    }
}

//! `dirigo serve`: the multi-tenant service.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use dirigo::runtime::{Host, HostOptions};
use dirigo::scheduler::PolicyKind;
use dirigo_service::{Directory, Error, Service, Setup, default_directory};

use super::interrupts::Interrupts;
use super::pipeline_files::PipelineFiles;
use super::remote::contexts;
use super::setup::CommandContext;
use super::{Exit, Globals, output};

/// Where the service listens, by default.
const LISTEN: &str = "127.0.0.1:7117";

/// Arguments of `dirigo serve`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The service runs pipelines that are deployed over HTTP, for as many tenants as the tenants file lists. It keeps all that it needs in its \
state directory. What it has acknowledged is on disk: after a crash it resumes.

On its first start it makes a token that lets its bearer do everything, in `operator.token` of the state directory, and a context \
named `local` with it, which `dirigo deploy`, `list`, `status` and the other clients use.

It listens on this machine only, unless `--insecure` is given: what is sent is not encrypted. To be reached from elsewhere, put a proxy in \
front of it that speaks TLS.

The first Ctrl-C or SIGTERM has all pipelines drain for as long as `--drain-timeout` says, then stops them. A second one ends the service \
at once; pipelines then go on from their last checkpoint.

Exit code: 0 if it was told to end and all pipelines have, 1 if it cannot run or some did not end, 78 if the tenants file cannot be used.")]
pub(crate) struct Args {
    /// Keep everything in this directory; by default `~/.local/state/dirigo/service`
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Listen at this address; with port 0 at one that is free
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: SocketAddr,
    /// Listen beyond this machine, though what is sent is not encrypted
    #[arg(long)]
    insecure: bool,
    /// What tenants may use, and the tokens of those who deploy for them: a file with a `[[tenant]]` for each
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// Threads that run operators; by default as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
    /// Who runs next: `deadline`, `fair` or `fifo`
    #[arg(long, value_name = "POLICY", default_value_t)]
    policy: PolicyKind,
    /// The most instances of operators alive at once; by default what the machine can hold
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    instances: Option<u32>,
    /// How long pipelines may drain before they are stopped, once the service is to end
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = super::run::drain_timeout)]
    drain_timeout: Duration,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    if !args.listen.ip().is_loopback() && !args.insecure {
        output::say(&format!(
            "error: `--listen {}` is beyond this machine, and what is sent is not encrypted\n  = help: put a proxy with TLS in front \
             of `--listen {LISTEN}`, or add `--insecure` in a network that is encrypted or isolated otherwise",
            args.listen
        ));
        return Ok(Exit::Configuration);
    }
    let path = match &args.state {
        Some(path) => path.clone(),
        None => default_directory().context("there is no home directory; name a state directory with `--state`")?,
    };
    let Some(files) = PipelineFiles::of_tenants(globals, args.tenants.as_deref(), None)? else {
        return Ok(Exit::Configuration);
    };
    let directory = match Directory::open(&path) {
        Ok(directory) => directory,
        Err(error @ Error::NotPrivate(_)) => {
            output::say(&format!("error: {error}"));
            return Ok(Exit::Configuration);
        }
        Err(error) => return Err(error.into()),
    };
    // Before anything is started: an address that is taken is the likeliest mistake.
    let socket = TcpListener::bind(args.listen).with_context(|| format!("cannot listen at {}", args.listen))?;
    let setup = CommandContext::with(globals, files, u32::MAX)?;
    let setup = setup.compiling_beside(globals).announcing(globals);
    let options = HostOptions {
        workers: args.workers.unwrap_or_else(super::run::available_workers),
        policy: args.policy,
        instances_max: args.instances.unwrap_or(u32::MAX),
        clock: setup.clock.clone(),
    };
    let (_, token_file) = directory.operator_token()?;
    let host = Host::start(setup.engine.clone(), options, setup.runtime.handle().clone());
    let parts = Setup {
        host,
        tenants: setup.files.tenants.clone(),
        connectors: setup.files.connectors.clone(),
        host_directories: setup.files.host_directories.clone(),
        guests: setup.runtime.handle().clone(),
    };
    // Requests and pipelines' tasks get a thread that guests have no part in.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("service")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let unended = runtime.block_on(async {
        let mut interrupts = Interrupts::listen();
        let service = Service::resume(directory, parts)?;
        let address = service.listen(socket).context("cannot serve requests")?;
        globals
            .log
            .say(&format!("serving at http://{address}, state in {}", path.display()));
        match contexts::note_local(address, &token_file) {
            Ok(Some(noted)) => globals.log.say(&noted),
            Ok(None) => {}
            Err(error) => globals
                .log
                .say(&format!("{error:#}; clients need `--server` and `--token-file`")),
        }
        interrupts.next().await;
        let time = humantime::format_duration(args.drain_timeout);
        globals.log.say(&format!(
            "ending: pipelines drain for {time} at most; interrupt again to end at once"
        ));
        let unended = tokio::select! {
            unended = service.close(args.drain_timeout) => unended,
            _ = interrupts.next() => service.close(Duration::ZERO).await,
        };
        anyhow::Ok(unended)
    })?;
    globals.log.flush();
    if unended.is_empty() {
        output::say("ended: all pipelines have stopped, and go on when the service starts again");
        globals.log.flush();
        // Tasks of requests that are under way are no reason to wait.
        std::process::exit(Exit::Success.code().into());
    }
    output::say(&format!(
        "error: these pipelines did not end, and go on from their last checkpoint: {}",
        unended.join(", ")
    ));
    globals.log.flush();
    std::process::exit(Exit::Failure.code().into());
}

//! `dirigo build`: an operator crate, compiled to a component and checked against the contract.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, anyhow, bail};
use dirigo::engine::{Component, Kind};
use dirigo::printable;
use serde::{Deserialize, Serialize};

use super::output::Format;
use super::setup::CommandContext;
use super::{Exit, Globals, output};

/// What operators are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// Arguments of `dirigo build`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Runs `cargo build --release --target wasm32-wasip2`, looks whether the result is an operator that this host runs, and \
prints its path. What cargo says goes to standard error.

Exit code: 0 if there is a component, else 1.")]
pub(crate) struct Args {
    /// Directory of the operator crate
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Compile without optimisation, with debug information: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
}

/// What is printed for programs.
#[derive(Debug, Serialize)]
struct Built<'a> {
    path: &'a Path,
    kind: Kind,
    size: usize,
    sha256: &'a str,
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let directory = &args.directory;
    let manifest = directory.join("Cargo.toml");
    anyhow::ensure!(
        manifest.is_file(),
        "there is no Cargo.toml in {}: `dirigo new NAME --kind map` makes an operator crate",
        directory.display()
    );
    if is_target_missing(directory) {
        bail!("the target {TARGET} is not installed; run `rustup target add {TARGET}`");
    }
    let artifacts = compile(directory, args.debug)?;
    let path = relative(&the_component(artifacts, &manifest)?);
    let component = check(&path, globals)?;
    match globals.format {
        Format::Json => output::print_json(&Built {
            path: &path,
            kind: component.kind(),
            size: component.size(),
            sha256: component.sha256(),
        })?,
        Format::Text => print_path(&path)?,
    }
    Ok(Exit::Success)
}

/// Prints the path of the component: as it is for a script, and fit for a terminal for a person.
fn print_path(path: &Path) -> std::io::Result<()> {
    let said = path.display().to_string();
    if std::io::stdout().is_terminal() {
        return output::print(&format!("{}\n", printable::line(&said)));
    }
    output::print_exactly(&(said + "\n"))
}

/// A file that cargo made.
struct Artifact {
    file: PathBuf,
    manifest: PathBuf,
}

/// Runs cargo, and gives the WebAssembly files that it made or found up to date.
fn compile(directory: &Path, debug: bool) -> anyhow::Result<Vec<Artifact>> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(directory)
        .args(["build", "--target", TARGET, "--message-format=json-render-diagnostics"])
        .args((!debug).then_some("--release"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow::anyhow!("cannot find `cargo`; Rust is needed to build operators, see https://rustup.rs")
        }
        _ => anyhow::Error::new(error).context("cannot run `cargo`"),
    })?;
    let artifacts = artifacts(&mut child).context("reading what `cargo build` says")?;
    let status = child.wait().context("waiting for `cargo build`")?;
    if status.success() {
        return Ok(artifacts);
    }
    bail!("`cargo build` failed in {}", directory.display())
}

/// A message of cargo, as far as it is of interest here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

fn artifacts(child: &mut Child) -> std::io::Result<Vec<Artifact>> {
    let stdout: ChildStdout = child.stdout.take().expect("it was asked for");
    let mut artifacts = Vec::new();
    for line in BufReader::new(stdout).lines() {
        // Build scripts and compilers may print lines of their own.
        let Ok(message) = serde_json::from_str::<Message>(&line?) else {
            continue;
        };
        if message.reason == "compiler-artifact" {
            let is_wasm = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
            let files = message.filenames.into_iter().filter(is_wasm);
            artifacts.extend(files.map(|file| Artifact {
                file,
                manifest: message.manifest_path.clone(),
            }));
        }
    }
    Ok(artifacts)
}

/// Whether the toolchain of `directory` has no standard library for the target.
fn is_target_missing(directory: &Path) -> bool {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(directory)
        .args(["--print", "target-libdir", "--target", TARGET]);
    match rustc.output() {
        Ok(output) if output.status.success() => {
            let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            !Path::new(&path).is_dir()
        }
        _ => false,
    }
}

/// The component of the package whose manifest this is, or the only one that a workspace made.
fn the_component(artifacts: Vec<Artifact>, manifest: &Path) -> anyhow::Result<PathBuf> {
    let manifest = manifest.canonicalize().unwrap_or_else(|_| manifest.to_owned());
    let (own, others): (Vec<_>, Vec<_>) = artifacts
        .into_iter()
        .partition(|artifact| artifact.manifest == manifest);
    let mut files = if own.is_empty() { others } else { own };
    match files.len() {
        0 => bail!(
            "{} is no operator crate: it makes no component; its `[lib]` needs `crate-type = [\"cdylib\", \"rlib\"]`",
            manifest.display()
        ),
        1 => Ok(files.remove(0).file),
        _ => {
            let names: Vec<String> = files
                .iter()
                .map(|artifact| artifact.file.display().to_string())
                .collect();
            bail!(
                "several components were built; name the directory of one: {}",
                names.join(", ")
            )
        }
    }
}

/// The path from the working directory, where it lies below it.
fn relative(path: &Path) -> PathBuf {
    let below = std::env::current_dir()
        .ok()
        .and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned));
    below.unwrap_or_else(|| path.to_owned())
}

fn check(path: &Path, globals: &Globals) -> anyhow::Result<Component> {
    let setup = CommandContext::new(globals)?;
    let loaded = setup.engine.load_file(path);
    loaded.map_err(|error| anyhow!("{} was built, but it is no operator: {error}", path.display()))
}

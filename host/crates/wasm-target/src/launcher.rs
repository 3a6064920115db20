//! `cargo dirigo ARGS`: compiles the binary if it is not, and runs it; says at once, in a line, if it cannot be compiled here.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let variable = |name: &str, otherwise: &str| env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    if let Some(problem) = dirigo_wasm_target::problem(&variable("RUSTC", "rustc")) {
        eprintln!("error: {problem}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(variable("CARGO", "cargo"))
        .args(["run", "--release", "--locked", "--package", "dirigo", "--"])
        .args(env::args_os().skip(1))
        .exec();
    eprintln!("error: cannot run cargo: {error}");
    ExitCode::FAILURE
}

//! The target that operators are compiled for, and whether this toolchain has it.
//!
//! rustup adds it by itself where it may (`rust-toolchain.toml` names it), and not where `RUSTUP_AUTO_INSTALL=0`. Build scripts
//! find that out after minutes, since cargo compiles first what most depends on; so `cargo dirigo` asks before any of it.

use std::path::Path;
use std::process::Command;

/// What operators are compiled for.
pub const TARGET: &str = "wasm32-wasip2";

/// What is in the way of compiling operators with the compiler `rustc`, and what to do about it; `None` if nothing is.
#[must_use]
pub fn problem(rustc: &str) -> Option<String> {
    let printed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    match printed {
        Err(error) => Some(format!("cannot run the compiler `{rustc}`: {error}")),
        Ok(printed) => {
            let directory = String::from_utf8_lossy(&printed.stdout);
            (!printed.status.success() || !has_library(directory.trim())).then(missing)
        }
    }
}

/// Whether the standard library of a target lies in its directory.
fn has_library(directory: &str) -> bool {
    std::fs::read_dir(Path::new(directory)).is_ok_and(|mut files| files.next().is_some())
}

fn missing() -> String {
    format!("the target {TARGET} is not installed, which operators are compiled for; run `rustup target add {TARGET}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_is_not_there_is_named() {
        let problem = problem("no-such-rustc").unwrap();
        assert!(
            problem.starts_with("cannot run the compiler `no-such-rustc`: "),
            "{problem}"
        );
    }

    #[test]
    fn a_target_without_a_library_is_missing() {
        // It prints nothing, as a compiler does that does not know the target.
        assert_eq!(problem("true"), Some(missing()));
        assert_eq!(problem("false"), Some(missing()));
        assert!(!has_library("/nowhere/lib"));
    }

    #[test]
    fn this_build_has_the_target() {
        assert_eq!(
            problem(&std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into())),
            None
        );
    }
}

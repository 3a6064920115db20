//! A directory to run the binary in, and what came of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// Where tests keep what is worth keeping between two runs of them.
const KEPT: &str = env!("CARGO_TARGET_TMPDIR");

/// A directory of a test's own.
pub(crate) struct Folder(TempDir);

/// What is left of a process.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with this `pipeline.toml`.
    pub(crate) fn with_pipeline(text: &str) -> Self {
        let folder = Self::new();
        folder.write("pipeline.toml", text);
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The names of what is in it.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Runs `dirigo` in it.
    pub(crate) fn dirigo(&self, arguments: &[&str]) -> Ran {
        dirigo_in(self.0.path(), arguments)
    }
}

/// Runs `dirigo` in a directory.
pub(crate) fn dirigo_in(directory: &Path, arguments: &[&str]) -> Ran {
    let mut command = command(directory);
    command.args(arguments);
    Ran::of(command)
}

/// `dirigo`, to be run in a directory.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
    // Projects are built where their pipelines look for them.
    command.env_remove("CARGO_TARGET_DIR");
    command.current_dir(directory);
    command.env("DIRIGO_CACHE_DIR", kept("cache"));
    command.env("DIRIGO_CACHE_KEY", kept("cache.key"));
    command
}

/// A path that outlives the tests.
pub(crate) fn kept(name: &str) -> PathBuf {
    Path::new(KEPT).join("cli").join(name)
}

impl Ran {
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts that it ended with this code, and shows what it said where it did not.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Its standard output, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Asserts that each part is said, in this order.
#[track_caller]
pub(crate) fn assert_says(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => panic!("{part:?} is not said, or not there, in\n{said}"),
        }
    }
}

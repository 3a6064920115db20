//! A folder of a test's own, with the files that it gives to the binary and those that it gets back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a file that somebody writes.
const PAUSE: Duration = Duration::from_millis(10);
/// A minute of looks.
const LOOKS: u32 = 6_000;

/// Removed with all that is in it when the test ends.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with one pipeline file, `pipeline.toml`.
    pub(crate) fn with_pipeline(text: &str) -> Self {
        let folder = Self::new();
        folder.write("pipeline.toml", text);
        folder
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).unwrap();
        path
    }

    /// Appends to a file, as a program does that logs to it.
    pub(crate) fn append(&self, name: &str, contents: &str) {
        use std::io::Write as _;
        let mut file = fs::File::options().append(true).open(self.path(name)).unwrap();
        file.write_all(contents.as_bytes()).unwrap();
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Waits until a file that the host writes has `count` lines.
    #[allow(dead_code, reason = "not each suite waits for files")]
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, name: &str, count: u64) {
        let written = || fs::read(self.path(name)).unwrap_or_default();
        let lines = |text: Vec<u8>| text.split(|byte| *byte == b'\n').count() as u64 - 1;
        for _ in 0..LOOKS {
            if lines(written()) >= count {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{name} has {} lines after a minute, not {count}", lines(written()));
    }

    /// The lines of a file as JSON.
    #[track_caller]
    pub(crate) fn json_lines(&self, name: &str) -> Vec<serde_json::Value> {
        json_lines(&self.read(name))
    }
}

#[track_caller]
pub(super) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    text.lines().map(parse).collect()
}

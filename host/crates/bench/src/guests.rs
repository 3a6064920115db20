//! The hostile guests that release builds of the binary carry.
//!
//! `build.rs` compiles them from `tests/hostile`. They are no built-ins: no pipeline file can name them, so they are
//! written where a pipeline finds them as it finds any user's component.

use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

/// None in a debug build.
const ALL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/hostile.rs"));

/// One that speaks UTF-16, at length.
const UTF16: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/utf16.wasm"));

/// The guests as files, for as long as this lives.
pub(super) struct Guests(TempDir);

impl Guests {
    pub(super) fn write() -> anyhow::Result<Self> {
        anyhow::ensure!(
            !ALL.is_empty(),
            "this is a debug build, and the hostile guests that `dirigo bench` runs are only in release builds: run it with \
             `cargo run --release -- bench`"
        );
        let this = Self(tempfile::tempdir().context("cannot make a temporary directory")?);
        for (name, wasm) in ALL.iter().chain(&[("utf16", UTF16)]) {
            let path = this.path(name);
            std::fs::write(&path, wasm).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(this)
    }

    /// The file of a guest.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("{name}.wasm"))
    }
}

//! Compiled components on disk.
//!
//! An entry is found by the component's bytes and everything that compiling depends on, and is loaded only if it is whole
//! and of this user's making: loading foreign machine code would hand over the process. Anything else is compiled again.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{bulk, digest};

/// What an entry starts with; the number changes with the layout of the file.
const MAGIC: &[u8; 16] = b"dirigo cwasm 01\n";

/// A directory of compiled components that only this user can write to.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be made or read.
    #[error("cannot use the cache directory {}: {source}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else could plant code in it.
    #[error("the cache directory {} can be written by others; `chmod 700` it", .path.display())]
    Shared {
        /// The directory.
        path: PathBuf,
    },
}

impl Cache {
    /// The cache in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// When it can't be made, belongs to another user, or others may write to it.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: directory.to_owned(),
            source,
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io)?;
        let metadata = fs::metadata(directory).map_err(io)?;
        let is_private = metadata.mode() & 0o022 == 0 && metadata.uid() == rustix::process::geteuid().as_raw();
        if is_private {
            Ok(Self {
                directory: directory.to_owned(),
            })
        } else {
            Err(Error::Shared {
                path: directory.to_owned(),
            })
        }
    }

    /// Where the user's cache is: `$XDG_CACHE_HOME/dirigo` or `~/.cache/dirigo`; `None` without a home.
    #[must_use]
    pub fn default_directory() -> Option<PathBuf> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).and_then(absolute);
        let home = || {
            std::env::var_os("HOME")
                .map(|home| PathBuf::from(home).join(".cache"))
                .and_then(absolute)
        };
        base.or_else(home).map(|base| base.join("dirigo"))
    }

    /// The compiled form of `wasm`, if a whole entry for exactly these bytes and this engine is there.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> Option<Component> {
        let key = key(engine, wasm);
        let entry = fs::read(self.path(&key)).ok()?;
        let code = verify(&entry, &key)?;
        deserialize(engine, code)
    }

    /// Keeps the compiled form of `wasm`; a full or read-only disk only costs the next start its time.
    pub(crate) fn store(&self, engine: &Engine, wasm: &[u8], component: &Component) {
        let key = key(engine, wasm);
        let kept = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|code| self.write(&key, &code));
        if let Err(error) = kept {
            tracing::warn!(directory = %self.directory.display(), %error, "a compiled component could not be kept");
        }
    }

    fn write(&self, key: &[u8; digest::BYTES], code: &[u8]) -> std::io::Result<()> {
        // Renamed into place, so that another process never reads a half-written entry.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(MAGIC)?;
        file.write_all(key)?;
        file.write_all(&digest::sha256(code))?;
        file.write_all(code)?;
        file.persist(self.path(key))?;
        Ok(())
    }

    fn path(&self, key: &[u8; digest::BYTES]) -> PathBuf {
        self.directory.join(format!("{}.cwasm", digest::hex(key)))
    }
}

/// The code in `entry`, if it is the whole one for `key`.
fn verify<'a>(entry: &'a [u8], key: &[u8; digest::BYTES]) -> Option<&'a [u8]> {
    let entry = entry.strip_prefix(MAGIC)?.strip_prefix(key)?;
    let (digest, code) = entry.split_at_checked(digest::BYTES)?;
    (digest::sha256(code) == digest).then_some(code)
}

#[allow(unsafe_code, reason = "wasmtime cannot prove that bytes are code of its own making")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the digest shows that these are the bytes that `write` got from `Component::serialize`, and the directory is
    // one that only this user can write to.
    unsafe { Component::deserialize(engine, code) }.ok()
}

fn key(engine: &Engine, wasm: &[u8]) -> [u8; digest::BYTES] {
    /// Feeds what wasmtime hashes (its version, the configuration, the processor's features) to the digest.
    struct Feed(Sha256);
    impl Hasher for Feed {
        fn finish(&self) -> u64 {
            0
        }

        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut feed = Feed(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut feed);
    feed.0.update(bulk::VERSION.to_le_bytes());
    feed.0.update(wasm);
    feed.0.finalize().into()
}

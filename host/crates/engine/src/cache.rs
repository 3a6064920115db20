//! Compiled components on disk.
//!
//! An entry is found by the component's bytes and everything that compiling depends on, and is loaded only if it bears a
//! tag that the [`Key`] of this host makes of it: loading foreign machine code would hand over the process, and a
//! pipeline that managed to write a file into the directory would not have the key. Anything else is compiled again.

mod key;

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

use dirigo_disk::{NotPrivate, make_private_directory};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{bulk, compiler, digest};
use key::Key;

pub use key::Error as KeyError;

/// What an entry starts with; the number changes with the layout of the file.
const MAGIC: &[u8; 16] = b"dirigo cwasm 02\n";

/// A directory of compiled components that only this user can write to.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    key: Key,
}

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its directory cannot.
    #[error(transparent)]
    Directory(#[from] NotPrivate),
    /// Its key cannot.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Cache {
    /// The cache in `directory`, whose entries bear tags of the key in the file `key`. Both are made if they are missing.
    ///
    /// # Errors
    /// When one of them can't be made, belongs to another user, or others may write to the directory or read the key.
    pub fn open(directory: &Path, key: &Path) -> Result<Self, Error> {
        make_private_directory(directory, "cache directory")?;
        Ok(Self {
            directory: directory.to_owned(),
            key: Key::open(key)?,
        })
    }

    /// Where the user's cache is: `$XDG_CACHE_HOME/dirigo` or `~/.cache/dirigo`; `None` without a home.
    #[must_use]
    pub fn default_directory() -> Option<PathBuf> {
        Some(user_directory("XDG_CACHE_HOME", ".cache")?.join("dirigo"))
    }

    /// Where the key of the user's caches is: `$XDG_STATE_HOME/dirigo/cache.key` or `~/.local/state/dirigo/cache.key`;
    /// `None` without a home.
    #[must_use]
    pub fn default_key() -> Option<PathBuf> {
        Some(user_directory("XDG_STATE_HOME", ".local/state")?.join("dirigo/cache.key"))
    }

    /// The compiled form of `wasm`, if an entry of this host's making for exactly these bytes and this engine is there.
    pub(crate) fn load(&self, engine: &Engine, wasm: &[u8]) -> Option<Component> {
        let id = id(engine, wasm);
        let entry = fs::read(self.path(&id)).ok()?;
        compiler::deserialize(engine, self.verify(&entry, &id)?)
    }

    /// Keeps the compiled form of `wasm`; a full or read-only disk only costs the next start its time.
    pub(crate) fn store(&self, engine: &Engine, wasm: &[u8], code: &[u8]) {
        if let Err(error) = self.write(&id(engine, wasm), code) {
            tracing::warn!(directory = %self.directory.display(), %error, "a compiled component could not be kept");
        }
    }

    fn write(&self, id: &[u8; digest::BYTES], code: &[u8]) -> std::io::Result<()> {
        // Renamed into place, so that another process never reads a half-written entry.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(MAGIC)?;
        file.write_all(id)?;
        file.write_all(&self.mac(id, code).finalize().into_bytes())?;
        file.write_all(code)?;
        file.persist(self.path(id))?;
        Ok(())
    }

    /// The code in `entry`, if this host made it for `id`.
    fn verify<'a>(&self, entry: &'a [u8], id: &[u8; digest::BYTES]) -> Option<&'a [u8]> {
        let entry = entry.strip_prefix(MAGIC)?.strip_prefix(id)?;
        let (tag, code) = entry.split_at_checked(digest::BYTES)?;
        self.mac(id, code).verify_slice(tag).ok()?;
        Some(code)
    }

    /// What the tag of an entry is made of: its layout, which component it is for, and the code.
    fn mac(&self, id: &[u8; digest::BYTES], code: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.bytes()).expect("a key may have any length");
        mac.update(MAGIC);
        mac.update(id);
        mac.update(code);
        mac
    }

    fn path(&self, id: &[u8; digest::BYTES]) -> PathBuf {
        self.directory.join(format!("{}.cwasm", digest::hex(id)))
    }
}

/// The directory that the XDG variable names, or the one of that `name` in the user's home.
fn user_directory(variable: &str, name: &str) -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(name));
    let named = std::env::var_os(variable).map(PathBuf::from).and_then(absolute);
    named.or_else(|| home().and_then(absolute))
}

/// What an entry is found by.
fn id(engine: &Engine, wasm: &[u8]) -> [u8; digest::BYTES] {
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

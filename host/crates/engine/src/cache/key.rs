//! The key that tells entries of this host's making from others.
//!
//! It is in a file of its own, away from the directory that it protects: a file that someone manages to plant there
//! replaces an entry, and not the key.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use dirigo_disk::{NotPrivate, make_private_directory};
use rustix::fs::{Mode, OFlags};

/// As many as the hash has: a longer one would not make it harder to guess.
const BYTES: usize = 32;

/// Why the key of the cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be made or read.
    #[error("cannot use {}, the key of the cache: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others could read it, and make entries.
    #[error(
        "{}, the key of the cache, can be read by others, or belongs to another user; remove it, and components are \
         compiled again", .path.display()
    )]
    Shared {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error("{}, the key of the cache, is damaged; remove it, and components are compiled again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Others could replace it.
    #[error(transparent)]
    Directory(#[from] NotPrivate),
}

/// A secret of this user's hosts.
#[derive(Clone)]
pub(super) struct Key([u8; BYTES]);

impl Key {
    /// The key in the file at `path`, which is made if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let folder = path
            .parent()
            .ok_or_else(|| io(io::Error::new(io::ErrorKind::InvalidInput, "this is no path of a file")))?;
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        make_private_directory(folder, "directory of the cache's key")?;
        match read(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        make(path, folder).map_err(io)?;
        read(path)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

fn read(path: &Path) -> Result<Key, Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    // Neither a link to a file of someone else's choice nor a pipe that never answers.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| io(error.into()))?;
    let mut file = File::from(file);
    let metadata = file.metadata().map_err(io)?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_own || metadata.mode() & 0o077 != 0 {
        return Err(Error::Shared { path: path.to_owned() });
    }
    if !metadata.is_file() || metadata.len() != BYTES as u64 {
        return Err(Error::Damaged { path: path.to_owned() });
    }
    let mut key = [0; BYTES];
    file.read_exact(&mut key).map_err(io)?;
    Ok(Key(key))
}

/// Makes a key; of several processes that do at once, all take that of the first.
fn make(path: &Path, folder: &Path) -> io::Result<()> {
    let mut key = [0; BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    // It has mode 0600 from the start.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&key)?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_users_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/cache.key");
        let made = Key::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Key::open(&path).unwrap().0, made.0);
        assert_ne!(Key::open(&folder.path().join("other/cache.key")).unwrap().0, made.0);
    }

    #[test]
    fn a_key_that_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.key");
        Key::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::open(&path), Err(Error::Shared { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(Key::open(&path), Err(Error::Damaged { .. })));
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(Key::open(&path), Err(Error::Io { .. })));
    }
}

//! What the service keeps on disk: components, and what is to run.
//!
//! ```text
//! STATE/
//!   service.lock                      held while a service uses the directory
//!   operator.token                    lets the bearer do everything
//!   components/SCOPE/SHA256.wasm      what was uploaded for a tenant, or by an operator of the host
//!   pipelines/TENANT/NAME.json        what was deployed, and whether it is to run
//!   state/TENANT/NAME/                the state of a pipeline, as `dirigo run --state STATE/state/TENANT` keeps it
//!   files/TENANT/NAME/                where the relative paths of a pipeline start
//! ```
//!
//! Owns these places and the rule that a record is on disk as a whole, the old one or the new one, before anybody is told of it.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dirigo_api::hexadecimal;
use dirigo_disk::{Disk, File, HostDirectories, Mode, NotPrivate, PathKind, make_private_directory};
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};

use crate::record::{Key, Record};

/// The components of operators of the host. No tenant can be called so.
pub(crate) const OPERATORS: &str = "@operators";
/// The longest record that is read.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is not this user's alone.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// Another process uses it.
    #[error("another service uses {}", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record is damaged.
    #[error("{} is not what a service wrote: {source}", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The state directory of a service.
pub(crate) struct Store {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    uploads: AtomicU64,
    /// Held while this is.
    _lock: std::fs::File,
}

/// A component that is being uploaded.
pub(crate) struct Upload {
    disk: Arc<dyn Disk>,
    file: Box<dyn File>,
    path: PathBuf,
    folder: PathBuf,
    digest: Sha256,
    bytes: u64,
    is_kept: bool,
}

impl Store {
    /// Uses a directory, which is made where it is missing, until this is dropped.
    pub(crate) fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, Error> {
        make_private_directory(directory, "state directory")?;
        let root = directory.canonicalize().map_err(failed("find", directory))?;
        let path = root.join("service.lock");
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::InUse { path: root.clone() })?;
        let store = Self {
            disk,
            root,
            uploads: AtomicU64::new(0),
            _lock: lock,
        };
        for folder in ["components", "pipelines", "state", "files"] {
            let path = store.root.join(folder);
            store.disk.make_folder(&path).map_err(failed("make", &path))?;
        }
        Ok(store)
    }

    /// What of it no pipeline may touch: all but the folders of pipelines.
    pub(crate) fn protect(&self, directories: HostDirectories) -> HostDirectories {
        let own = ["components", "pipelines", "state", "operator.token", "service.lock"];
        own.iter().fold(directories, |directories, name| {
            directories.with("state directory", &self.root.join(name))
        })
    }

    /// The token of operators of the host; made where there is none.
    pub(crate) fn operator_token(&self) -> Result<(String, PathBuf), Error> {
        let path = self.root.join("operator.token");
        if self.disk.look(&path).map_err(failed("look at", &path))? == PathKind::Missing {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| failed("make", &path)(error.into()))?;
            let make = || {
                let file = std::fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path);
                file?.write_all((hexadecimal(&bytes) + "\n").as_bytes())
            };
            make().map_err(failed("write", &path))?;
        }
        let token = std::fs::read_to_string(&path).map_err(failed("read", &path))?;
        Ok((token.trim().to_owned(), path))
    }

    /// The state directory of the pipelines of a tenant.
    pub(crate) fn state_of(&self, tenant: &str) -> PathBuf {
        self.root.join("state").join(tenant)
    }

    /// The folder of a tenant's files.
    pub(crate) fn files_of(&self, tenant: &str) -> PathBuf {
        self.root.join("files").join(tenant)
    }

    /// The folder from which the relative paths of a pipeline start; made where it is missing.
    pub(crate) fn folder_of(&self, key: &Key) -> Result<PathBuf, Error> {
        let folder = self.files_of(&key.tenant).join(&key.name);
        self.disk.make_folder(&folder).map_err(failed("make", &folder))?;
        Ok(folder)
    }

    /// All that was deployed.
    pub(crate) fn records(&self) -> Result<Vec<Record>, Error> {
        let root = self.root.join("pipelines");
        let mut records = Vec::new();
        for tenant in self.disk.list(&root).map_err(failed("read", &root))? {
            let folder = root.join(tenant);
            for name in self.disk.list(&folder).map_err(failed("read", &folder))? {
                let path = folder.join(name);
                // A record that was being written when the process ended was acknowledged to nobody.
                if path.extension().is_some_and(|extension| extension == "json") {
                    records.push(self.read(&path)?);
                }
            }
        }
        Ok(records)
    }

    fn read(&self, path: &Path) -> Result<Record, Error> {
        let bytes = dirigo_disk::read_regular(&*self.disk, path, RECORD_BYTES_MAX).map_err(failed("read", path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Damaged {
            path: path.to_owned(),
            source,
        })
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        self.root
            .join("pipelines")
            .join(&key.tenant)
            .join(format!("{}.json", key.name))
    }

    /// Keeps a record, in place of the one before it.
    pub(crate) fn keep(&self, record: &Record) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(record).expect("a record is plain JSON");
        self.write(&self.record_path(&record.key()), &bytes)
    }

    /// Forgets a pipeline, and removes its state. What it wrote into its folder stays.
    pub(crate) fn forget(&self, key: &Key) -> Result<(), Error> {
        let state = self.state_of(&key.tenant).join(&key.name);
        match std::fs::remove_dir_all(&state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &state)(error)),
            _ => {}
        }
        let path = self.record_path(key);
        self.disk.remove(&path).map_err(failed("remove", &path))?;
        self.sync_folder_of(&path)
    }

    /// Removes the folder of a pipeline that was refused, if there is nothing in it.
    pub(crate) fn give_up_folder(&self, key: &Key) {
        let tenant = self.files_of(&key.tenant);
        // Where there is something in it, it stays.
        let _ = self.disk.remove_folder(&tenant.join(&key.name));
        let _ = self.disk.remove_folder(&tenant);
    }

    fn component_path(&self, scope: &str, sha256: &str) -> PathBuf {
        self.root.join("components").join(scope).join(format!("{sha256}.wasm"))
    }

    /// Where a component is, if it was uploaded for this scope.
    pub(crate) fn component(&self, scope: &str, sha256: &str) -> Option<PathBuf> {
        let path = self.component_path(scope, sha256);
        matches!(self.disk.look(&path), Ok(PathKind::File(_))).then_some(path)
    }

    /// The components of a scope, with their sizes.
    pub(crate) fn components(&self, scope: &str) -> Result<Vec<(String, u64)>, Error> {
        let folder = self.root.join("components").join(scope);
        if self.disk.look(&folder).map_err(failed("look at", &folder))? == PathKind::Missing {
            return Ok(Vec::new());
        }
        let names = self.disk.list(&folder).map_err(failed("read", &folder))?;
        let component = |name: std::ffi::OsString| {
            let path = folder.join(name);
            let PathKind::File(bytes) = self.disk.look(&path).ok()? else {
                return None;
            };
            let is_component = path.extension().is_some_and(|extension| extension == "wasm");
            let sha256 = path.file_stem()?.to_str()?.to_owned();
            is_component.then_some((sha256, bytes))
        };
        Ok(names.into_iter().filter_map(component).collect())
    }

    /// Begins to take a component.
    pub(crate) fn upload(&self, scope: &str) -> Result<Upload, Error> {
        let folder = self.root.join("components").join(scope);
        self.disk.make_folder(&folder).map_err(failed("make", &folder))?;
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{number}.upload"));
        // What an earlier process left there is of no use.
        let _ = self.disk.remove(&path);
        let file = self.disk.open(&path, Mode::New).map_err(failed("make", &path))?;
        Ok(Upload {
            disk: self.disk.clone(),
            file,
            path,
            folder,
            digest: Sha256::new(),
            bytes: 0,
            is_kept: false,
        })
    }

    /// Removes a component of a scope; `false` if there is none.
    pub(crate) fn remove_component(&self, scope: &str, sha256: &str) -> Result<bool, Error> {
        let path = self.component_path(scope, sha256);
        match self.disk.remove(&path) {
            Ok(()) => self.sync_folder_of(&path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// Writes a file as a whole: after a crash it is there, or what was there before.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let new = path.with_extension("new");
        let write = || {
            let folder = path.parent().expect("the files of a store are in folders");
            if self.disk.look(folder)? == PathKind::Missing {
                self.disk.make_folder(folder)?;
                self.disk.sync_folder(folder.parent().expect("it is within the root"))?;
            }
            let file = self.disk.open(&new, Mode::Make)?;
            file.set_len(0)?;
            file.append(bytes)?;
            file.sync()?;
            self.disk.rename(&new, path)?;
            self.disk.sync_folder(folder)
        };
        write().map_err(failed("write", path))
    }

    fn sync_folder_of(&self, path: &Path) -> Result<(), Error> {
        let folder = path.parent().expect("the files of a store are in folders");
        self.disk.sync_folder(folder).map_err(failed("synchronise", folder))
    }
}

impl Upload {
    /// Takes more of it.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.append(bytes).map_err(failed("write", &self.path))
    }

    /// How much of it has come.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps it, if it is the component with this hash; `false` if it is another.
    pub(crate) fn keep(mut self, sha256: &str) -> Result<bool, Error> {
        let digest = std::mem::take(&mut self.digest).finalize();
        if hexadecimal(&digest) != sha256 {
            return Ok(false);
        }
        let kept = self.folder.join(format!("{sha256}.wasm"));
        let keep = || {
            self.file.sync()?;
            self.disk.rename(&self.path, &kept)?;
            self.disk.sync_folder(&self.folder)
        };
        keep().map_err(failed("keep", &kept))?;
        self.is_kept = true;
        Ok(true)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_kept {
            // One that cannot be removed is removed when the next upload has its number.
            let _ = self.disk.remove(&self.path);
        }
    }
}

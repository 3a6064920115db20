//! How a store is opened: the directory is made and locked, and what the log holds is read back.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use super::{Durable, Inner, LoggedLayers, Store, StoreOptions};
use crate::durable::{self, EpochMeta};
use crate::error::Error;
use crate::log::{self, Log};
use crate::logged::Logged;
use crate::marker::Marker;
use dirigo_disk::{self as disk, Disk, File, Mode};
use dirigo_ground::sync::{Mutex, RwLock};

/// The process that has the lock on it has the directory.
pub(crate) const LOCK_FILE: &str = "lock";

impl Store {
    /// A store whose contents end with it.
    #[must_use]
    pub fn temporary() -> Self {
        Self::new(None, LoggedLayers::default(), true, StoreOptions::default())
    }

    /// The store in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// When another process has it, it is damaged, or it can't be made or opened.
    pub fn open(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, Error> {
        Self::open_with(disk, directory, StoreOptions::default())
    }

    /// As [`open`](Self::open).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(disk: Arc<dyn Disk>, directory: &Path, options: StoreOptions) -> Result<Self, Error> {
        make_directory(&*disk, directory)?;
        let lock = lock(&*disk, directory, Mode::Make)?;
        Self::open_locked(disk, directory, options, lock)
    }

    /// The store in `directory`, emptied. Discards nothing that another process has, or that no store wrote.
    ///
    /// # Errors
    /// When there are other things in the directory, or it can't be opened or emptied.
    pub fn open_emptied(disk: Arc<dyn Disk>, directory: &Path) -> Result<Self, Error> {
        make_directory(&*disk, directory)?;
        let names = disk.list(directory).map_err(Error::io("reading", directory))?;
        let is_own = |name: &std::ffi::OsString| name == durable::FILE || name == LOCK_FILE;
        if !names.is_empty() && !names.iter().any(is_own) {
            return Err(Error::Foreign {
                path: directory.to_owned(),
            });
        }
        let lock = lock(&*disk, directory, Mode::Make)?;
        // What is known of it first, then the database: what a crash leaves is then either whole, or refused since the log does not
        // fit.
        Marker::default().write(&*disk, directory)?;
        durable::remove(&*disk, directory)?;
        for (_, path) in log::segments(&*disk, directory)? {
            disk.remove(&path).map_err(Error::io("removing", &path))?;
        }
        Self::open_locked(disk, directory, StoreOptions::default(), lock)
    }

    fn open_locked(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: StoreOptions,
        lock: Box<dyn File>,
    ) -> Result<Self, Error> {
        let database = durable::open(&*disk, directory)?;
        let path = directory.join(durable::FILE);
        let mut latest = durable::moment(&database).map_err(Error::database("reading", &path))?;
        let mut logged = Logged::default();
        let found = log::read(&*disk, directory, latest.epoch, |epoch| {
            logged.extend(epoch.records);
            latest = EpochMeta {
                epoch: epoch.number,
                offsets: Some(epoch.offsets.into()),
                in_flight: epoch.in_flight.into(),
            };
        })?;
        let is_empty =
            logged.bytes() == 0 && durable::is_empty(&database).map_err(Error::database("reading", &path))?;
        let durable = Durable {
            database,
            latest: Mutex::new(latest),
            log: Mutex::new(Log::open(&disk, directory, found)?),
            disk,
            directory: directory.to_owned(),
            applier: Mutex::default(),
            poison: OnceLock::new(),
            _lock: lock,
        };
        let logged = LoggedLayers { logged, applying: None };
        Ok(Self::new(Some(durable), logged, is_empty, options))
    }

    fn new(durable: Option<Durable>, logged: LoggedLayers, is_empty: bool, options: StoreOptions) -> Self {
        let inner = Inner {
            spilled: Mutex::default(),
            logged: RwLock::new(logged),
            is_empty: AtomicBool::new(is_empty),
            durable,
        };
        Self {
            inner: Arc::new(inner),
            options,
        }
    }
}

/// Makes the directory and those above it, durably.
fn make_directory(disk: &dyn Disk, directory: &Path) -> Result<(), Error> {
    let make = || {
        if disk.look(&directory.join(durable::FILE))? != disk::PathKind::Missing {
            // The process that made the database in it saw to it first.
            return Ok(());
        }
        disk.make_folder(directory)?;
        // An earlier process may have made them and ended here, so that they are there without being durable.
        for folder in directory.ancestors().skip(1) {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            match disk.sync_folder(folder) {
                // In folders that this process may only pass through it has made nothing.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => break,
                synced => synced?,
            }
        }
        Ok(())
    };
    make().map_err(|reason| Error::Directory {
        path: directory.to_owned(),
        reason,
    })
}

/// Takes the directory for this process.
pub(crate) fn lock(disk: &dyn Disk, directory: &Path, mode: Mode) -> Result<Box<dyn File>, Error> {
    let path = directory.join(LOCK_FILE);
    let file = disk.open(&path, mode).map_err(Error::io("opening", &path))?;
    if file.try_lock().map_err(Error::io("locking", &path))? {
        return Ok(file);
    }
    Err(Error::InUse {
        path: directory.to_owned(),
    })
}

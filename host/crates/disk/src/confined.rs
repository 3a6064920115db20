//! The machine's file system, as far as a pipeline may use it.
//!
//! Each path is looked at anew whenever it is used. Where folders were granted, it is opened from the handle of the folder
//! that it is beneath, and what was opened is then what is used.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, Mode as Permissions, OFlags};
use rustix::io::Errno;

use super::access::{Beneath, FileAccess, Usage, here_or, open_beneath};
use super::{Disk, File, Mode, PathKind, Real};

/// What files are made with, before the process's mask.
const FILE_MODE: Permissions = Permissions::from_raw_mode(0o666);
const FOLDER_MODE: Permissions = Permissions::from_raw_mode(0o777);

/// The file system of a pipeline.
#[derive(Debug)]
struct Confined {
    access: FileAccess,
    usage: Usage,
}

impl FileAccess {
    /// The machine's file system, as far as this pipeline may use it.
    #[must_use]
    pub fn disk(&self, usage: Usage) -> Arc<dyn Disk> {
        Arc::new(Confined {
            access: self.clone(),
            usage,
        })
    }
}

impl Confined {
    /// The path beneath the folder that was granted; `None` where the user's own rights decide, and allow it.
    fn beneath(&self, path: &Path) -> io::Result<Option<Beneath<'_>>> {
        if self.access.is_confined() {
            return Ok(Some(self.access.beneath(path, self.usage)?));
        }
        self.access.check(path, self.usage)?;
        Ok(None)
    }

    fn error(&self, beneath: &Beneath<'_>, error: Errno) -> io::Error {
        match error {
            Errno::XDEV => beneath.denied(error, self.usage).into(),
            error => error.into(),
        }
    }

    /// Opens what is there; the host's own is refused.
    fn open_there(&self, beneath: &Beneath<'_>, flags: OFlags) -> io::Result<fs::File> {
        let opened = beneath.open(&beneath.rest, flags, Permissions::empty());
        let opened = opened.map_err(|error| self.error(beneath, error))?;
        self.access.check_opened(&opened)?;
        Ok(opened.into())
    }

    /// The folder that the path is in, opened, and the name that it has there; the host's own is refused.
    fn parent<'b>(&self, beneath: &'b Beneath<'_>) -> io::Result<(OwnedFd, &'b Path)> {
        let (folder, name) = beneath.parent().map_err(|error| self.error(beneath, error))?;
        self.access.check_entry(&folder, name)?;
        Ok((folder, name))
    }

    fn make(&self, beneath: &Beneath<'_>, flags: OFlags) -> io::Result<fs::File> {
        let (folder, name) = self.parent(beneath)?;
        // No link: what it leads to is not there, and where that would be made was not looked at.
        let flags = flags | OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let made = open_beneath(&folder, name, flags, FILE_MODE);
        Ok(made.map_err(|error| self.error(beneath, error))?.into())
    }
}

/// Refuses pipes and devices: they could keep a thread of the host waiting, or give it data without end.
fn expect_regular(file: fs::File) -> io::Result<fs::File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

impl Disk for Confined {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.open(path, mode);
        };
        if mode == Mode::New {
            return Ok(Box::new(self.make(&beneath, OFlags::EXCL)?));
        }
        let opened = match self.open_there(&beneath, OFlags::RDWR | OFlags::NONBLOCK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode == Mode::Make => {
                self.make(&beneath, OFlags::empty())
            }
            opened => opened,
        };
        Ok(Box::new(expect_regular(opened?)?))
    }

    fn read(&self, path: &Path) -> io::Result<fs::File> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.read(path);
        };
        expect_regular(self.open_there(&beneath, OFlags::RDONLY | OFlags::NONBLOCK)?)
    }

    fn look(&self, path: &Path) -> io::Result<PathKind> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.look(path);
        };
        let found = match self.open_there(&beneath, OFlags::PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PathKind::Missing),
            found => found?.metadata()?,
        };
        Ok(if found.is_file() {
            PathKind::File(found.len())
        } else if found.is_dir() {
            PathKind::Folder
        } else {
            PathKind::Other
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match (self.beneath(from)?, self.beneath(to)?) {
            (Some(from), Some(to)) => {
                let ((old_folder, old), (new_folder, new)) = (self.parent(&from)?, self.parent(&to)?);
                Ok(rustix::fs::renameat(old_folder, old, new_folder, new)?)
            }
            _ => Real.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.remove(path);
        };
        let (folder, name) = self.parent(&beneath)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.remove_folder(path);
        };
        let (folder, name) = self.parent(&beneath)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let Some(beneath) = self.beneath(path)? else {
            return Real.make_folder(path);
        };
        let mut missing = Vec::new();
        let there = beneath.rest.ancestors().find_map(|folder| {
            match self.open_there(&on_the_way(&beneath, folder), OFlags::PATH | OFlags::DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(folder);
                    None
                }
                opened => Some(opened),
            }
        });
        let mut folder = there.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))?;
        for name in missing.into_iter().rev().filter_map(Path::file_name) {
            match rustix::fs::mkdirat(&folder, name, FOLDER_MODE) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let made = open_beneath(&folder, Path::new(name), flags, Permissions::empty())?;
            self.access.check_opened(&made)?;
            folder = made.into();
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let Some(beneath) = self.beneath(folder)? else {
            return Real.list(folder);
        };
        let opened = self.open_there(&beneath, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(beneath) = self.beneath(folder)? else {
            return Real.sync_folder(folder);
        };
        self.open_there(&beneath, OFlags::RDONLY | OFlags::DIRECTORY)?
            .sync_all()
    }
}

/// One of the folders on the way.
fn on_the_way<'a>(beneath: &Beneath<'a>, folder: &Path) -> Beneath<'a> {
    Beneath {
        grant: beneath.grant,
        rest: here_or(folder).to_owned(),
    }
}

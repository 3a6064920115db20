//! The file system of the machine.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, XattrFlags, fcntl_setfl, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use super::{Disk, File, Mode, PathKind, regular};

/// What the host's attribute of a file is called. Attributes of users begin with `user.`.
const ATTRIBUTE: &str = "user.dirigo.output";
/// The longest value that is read: ext4 has no more room for all attributes of a file.
const ATTRIBUTE_BYTES_MAX: usize = 4096;

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real;

impl Disk for Real {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        if mode == Mode::New {
            let mut options = fs::OpenOptions::new();
            return Ok(Box::new(options.read(true).write(true).create_new(true).open(path)?));
        }
        let open = |is_read: bool, flags: i32| {
            let mut options = fs::OpenOptions::new();
            options.read(is_read).write(true).create(mode == Mode::Make);
            options.custom_flags(flags).truncate(false).open(path)
        };
        if self.look(path)? != PathKind::Other {
            return Ok(Box::new(open(true, 0)?));
        }
        // A pipe that is also open for reading never notices that its reader has gone, and to open one that has no reader is to
        // wait for it. Once it is open, it is waited for as any slow reader is.
        let at_once = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).expect("flags fit into their own type");
        let file = open(false, at_once).map_err(|error| {
            if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
                io::Error::new(
                    error.kind(),
                    "it is a pipe that no process reads; start its reader first",
                )
            } else {
                error
            }
        })?;
        fcntl_setfl(&file, OFlags::empty())?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> io::Result<fs::File> {
        regular::open_at_once(path)
    }

    fn look(&self, path: &Path) -> io::Result<PathKind> {
        match fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(PathKind::File(found.len())),
            Ok(found) if found.is_dir() => Ok(PathKind::Folder),
            Ok(_) => Ok(PathKind::Other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PathKind::Missing),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
        let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }
}

impl File for fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return self.write_all_at(bytes, metadata.len());
        }
        let mut file = self;
        file.write_all(bytes)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        fs::File::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match fs::File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn modified_ns(&self) -> io::Result<i64> {
        let metadata = self.metadata()?;
        let seconds_ns = metadata.mtime().saturating_mul(1_000_000_000);
        Ok(seconds_ns.saturating_add(metadata.mtime_nsec()))
    }

    fn attribute(&self) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        match fgetxattr(self, ATTRIBUTE, &mut value[..]) {
            Ok(bytes) => {
                value.truncate(bytes);
                Ok(Some(value))
            }
            Err(Errno::NODATA) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn set_attribute(&self, value: Option<&[u8]>) -> io::Result<()> {
        let result = match value {
            Some(value) => fsetxattr(self, ATTRIBUTE, value, XattrFlags::empty()),
            None => match fremovexattr(self, ATTRIBUTE) {
                Err(Errno::NODATA) => Ok(()),
                removed => removed,
            },
        };
        Ok(result?)
    }
}

//! The file system, as far as state and sinks need it.
//!
//! A seam: what has to survive a crash is written through it, so that a simulation can lose exactly what a disk may lose.
//! And the one way to open what a person names and the host only reads, which is to be a regular file of a bounded size.
//! Knows nothing of what is in the files.

mod access;
mod confined;
mod private;
mod real;
mod regular;
mod simulated;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

pub use access::{Denied, FileAccess, Grant, Grants, HostDirectories, Usage, real_path};
pub use private::{NotPrivate, expect_private_directory, make_private_directory};
pub use real::Real;
pub use regular::{open_regular, open_regular_or_pipe, read_opened, read_regular};
pub use simulated::Simulated;

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Opens a file to read and to write.
    ///
    /// # Errors
    /// When it cannot be, with [`Mode::Existing`] is not there, or with [`Mode::New`] is.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>>;

    /// Opens a file to read it as the machine has it: what enters a pipeline is not written through this seam. A pipe is not
    /// waited for.
    ///
    /// # Errors
    /// When it cannot be.
    fn read(&self, path: &Path) -> io::Result<std::fs::File>;

    /// What is at a path; symbolic links are followed.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn look(&self, path: &Path) -> io::Result<PathKind>;

    /// Gives a file another name, and replaces what had that. Durable once the folder is synchronised.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable once the folder is synchronised.
    ///
    /// # Errors
    /// When it is not there, or the system refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder in which there is nothing.
    ///
    /// # Errors
    /// When there is, it is no folder, or the system refuses.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder, and those above it, where they are missing. Each is durable once the one above it is synchronised.
    ///
    /// # Errors
    /// When the system refuses.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the entries of a folder durable.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It must be there.
    Existing,
    /// It is made where it is missing.
    Make,
    /// It is made, and nothing may be there; not even a link.
    New,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// Nothing.
    Missing,
    /// A regular file of so many bytes.
    File(u64),
    /// A folder.
    Folder,
    /// A pipe or a device: it can be neither cut nor made durable.
    Other,
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "a file is not a collection")]
pub trait File: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// When the system refuses.
    fn len(&self) -> io::Result<u64>;

    /// Reads at `offset` until `buffer` is full.
    ///
    /// # Errors
    /// When the disk fails, or the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows as it must. Durable once synchronised.
    ///
    /// # Errors
    /// When the disk fails or is full; then part of it may be written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Writes all of `bytes` at the end: the only way to write to a pipe or a device.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it, or fills it up with zeros.
    ///
    /// # Errors
    /// When the system refuses.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes everything written durable, its length too. After an error nothing is known of what was written.
    ///
    /// # Errors
    /// When the disk fails.
    fn sync(&self) -> io::Result<()>;

    /// Takes the file for this process until it is closed; `false` if another process has it.
    ///
    /// # Errors
    /// When the system refuses.
    fn try_lock(&self) -> io::Result<bool>;

    /// When it was last written to, in ns since the epoch; 0 where nothing notes that.
    ///
    /// # Errors
    /// When the system refuses.
    fn modified_ns(&self) -> io::Result<i64> {
        Ok(0)
    }

    /// What [`set_attribute`](Self::set_attribute) noted on the file, if anything.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](io::ErrorKind::Unsupported) where files have no attributes, or when the system refuses.
    fn attribute(&self) -> io::Result<Option<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Notes something of the host's on the file, which goes where the file goes; `None` removes it.
    ///
    /// # Errors
    /// As [`attribute`](Self::attribute).
    fn set_attribute(&self, _value: Option<&[u8]>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

//! Regular files, opened so that nothing else is.
//!
//! Owns that a path which leads to a pipe, a device or a socket neither holds the caller up nor gives it bytes without end.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use super::Disk;

/// Opens a regular file to read.
///
/// # Errors
/// When the system refuses, or something else is there.
pub fn open_regular(disk: &dyn Disk, path: &Path) -> io::Result<(fs::File, Metadata)> {
    let (file, metadata) = opened(disk, path)?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(not_regular(&metadata))
    }
}

/// Reads a regular file of at most `bytes_max` bytes whole.
///
/// # Errors
/// When the system refuses, something else is there, or it is larger.
pub fn read_regular(disk: &dyn Disk, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let (file, metadata) = open_regular(disk, path)?;
    read_opened(file, &metadata, bytes_max)
}

/// Reads a regular file that is open, of at most `bytes_max` bytes, whole.
///
/// # Errors
/// When the system refuses, or it is larger.
pub fn read_opened(file: fs::File, metadata: &Metadata, bytes_max: u64) -> io::Result<Vec<u8>> {
    let too_large = || {
        io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {}", shown(bytes_max)),
        )
    };
    if metadata.len() > bytes_max {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    // It may be longer than it said, or grow.
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Opens a pipe to read, or a regular file. A pipe is waited for only when it is read: then until a writer has come and all of
/// them have gone.
///
/// # Errors
/// When the system refuses, or something else is there.
pub fn open_regular_or_pipe(disk: &dyn Disk, path: &Path) -> io::Result<(fs::File, Metadata)> {
    let (file, metadata) = opened(disk, path)?;
    if metadata.is_file() || metadata.file_type().is_fifo() {
        Ok((file, metadata))
    } else {
        Err(not_regular(&metadata))
    }
}

/// Opens what is there without waiting: to open a pipe is else to wait for its other end.
pub(super) fn open_at_once(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).expect("flags of the system fit into its own type");
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn opened(disk: &dyn Disk, path: &Path) -> io::Result<(fs::File, Metadata)> {
    let file = disk.read(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok((file, metadata))
}

fn not_regular(metadata: &Metadata) -> io::Error {
    let kind = kind(metadata);
    io::Error::new(ErrorKind::InvalidInput, format!("it is {kind}, not a regular file"))
}

/// What a path leads to that is no regular file, in words.
fn kind(metadata: &Metadata) -> &'static str {
    let file_type = metadata.file_type();
    if file_type.is_fifo() {
        "a pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else if file_type.is_dir() {
        "a directory"
    } else {
        "a device"
    }
}

fn shown(bytes: u64) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Real;
    use super::*;

    fn problem(path: &str, bytes_max: u64) -> String {
        read_regular(&Real, Path::new(path), bytes_max).unwrap_err().to_string()
    }

    #[test]
    fn a_device_or_a_pipe_is_neither_read_nor_waited_for() {
        assert_eq!(problem("/dev/zero", 1 << 20), "it is a device, not a regular file");
        assert_eq!(problem("/", 1), "is a directory");
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(problem(pipe.to_str().unwrap(), 1), "it is a pipe, not a regular file");
        assert!(open_regular_or_pipe(&Real, &pipe).is_ok());
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_regular(&Real, &path, 4).unwrap(), b"four");
        assert_eq!(problem(path.to_str().unwrap(), 3), "it is larger than 3 bytes");
        // Its length is said to be 0.
        assert_eq!(problem("/proc/self/status", 3), "it is larger than 3 bytes");
    }
}

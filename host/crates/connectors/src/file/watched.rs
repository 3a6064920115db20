//! A file that others may write to while it is read.
//!
//! Owns noticing that what was read of it is not there any more: a log that is cut in place (`copytruncate`), written anew,
//! or exchanged for another. To read on there would give half a record, or pass over what came between, and to take the end
//! of what is left for the end of the events would be worse. Knows nothing of what the bytes mean.
//!
//! After each read it asks the system for the length, and reads the first and the last KiB of what it had read again: 1 µs
//! for 256 KiB.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bytes at the start, and in front of the place that was reached, by which the file is known again.
const SAMPLE_BYTES: usize = 1024;

/// An open file, read from its start.
pub(super) struct Watched {
    file: fs::File,
    /// Its place, where another file in it is to be noticed.
    place: Option<PathBuf>,
    is_pipe: bool,
    /// Whether its length says something, so that there is something to watch.
    has_length: bool,
    /// Whether a pipe has had a writer: before, that nothing is in it is not its end.
    has_begun: bool,
    identity: Identity,
    /// The greatest length that it had.
    length_max: u64,
    /// How far it was read.
    position: u64,
    /// Its first bytes.
    head: Vec<u8>,
    /// What was read last.
    tail: Vec<u8>,
}

/// What tells files apart, whatever their names are: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// When a file was last written to, in ns since the epoch.
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// When a file was last written to, or moved, in ns since the epoch.
pub(super) fn touched_ns(metadata: &Metadata) -> i64 {
    modified_ns(metadata).max(nanoseconds(metadata.ctime(), metadata.ctime_nsec()))
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// What happened to a file while it was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Changed {
    #[error("it was cut to {bytes} bytes while it was read, {read} bytes of it had been read")]
    Cut { bytes: u64, read: u64 },
    #[error("it was written anew while it was read, {read} bytes of it had been read")]
    Rewritten { read: u64 },
    #[error("another file took its place while it was read; all {read} bytes of the one before had been read")]
    Replaced { read: u64 },
}

impl Changed {
    /// What happened to the file that made a read of it fail, if something did.
    pub(super) fn cause_of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Changed> for io::Error {
    fn from(changed: Changed) -> Self {
        Self::other(changed)
    }
}

impl Watched {
    pub(super) fn new(file: fs::File, path: &Path, metadata: &Metadata) -> Self {
        Self {
            file,
            place: Some(path.to_owned()),
            is_pipe: !metadata.is_file(),
            has_length: metadata.is_file(),
            has_begun: false,
            identity: Identity::of(metadata),
            length_max: metadata.len(),
            position: 0,
            head: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Disables the check for another file at its path.
    pub(super) fn ignore_replacement(&mut self) {
        self.place = None;
    }

    /// The greatest length that it was seen to have.
    pub(super) fn length_max(&self) -> u64 {
        self.length_max
    }

    /// What the system says of it now.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// How far it was read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Goes to `offset`; returns false, and stays, where that is beyond the end.
    pub(super) fn jump(&mut self, offset: u64) -> io::Result<bool> {
        if offset > self.file.metadata()?.len() {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(offset))?;
        self.position = offset;
        self.tail.clear();
        Ok(true)
    }

    /// Notes what was read.
    fn note(&mut self, bytes: &[u8]) {
        if self.position == self.head.len() as u64 {
            let wanted = bytes.len().min(SAMPLE_BYTES - self.head.len());
            self.head.extend_from_slice(&bytes[..wanted]);
        }
        self.position += bytes.len() as u64;
        self.tail
            .extend_from_slice(&bytes[bytes.len().saturating_sub(SAMPLE_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(SAMPLE_BYTES);
        self.tail.drain(..surplus);
    }

    /// Finds out whether all that was read before is still there, once it was read on to `read`.
    fn verify(&mut self, read: u64) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        if bytes < read && self.length_max <= bytes {
            // It never said to be as long as it was: a file of the kernel's, such as those in /proc.
            self.has_length = false;
            return Ok(());
        }
        self.length_max = self.length_max.max(bytes);
        if bytes < read || !self.has_what_was_read()? {
            return Err(self.changed(read)?.into());
        }
        Ok(())
    }

    /// What was done to a file that lacks what was read of it, `read` bytes. The file may have been cut after its length
    /// was looked up, so its length now decides.
    fn changed(&self, read: u64) -> io::Result<Changed> {
        let bytes = self.file.metadata()?.len();
        Ok(if bytes < read {
            Changed::Cut { bytes, read }
        } else {
            Changed::Rewritten { read }
        })
    }

    /// Whether the samples of what was read are still where they were.
    fn has_what_was_read(&self) -> io::Result<bool> {
        let before = self.position - self.tail.len() as u64;
        Ok(self.is_at(0, &self.head)? && self.is_at(before, &self.tail)?)
    }

    /// Whether the file has these bytes there.
    fn is_at(&self, offset: u64, expected: &[u8]) -> io::Result<bool> {
        let mut found = [0; SAMPLE_BYTES];
        let found = &mut found[..expected.len()];
        match self.file.read_exact_at(found, offset) {
            Ok(()) => Ok(found == expected),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Finds out whether another file is to be found in its place. That it has none any more is no loss: all of it was read.
    fn verify_place(&self) -> io::Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        match fs::metadata(place) {
            Ok(found) if Identity::of(&found) != self.identity => Err(Changed::Replaced { read: self.position }.into()),
            _ => Ok(()),
        }
    }
}

impl Watched {
    /// Reads what is in a pipe, which was opened so that nothing waits for it: that there is nothing yet is
    /// [`ErrorKind::WouldBlock`].
    fn read_pipe(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(0) if !self.has_begun && !buffer.is_empty() => Err(ErrorKind::WouldBlock.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.has_begun = true;
                Err(error)
            }
            Ok(count) => {
                self.has_begun = true;
                self.position += count as u64;
                Ok(count)
            }
            Err(error) => Err(error),
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_pipe {
            return self.read_pipe(buffer);
        }
        let count = self.file.read(buffer)?;
        if self.has_length {
            self.verify(self.position + count as u64)?;
            self.note(&buffer[..count]);
            if count == 0 && !buffer.is_empty() {
                self.verify_place()?;
            }
        } else {
            self.position += count as u64;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Open {
        folder: tempfile::TempDir,
        watched: Watched,
    }

    /// A file of 5,000 bytes of which 4,000 have been read.
    fn half_read() -> Open {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        let bytes: Vec<u8> = (0..5_000_u32).map(|at| (at % 251) as u8).collect();
        fs::write(&path, bytes).unwrap();
        let file = fs::File::open(&path).unwrap();
        let metadata = file.metadata().unwrap();
        let mut watched = Watched::new(file, &path, &metadata);
        watched.read_exact(&mut [0; 4_000]).unwrap();
        Open { folder, watched }
    }

    impl Open {
        fn path(&self) -> PathBuf {
            self.folder.path().join("in")
        }

        /// What comes of reading on to the end.
        fn rest(mut self) -> Result<usize, String> {
            let mut rest = Vec::new();
            let read = self.watched.read_to_end(&mut rest);
            read.map_err(|error| error.to_string())
        }
    }

    #[test]
    fn a_file_that_grows_or_is_moved_or_removed_is_read_to_its_end() {
        assert_eq!(half_read().rest(), Ok(1_000));
        let open = half_read();
        fs::File::options()
            .append(true)
            .open(open.path())
            .unwrap()
            .write_all(&vec![1; 300_000])
            .unwrap();
        assert_eq!(open.rest(), Ok(301_000));
        let open = half_read();
        fs::rename(open.path(), open.folder.path().join("in.1")).unwrap();
        assert_eq!(open.rest(), Ok(1_000));
    }

    #[test]
    fn a_file_that_is_cut_is_known_by_its_length() {
        for length in [0, 3_999] {
            let open = half_read();
            let file = fs::File::options().write(true).open(open.path()).unwrap();
            file.set_len(length).unwrap();
            let expected = format!("it was cut to {length} bytes while it was read, 4000 bytes of it had been read");
            assert_eq!(open.rest(), Err(expected));
        }
    }

    #[test]
    fn a_file_that_was_cut_and_has_grown_past_the_place_is_known_by_its_bytes() {
        let open = half_read();
        fs::write(open.path(), [7; 6_000]).unwrap();
        let error = open.rest().unwrap_err();
        assert!(error.starts_with("it was written anew while it was read, "), "{error}");
    }

    #[test]
    fn a_file_in_the_place_of_another_is_known_at_the_end() {
        let open = half_read();
        let other = open.folder.path().join("other");
        fs::write(&other, "new").unwrap();
        fs::rename(&other, open.path()).unwrap();
        let expected = "another file took its place while it was read; all 5000 bytes of the one before had been read";
        assert_eq!(open.rest(), Err(expected.to_owned()));
    }

    #[test]
    fn a_file_whose_length_says_nothing_is_read_as_it_is() {
        let path = Path::new("/proc/self/status");
        let file = fs::File::open(path).unwrap();
        let metadata = file.metadata().unwrap();
        let mut text = String::new();
        Watched::new(file, path, &metadata).read_to_string(&mut text).unwrap();
        assert!(text.contains("Pid:"), "{text}");
    }
}

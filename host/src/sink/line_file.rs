//! A file of lines, compressed by its extension.
//!
//! Owns how lines become durable and how what was not committed is taken back. A commit of a compressed file ends a
//! gzip member or zstd frame, so that the file is whole when it is cut there. Knows nothing of what lines say; one that
//! itself has a line feed takes several. Sinks write their values through it, and so are dead letters written.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::{Bookmark, Error, Resume, Sink};
use crate::batch::Column;

/// Bytes gathered before they are written: large against the cost of a system call.
const BUFFER_BYTES: usize = 256 * 1024;

/// An open file of lines.
pub struct LineFile {
    path: PathBuf,
    file: Arc<File>,
    codec: Option<Codec>,
    /// What is being compressed since the last commit.
    frame: Option<Frame>,
    buffer: Vec<u8>,
    /// A pipe or a device can be neither cut nor made durable.
    is_regular: bool,
    /// The folders with entries that are new since the last commit.
    new_entries: Vec<PathBuf>,
    has_failed: bool,
}

#[derive(Clone, Copy)]
enum Codec {
    Gzip,
    Zstd,
}

/// A gzip member or zstd frame that has been begun.
enum Frame {
    Gzip(Box<GzEncoder<Arc<File>>>),
    Zstd(zstd::Encoder<'static, Arc<File>>),
}

#[derive(Serialize, Deserialize)]
struct Place {
    length: u64,
}

impl LineFile {
    /// Opens a file, and makes it and the folders on the way where they do not exist.
    ///
    /// # Errors
    /// When that is not possible, or the file is shorter than the bookmark says.
    pub fn open(path: &Path, from: Resume<'_>) -> Result<Self, Error> {
        let committed = match from {
            Resume::Fresh => 0,
            Resume::At(bookmark) => committed_length(path, bookmark)?,
        };
        let cannot_open = |reason| Error::Open {
            path: path.to_owned(),
            reason,
        };
        let new_entries = new_entries(path);
        let file = open_or_make(path, committed).map_err(cannot_open)?;
        let bytes = file.as_ref().map_or(Ok(Some(0)), regular_length).map_err(cannot_open)?;
        let (Some(file), true) = (file, bytes.is_none_or(|bytes| bytes >= committed)) else {
            return Err(Error::Truncated {
                path: path.to_owned(),
                bytes: bytes.unwrap_or(0),
                committed,
            });
        };
        if bytes.is_some() {
            cut(&file, committed).map_err(cannot_open)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            codec: Codec::of(path),
            frame: None,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            is_regular: bytes.is_some(),
            new_entries,
            has_failed: false,
        })
    }

    /// Appends a line. It may be buffered.
    ///
    /// # Errors
    /// When the file cannot be written to.
    #[inline]
    pub fn write_line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands buffered lines to the file. In a compressed one they cannot be read before the next commit, since to end a
    /// block of the compression for each few lines would undo it.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub fn flush(&mut self) -> Result<(), Error> {
        let result = self.spill();
        self.settle(result)
    }

    /// Makes everything written durable; `None` where the file is a pipe or a device.
    ///
    /// # Errors
    /// When the file cannot be written to, or its folder not be synchronised. After an error, nothing is known of what
    /// was written since the last commit.
    pub fn commit(&mut self) -> Result<Option<Bookmark>, Error> {
        let result = self.make_durable();
        let length = self.settle(result)?;
        Ok(length.map(|length| serde_json::json!(Place { length })))
    }

    fn make_durable(&mut self) -> io::Result<Option<u64>> {
        self.spill()?;
        self.end_frame()?;
        if !self.is_regular {
            return Ok(None);
        }
        self.file.sync_data()?;
        for folder in &self.new_entries {
            File::open(folder)?.sync_all()?;
        }
        self.new_entries.clear();
        self.file.as_ref().stream_position().map(Some)
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        match (self.codec, &mut self.frame) {
            (None, _) => self.file.as_ref().write_all(&self.buffer)?,
            (Some(_), Some(frame)) => frame.write_all(&self.buffer)?,
            (Some(codec), frame) => {
                frame
                    .insert(Frame::begin(codec, Arc::clone(&self.file))?)
                    .write_all(&self.buffer)?;
            }
        }
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    fn end_frame(&mut self) -> io::Result<()> {
        match self.frame.take() {
            None => Ok(()),
            Some(Frame::Gzip(encoder)) => encoder.finish().map(drop),
            Some(Frame::Zstd(encoder)) => encoder.finish().map(drop),
        }
    }

    fn settle<T>(&mut self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|reason| {
            self.has_failed = true;
            Error::Write {
                to: format!("`{}`", self.path.display()),
                reason,
            }
        })
    }
}

impl Sink for LineFile {
    fn write(&mut self, values: &Column) -> Result<(), Error> {
        values.iter().try_for_each(|value| self.write_line(value))
    }

    fn flush(&mut self) -> Result<(), Error> {
        LineFile::flush(self)
    }

    fn commit(&mut self) -> Result<Option<Bookmark>, Error> {
        LineFile::commit(self)
    }
}

impl Drop for LineFile {
    /// Leaves a whole file. Whoever wants to know whether that worked commits first.
    fn drop(&mut self) {
        // After a failure, what is buffered may have been written in part; writing it again would make it worse.
        if !self.has_failed {
            let _ = self.spill().and_then(|()| self.end_frame());
        }
    }
}

impl Codec {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Frame {
    fn begin(codec: Codec, file: Arc<File>) -> io::Result<Self> {
        Ok(match codec {
            Codec::Gzip => Self::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::default()))),
            Codec::Zstd => Self::Zstd(zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }
}

fn committed_length(path: &Path, bookmark: &Bookmark) -> Result<u64, Error> {
    let place: Place = serde_json::from_value(bookmark.clone()).map_err(|error| Error::Bookmark {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    Ok(place.length)
}

/// Opens the file; makes it, unless something had been committed to it, which then is gone: `None`.
fn open_or_make(path: &Path, committed: u64) -> io::Result<Option<File>> {
    let mut options = File::options();
    options.write(true);
    if committed == 0 {
        fs::create_dir_all(parent(path))?;
        options.create(true).truncate(false);
    }
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && committed > 0 => Ok(None),
        result => result.map(Some),
    }
}

/// The length of a file; `None` for a pipe or a device.
fn regular_length(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some(metadata.len()))
}

fn cut(mut file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(drop)
}

/// The folders that get an entry when the file at `path` is made.
fn new_entries(path: &Path) -> Vec<PathBuf> {
    let is_new = |entry: &&Path| !entry.as_os_str().is_empty() && !entry.exists();
    path.ancestors()
        .take_while(is_new)
        .map(|entry| parent(entry).to_owned())
        .collect()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn read(path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let mut text = String::new();
        match Codec::of(path) {
            None => text = String::from_utf8(bytes).unwrap(),
            Some(Codec::Gzip) => {
                flate2::read::MultiGzDecoder::new(bytes.as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
            }
            Some(Codec::Zstd) => {
                zstd::Decoder::new(bytes.as_slice())
                    .unwrap()
                    .read_to_string(&mut text)
                    .unwrap();
            }
        }
        text
    }

    fn write(file: &mut LineFile, lines: &[&str]) {
        for line in lines {
            file.write_line(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_fresh_file_is_made_with_its_folders_and_starts_anew() {
        let folder = folder();
        let path = folder.path().join("a/b/out.jsonl");
        for _ in 0..2 {
            let mut file = LineFile::open(&path, Resume::Fresh).unwrap();
            write(&mut file, &["1", "2"]);
            assert_eq!(file.commit().unwrap(), Some(serde_json::json!({ "length": 4 })));
        }
        assert_eq!(read(&path), "1\n2\n");
    }

    #[test]
    fn what_was_not_committed_is_taken_back_in_every_compression() {
        let folder = folder();
        for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
            let path = folder.path().join(name);
            let mut file = LineFile::open(&path, Resume::Fresh).unwrap();
            write(&mut file, &["one", "two"]);
            let bookmark = file.commit().unwrap().unwrap();
            write(&mut file, &["lost"]);
            drop(file);
            assert_eq!(read(&path), "one\ntwo\nlost\n", "{name} is whole when it is dropped");

            let mut file = LineFile::open(&path, Resume::At(&bookmark)).unwrap();
            assert_eq!(read(&path), "one\ntwo\n", "{name} is whole where it was cut");
            write(&mut file, &["three"]);
            file.commit().unwrap();
            assert_eq!(read(&path), "one\ntwo\nthree\n", "{name} is whole while it is open");
        }
    }

    #[test]
    fn a_commit_without_new_lines_adds_nothing() {
        let folder = folder();
        for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
            let path = folder.path().join(name);
            let mut file = LineFile::open(&path, Resume::Fresh).unwrap();
            assert_eq!(file.commit().unwrap(), Some(serde_json::json!({ "length": 0 })));
            write(&mut file, &["x"]);
            let bookmark = file.commit().unwrap();
            assert_eq!(file.commit().unwrap(), bookmark);
        }
    }

    #[test]
    fn a_file_shorter_than_its_bookmark_is_refused_and_left_alone() {
        let folder = folder();
        let path = folder.path().join("out.jsonl");
        let bookmark = serde_json::json!({ "length": 10 });
        fs::write(&path, "short").unwrap();
        let error = LineFile::open(&path, Resume::At(&bookmark)).err().unwrap().to_string();
        let expected = format!(
            "cannot go on writing `{}`: it has 5 bytes, 10 had been committed",
            path.display()
        );
        assert_eq!(error, expected);
        assert_eq!(read(&path), "short");

        fs::remove_file(&path).unwrap();
        let error = LineFile::open(&path, Resume::At(&bookmark)).err().unwrap();
        assert!(matches!(
            error,
            Error::Truncated {
                bytes: 0,
                committed: 10,
                ..
            }
        ));
        assert!(!path.exists());
    }

    #[test]
    fn lines_reach_the_file_when_they_are_flushed_or_many() {
        let folder = folder();
        let path = folder.path().join("out.jsonl");
        let mut file = LineFile::open(&path, Resume::Fresh).unwrap();
        write(&mut file, &["1"]);
        assert_eq!(read(&path), "");
        file.flush().unwrap();
        assert_eq!(read(&path), "1\n");
        write(&mut file, &["x".repeat(BUFFER_BYTES).as_str()]);
        assert_eq!(read(&path).len(), 2 + BUFFER_BYTES + 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let path = file.join("out.jsonl");
        let error = LineFile::open(&path, Resume::Fresh).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("cannot open `{}`: ", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_bookmark_of_another_kind_is_refused() {
        let folder = folder();
        let error = LineFile::open(&folder.path().join("x"), Resume::At(&serde_json::json!({})))
            .err()
            .unwrap();
        assert!(error.to_string().ends_with("missing field `length`"), "{error}");
    }

    #[test]
    fn a_device_is_written_to_without_bookmarks() {
        let mut file = LineFile::open(Path::new("/dev/null"), Resume::Fresh).unwrap();
        write(&mut file, &["1"]);
        assert_eq!(file.commit().unwrap(), None);
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut file = LineFile::open(Path::new("/dev/full"), Resume::Fresh).unwrap();
        write(&mut file, &["1"]);
        let error = file.flush().err().unwrap().to_string();
        assert_eq!(error, "cannot write `/dev/full`: No space left on device (os error 28)");
    }
}

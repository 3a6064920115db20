//! What lies next to a file of dead letters: which of them were retried, and the state of a retry under way.
//!
//! Owns the names. Where a pipeline keeps state, that has the last word on what was retried; the note is for people, and for
//! pipelines that keep none.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Take};
use std::path::{Path, PathBuf};

use dirigo_disk::{Disk, Mode, PathKind, open_regular, read_regular};
use dirigo_flow::{DeadLetter, IdRanges};

/// The longest line that can be a dead letter. The longest record has 64 MiB; as JSON within JSON each of its bytes may take six,
/// and its state stands next to it.
const LINE_BYTES_MAX: u64 = 512 << 20;
/// The longest note. Letters that were retried one by one take two numbers each; this is for millions of them.
const NOTE_BYTES_MAX: u64 = 64 << 20;

/// The lines of a file of dead letters, one by one.
pub struct LetterLines {
    lines: BufReader<Take<File>>,
    line: Vec<u8>,
    number: u64,
    bytes_max: u64,
}

impl LetterLines {
    /// Opens a file, of which `length` bytes are read at most.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be opened.
    pub fn open(disk: &dyn Disk, path: &Path, length: u64) -> io::Result<Self> {
        let (file, _) = open_regular(disk, path)?;
        Ok(Self {
            lines: BufReader::new(file.take(length)),
            line: Vec::new(),
            number: 0,
            bytes_max: LINE_BYTES_MAX,
        })
    }

    /// The next line: its bytes, and the letter that it is; `None` after the last.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than any letter.
    pub fn read(&mut self) -> io::Result<Option<(usize, Option<DeadLetter>)>> {
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.lines).take(self.bytes_max + 1);
        let bytes = bounded.read_until(b'\n', &mut self.line)?;
        if bytes as u64 > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "line {} is longer than {} bytes, which no dead letter is",
                    self.number, self.bytes_max
                ),
            ));
        }
        Ok((bytes > 0).then(|| (bytes, serde_json::from_slice(&self.line).ok())))
    }
}

/// The state directory of a retry of letters whose pipeline keeps no state.
pub(super) fn private_state(letters: &Path) -> PathBuf {
    hidden(letters, "retry")
}

/// The file that notes which letters were retried.
fn note(letters: &Path) -> PathBuf {
    hidden(letters, "retried")
}

fn hidden(letters: &Path, ending: &str) -> PathBuf {
    let name = letters.file_name().unwrap_or_default();
    let hidden: OsString = [".".as_ref(), name, ".".as_ref(), ending.as_ref()]
        .into_iter()
        .collect();
    letters.with_file_name(hidden)
}

/// Which letters of a file were retried, as far as that is noted next to it.
pub(super) fn retried(disk: &dyn Disk, letters: &Path) -> IdRanges {
    let text = read_regular(disk, &note(letters), NOTE_BYTES_MAX).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Notes which letters of a file were retried. The note is replaced as a whole.
pub(super) fn note_retried(disk: &dyn Disk, letters: &Path, ids: &IdRanges) -> io::Result<()> {
    let json = serde_json::to_vec(ids).expect("ranges are plain JSON");
    let new = hidden(letters, "retried.new");
    // What an interrupted retry left goes. Nothing is written through a link that is there instead.
    match disk.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    disk.open(&new, Mode::New)?.append(&json)?;
    disk.rename(&new, &note(letters))
}

/// Forgets what was retried: the file begins anew, and so do the ids.
pub(super) fn forget_retries(disk: &dyn Disk, letters: &Path) -> io::Result<()> {
    let note = note(letters);
    if disk.look(&note)? != PathKind::Missing {
        disk.remove(&note)?;
    }
    remove_state(disk, &private_state(letters))
}

/// Removes the state of a retry, with the folders in it.
pub(super) fn remove_state(disk: &dyn Disk, directory: &Path) -> io::Result<()> {
    if disk.look(directory)? == PathKind::Missing {
        return Ok(());
    }
    for name in disk.list(directory)? {
        let path = directory.join(name);
        match disk.look(&path)? {
            PathKind::Folder => remove_state(disk, &path)?,
            _ => disk.remove(&path)?,
        }
    }
    disk.remove_folder(directory)
}

/// The id that follows those in a file.
pub(super) fn next_id(disk: &dyn Disk, letters: &Path) -> io::Result<u64> {
    let mut lines = LetterLines::open(disk, letters, u64::MAX)?;
    let mut next = 1;
    while let Some((_, letter)) = lines.read()? {
        next = letter.map_or(next, |letter| next.max(letter.id.saturating_add(1)));
    }
    Ok(next)
}

impl std::fmt::Debug for LetterLines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LetterLines")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use dirigo_disk::{FileAccess, Grant, Grants, HostDirectories, Real, Usage};

    use super::*;

    #[test]
    fn a_line_that_no_letter_is_as_long_as_is_refused_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.jsonl");
        fs::write(&path, "no letter\n".to_owned() + &"x".repeat(11)).unwrap();
        let mut lines = LetterLines::open(&Real, &path, u64::MAX).unwrap();
        lines.bytes_max = 10;
        assert!(matches!(lines.read(), Ok(Some((10, None)))));
        let refused = lines.read().unwrap_err().to_string();
        assert_eq!(refused, "line 2 is longer than 10 bytes, which no dead letter is");
        let mut lines = LetterLines::open(&Real, &path, 15).unwrap();
        lines.bytes_max = 10;
        assert!(matches!(lines.read(), Ok(Some((10, None)))));
        assert!(
            matches!(lines.read(), Ok(Some((5, None)))),
            "what is not committed is not read"
        );
        assert!(matches!(lines.read(), Ok(None)));
    }

    #[test]
    fn what_lies_next_to_the_letters_of_a_tenant_is_reached_through_no_link_out_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (own, others) = (folder.path().join("own"), folder.path().join("others"));
        for folder in [&own, &others] {
            fs::create_dir(folder).unwrap();
        }
        let grant = Grant::open(&own).unwrap();
        let grants = Grants {
            read: Vec::new(),
            write: vec![grant],
        };
        let disk = FileAccess::granted(HostDirectories::default(), grants).disk(Usage::Write);
        let letters = own.join("dead.jsonl");
        let mut ids = IdRanges::default();
        ids.insert(3);
        note_retried(&*disk, &letters, &ids).unwrap();
        assert_eq!(retried(&*disk, &letters), ids);
        forget_retries(&*disk, &letters).unwrap();
        assert_eq!(retried(&*disk, &letters), IdRanges::default());

        fs::write(others.join("note"), "[[1,9]]").unwrap();
        fs::create_dir(others.join("state")).unwrap();
        fs::write(others.join("state/file"), "kept").unwrap();
        symlink("../others/note", note(&letters)).unwrap();
        symlink("../others/state", private_state(&letters)).unwrap();
        symlink("../others/new", hidden(&letters, "retried.new")).unwrap();
        assert_eq!(retried(&*disk, &letters), IdRanges::default());
        note_retried(&*disk, &letters, &ids).unwrap();
        assert_eq!(fs::read(others.join("note")).unwrap(), b"[[1,9]]");
        assert!(!others.join("new").exists());
        assert!(forget_retries(&*disk, &letters).is_err());
        assert_eq!(fs::read(others.join("state/file")).unwrap(), b"kept");
    }
}

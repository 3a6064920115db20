//! Files of a folder that have been renamed or compressed since they were read.
//!
//! Owns by what a file that was read is known again: its name, how much it holds, and what a [`rotation`](super::super::rotation) makes of its name. How files are
//! read, and in which order, the folder says.

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::super::archive::{Archive, said_bytes};
use super::super::reader::ReadOptions;
use super::super::rotation::{number_of, rotation_of, uncompressed_name};
use super::{CurrentFile, FolderReader, ListedFile, RemovedFile};
use crate::records::{self, Error};
use dirigo_connect::source::Offset;

/// By what a file that has been read is known again: 32 bits of a hash of its name, and as many of its name and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileMark(pub(super) [u8; 8]);

/// What may be decompressed at the start to know files again, some seconds' worth: an archive can hold a thousand times its size.
pub(super) const COMPARED_BYTES_MAX: u64 = 4 << 30;

/// How the marks of an offset are made. Those of the first kind said nothing of the name alone.
pub(super) const MARKS: u8 = 2;

impl FolderReader {
    /// Goes on in the file that has been renamed in a rotation: what was `app.log` is `app.log.1` then, or `app.log-20240301`. With
    /// numbers, those that were read before have moved on too. Files that are still to be read come behind it, the oldest first.
    pub(super) fn go_on_rotated(
        &mut self,
        name: &str,
        index: usize,
        within: Option<&Offset>,
        known: &KnownFiles,
    ) -> Option<CurrentFile> {
        let is_candidate = |listed: &ListedFile| rotation_of(name, &listed.name).is_some();
        let mut candidates = (index..self.files.len()).filter(|&at| is_candidate(&self.files[at]));
        let (at, file) = candidates.find_map(|at| Some((at, self.open_file(at, within).ok()?)))?;
        let mut later = self.files.split_off(index);
        let current = later.remove(at - index);
        let moved_by = rotation_of(name, &current.name)?;
        let (folder, options, read) = (&self.path, &self.options, &mut self.read);
        later.retain(|listed| {
            let is_known = known.has_moved(folder, listed, moved_by, options);
            if is_known {
                read.push(FileMark::of(&listed.name, listed.bytes));
            }
            !is_known
        });
        later.sort_by_key(|listed| std::cmp::Reverse(number_of(&listed.name).map_or(0, |(_, number)| number)));
        let name = current.name.clone();
        self.files.push(current);
        self.files.append(&mut later);
        Some(CurrentFile {
            name,
            index,
            file: Some(file),
            gone: None,
            is_at_end: false,
        })
    }

    /// Goes on where the file that was being read is there no more, at least not as it was: one that has been compressed since
    /// is read on.
    pub(super) fn go_on_without(
        &mut self,
        name: String,
        index: usize,
        within: Option<Offset>,
        is_at_end: bool,
    ) -> Result<CurrentFile, Error> {
        let compressed = self.files[index..]
            .iter()
            .position(|listed| uncompressed_name(&listed.name) == Some(&name));
        if let Some(behind) = compressed
            && let Ok(file) = self.open_file(index + behind, within.as_ref())
        {
            let listed = self.files.remove(index + behind);
            let name = listed.name.clone();
            self.files.insert(index, listed);
            return Ok(CurrentFile {
                name,
                index,
                file: Some(file),
                gone: None,
                is_at_end: false,
            });
        }
        if !is_at_end {
            return Err(self.unfit(format!("`{name}` is gone, and had not been read to its end")));
        }
        let mut gone = None;
        if let Some(within) = within {
            let end: records::StreamOffset =
                serde_json::from_value(within.clone()).map_err(|error| self.unfit(error.to_string()))?;
            let lines = end.lines();
            gone = Some(RemovedFile { within, lines });
        }
        Ok(CurrentFile {
            name,
            index,
            file: None,
            gone,
            is_at_end: true,
        })
    }
}

impl FileMark {
    pub(super) fn of(name: &str, bytes: u64) -> Self {
        let [size, ..] = Self::hash(name, Some(bytes));
        let [alone, ..] = Self::hash(name, None);
        let mut mark = [0; 8];
        mark[..4].copy_from_slice(&alone);
        mark[4..].copy_from_slice(&size);
        Self(mark)
    }

    /// As an offset of the first kind has it.
    pub(super) fn of_first_kind(name: &str, bytes: u64) -> Self {
        let [start, rest] = Self::hash(name, Some(bytes));
        let mut mark = [0; 8];
        mark[..4].copy_from_slice(&start);
        mark[4..].copy_from_slice(&rest);
        Self(mark)
    }

    /// What the name alone gives.
    fn name(self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.0;
        [a, b, c, d]
    }

    fn hash(name: &str, bytes: Option<u64>) -> [[u8; 4]; 2] {
        let hash = Sha256::new();
        let hash = match bytes {
            Some(bytes) => hash.chain_update(bytes.to_le_bytes()),
            None => hash,
        };
        let hash = hash.chain_update(name).finalize();
        let (parts, _) = hash.as_chunks();
        [parts[0], parts[1]]
    }
}

/// The files that earlier runs have read to their ends.
pub(super) struct KnownFiles {
    marks: HashSet<FileMark>,
    names: HashSet<[u8; 4]>,
    /// How many bytes may still be decompressed to compare what files hold.
    left: Cell<u64>,
    /// Whether a file was not looked through for want of that.
    is_spent: Cell<bool>,
    of: fn(&str, u64) -> FileMark,
}

impl KnownFiles {
    pub(super) fn new(marks: &str, kind: u8) -> Self {
        let marks = BASE64_STANDARD.decode(marks).unwrap_or_default();
        let marks: HashSet<FileMark> = marks.as_chunks().0.iter().copied().map(FileMark).collect();
        let is_first_kind = kind < MARKS;
        Self {
            names: marks
                .iter()
                .filter(|_| !is_first_kind)
                .map(|mark| mark.name())
                .collect(),
            left: Cell::new(COMPARED_BYTES_MAX),
            is_spent: Cell::new(false),
            marks,
            of: if is_first_kind {
                FileMark::of_first_kind
            } else {
                FileMark::of
            },
        }
    }

    pub(super) fn has(&self, listed: &ListedFile) -> bool {
        self.marks.contains(&(self.of)(&listed.name, listed.bytes))
    }

    /// Whether the file is one of them whose number has moved on since, be it compressed before, meanwhile or never.
    fn has_moved(&self, folder: &Path, listed: &ListedFile, by: u64, options: &ReadOptions) -> bool {
        let Some((base, number)) = number_of(&listed.name).filter(|_| by > 0) else {
            return false;
        };
        let before = match number.checked_sub(by) {
            None => return false,
            Some(0) => base.to_owned(),
            Some(number) => format!("{base}.{number}"),
        };
        let has = |name: &str, bytes: u64| self.marks.contains(&(self.of)(name, bytes));
        if uncompressed_name(&listed.name).is_none() {
            return has(&before, listed.bytes);
        }
        let extension = listed.name.rsplit('.').next().unwrap_or_default();
        let was_plain = || self.holds(&folder.join(&listed.path), options, |bytes| has(&before, bytes));
        has(&format!("{before}.{extension}"), listed.bytes)
            || (self.names.contains(&FileMark::of(&before, 0).name()) && was_plain())
    }

    /// Whether the file is one of them that has been compressed since: what it holds is as long as that was. It is looked at
    /// for this only where its name says so.
    pub(super) fn has_compressed(&self, folder: &Path, listed: &ListedFile, options: &ReadOptions) -> bool {
        uncompressed_name(&listed.name)
            .filter(|name| self.names.contains(&FileMark::of(name, 0).name()))
            .is_some_and(|name| {
                let is_known = |bytes| self.marks.contains(&(self.of)(name, bytes));
                self.holds(&folder.join(&listed.path), options, is_known)
            })
    }
}

impl KnownFiles {
    /// Whether a compressed file holds as many bytes as one that `is_known`: by what it says itself, or else by reading it through, as
    /// long as there is something left of what may be read for this.
    fn holds(&self, path: &Path, options: &ReadOptions, is_known: impl Fn(u64) -> bool) -> bool {
        said_bytes(path, &*options.disk).is_some_and(&is_known)
            || self.content_bytes(path, options).is_some_and(is_known)
    }

    /// How many bytes a compressed file holds; `None` where it cannot be read, which its own turn will tell, or holds too much.
    fn content_bytes(&self, path: &Path, options: &ReadOptions) -> Option<u64> {
        let (archive, _) = Archive::open(path, &*options.disk, false, options.zstd_window_max).ok()?;
        let mut bounded = archive.take(self.left.get() + 1);
        let bytes = io::copy(&mut bounded, &mut io::sink()).ok()?;
        if let Some(left) = self.left.get().checked_sub(bytes) {
            self.left.set(left);
            return Some(bytes);
        }
        self.left.set(0);
        self.is_spent.set(true);
        None
    }

    /// Whether a file was not looked through since they hold too much: then it is not known whether it was read.
    pub(super) fn is_spent(&self) -> bool {
        self.is_spent.get()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::file::archive::ZSTD_WINDOW;
    use crate::records::Reading;
    use dirigo_connect::Format;
    use dirigo_disk::Real;
    use dirigo_ground::clock::ManualClock;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    /// What is known of `a.log`, of 5 bytes, where so many may be decompressed; asked of `a.log` in this compressed form.
    fn is_known(name: &str, compressed: &[u8], left: u64) -> (bool, bool) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), compressed).unwrap();
        let known = KnownFiles::new(&BASE64_STANDARD.encode(FileMark::of("a.log", 5).0), MARKS);
        known.left.set(left);
        let listed = ListedFile {
            name: name.to_owned(),
            path: PathBuf::from(name).into(),
            bytes: compressed.len() as u64,
        };
        let options = ReadOptions {
            reading: Reading::plain(Format::Lines),
            clock: Arc::new(ManualClock::new(0)),
            disk: Arc::new(Real),
            is_continued: true,
            may_be_empty: false,
            may_be_pipe: false,
            zstd_window_max: ZSTD_WINDOW,
        };
        (known.has_compressed(folder.path(), &listed, &options), known.is_spent())
    }

    #[test]
    fn an_archive_that_says_how_much_it_holds_is_known_without_reading_it() {
        assert_eq!(is_known("a.log.gz", &gzip("12345"), 0), (true, false));
        let zipped = zstd::bulk::compress(b"12345", 1).unwrap();
        assert_eq!(is_known("a.log.zst", &zipped, 0), (true, false));
    }

    #[test]
    fn any_other_is_read_through_as_far_as_that_is_allowed() {
        let members = [gzip("123"), gzip("45")].concat();
        assert_eq!(is_known("a.log.gz", &members, 5), (true, false));
        assert_eq!(is_known("a.log.gz", &members, 4), (false, true));
        assert_eq!(
            is_known("a.log.gz", &gzip("123456"), 6),
            (false, false),
            "it holds something else"
        );
        assert_eq!(
            is_known("b.log.gz", &members, 0),
            (false, false),
            "its name is none of them"
        );
    }
}

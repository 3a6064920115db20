//! Files of a folder that have been renamed or compressed since they were read.
//!
//! Owns by what a file that was read is known again: its name, how much it holds, and what a rotation makes of its name. How files are
//! read, and in which order, the folder says.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

use super::super::archive::Archive;
use super::super::reader::ReadOptions;
use super::{CurrentFile, FolderReader, ListedFile, RemovedFile};
use crate::records::{self, Error};
use dirigo_connect::source::Offset;

/// By what a file that has been read is known again: 32 bits of a hash of its name, and as many of its name and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileMark(pub(super) [u8; 8]);

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
        let was_plain = || content_bytes(&folder.join(&listed.path), options).is_some_and(|bytes| has(&before, bytes));
        has(&format!("{before}.{extension}"), listed.bytes)
            || (self.names.contains(&FileMark::of(&before, 0).name()) && was_plain())
    }

    /// Whether the file is one of them that has been compressed since: what it holds is as long as that was. It is read
    /// through for this, but only where its name says so.
    pub(super) fn has_compressed(&self, folder: &Path, listed: &ListedFile, options: &ReadOptions) -> bool {
        uncompressed_name(&listed.name)
            .filter(|name| self.names.contains(&FileMark::of(name, 0).name()))
            .and_then(|name| Some((name, content_bytes(&folder.join(&listed.path), options)?)))
            .is_some_and(|(name, bytes)| self.marks.contains(&(self.of)(name, bytes)))
    }
}

/// The number that a rotation has given a file, and the name in front of it.
fn number_of(name: &str) -> Option<(&str, u64)> {
    let (base, number) = uncompressed_name(name).unwrap_or(name).rsplit_once('.')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((base, number.parse().ok()?))
}

/// By how much the numbers of files have moved on where the file `before` bears this `name` now: 0 where that is its name with a
/// date.
fn rotation_of(before: &str, name: &str) -> Option<u64> {
    if let Some((base, number)) = number_of(name) {
        return match number_of(before) {
            _ if base == before => Some(number),
            Some((before, from)) if before == base => number.checked_sub(from).filter(|&by| by > 0),
            _ => None,
        };
    }
    let date = uncompressed_name(name)
        .unwrap_or(name)
        .strip_prefix(before)?
        .strip_prefix('-')?;
    (!date.is_empty() && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')).then_some(0)
}

/// The name that a file had before it was compressed, if it is named as one that was.
fn uncompressed_name(name: &str) -> Option<&str> {
    let (inner, extension) = name.rsplit_once('.')?;
    let is_compressed = ["gz", "zst"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    is_compressed.then_some(inner)
}

/// How many bytes a compressed file holds; `None` where it cannot be read, which its own turn will tell.
fn content_bytes(path: &Path, options: &ReadOptions) -> Option<u64> {
    let (mut archive, _) = Archive::open(path, &*options.disk, false, options.zstd_window_max).ok()?;
    io::copy(&mut archive, &mut io::sink()).ok()
}

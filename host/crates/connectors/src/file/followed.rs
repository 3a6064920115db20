//! A log that is followed as it grows and is rotated.
//!
//! Owns which file is read next. The reader polls the file at the path once it has reached its end. A rotation renames that file
//! (`app.log` becomes `app.log.1`), or copies and truncates it (`copytruncate`). The reader then finishes the old file under its new name or in its
//! copy, reads the files that were rotated since, oldest first, and starts the file at the path. A later run resumes in the same way. The reader
//! identifies a file as [`FileReader`] does, by its first KiB and the KiB before the offset, and a file of which it read no record by its inode
//! and its first bytes. Knows nothing of what the bytes mean.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reader::{FileReader, ReadOptions, number_on_from};
use super::rotation::{Rotated, uncompressed_name};
use super::watched::{Changed, modified_ns, touched_ns};
use crate::records::Error;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_disk::open_regular;
use dirigo_ground::clock::nanoseconds;

/// The reader polls a file this long after it was written to.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The reader polls a quiet file at most this much later. A poll takes 0.2 ms of processor time on an idle machine.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// The reader leaves a renamed file after it has been quiet for so long: its writer may still have it open. The reader misses what is written to
/// it later.
const WRITTEN_AFTER_MS: i64 = 1_000;
const WRITTEN_AFTER: Duration = Duration::from_millis(WRITTEN_AFTER_MS.unsigned_abs());

/// A search starts over at most so often, when a rotation renames files during the search. A rotation renames a thousand files in some 30 ms.
const SEARCHES_MAX: usize = 50;
const SEARCH_PAUSE: Duration = Duration::from_millis(5);

/// A run searches at most so often for the file that an earlier run was reading: a rotation may be copying it.
const ATTEMPTS_MAX: usize = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// An offset holds so many first bytes of its file: enough to rule out most other files without reading up to the offset.
const HEAD_BYTES: usize = 256;
/// Two files may share so many first bytes, such as a CSV header or the first line of a daemon.
const ALIKE_BYTES: u64 = 1024;

/// The reader remembers at most so many empty files. It opens one that it has forgotten again, and finds it empty.
const EMPTY_MAX: usize = 1024;

/// A path that is followed.
pub(super) struct FollowedFile {
    path: PathBuf,
    options: ReadOptions,
    /// `None` while there is no file at the path.
    current: Option<CurrentFile>,
    /// The end of the previous file. A later run resumes there if no record of the current file was read.
    previous: Option<FollowedOffset>,
    /// The inodes of the empty files after it.
    empty: VecDeque<u64>,
    /// Lines of the files before it.
    lines_before: u64,
    pause: Duration,
    /// Whether a warning was logged that the file at the path may not be read.
    has_said_denied: bool,
}

/// The file that is being read.
struct CurrentFile {
    name: String,
    inode: u64,
    reader: FileReader,
    /// When it was opened, in ms since the epoch.
    opened_ms: i64,
    /// Whether it is a copy, which no process writes to.
    is_complete: bool,
    /// Its length when the reader last verified that it follows the previous file.
    expected_bytes: u64,
    /// When the reader, at its end, first saw another file at the path, in ns.
    left_behind_ns: Option<u64>,
}

/// The file at the path, or a rotated one.
struct Listed {
    name: String,
    inode: u64,
    modified_ns: i64,
}

/// Why a search has no result.
enum Unsettled {
    /// A file was renamed, removed or truncated since it was listed.
    Moved,
    Failed(Error),
}

impl From<Error> for Unsettled {
    fn from(error: Error) -> Self {
        match &error {
            Error::Open { reason, .. } if reason.kind() == ErrorKind::NotFound => Self::Moved,
            Error::Read { reason, .. } if Changed::cause_of(reason).is_some() => Self::Moved,
            _ => Self::Failed(error),
        }
    }
}

/// The offset of a followed log: that of a file, and what identifies the file.
#[derive(Clone, Serialize, Deserialize)]
struct FollowedOffset {
    #[serde(flatten)]
    within: Offset,
    /// The inode of the file; 0 if there was none.
    #[serde(default)]
    inode: u64,
    /// Lines of the files before it.
    #[serde(default)]
    lines_before: u64,
    /// The inode of the next file, if the reader has opened it and read no record of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_inode: Option<u64>,
    /// The first bytes of the file, at most [`HEAD_BYTES`].
    #[serde(default, with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    head: Vec<u8>,
    /// The end of the previous file, while less than [`ALIKE_BYTES`] of this one were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Box<FollowedOffset>>,
}

mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(de::Error::custom)
    }
}

impl FollowedFile {
    pub(super) fn open(path: &Path, options: ReadOptions, from: Option<&Offset>) -> Result<Self, Error> {
        let mut followed = Self {
            path: path.to_owned(),
            options: ReadOptions {
                // A last record without its end is completed later.
                is_continued: true,
                may_be_empty: true,
                ..options
            },
            current: None,
            previous: None,
            empty: VecDeque::new(),
            lines_before: 0,
            pause: PAUSE_MIN,
            has_said_denied: false,
        };
        match from {
            None => {
                followed.open_at_path()?;
            }
            Some(offset) => followed.resume(offset)?,
        }
        Ok(followed)
    }

    fn resume(&mut self, offset: &Offset) -> Result<(), Error> {
        let unfit = |error: serde_json::Error| Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem: error.to_string(),
        };
        let offset: FollowedOffset = serde_json::from_value(offset.clone()).map_err(unfit)?;
        let lines_read = FileReader::lines_of(&offset.within).map_err(unfit)?;
        self.lines_before = offset.lines_before;
        let is_start = FileReader::is_start(&offset.within);
        for _ in 0..ATTEMPTS_MAX {
            self.current = self.search(|listed| {
                if is_start {
                    self.find_by_start(&offset, listed)
                } else {
                    self.find_by_place(&offset, listed)
                }
            })?;
            if self.current.is_some() || (is_start && offset.head.is_empty()) {
                self.previous = offset.previous.map(|previous| *previous);
                return Ok(());
            }
            let next = self.search(|listed| {
                let next = listed.iter().find(|file| offset.next_inode == Some(file.inode));
                next.map(|next| self.open_listed(next, None)).transpose()
            })?;
            if next.is_some() {
                // The previous file was removed, after it was read to its end.
                self.current = next;
                self.lines_before += lines_read;
                self.previous = Some(offset);
                return Ok(());
            }
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        // Its error says what is wrong with the file at the path.
        self.open_file(&self.name(), Some(&offset.within))?;
        Err(Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem: "neither it nor a rotated file holds what an earlier run found in it".to_owned(),
        })
    }

    /// Finds the file of an offset by its content before the offset. Of several candidates it takes the first after the previous file; if that is
    /// not known, the one with the inode of the offset, or else the newest.
    fn find_by_place(&self, offset: &FollowedOffset, listed: &[Listed]) -> Result<Option<CurrentFile>, Unsettled> {
        let place_of_previous = match &offset.previous {
            Some(previous) => self.place_among(listed, previous)?,
            None => None,
        };
        if let Some(place) = place_of_previous {
            return self.first_at(listed[place + 1..].iter(), offset);
        }
        let has_inode = |file: &&Listed| file.inode == offset.inode;
        self.first_at(listed.iter().filter(has_inode).chain(listed.iter().rev()), offset)
    }

    /// Finds the file of an offset at the start of a file, by its inode and first bytes.
    fn find_by_start(&self, offset: &FollowedOffset, listed: &[Listed]) -> Result<Option<CurrentFile>, Unsettled> {
        let has_inode = |file: &&Listed| file.inode == offset.inode;
        let others = listed.iter().rev().filter(|_| !offset.head.is_empty());
        self.first_at(listed.iter().filter(has_inode).chain(others), offset)
    }

    /// Opens the first of these files to which an offset belongs, at the offset.
    fn first_at<'l>(
        &self,
        files: impl Iterator<Item = &'l Listed>,
        offset: &FollowedOffset,
    ) -> Result<Option<CurrentFile>, Unsettled> {
        for file in files {
            if let Some(found) = self.open_at(file, offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Opens a file at an offset, if the offset belongs to it.
    fn open_at(&self, listed: &Listed, offset: &FollowedOffset) -> Result<Option<CurrentFile>, Unsettled> {
        let other = |error: Error| match error {
            Error::Replaced { .. } | Error::Truncated { .. } | Error::Shortened { .. } | Error::Header { .. } => {
                Ok(None)
            }
            // An unreadable file next to the log does not end the run.
            Error::Open { ref reason, .. } | Error::Read { ref reason, .. } if is_of_file(reason) => {
                tracing::warn!("`{}`: skipped a rotated file: {error}", self.path.display());
                Ok(None)
            }
            error => Err(Unsettled::from(error)),
        };
        let file = match self.open_listed(listed, None) {
            Ok(file) => file,
            Err(Unsettled::Failed(error)) => return other(error),
            Err(moved) => return Err(moved),
        };
        // Only a file with the same first bytes is worth reading up to the offset.
        if !file.reader.head().starts_with(&offset.head) {
            return Ok(None);
        }
        if FileReader::is_start(&offset.within) {
            return Ok(Some(file));
        }
        match self.open_listed(listed, Some(&offset.within)) {
            Ok(file) => Ok(Some(file)),
            Err(Unsettled::Failed(error)) => other(error),
            Err(moved) => Err(moved),
        }
    }

    /// Searches the rotated files and the file at the path. Starts over if a rotation changes them during the search.
    fn search<T>(&self, find: impl Fn(&[Listed]) -> Result<Option<T>, Unsettled>) -> Result<Option<T>, Error> {
        for _ in 0..SEARCHES_MAX {
            match self.listed().and_then(|listed| find(&listed)) {
                Ok(found) => return Ok(found),
                Err(Unsettled::Moved) => std::thread::sleep(SEARCH_PAUSE),
                Err(Unsettled::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Open {
            path: self.path.clone(),
            reason: io::Error::other("rotations kept renaming it during a search for it"),
        })
    }

    /// Opens a file that was listed.
    fn open_listed(&self, listed: &Listed, from: Option<&Offset>) -> Result<CurrentFile, Unsettled> {
        let opened = self.open_file(&listed.name, from);
        let inode = match &opened {
            Ok(file) => Some(file.inode),
            Err(_) => self.metadata(&listed.name).ok().map(|metadata| metadata.ino()),
        };
        if inode != Some(listed.inode) {
            return Err(Unsettled::Moved);
        }
        Ok(opened?)
    }

    /// The name at the path.
    fn name(&self) -> Cow<'_, str> {
        self.path.file_name().unwrap_or_default().to_string_lossy()
    }

    fn path_of(&self, name: &str) -> PathBuf {
        // The path need not be UTF-8.
        if name == self.name() {
            self.path.clone()
        } else {
            self.path.with_file_name(name)
        }
    }

    /// The metadata of a regular file at the path or next to it, which the pipeline may read.
    fn metadata(&self, name: &str) -> io::Result<Metadata> {
        open_regular(&*self.options.disk, &self.path_of(name)).map(|(_, metadata)| metadata)
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Lists the rotated files, oldest first, and then the file at the path. A listing could miss a file that is renamed meanwhile, or have it twice,
    /// so two listings have to agree.
    fn listed(&self) -> Result<Vec<Listed>, Unsettled> {
        let (before, listed) = (self.listed_once()?, self.listed_once()?);
        let names = |listed: &[Listed]| {
            listed
                .iter()
                .map(|file| (file.name.clone(), file.inode))
                .collect::<Vec<_>>()
        };
        if names(&before) == names(&listed) {
            Ok(listed)
        } else {
            Err(Unsettled::Moved)
        }
    }

    fn listed_once(&self) -> Result<Vec<Listed>, Error> {
        let base = self.name();
        let names = self.options.disk.list(self.folder()).map_err(|reason| Error::Open {
            path: self.folder().to_owned(),
            reason,
        })?;
        let rotated = names.iter().filter_map(|name| {
            let name = name.to_str()?;
            Some((Rotated::of(&base, name)?, name))
        });
        let mut rotated: Vec<_> = rotated.collect();
        // While a file is being compressed, both files are there; the complete one sorts first.
        rotated.sort_unstable();
        rotated.dedup_by(|(_, second), (_, first)| uncompressed_name(second) == Some(*first));
        let names = rotated.into_iter().map(|(_, name)| name).chain([&*base]);
        let listed = names.filter_map(|name| {
            // Leaves out folders, pipes, and files that the pipeline may not read.
            let metadata = self.metadata(name).ok()?;
            Some(Listed {
                name: name.to_owned(),
                inode: metadata.ino(),
                modified_ns: modified_ns(&metadata),
            })
        });
        Ok(listed.collect())
    }

    fn open_file(&self, name: &str, from: Option<&Offset>) -> Result<CurrentFile, Error> {
        let mut reader = FileReader::open(&self.path_of(name), self.options.clone(), from)?;
        reader.ignore_replacement();
        if from.is_none_or(FileReader::is_start) {
            reader.peek()?;
        }
        Ok(CurrentFile {
            name: name.to_owned(),
            inode: reader.inode(),
            reader,
            opened_ms: self.options.clock.wall_ms(),
            is_complete: false,
            expected_bytes: 0,
            left_behind_ns: None,
        })
    }

    /// Opens the file at the path from its start; returns whether there is one.
    fn open_at_path(&mut self) -> Result<bool, Error> {
        let opened = self.open_file(&self.name(), None);
        self.current = match opened.map_err(Unsettled::from) {
            Ok(file) => Some(file),
            // The file is not there yet, or was truncated as it was opened.
            Err(Unsettled::Moved) => None,
            Err(Unsettled::Failed(error)) => return Err(error),
        };
        Ok(self.current.is_some())
    }

    /// Switches from the current file, which is at its end, to the next.
    fn leave_for(&mut self, next: CurrentFile) {
        tracing::debug!("reader of `{}` switches to `{}`", self.path.display(), next.name);
        let Some(current) = self.current.replace(next) else {
            return;
        };
        if current.reader.is_unread() {
            self.empty.push_back(current.inode);
            if self.empty.len() > EMPTY_MAX {
                self.empty.pop_front();
            }
        } else {
            self.previous = Some(self.offset_of(&current));
            self.empty.clear();
        }
        self.lines_before += current.reader.lines();
    }

    /// Opens the file that follows the current one.
    fn next(&self) -> Result<Option<CurrentFile>, Error> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        self.search(|listed| {
            let next = self.next_among(listed, current)?;
            next.map(|next| self.open_listed(next, None)).transpose()
        })
    }

    fn next_among<'l>(&self, listed: &'l [Listed], current: &CurrentFile) -> Result<Option<&'l Listed>, Unsettled> {
        let mut place = self.place_among(listed, &self.offset_of(current))?;
        if place.is_none()
            && current.reader.is_unread()
            && let Some(previous) = &self.previous
        {
            place = self.place_among(listed, previous)?;
        }
        if let Some(place) = place {
            return Ok(listed.get(place + 1));
        }
        // The current file was removed. The next one is the oldest that was written to later.
        let modified_ns = modified_ns(&self.metadata_of(current)?);
        Ok(listed.iter().find(|file| file.modified_ns > modified_ns))
    }

    fn metadata_of(&self, current: &CurrentFile) -> Result<Metadata, Error> {
        current.reader.watched().metadata().map_err(|reason| Error::Read {
            from: format!("`{}`", self.path.display()),
            reason,
        })
    }

    /// The index in a listing of the file of an offset. The inode alone does not identify it: compression changes the inode, and the file system
    /// gives it to another file.
    fn place_among(&self, listed: &[Listed], offset: &FollowedOffset) -> Result<Option<usize>, Unsettled> {
        let by_inode = listed.iter().position(|file| file.inode == offset.inode);
        if FileReader::is_start(&offset.within) {
            return Ok(by_inode);
        }
        for place in by_inode.into_iter().chain((0..listed.len()).rev()) {
            if self.open_at(&listed[place], offset)?.is_some() {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Verifies, each time a file of which no record was read has grown, that it still follows the previous file. A rotation may have copied and
    /// truncated it since the last poll; then the copy is next.
    fn expect_next(&mut self) -> Result<(), Error> {
        let (Some(current), Some(previous)) = (&self.current, &self.previous) else {
            return Ok(());
        };
        if !current.reader.is_unread() {
            return Ok(());
        }
        let bytes = self.metadata_of(current)?.len();
        if bytes == current.expected_bytes {
            return Ok(());
        }
        let next = self.search(|listed| {
            let place = self.place_among(listed, previous)?;
            let behind = place.and_then(|place| listed.get(place + 1..)).unwrap_or_default();
            let next = behind.iter().find(|file| !self.empty.contains(&file.inode));
            next.filter(|next| next.inode != current.inode)
                .map(|next| self.open_listed(next, None))
                .transpose()
        })?;
        if let Some(next) = next {
            tracing::debug!(
                "reader of `{}` returns to its copy `{}`",
                self.path.display(),
                next.name
            );
            self.current = Some(next);
        } else if let Some(current) = &mut self.current {
            current.expected_bytes = bytes;
        }
        Ok(())
    }

    /// Resumes after the current file was truncated or overwritten: in the copy of it, or else at its start.
    fn resume_after_cut(&mut self, changed: &str) -> Result<(), Error> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let copy = self.search(|listed| self.find_copy(listed, &current))?;
        if let Some(copy) = copy {
            tracing::debug!(
                "`{}`: {changed}; its reader resumes in the copy `{}`",
                self.path.display(),
                copy.name
            );
            self.current = Some(CurrentFile {
                is_complete: true,
                ..copy
            });
            return Ok(());
        }
        tracing::warn!(
            "`{}`: {changed}; there is no copy next to it, and at least {} bytes were not read",
            self.path.display(),
            current.reader.bytes_unread()
        );
        self.lines_before += current.reader.lines();
        self.previous = None;
        self.open_at_path()?;
        Ok(())
    }

    /// Finds the copy of a file that was truncated.
    fn find_copy(&self, listed: &[Listed], current: &CurrentFile) -> Result<Option<CurrentFile>, Unsettled> {
        let offset = self.offset_of(current);
        if current.reader.is_unread() && offset.head.is_empty() {
            return Ok(None);
        }
        let place_of_previous = match &self.previous {
            Some(previous) => self.place_among(listed, previous)?,
            None => None,
        };
        let behind = place_of_previous.map_or(0, |place| place + 1);
        // An older file may begin with the same bytes as a file of which little was read.
        let is_new = |file: &&Listed| {
            current.reader.place() >= ALIKE_BYTES
                || place_of_previous.is_some()
                || file.modified_ns / 1_000_000 + WRITTEN_AFTER_MS >= current.opened_ms
        };
        let newest_first = listed[behind..].iter().rev().filter(|file| file.inode != current.inode);
        self.first_at(newest_first.filter(is_new), &offset)
    }

    fn offset_of(&self, current: &CurrentFile) -> FollowedOffset {
        let head = current.reader.head();
        FollowedOffset {
            within: current.reader.offset().unwrap_or_else(FileReader::start),
            inode: current.inode,
            lines_before: self.lines_before,
            next_inode: None,
            head: head[..head.len().min(HEAD_BYTES)].to_vec(),
            previous: None,
        }
    }

    /// Decides what to read at the end of the current file. `None` if there is more to read at once.
    fn at_end(&mut self) -> Result<Option<Read>, Error> {
        let at_path = match self.metadata(&self.name()) {
            Ok(metadata) => Some(metadata.ino()),
            // A rotation has renamed the file, and its writer has not made a new one yet.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.say_denied(&error);
                None
            }
            Err(reason) => {
                return Err(Error::Open {
                    path: self.path.clone(),
                    reason,
                });
            }
        };
        let Some(current) = self.current.as_mut().filter(|current| at_path != Some(current.inode)) else {
            return Ok(Some(self.wait()));
        };
        let now_ns = self.options.clock.now_ns();
        let waited_ns = now_ns - *current.left_behind_ns.get_or_insert(now_ns);
        let has_had_its_time = current.is_complete || waited_ns >= nanoseconds(WRITTEN_AFTER);
        let Some(next) = self.next()? else {
            return Ok(Some(self.wait()));
        };
        // Only the writer of the latest rotated file may still have it open.
        if next.name == self.name() && !has_had_its_time && !self.is_silent()? {
            return Ok(Some(self.wait()));
        }
        if self
            .current
            .as_mut()
            .is_some_and(|current| current.reader.end_last_record())
        {
            return Ok(None);
        }
        self.leave_for(next);
        Ok(None)
    }

    /// Whether the current file was neither written to nor renamed for [`WRITTEN_AFTER_MS`].
    fn is_silent(&self) -> Result<bool, Error> {
        let Some(current) = &self.current else { return Ok(true) };
        let touched_ms = touched_ns(&self.metadata_of(current)?) / 1_000_000;
        Ok(self.options.clock.wall_ms().saturating_sub(touched_ms) > WRITTEN_AFTER_MS)
    }

    #[cold]
    fn say_denied(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_said_denied, true) {
            tracing::warn!("the reader of `{}` waits for access: {error}", self.path.display());
        }
    }

    fn wait(&mut self) -> Read {
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        Read::Wait(pause)
    }
}

/// Whether the content of a file, or its permissions, make it unreadable, so that another attempt would fail, too.
fn is_of_file(reason: &io::Error) -> bool {
    use ErrorKind::{InvalidData, OutOfMemory, PermissionDenied, UnexpectedEof, Unsupported};
    let kinds = [InvalidData, OutOfMemory, PermissionDenied, UnexpectedEof, Unsupported];
    Changed::cause_of(reason).is_none() && kinds.contains(&reason.kind())
}

impl Source for FollowedFile {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        loop {
            if self.current.is_none() && !self.open_at_path()? {
                return Ok(self.wait());
            }
            self.expect_next()?;
            let Some(current) = &mut self.current else {
                return Ok(self.wait());
            };
            let start = (intake.positions.len(), intake.refused.len());
            let read = current.reader.read_records(intake, limit);
            number_on_from(self.lines_before, intake, start, &current.name);
            let has_more = (intake.positions.len(), intake.refused.len()) != start;
            if has_more {
                self.pause = PAUSE_MIN;
                current.left_behind_ns = None;
            }
            match read {
                Ok(Read::End) if !has_more => {
                    if let Some(read) = self.at_end()? {
                        return Ok(read);
                    }
                }
                Ok(_) => return Ok(Read::More),
                Err(error) => {
                    let changed = match &error {
                        Error::Read { reason, .. } => Changed::cause_of(reason).map(ToString::to_string),
                        _ => None,
                    };
                    let Some(changed) = changed else {
                        return Err(error.into());
                    };
                    self.resume_after_cut(&changed)?;
                }
            }
        }
    }

    fn offset(&self) -> Option<Offset> {
        let offset = match (&self.current, &self.previous) {
            (Some(current), Some(previous)) if current.reader.is_unread() => FollowedOffset {
                next_inode: Some(current.inode),
                ..previous.clone()
            },
            (Some(current), previous) => FollowedOffset {
                previous: previous
                    .clone()
                    .filter(|_| current.reader.place() < ALIKE_BYTES)
                    .map(Box::new),
                ..self.offset_of(current)
            },
            (None, Some(previous)) => previous.clone(),
            (None, None) => FollowedOffset {
                within: FileReader::start(),
                inode: 0,
                lines_before: self.lines_before,
                next_inode: None,
                head: Vec::new(),
                previous: None,
            },
        };
        Some(serde_json::to_value(offset).expect("an offset has no maps, whose keys could fail"))
    }

    /// `None`: a followed log has no known end.
    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

#[cfg(test)]
mod tests;

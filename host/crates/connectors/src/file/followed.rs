//! A file that is read on as it grows, and as rotations move it aside.
//!
//! Owns which file is read next. A path is followed: the file there is read to its end, and looked at again and again. A rotation
//! moves it aside (`app.log` becomes `app.log.1`), or copies it aside and cuts it (`copytruncate`). What had not been read is then read
//! where it is now, next the files that were put aside since, oldest first, and then the one at the path from its start. That holds across
//! runs, too. A file is known again as [`FileReader`] does it, by its first KiB and the KiB before the place; one of which nothing was read,
//! by its inode and its first KiB. Knows nothing of what the bytes mean.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reader::{FileReader, ReadOptions, number_on_from};
use super::rotation::{Aside, uncompressed_name};
use super::watched::{Changed, modified_ns, touched_ns};
use crate::records::Error;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_disk::open_regular;
use dirigo_ground::clock::nanoseconds;

/// How soon a file is looked at again that has just been written to.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How soon one is looked at again that nobody writes to. A look at a quiet log takes 0.2 ms of a processor that has nothing else to do.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a file that was moved aside has to be silent before the one at the path is begun: its writer may not have noticed yet. What is
/// written to it later is not read.
const WRITTEN_AFTER_MS: i64 = 1_000;
const WRITTEN_AFTER: Duration = Duration::from_millis(WRITTEN_AFTER_MS.unsigned_abs());

/// How often files are looked through again where a rotation moved them meanwhile: a rotation renames a thousand files in some 10 ms.
const SEARCHES_MAX: usize = 50;
const SEARCH_PAUSE: Duration = Duration::from_millis(5);

/// How often a run looks for the file in which an earlier one was: it may be being copied right now.
const ATTEMPTS_MAX: usize = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// How many first bytes of a file an offset has: enough to tell most files apart without reading on to the place.
const HEAD_BYTES: usize = 256;
/// Two files of which less than this was read may be indistinguishable: by the header of a CSV, or a line that their writer begins with.
const ALIKE_BYTES: u64 = 1024;

/// How many empty files in a row are remembered. Whoever forgets one looks into it again.
const EMPTY_MAX: usize = 1024;

/// A path that is followed.
pub(super) struct FollowedFile {
    path: PathBuf,
    options: ReadOptions,
    /// `None` as long as there is nothing at the path.
    current: Option<CurrentFile>,
    /// Where the previous file ended. As long as no record of the current one was read, this says better where to go on.
    previous: Option<FollowedOffset>,
    /// The inodes of files since then in which there was nothing.
    empty: VecDeque<u64>,
    /// Lines of the files before it.
    lines_before: u64,
    pause: Duration,
    /// Whether it was said that the file at the path may not be read.
    has_said_denied: bool,
}

/// The file that is being read.
struct CurrentFile {
    name: String,
    inode: u64,
    reader: FileReader,
    /// When it was opened, in ms since the epoch.
    opened_ms: i64,
    /// Whether nobody writes to it, since it is a copy.
    is_complete: bool,
    /// How long it was when it was last known to come next, before a record of it was read.
    expected_bytes: u64,
    /// Since when it has been silent at its end while another file was at the path, in ns.
    left_behind_ns: Option<u64>,
}

/// A file at the path or put aside.
struct Listed {
    name: String,
    inode: u64,
    modified_ns: i64,
}

/// Why a search finds nothing for certain.
enum Unsettled {
    /// A file was moved or cut since it was listed.
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

/// What an offset says, in addition to where to go on in the file.
#[derive(Clone, Serialize, Deserialize)]
struct FollowedOffset {
    #[serde(flatten)]
    within: Offset,
    /// The inode of the file; 0 as long as there was none.
    #[serde(default)]
    inode: u64,
    /// Lines of the files before it.
    #[serde(default)]
    lines_before: u64,
    /// The inode of the file that comes next, where it was begun and no record of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_inode: Option<u64>,
    /// The first bytes of the file, as far as they were seen.
    #[serde(default, with = "base64_text", skip_serializing_if = "Vec::is_empty")]
    head: Vec<u8>,
    /// Where the previous file ended, as long as so little was read of this one that another may begin alike.
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
                // More may come as long as it runs.
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
                // What was read to its end has been removed since.
                self.current = next;
                self.lines_before += lines_read;
                self.previous = Some(offset);
                return Ok(());
            }
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        // Says what is wrong with the file at the path.
        self.open_file(&self.name(), Some(&offset.within))?;
        Err(Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem: "neither it nor a file that was put aside holds what an earlier run found in it".to_owned(),
        })
    }

    /// The file of an offset that says what was read of it. Of several that begin alike, it is the first one behind the previous file, or,
    /// where that is not known, the one with its inode, or else the newest.
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

    /// The file of an offset that says where it begins. Any file begins as nothing does, but not with the same bytes.
    fn find_by_start(&self, offset: &FollowedOffset, listed: &[Listed]) -> Result<Option<CurrentFile>, Unsettled> {
        let has_inode = |file: &&Listed| file.inode == offset.inode;
        let others = listed.iter().rev().filter(|_| !offset.head.is_empty());
        self.first_at(listed.iter().filter(has_inode).chain(others), offset)
    }

    /// The first of these files that is that of an offset, at its place.
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

    /// Opens a file at the place that an offset says, if it is the file of that.
    fn open_at(&self, listed: &Listed, offset: &FollowedOffset) -> Result<Option<CurrentFile>, Unsettled> {
        let other = |error: Error| match error {
            Error::Replaced { .. } | Error::Truncated { .. } | Error::Shortened { .. } | Error::Header { .. } => {
                Ok(None)
            }
            // That a file next to the log cannot be read says nothing of the log.
            Error::Open { ref reason, .. } | Error::Read { ref reason, .. } if is_of_file(reason) => {
                tracing::warn!(
                    "`{}`: a file next to it may be the one that was read: {error}",
                    self.path.display()
                );
                Ok(None)
            }
            error => Err(Unsettled::from(error)),
        };
        let file = match self.open_listed(listed, None) {
            Ok(file) => file,
            Err(Unsettled::Failed(error)) => return other(error),
            Err(moved) => return Err(moved),
        };
        // What does not begin so is not read on to the place.
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

    /// Finds something in the files at the path and put aside, as they are between two steps of a rotation.
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
            reason: io::Error::other("it was moved aside again and again while it was looked for"),
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

    /// What the system says of a regular file at the path or next to it, as far as the pipeline may read it.
    fn metadata(&self, name: &str) -> io::Result<Metadata> {
        open_regular(&*self.options.disk, &self.path_of(name)).map(|(_, metadata)| metadata)
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// The files that were put aside, the oldest first, and the one at the path. One that is moved while they are listed could be missed,
    /// or listed twice, so two listings have to agree.
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
        let aside = names.iter().filter_map(|name| {
            let name = name.to_str()?;
            Some((Aside::of(&base, name)?, name))
        });
        let mut aside: Vec<_> = aside.collect();
        // Of a file and what it is just being compressed to, the file itself comes first.
        aside.sort_unstable();
        aside.dedup_by(|(_, second), (_, first)| uncompressed_name(second) == Some(*first));
        let names = aside.into_iter().map(|(_, name)| name).chain([&*base]);
        let listed = names.filter_map(|name| {
            // A folder, a pipe, or what may not be read is none of them.
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
            // It is not there yet, or was cut as it was opened.
            Err(Unsettled::Moved) => None,
            Err(Unsettled::Failed(error)) => return Err(error),
        };
        Ok(self.current.is_some())
    }

    /// Goes on with another file, the current one being at its end.
    fn leave_for(&mut self, next: CurrentFile) {
        tracing::debug!("`{}`: goes on with `{}`", self.path.display(), next.name);
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

    /// The file that was begun next after the current one, which is at its end, opened.
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
        // It was removed. What was written to later comes after it.
        let modified_ns = modified_ns(&self.metadata_of(current)?);
        Ok(listed.iter().find(|file| file.modified_ns > modified_ns))
    }

    fn metadata_of(&self, current: &CurrentFile) -> Result<Metadata, Error> {
        current.reader.watched().metadata().map_err(|reason| Error::Read {
            from: format!("`{}`", self.path.display()),
            reason,
        })
    }

    /// Where a file is among those listed. It has another inode where it was compressed meanwhile, and another may have its inode.
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

    /// Sees to it that the current file, of which no record was read, is still the one that comes next whenever it has grown. What it had
    /// may have been copied and cut without a trace in what was seen of it.
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
            tracing::debug!("`{}`: goes back to `{}`", self.path.display(), next.name);
            self.current = Some(next);
        } else if let Some(current) = &mut self.current {
            current.expected_bytes = bytes;
        }
        Ok(())
    }

    /// Goes on where the current file is not any more what it was, in place: in the copy that was made of it, or else at its start.
    fn resume_after_cut(&mut self, changed: &str) -> Result<(), Error> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let copy = self.search(|listed| self.find_copy(listed, &current))?;
        if let Some(copy) = copy {
            tracing::debug!("`{}`: {changed}; goes on with `{}`", self.path.display(), copy.name);
            self.current = Some(CurrentFile {
                is_complete: true,
                ..copy
            });
            return Ok(());
        }
        tracing::warn!(
            "`{}`: {changed}; no copy is next to it, and at least {} bytes had not been read",
            self.path.display(),
            current.reader.bytes_unread()
        );
        self.lines_before += current.reader.lines();
        self.previous = None;
        self.open_at_path()?;
        Ok(())
    }

    /// The copy that was made of a file before it was cut.
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
        // Of a file that had barely begun, an older one may hold the same.
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

    /// What comes at the end of the current file. `None` where there is more to read at once.
    fn at_end(&mut self) -> Result<Option<Read>, Error> {
        let at_path = match self.metadata(&self.name()) {
            Ok(metadata) => Some(metadata.ino()),
            // Between two steps of a rotation, or nothing writes to it any more.
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
        // Only the writer of what was put aside last may not have noticed yet.
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

    /// Whether the current file was neither written to nor moved for a while.
    fn is_silent(&self) -> Result<bool, Error> {
        let Some(current) = &self.current else { return Ok(true) };
        let touched_ms = touched_ns(&self.metadata_of(current)?) / 1_000_000;
        Ok(self.options.clock.wall_ms().saturating_sub(touched_ms) > WRITTEN_AFTER_MS)
    }

    #[cold]
    fn say_denied(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_said_denied, true) {
            tracing::warn!("`{}` is waited for: {error}", self.path.display());
        }
    }

    fn wait(&mut self) -> Read {
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        Read::Wait(pause)
    }
}

/// Whether a file cannot be read for what it is or who may read it. Another try would end alike.
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

    /// It has no end that it could near.
    fn progress(&self) -> Option<ReadProgress> {
        None
    }
}

#[cfg(test)]
mod tests;

//! A file that is read on as it grows, and as rotations move it aside.
//!
//! Owns which file is read next. A path is followed: the file there is read to its end, and looked at again and again. A rotation
//! moves it aside (`app.log` becomes `app.log.1`), or copies it aside and cuts it (`copytruncate`). What had not been read is then read
//! where it is now, next the files that were put aside since, oldest first, and then the one at the path from its start. That holds across
//! runs, too. A file is known again as [`FileReader`] does it, by its first KiB and the KiB before the place; one of which nothing was read,
//! by its inode and its first KiB. Knows nothing of what the bytes mean.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::reader::{FileReader, ReadOptions, count_on};
use super::rotation::Aside;
use super::watched::{Changed, modified_ns};
use crate::records::Error;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::clock::nanoseconds;

/// How soon a file is looked at again that has just been written to.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// How soon one is looked at again that nobody writes to: a look takes some 5 µs.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// How long a file that was moved aside has to be silent before the next one is begun: its writer may not have noticed yet. What is
/// written to it later is not read.
const WRITTEN_AFTER_MS: i64 = 1_000;
const WRITTEN_AFTER: Duration = Duration::from_millis(WRITTEN_AFTER_MS.unsigned_abs());

/// How often files are looked through again where a rotation moved them meanwhile, and how long it is given between.
const SEARCHES_MAX: usize = 100;
const SEARCH_PAUSE: Duration = Duration::from_millis(1);

/// How often a run looks for the file in which an earlier one was: a copy may just be made of it.
const ATTEMPTS_MAX: usize = 10;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);

/// How many first bytes of a file an offset has: enough to tell most files apart without reading on to the place.
const HEAD_BYTES: usize = 256;
/// Files of which no more was read may begin alike: with the header of a CSV, or a line that their writer begins with.
const ALIKE_BYTES: u64 = 1024;

/// A path that is followed.
pub(super) struct FollowedFile {
    path: PathBuf,
    options: ReadOptions,
    /// `None` as long as there is nothing at the path.
    current: Option<CurrentFile>,
    /// Where the file before it ended. As long as no record of the current one was read, this says better where to go on.
    before: Option<FollowedOffset>,
    /// The inodes of files since then in which there was nothing.
    empty: Vec<u64>,
    /// Lines of the files before it.
    lines_before: u64,
    pause: Duration,
}

/// The file that is being read.
struct CurrentFile {
    name: String,
    inode: u64,
    reader: FileReader,
    /// Whether it is a copy, to which nobody writes.
    is_copy: bool,
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

/// That a file was moved since it was listed.
struct Moved;

/// What an offset says, beside where to go on in the file.
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
    /// The first bytes of the file in base64, as far as they were seen: where little was read of it, they say more than the place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    head: String,
    /// Where the file before it ended, as long as so little was read of this one that another may begin alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<FollowedOffset>>,
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
            before: None,
            empty: Vec::new(),
            lines_before: 0,
            pause: PAUSE_MIN,
        };
        match from {
            None => {
                followed.open_at_path()?;
            }
            Some(offset) => followed.go_on(offset)?,
        }
        Ok(followed)
    }

    fn go_on(&mut self, offset: &Offset) -> Result<(), Error> {
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
                    self.find_unread(&offset, listed)
                } else {
                    self.find_read(&offset, listed)
                }
            })?;
            if self.current.is_some() || (is_start && offset.head.is_empty()) {
                self.before = offset.before.map(|before| *before);
                return Ok(());
            }
            let next_inode = |listed: &[Listed]| {
                let next = listed.iter().find(|file| offset.next_inode == Some(file.inode));
                next.map(|next| self.open_listed(next, None)).transpose()
            };
            if let Some(next) = self.search(next_inode)? {
                // What was read to its end has been removed since.
                self.current = Some(next?);
                self.lines_before += lines_read;
                self.before = Some(offset);
                return Ok(());
            }
            std::thread::sleep(ATTEMPT_PAUSE);
        }
        // Says what is wrong with the file at the path.
        self.open_file(&self.name(), Some(&offset.within))?;
        Err(Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem: "neither it nor a file that was put aside begins as it did when an earlier run found it"
                .to_owned(),
        })
    }

    /// The file of an offset that says what was read of it. Of several that begin alike, it is the one with its inode, or else the one
    /// that comes first after the file before it.
    fn find_read(&self, offset: &FollowedOffset, listed: &[Listed]) -> Result<Option<CurrentFile>, Moved> {
        let place_before = match &offset.before {
            Some(before) => self.place_among(listed, before)?,
            None => None,
        };
        let has_inode = |file: &&Listed| file.inode == offset.inode;
        let with_inode = listed.iter().filter(has_inode);
        let (behind, newest_first) = match place_before {
            Some(place) => (&listed[place + 1..], &[][..]),
            None => (&[][..], listed),
        };
        for file in with_inode.chain(behind).chain(newest_first.iter().rev()) {
            if let Some(found) = self.open_at(file, offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The file of an offset that says where it begins. Any file begins as nothing does, but not with the same bytes.
    fn find_unread(&self, offset: &FollowedOffset, listed: &[Listed]) -> Result<Option<CurrentFile>, Moved> {
        let has_inode = |file: &&Listed| file.inode == offset.inode;
        let newest_first = listed.iter().rev();
        let others = newest_first
            .clone()
            .filter(|file| !has_inode(file) && !offset.head.is_empty());
        for file in newest_first.filter(has_inode).chain(others) {
            if let Some(found) = self.open_at(file, offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Opens a file at the place that an offset says, if it is the file of that.
    fn open_at(&self, listed: &Listed, offset: &FollowedOffset) -> Result<Option<CurrentFile>, Moved> {
        let head = BASE64_STANDARD.decode(&offset.head).unwrap_or_default();
        // What does not begin so is not read on to the place.
        match self.open_listed(listed, None)? {
            Ok(file) if !file.reader.head().starts_with(&head) => Ok(None),
            Ok(file) if FileReader::is_start(&offset.within) => Ok(Some(file)),
            Ok(_) => Ok(self.open_listed(listed, Some(&offset.within))?.ok()),
            Err(_) => Ok(None),
        }
    }

    /// Finds something in the files at the path and put aside, as they are between two steps of a rotation.
    fn search<T>(&self, find: impl Fn(&[Listed]) -> Result<Option<T>, Moved>) -> Result<Option<T>, Error> {
        for _ in 0..SEARCHES_MAX {
            match find(&self.listed()?) {
                Ok(found) => return Ok(found),
                Err(Moved) => std::thread::sleep(SEARCH_PAUSE),
            }
        }
        Err(Error::Open {
            path: self.path.clone(),
            reason: io::Error::other("it was moved aside again and again while it was looked for"),
        })
    }

    /// Opens a file that was listed.
    fn open_listed(&self, listed: &Listed, from: Option<&Offset>) -> Result<Result<CurrentFile, Error>, Moved> {
        let opened = self.open_file(&listed.name, from);
        let inode = match &opened {
            Ok(file) => Some(file.inode),
            Err(_) => fs::metadata(self.path.with_file_name(&listed.name))
                .ok()
                .map(|metadata| metadata.ino()),
        };
        if inode == Some(listed.inode) {
            Ok(opened)
        } else {
            Err(Moved)
        }
    }

    /// The name at the path.
    fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// The files that were put aside, the oldest first, and the one at the path. One that is moved while they are listed could be missed,
    /// or listed twice, so they are listed until they stay as they are.
    fn listed(&self) -> Result<Vec<Listed>, Error> {
        let mut listed = self.listed_once()?;
        for _ in 0..SEARCHES_MAX {
            let before = std::mem::replace(&mut listed, self.listed_once()?);
            let files = |listed: &[Listed]| {
                listed
                    .iter()
                    .map(|file| (file.name.clone(), file.inode))
                    .collect::<Vec<_>>()
            };
            if files(&before) == files(&listed) {
                break;
            }
        }
        Ok(listed)
    }

    fn listed_once(&self) -> Result<Vec<Listed>, Error> {
        let base = self.name();
        let names = self.options.disk.list(self.folder()).map_err(|reason| Error::Open {
            path: self.folder().to_owned(),
            reason,
        })?;
        let mut aside: Vec<(Aside, String)> = names
            .iter()
            .filter_map(|name| {
                let name = name.to_str()?;
                Some((Aside::of(&base, name)?, name.to_owned()))
            })
            .collect();
        // Of a file and what it is just being compressed to, the file itself comes first.
        aside.sort();
        aside.dedup_by(|(second, _), (first, _)| first == second);
        let names = aside.into_iter().map(|(_, name)| name).chain([base]);
        Ok(names
            .filter_map(|name| {
                let metadata = fs::metadata(self.path.with_file_name(&name)).ok()?;
                metadata.is_file().then(|| Listed {
                    name,
                    inode: metadata.ino(),
                    modified_ns: modified_ns(&metadata),
                })
            })
            .collect())
    }

    fn open_file(&self, name: &str, from: Option<&Offset>) -> Result<CurrentFile, Error> {
        let mut reader = FileReader::open(&self.path.with_file_name(name), self.options.clone(), from)?;
        reader.leave_place_to_caller();
        if from.is_none_or(FileReader::is_start) {
            reader.peek()?;
        }
        Ok(CurrentFile {
            name: name.to_owned(),
            inode: reader.inode(),
            is_copy: false,
            expected_bytes: 0,
            reader,
            left_behind_ns: None,
        })
    }

    /// Opens the file at the path from its start; returns whether there is one.
    fn open_at_path(&mut self) -> Result<bool, Error> {
        self.current = match self.open_file(&self.name(), None) {
            Ok(file) => Some(file),
            Err(Error::Open { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(self.current.is_some())
    }

    /// Goes on with the file that comes after the current one, of which nothing is left.
    fn open_next(&mut self) -> Result<(), Error> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if current.reader.is_unread() {
            self.empty.push(current.inode);
        } else {
            self.before = Some(self.offset_of(&current));
            self.empty.clear();
        }
        self.lines_before += current.reader.lines();
        let next = self.search(|listed| {
            let next = self.next_after(&current, listed)?;
            next.map(|next| self.open_listed(next, None)).transpose()
        })?;
        match next {
            Some(next) => {
                let next = next?;
                tracing::debug!("`{}`: goes on with `{}`", self.path.display(), next.name);
                self.current = Some(next);
            }
            None => {
                self.open_at_path()?;
            }
        }
        Ok(())
    }

    /// The file that was begun next after this one, which is at its end.
    fn next_after<'l>(&self, current: &CurrentFile, listed: &'l [Listed]) -> Result<Option<&'l Listed>, Moved> {
        let mut place = self.place_among(listed, &self.offset_of(current))?;
        if place.is_none()
            && current.reader.is_unread()
            && let Some(before) = &self.before
        {
            place = self.place_among(listed, before)?;
        }
        if let Some(place) = place {
            return Ok(listed.get(place + 1));
        }
        // It was removed. What was written to later comes after it.
        let modified_ns = current.reader.watched().modified_ns().unwrap_or_default();
        Ok(listed.iter().find(|file| file.modified_ns > modified_ns))
    }

    /// Where a file is among those listed. It has another inode where it was compressed meanwhile, and another may have its inode.
    fn place_among(&self, listed: &[Listed], offset: &FollowedOffset) -> Result<Option<usize>, Moved> {
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
        let (Some(current), Some(before)) = (&mut self.current, &self.before) else {
            return Ok(());
        };
        if !current.reader.is_unread() {
            return Ok(());
        }
        let bytes = current.reader.watched().bytes().map_err(|reason| Error::Read {
            from: format!("`{}`", self.path.display()),
            reason,
        })?;
        if bytes == current.expected_bytes {
            return Ok(());
        }
        current.expected_bytes = bytes;
        let inode = current.inode;
        let next = self.search(|listed| {
            let place = self.place_among(listed, before)?;
            let behind = place.and_then(|place| listed.get(place + 1..)).unwrap_or_default();
            let next = behind.iter().find(|file| !self.empty.contains(&file.inode));
            next.filter(|next| next.inode != inode)
                .map(|next| self.open_listed(next, None))
                .transpose()
        })?;
        if let Some(next) = next {
            let next = next?;
            tracing::debug!("`{}`: goes back to `{}`", self.path.display(), next.name);
            self.current = Some(next);
        }
        Ok(())
    }

    /// Goes on where the current file is not any more what it was, in place: in the copy that was made of it, or else at its start.
    fn go_on_after_cut(&mut self, changed: &str) -> Result<(), Error> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        let offset = self.offset_of(&current);
        // The place says nothing where no record was made of it yet.
        let is_known = !current.reader.is_unread() || !offset.head.is_empty();
        let copy = self.search(|listed| {
            for file in listed
                .iter()
                .rev()
                .filter(|file| is_known && file.inode != current.inode)
            {
                if let Some(copy) = self.open_at(file, &offset)? {
                    return Ok(Some(CurrentFile { is_copy: true, ..copy }));
                }
            }
            Ok(None)
        })?;
        if let Some(copy) = copy {
            tracing::debug!("`{}`: {changed}; goes on with `{}`", self.path.display(), copy.name);
            self.current = Some(copy);
            return Ok(());
        }
        let unread = current.reader.bytes_unread();
        if unread > 0 {
            tracing::warn!(
                "`{}`: {changed}; {unread} bytes had not been read, and no copy of them is next to it",
                self.path.display()
            );
        }
        self.lines_before += current.reader.lines();
        self.before = None;
        self.open_at_path()?;
        Ok(())
    }

    fn offset_of(&self, current: &CurrentFile) -> FollowedOffset {
        let head = current.reader.head();
        FollowedOffset {
            within: current.reader.offset().unwrap_or_else(FileReader::start),
            inode: current.inode,
            lines_before: self.lines_before,
            next_inode: None,
            head: BASE64_STANDARD.encode(&head[..head.len().min(HEAD_BYTES)]),
            before: None,
        }
    }

    /// What comes at the end of the current file. `None` where there is more to read at once.
    fn at_end(&mut self) -> Result<Option<Read>, Error> {
        let Some(current) = &mut self.current else {
            return Ok(Some(self.wait()));
        };
        let at_path = match fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata.ino()),
            // Between two steps of a rotation, or nothing writes to it any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(reason) => {
                return Err(Error::Open {
                    path: self.path.clone(),
                    reason,
                });
            }
        };
        if at_path.is_none_or(|inode| inode == current.inode) {
            current.left_behind_ns = None;
            return Ok(Some(self.wait()));
        }
        let clock = &*self.options.clock;
        let now_ns = clock.now_ns();
        let silent_ns = now_ns - *current.left_behind_ns.get_or_insert(now_ns);
        let is_silent = |since_ns: i64| clock.wall_ms().saturating_sub(since_ns / 1_000_000) > WRITTEN_AFTER_MS;
        if !current.is_copy
            && silent_ns < nanoseconds(WRITTEN_AFTER)
            && !current.reader.watched().modified_ns().is_ok_and(is_silent)
        {
            return Ok(Some(self.wait()));
        }
        if current.reader.end_last_record() {
            return Ok(None);
        }
        self.open_next()?;
        Ok(None)
    }

    fn wait(&mut self) -> Read {
        let pause = self.pause;
        self.pause = (2 * pause).min(PAUSE_MAX);
        Read::Wait(pause)
    }
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
            count_on(intake, start, &current.name, self.lines_before);
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
                        Error::Read { reason, .. } => Changed::behind(reason).map(ToString::to_string),
                        _ => None,
                    };
                    let Some(changed) = changed else {
                        return Err(error.into());
                    };
                    self.go_on_after_cut(&changed)?;
                }
            }
        }
    }

    fn offset(&self) -> Option<Offset> {
        let offset = match (&self.current, &self.before) {
            (Some(current), Some(before)) if current.reader.is_unread() => FollowedOffset {
                next_inode: Some(current.inode),
                ..before.clone()
            },
            (Some(current), before) => FollowedOffset {
                before: before
                    .clone()
                    .filter(|_| current.reader.place() < ALIKE_BYTES)
                    .map(Box::new),
                ..self.offset_of(current)
            },
            (None, Some(before)) => before.clone(),
            (None, None) => FollowedOffset {
                within: FileReader::start(),
                inode: 0,
                lines_before: self.lines_before,
                next_inode: None,
                head: String::new(),
                before: None,
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

//! The files of a folder as one source: one after another, in the order of their names.
//!
//! Owns which file comes next, and noticing that one came, or grew, behind the place that was reached: it would be
//! skipped. One that was read and has been compressed since is known by its name and by how much it holds. Each file is read, and known again, as [`FileReader`] does it. Files that come during a run are read by the
//! next one.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::archive::Archive;
use super::reader::{FileReader, ReadOptions};
use crate::records::{self, Error};
use dirigo_connect::Pattern;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_disk::{Disk, PathKind};

/// The most files that a folder may have: an offset takes 11 bytes for each, and one is kept with every checkpoint.
const FILES_MAX: usize = 100_000;

/// By what a file that has been read is known again: 32 bits of a hash of its name, and as many of its name and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileMark([u8; 8]);

/// How the marks of an offset are made. Those of the first kind said nothing of the name alone.
const MARKS: u8 = 2;

/// An open folder of events.
pub(super) struct FolderReader {
    path: PathBuf,
    options: ReadOptions,
    /// In the order of their names, those before the current one included.
    files: Vec<ListedFile>,
    current: Option<CurrentFile>,
    /// What has been read to its end before the current one, and was there when this run began.
    read: Vec<FileMark>,
    /// Lines of all files before the current one.
    lines_before: u64,
}

/// A file that was there when the run began.
struct ListedFile {
    /// As offsets and messages have it.
    name: String,
    /// As the system has it.
    path: OsString,
    bytes: u64,
}

/// The file that is being read.
struct CurrentFile {
    name: String,
    /// Its place among the files; that of the next one where it is there no more.
    index: usize,
    /// `None` where it was read to its end by an earlier run and has been taken away since.
    file: Option<FileReader>,
    /// Then, where its end was: it may be brought back.
    gone: Option<RemovedFile>,
    /// Whether it was read to its end.
    is_at_end: bool,
}

/// A file that was read to its end and has been taken away.
struct RemovedFile {
    within: Offset,
    lines: u64,
}

/// What an offset says.
#[derive(Serialize, Deserialize)]
struct FolderOffset {
    /// The file that is being read; null before the first one.
    file: Option<String>,
    /// Its offset.
    within: Option<Offset>,
    /// Whether it was read to its end.
    ended: bool,
    /// Lines of the files before it.
    lines: u64,
    /// The marks of the files before it, in base64.
    read: String,
    /// How they are made.
    #[serde(default)]
    marks: u8,
}

impl FolderReader {
    pub(super) fn open(pattern: &Pattern, options: ReadOptions, from: Option<&Offset>) -> Result<Self, Error> {
        let mut folder = Self {
            files: list(pattern, &*options.disk)?,
            path: pattern.folder.clone(),
            options,
            current: None,
            read: Vec::new(),
            lines_before: 0,
        };
        if let Some(offset) = from {
            folder.go_on(offset)?;
        }
        Ok(folder)
    }

    fn go_on(&mut self, offset: &Offset) -> Result<(), Error> {
        let place: FolderOffset =
            serde_json::from_value(offset.clone()).map_err(|error| self.unfit(error.to_string()))?;
        let Some(name) = place.file else {
            return Ok(());
        };
        let known = KnownFiles::new(&place.read, place.marks);
        let index = self.files.partition_point(|listed| listed.name < name);
        for listed in &self.files[..index] {
            if !known.has(listed) && !known.has_compressed(&self.path, listed, &self.options) {
                return Err(self.unfit(format!(
                    "`{}` is new there or has grown, and would be skipped: all before `{name}` had been read; \
                     files that come later need names that sort later",
                    listed.name
                )));
            }
            self.read.push(FileMark::of(&listed.name, listed.bytes));
        }
        let is_there = self.files.get(index).is_some_and(|listed| listed.name == name);
        // What was compressed since bears a name that may sort behind.
        let mut later = self.files.split_off(index + usize::from(is_there));
        let (path, options, read) = (&self.path, &self.options, &mut self.read);
        later.retain(|listed| {
            let is_known = known.has(listed) || known.has_compressed(path, listed, options);
            if is_known {
                read.push(FileMark::of(&listed.name, listed.bytes));
            }
            !is_known
        });
        self.files.append(&mut later);
        self.lines_before = place.lines;
        let is_moved = |error: &Error| matches!(error, Error::Replaced { .. } | Error::Truncated { .. });
        self.current = Some(if is_there {
            match self.open_file(index, place.within.as_ref()) {
                Err(error) if is_moved(&error) => self
                    .go_on_rotated(&name, index, place.within.as_ref(), &known)
                    .ok_or(error)?,
                file => CurrentFile {
                    file: Some(file?),
                    name,
                    index,
                    gone: None,
                    is_at_end: false,
                },
            }
        } else if let Some(rotated) = self.go_on_rotated(&name, index, place.within.as_ref(), &known) {
            rotated
        } else {
            self.go_on_without(name, index, place.within, place.ended)?
        });
        Ok(())
    }

    /// Goes on in the file that has been renamed in a rotation: what was `app.log` is `app.log.1` then, or `app.log-20240301`. With
    /// numbers, those that were read before have moved on too. Files that are still to be read come behind it, the oldest first.
    fn go_on_rotated(
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
    fn go_on_without(
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

    fn unfit(&self, problem: String) -> Error {
        Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem,
        }
    }

    fn open_file(&self, index: usize, from: Option<&Offset>) -> Result<FileReader, Error> {
        // Only the last one is still written to.
        let is_last = index + 1 == self.files.len();
        let options = ReadOptions {
            is_continued: self.options.is_continued && is_last,
            may_be_empty: true,
            ..self.options.clone()
        };
        FileReader::open(&self.path.join(&self.files[index].path), options, from)
    }

    /// Opens the file after the current one; returns whether there is one.
    fn open_next(&mut self) -> Result<bool, Error> {
        let index = match &self.current {
            None => 0,
            Some(CurrentFile { file: None, index, .. }) => *index,
            Some(CurrentFile { index, .. }) => index + 1,
        };
        let Some(ListedFile { name, .. }) = self.files.get(index) else {
            return Ok(false);
        };
        let name = name.clone();
        let file = Some(self.open_file(index, None)?);
        let next = CurrentFile {
            name,
            index,
            file,
            gone: None,
            is_at_end: false,
        };
        if let Some(CurrentFile { name, file, gone, .. }) = self.current.replace(next) {
            self.lines_before += gone.map_or(0, |gone| gone.lines);
            if let Some(file) = file {
                self.lines_before += file.lines();
                self.read.push(FileMark::of(&name, file.bytes_read()));
            }
        }
        Ok(true)
    }
}

/// The files whose names match, in the order of their names. What is hidden, and folders, are none.
fn list(pattern: &Pattern, disk: &dyn Disk) -> Result<Vec<ListedFile>, Error> {
    let cannot = |path: &Path, reason| Error::Open {
        path: path.to_owned(),
        reason,
    };
    let in_folder = |reason| cannot(&pattern.folder, reason);
    let mut files = Vec::new();
    for path in disk.list(&pattern.folder).map_err(in_folder)? {
        let name = as_text(&path);
        if !pattern.matched_file(&name) {
            continue;
        }
        let whole = pattern.folder.join(&path);
        let bytes = match disk.look(&whole).map_err(|reason| cannot(&whole, reason))? {
            PathKind::File(bytes) => bytes,
            PathKind::Folder => continue,
            // It was there a moment ago.
            PathKind::Missing if whole.symlink_metadata().is_err() => continue,
            PathKind::Missing => return Err(cannot(&whole, io::ErrorKind::NotFound.into())),
            PathKind::Other => {
                let problem = "it is a pipe, a socket or a device, not a regular file";
                return Err(cannot(&whole, io::Error::other(problem)));
            }
        };
        files.push(ListedFile { name, path, bytes });
    }
    if files.len() > FILES_MAX {
        return Err(in_folder(io::Error::other(format!(
            "there are more than {FILES_MAX} files"
        ))));
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

/// The name of a file as text: what is not UTF-8 in it stands as `\xE9`.
fn as_text(name: &OsStr) -> String {
    let chunks = name.as_encoded_bytes().utf8_chunks();
    chunks.fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02X}");
        }
        text
    })
}

impl FileMark {
    fn of(name: &str, bytes: u64) -> Self {
        let [size, ..] = Self::hash(name, Some(bytes));
        let [alone, ..] = Self::hash(name, None);
        let mut mark = [0; 8];
        mark[..4].copy_from_slice(&alone);
        mark[4..].copy_from_slice(&size);
        Self(mark)
    }

    /// As an offset of the first kind has it.
    fn of_first_kind(name: &str, bytes: u64) -> Self {
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
struct KnownFiles {
    marks: HashSet<FileMark>,
    names: HashSet<[u8; 4]>,
    of: fn(&str, u64) -> FileMark,
}

impl KnownFiles {
    fn new(marks: &str, kind: u8) -> Self {
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

    fn has(&self, listed: &ListedFile) -> bool {
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
    fn has_compressed(&self, folder: &Path, listed: &ListedFile, options: &ReadOptions) -> bool {
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

/// Counts the records of the file `name` on from those of the files before, from what was appended since `start`.
fn count_on(intake: &mut Intake, (positions, refused): (usize, usize), name: &str, lines_before: u64) {
    for position in &mut intake.positions[positions..] {
        *position += lines_before;
    }
    for refused in &mut intake.refused[refused..] {
        refused.reason = format!("line {} of `{name}`: {}", refused.position, refused.reason);
        refused.position += lines_before;
    }
}

impl Source for FolderReader {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        let events = |intake: &Intake| intake.positions.len() + intake.refused.len();
        let (events_before, bytes_before) = (events(intake), intake.values.bytes().len());
        loop {
            let remaining = ReadLimit {
                events: limit.events.saturating_sub(events(intake) - events_before),
                bytes: limit.bytes.saturating_sub(intake.values.bytes().len() - bytes_before),
            };
            if remaining.events == 0 || remaining.bytes == 0 {
                return Ok(Read::More);
            }
            if let Some(current) = &mut self.current
                && let Some(file) = &mut current.file
            {
                let start = (intake.positions.len(), intake.refused.len());
                let read = file.read(intake, remaining);
                count_on(intake, start, &current.name, self.lines_before);
                let read = read?;
                if read != Read::End {
                    current.is_at_end = false;
                    return Ok(read);
                }
                current.is_at_end = file.is_read_up();
            }
            if !self.open_next()? {
                return Ok(Read::End);
            }
        }
    }

    fn offset(&self) -> Option<Offset> {
        let current = self.current.as_ref();
        let place = FolderOffset {
            file: current.map(|current| current.name.clone()),
            within: current.and_then(|current| match &current.file {
                Some(file) => file.offset(),
                None => current.gone.as_ref().map(|gone| gone.within.clone()),
            }),
            ended: current.is_some_and(|current| current.is_at_end),
            lines: self.lines_before,
            read: BASE64_STANDARD.encode(self.read.iter().flat_map(|mark| mark.0).collect::<Vec<u8>>()),
            marks: MARKS,
        };
        Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail"))
    }

    fn progress(&self) -> Option<ReadProgress> {
        let bytes = |files: &[ListedFile]| files.iter().map(|listed| listed.bytes).sum();
        let total: u64 = bytes(&self.files);
        let done: u64 = self.current.as_ref().map_or(0, |current| {
            let in_file = current.file.as_ref().map_or(0, FileReader::bytes_read);
            bytes(&self.files[..current.index]) + in_file
        });
        Some(ReadProgress {
            done,
            total: total.max(done),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::file::archive::ZSTD_WINDOW;
    use crate::records::Extract;
    use dirigo_connect::Format;
    use dirigo_disk::Real;
    use dirigo_ground::clock::ManualClock;

    fn options(format: Format) -> ReadOptions {
        ReadOptions {
            format,
            extract: Extract::default(),
            clock: Arc::new(ManualClock::new(0)),
            disk: Arc::new(Real),
            is_continued: true,
            may_be_empty: false,
            may_be_pipe: false,
            zstd_window_max: ZSTD_WINDOW,
        }
    }

    const MANY: ReadLimit = ReadLimit {
        events: 1_000,
        bytes: 1 << 20,
    };
    const ONE: ReadLimit = ReadLimit {
        events: 1,
        bytes: 1 << 20,
    };

    struct TestFolder(tempfile::TempDir);

    impl TestFolder {
        fn new<const N: usize>(files: [(&str, &str); N]) -> Self {
            let stage = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                stage.write(name, text);
            }
            stage
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn append(&self, name: &str, text: &str) {
            let mut file = fs::File::options().append(true).open(self.path(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.path(name)).unwrap();
        }

        fn try_open(&self, from: Option<&Offset>) -> Result<FolderReader, Error> {
            let pattern = Pattern {
                folder: self.0.path().to_owned(),
                prefix: String::new(),
                suffix: ".txt".to_owned(),
            };
            FolderReader::open(&pattern, options(Format::Lines), from)
        }

        fn open(&self, from: Option<&Offset>) -> FolderReader {
            self.try_open(from).unwrap_or_else(|error| panic!("{error}"))
        }

        /// What comes of reading to the end, as `POSITION VALUE`, and where that is.
        fn read(&self, from: Option<&Offset>) -> (Vec<String>, Offset) {
            let mut folder = self.open(from);
            let mut intake = Intake::default();
            while folder.read(&mut intake, MANY).unwrap() != Read::End {}
            (shown(&intake), folder.offset().unwrap())
        }

        fn refusal(&self, from: &Offset) -> String {
            self.try_open(Some(from)).err().unwrap().to_string()
        }
    }

    fn shown(intake: &Intake) -> Vec<String> {
        let values = intake.positions.iter().zip(intake.values.iter());
        values
            .map(|(position, value)| format!("{position} {}", String::from_utf8_lossy(value)))
            .collect()
    }

    #[test]
    fn files_are_read_by_their_names_and_lines_counted_on() {
        let stage = TestFolder::new([("b.txt", "3\n"), ("a.txt", "1\n2"), ("c.txt", "4\n"), ("d.log", "x\n")]);
        stage.write(".a.txt", "hidden\n");
        fs::create_dir(stage.path("folder.txt")).unwrap();
        assert_eq!(stage.read(None).0, ["1 1", "2 2", "3 3", "4 4"]);
    }

    #[test]
    fn it_goes_on_after_each_event() {
        let stage = TestFolder::new([("a.txt", "1\n2"), ("b.txt", ""), ("c.txt", "3\n4\n"), ("d.txt", "5\n")]);
        let mut all = Vec::new();
        let mut offset = None;
        for _ in 0..5 {
            let mut folder = stage.open(offset.as_ref());
            let mut intake = Intake::default();
            while intake.positions.is_empty() {
                folder.read(&mut intake, ONE).unwrap();
            }
            all.append(&mut shown(&intake));
            offset = folder.offset();
        }
        assert_eq!(all, ["1 1", "2 2", "3 3", "4 4", "5 5"]);
        assert!(stage.read(offset.as_ref()).0.is_empty());
    }

    #[test]
    fn what_the_last_file_has_grown_by_and_files_behind_it_are_read_by_the_next_run() {
        let stage = TestFolder::new([]);
        let (read, offset) = stage.read(None);
        assert!(read.is_empty());
        stage.write("a.txt", "1\n");
        stage.write("b.txt", "2\n");
        let (read, offset) = stage.read(Some(&offset));
        assert_eq!(read, ["1 1", "2 2"]);
        stage.append("b.txt", "3\n");
        stage.write("c.txt", "4\n");
        assert_eq!(stage.read(Some(&offset)).0, ["3 3", "4 4"]);
    }

    #[test]
    fn what_would_be_skipped_is_refused() {
        let stage = TestFolder::new([("b.txt", "1\n"), ("c.txt", "2\n")]);
        let (_, offset) = stage.read(None);
        stage.write("a.txt", "0\n");
        let refusal = stage.refusal(&offset);
        assert!(
            refusal.contains("`a.txt` is new there or has grown, and would be skipped"),
            "{refusal}"
        );
        stage.remove("a.txt");
        assert!(stage.read(Some(&offset)).0.is_empty());
        stage.append("b.txt", "0\n");
        let refusal = stage.refusal(&offset);
        assert!(refusal.contains("`b.txt` is new there or has grown"), "{refusal}");
    }

    #[test]
    fn files_that_were_read_may_be_taken_away() {
        let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n3"), ("c.txt", "4\n")]);
        let (_, offset) = stage.read(None);
        stage.remove("a.txt");
        stage.remove("c.txt");
        let (read, offset) = stage.read(Some(&offset));
        assert!(read.is_empty());
        let (read, offset) = stage.read(Some(&offset));
        assert!(read.is_empty());
        stage.remove("b.txt");
        stage.write("d.txt", "5\n");
        assert_eq!(stage.read(Some(&offset)).0, ["5 5"]);
    }

    #[test]
    fn a_file_that_comes_back_is_not_read_again() {
        let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
        let (_, offset) = stage.read(None);
        stage.remove("b.txt");
        let (_, offset) = stage.read(Some(&offset));
        let (_, offset) = stage.read(Some(&offset));
        stage.write("b.txt", "2\n3\n");
        stage.write("c.txt", "4\n");
        assert_eq!(stage.read(Some(&offset)).0, ["3 3", "4 4"]);
        stage.remove("b.txt");
        assert_eq!(stage.read(Some(&offset)).0, ["3 4"]);
    }

    #[test]
    fn a_file_that_is_gone_before_it_was_read_to_its_end_is_missed() {
        let stage = TestFolder::new([("a.txt", "1\n2\n"), ("b.txt", "3\n")]);
        let mut folder = stage.open(None);
        folder.read(&mut Intake::default(), ONE).unwrap();
        stage.remove("a.txt");
        let refusal = stage.refusal(&folder.offset().unwrap());
        assert!(
            refusal.ends_with("`a.txt` is gone, and had not been read to its end"),
            "{refusal}"
        );
    }

    #[test]
    fn a_file_that_was_cut_or_rewritten_is_named() {
        let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n3\n")]);
        let (_, offset) = stage.read(None);
        stage.write("b.txt", "2\n");
        let refusal = stage.refusal(&offset);
        assert!(refusal.contains("b.txt`: it was truncated to 2 bytes"), "{refusal}");
        stage.write("b.txt", "2\n4\n");
        let refusal = stage.refusal(&offset);
        assert!(refusal.contains("b.txt`: it was replaced or rewritten"), "{refusal}");
    }

    #[test]
    fn an_offset_of_one_file_is_refused() {
        let stage = TestFolder::new([("a.txt", "1\n")]);
        let refusal = stage.refusal(&serde_json::json!({ "offset": 2 }));
        assert!(refusal.contains("missing field"), "{refusal}");
    }

    #[test]
    fn each_file_has_its_own_header_and_compression_and_a_refusal_names_its_file() {
        let stage = TestFolder::new([("a.csv", "n\n1\n"), ("c.csv", "n\n4\n5,6\n")]);
        let zipped = zstd::encode_all(&b"n\n2\n3\n"[..], 1).unwrap();
        fs::write(stage.path("b.csv.zst"), zipped).unwrap();
        let pattern = Pattern::all_of(stage.0.path().to_owned());
        let mut folder = FolderReader::open(&pattern, options(Format::Csv), None).unwrap();
        let mut intake = Intake::default();
        while folder.read(&mut intake, ONE).unwrap() != Read::End {}
        assert_eq!(
            shown(&intake),
            ["2 {\"n\":1}", "4 {\"n\":2}", "5 {\"n\":3}", "7 {\"n\":4}"]
        );
        assert_eq!(intake.refused[0].position, 8);
        let reason = "line 3 of `c.csv`: the record has 2 fields, the header has 1";
        assert_eq!(intake.refused[0].reason, reason);
        let progress = folder.progress().unwrap();
        assert_eq!(progress.done, progress.total);
        let offset = folder.offset();
        let again = FolderReader::open(&pattern, options(Format::Csv), offset.as_ref());
        assert_eq!(again.unwrap().read(&mut Intake::default(), MANY).unwrap(), Read::End);
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    impl TestFolder {
        /// A folder of which every file is read.
        fn read_all(&self, format: Format, from: Option<&Offset>) -> Result<(Vec<String>, Offset), Error> {
            let pattern = Pattern::all_of(self.0.path().to_owned());
            let mut folder = FolderReader::open(&pattern, options(format), from)?;
            let mut intake = Intake::default();
            while folder.read(&mut intake, MANY).unwrap() != Read::End {}
            Ok((shown(&intake), folder.offset().unwrap()))
        }

        /// Compresses a file as logrotate does.
        fn compress(&self, name: &str) {
            let text = fs::read_to_string(self.path(name)).unwrap();
            fs::write(self.path(&format!("{name}.gz")), gzip(&text)).unwrap();
            self.remove(name);
        }
    }

    #[test]
    fn a_file_that_was_read_and_is_compressed_then_is_not_read_again() {
        // The second sorts behind the one that is being read once it is compressed.
        for before in ["a.log", "b"] {
            let stage = TestFolder::new([(before, "1\n"), ("b-2.log", "2\n")]);
            let (read, offset) = stage.read_all(Format::Lines, None).unwrap();
            assert_eq!(read, ["1 1", "2 2"]);
            stage.compress(before);
            stage.append("b-2.log", "3\n");
            let (read, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
            assert_eq!(read, ["3 3"]);
            assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
        }
    }

    #[test]
    fn a_file_that_is_compressed_in_the_middle_is_read_on() {
        let stage = TestFolder::new([("a.log", "1\n2\n")]);
        let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
        stage.append("a.log", "3\n");
        stage.compress("a.log");
        stage.write("b.log", "4\n");
        let (read, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
        assert_eq!(read, ["3 3", "4 4"]);
        assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
    }

    #[test]
    fn logs_that_are_rotated_by_numbers_are_read_on_and_none_of_them_again() {
        let stage = TestFolder::new([("app.log", "1\n")]);
        let read = |from: Option<&Offset>| stage.read_all(Format::Lines, from).unwrap();
        let rename = |from: &str, to: &str| fs::rename(stage.path(from), stage.path(to)).unwrap();
        let (_, offset) = read(None);
        stage.append("app.log", "2\n");
        rename("app.log", "app.log.1");
        stage.write("app.log", "3\n");
        let (lines, offset) = read(Some(&offset));
        assert_eq!(lines, ["2 2", "3 3"]);
        // Two rotations at once, and the oldest file is compressed.
        stage.append("app.log", "4\n");
        rename("app.log.1", "app.log.3");
        stage.compress("app.log.3");
        rename("app.log", "app.log.2");
        stage.write("app.log.1", "5\n");
        stage.write("app.log", "6\n");
        let (lines, offset) = read(Some(&offset));
        assert_eq!(lines, ["4 4", "5 5", "6 6"]);
        assert!(read(Some(&offset)).0.is_empty());
        // The newest is gone, and nothing has come in its place yet.
        stage.append("app.log", "7\n");
        for (from, to) in [
            ("app.log.3.gz", "app.log.4.gz"),
            ("app.log.2", "app.log.3"),
            ("app.log.1", "app.log.2"),
        ] {
            rename(from, to);
        }
        rename("app.log", "app.log.1");
        assert_eq!(read(Some(&offset)).0, ["7 7"]);
    }

    #[test]
    fn a_log_that_is_rotated_by_date_is_read_on() {
        let stage = TestFolder::new([("app.log", "1\n")]);
        let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
        stage.append("app.log", "2\n");
        fs::rename(stage.path("app.log"), stage.path("app.log-20240301")).unwrap();
        stage.compress("app.log-20240301");
        stage.write("app.log", "3\n");
        let (lines, offset) = stage.read_all(Format::Lines, Some(&offset)).unwrap();
        assert_eq!(lines, ["2 2", "3 3"]);
        assert!(stage.read_all(Format::Lines, Some(&offset)).unwrap().0.is_empty());
    }

    #[test]
    fn a_compressed_file_that_holds_something_else_is_a_new_one() {
        let stage = TestFolder::new([("a.log", "1\n"), ("b.log", "2\n")]);
        let (_, offset) = stage.read_all(Format::Lines, None).unwrap();
        stage.append("a.log", "x\n");
        stage.compress("a.log");
        let refusal = stage.read_all(Format::Lines, Some(&offset)).unwrap_err().to_string();
        assert!(refusal.contains("`a.log.gz` is new there or has grown"), "{refusal}");
    }

    #[test]
    fn an_offset_of_an_earlier_version_is_gone_on_with() {
        let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
        let (_, mut offset) = stage.read(None);
        let mark = BASE64_STANDARD.encode(FileMark::of_first_kind("a.txt", 2).0);
        offset["read"] = mark.into();
        offset.as_object_mut().unwrap().remove("marks");
        stage.append("b.txt", "3\n");
        assert_eq!(stage.read(Some(&offset)).0, ["3 3"]);
    }

    #[test]
    fn an_empty_part_of_csv_has_no_rows() {
        let stage = TestFolder::new([("a.csv", "n\n1\n"), ("b.csv", ""), ("c.csv", "\n"), ("d.csv", "n\n2\n")]);
        let (read, _) = stage.read_all(Format::Csv, None).unwrap();
        assert_eq!(read, ["2 {\"n\":1}", "5 {\"n\":2}"]);
    }

    #[test]
    fn names_that_are_not_utf_8_are_read_where_they_match_and_passed_over_where_not() {
        use std::os::unix::ffi::OsStrExt as _;
        let stage = TestFolder::new([("a.txt", "1\n"), ("z.txt", "3\n")]);
        for (name, text) in [(&b"caf\xe9.txt"[..], "2\n"), (b"caf\xe9.png", "no line\n")] {
            fs::write(stage.0.path().join(OsStr::from_bytes(name)), text).unwrap();
        }
        let (read, offset) = stage.read(None);
        assert_eq!(read, ["1 1", "2 2", "3 3"]);
        assert!(stage.read(Some(&offset)).0.is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_opened_comes_after_the_events_before_it() {
        let stage = TestFolder::new([("a.txt", "1\n"), ("b.txt", "2\n")]);
        let mut folder = stage.open(None);
        stage.remove("b.txt");
        let mut intake = Intake::default();
        let error = loop {
            if let Err(error) = folder.read(&mut intake, MANY) {
                break error.to_string();
            }
        };
        assert_eq!(shown(&intake), ["1 1"]);
        assert!(error.contains("b.txt"), "{error}");
    }
}

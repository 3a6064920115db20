//! The files of a folder as one source: one after another, in the order of their names.
//!
//! Owns which file comes next, and noticing that one came, or grew, behind the place that was reached: it would be
//! skipped. Each file is read, and known again, as [`FileReader`] does it; one that was renamed or compressed since, [`rotated`] finds.
//! Files that come during a run are read by the next one.

mod rotated;

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use self::rotated::{COMPARED_BYTES_MAX, FileMark, KnownFiles, MARKS};
use super::reader::{FileReader, ReadOptions, number_on_from};
use crate::records::Error;
use dirigo_connect::Pattern;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_disk::{Disk, PathKind};

/// The most files that a folder may have: an offset takes 11 bytes for each, and one is kept with every checkpoint.
const FILES_MAX: usize = 100_000;

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
                if known.is_spent() {
                    return Err(self.uncompared());
                }
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
        let is_moved = |error: &Error| {
            matches!(
                error,
                Error::Replaced { .. } | Error::Truncated { .. } | Error::Shortened { .. }
            )
        };
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
        if known.is_spent() {
            return Err(self.uncompared());
        }
        Ok(())
    }

    /// That it is not known of all files whether they were read.
    fn uncompared(&self) -> Error {
        self.unfit(format!(
            "to know which of its compressed files were read before, more than {} GiB would have to be decompressed; move away those \
             that were",
            COMPARED_BYTES_MAX >> 30
        ))
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

impl Source for FolderReader {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        let events = |intake: &Intake| intake.positions.len() + intake.refused.len();
        let (events_before, bytes_before) = (events(intake), intake.bytes());
        loop {
            let remaining = ReadLimit {
                events: limit.events.saturating_sub(events(intake) - events_before),
                bytes: limit.bytes.saturating_sub(intake.bytes() - bytes_before),
            };
            if remaining.events == 0 || remaining.bytes == 0 {
                return Ok(Read::More);
            }
            if let Some(current) = &mut self.current
                && let Some(file) = &mut current.file
            {
                let start = (intake.positions.len(), intake.refused.len());
                let read = file.read(intake, remaining);
                number_on_from(self.lines_before, intake, start, &current.name);
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
mod tests;

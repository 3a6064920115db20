//! The files of a folder as one source: one after another, in the order of their names.
//!
//! Owns which file comes next, and noticing that one came, or grew, behind the place that was reached: it would be
//! skipped. Each file is read, and known again, as [`FileReader`] does it. Files that come during a run are read by the
//! next one.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::reader::FileReader;
use crate::records::{self, Error, Extract};
use dirigo_connect::source::{Intake, Offset, Opening, Read, ReadLimit, ReadProgress, Source};
use dirigo_connect::{Format, Pattern};
use dirigo_disk::{Disk, PathKind};
use dirigo_ground::clock::Clock;

/// The most files that a folder may have: an offset takes 11 bytes for each, and one is kept with every checkpoint.
const FILES_MAX: usize = 100_000;

/// By what a file that has been read is known again: 64 bits of a hash of its name and size.
type FileMark = [u8; 8];

/// An open folder of events.
pub(super) struct FolderReader {
    path: PathBuf,
    format: Format,
    extract: Extract,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
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
    name: String,
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
}

impl FolderReader {
    pub(super) fn open(
        pattern: &Pattern,
        format: Format,
        extract: Extract,
        opening: &Opening<'_>,
    ) -> Result<Self, Error> {
        let mut folder = Self {
            files: list(pattern, &**opening.disk)?,
            path: pattern.folder.clone(),
            format,
            extract,
            clock: opening.clock.clone(),
            disk: opening.disk.clone(),
            current: None,
            read: Vec::new(),
            lines_before: 0,
        };
        if let Some(offset) = opening.from {
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
        let marks = BASE64_STANDARD.decode(&place.read).unwrap_or_default();
        let marks: HashSet<FileMark> = marks.as_chunks().0.iter().copied().collect();
        let index = self.files.partition_point(|listed| listed.name < name);
        let mut read = Vec::new();
        for listed in &self.files[..index] {
            let mark = mark(&listed.name, listed.bytes);
            if !marks.contains(&mark) {
                return Err(self.unfit(format!(
                    "`{}` is new there or has grown, and would be skipped: all before `{name}` had been read; \
                     files that come later need names that sort later",
                    listed.name
                )));
            }
            read.push(mark);
        }
        let is_there = self.files.get(index).is_some_and(|listed| listed.name == name);
        if !is_there && !place.ended {
            return Err(self.unfit(format!("`{name}` is gone, and had not been read to its end")));
        }
        let file = is_there
            .then(|| self.open_file(&name, place.within.as_ref()))
            .transpose()?;
        let mut gone = None;
        if !is_there && let Some(within) = place.within {
            let end: records::StreamOffset =
                serde_json::from_value(within.clone()).map_err(|error| self.unfit(error.to_string()))?;
            let lines = end.lines();
            gone = Some(RemovedFile { within, lines });
        }
        self.current = Some(CurrentFile {
            is_at_end: file.is_none(),
            name,
            index,
            file,
            gone,
        });
        self.read = read;
        self.lines_before = place.lines;
        Ok(())
    }

    fn unfit(&self, problem: String) -> Error {
        Error::Offset {
            from: format!("`{}`", self.path.display()),
            problem,
        }
    }

    fn open_file(&self, name: &str, from: Option<&Offset>) -> Result<FileReader, Error> {
        let opening = Opening {
            key: None,
            time: None,
            clock: self.clock.clone(),
            from,
            disk: &self.disk,
        };
        FileReader::open(&self.path.join(name), self.format, self.extract.clone(), &opening)
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
        let file = Some(self.open_file(&name, None)?);
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
                self.read.push(mark(&name, file.bytes_read()));
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
    for name in disk.list(&pattern.folder).map_err(in_folder)? {
        let path = pattern.folder.join(&name);
        let Some(name) = name.to_str() else {
            return Err(cannot(&path, io::Error::other("its name is not UTF-8")));
        };
        if !pattern.matched_file(name) {
            continue;
        }
        let bytes = match disk.look(&path).map_err(|reason| cannot(&path, reason))? {
            PathKind::File(bytes) => bytes,
            PathKind::Folder => continue,
            PathKind::Missing => return Err(cannot(&path, io::ErrorKind::NotFound.into())),
            PathKind::Other => return Err(cannot(&path, io::Error::other("it is a pipe or a device"))),
        };
        let name = name.to_owned();
        files.push(ListedFile { name, bytes });
    }
    if files.len() > FILES_MAX {
        return Err(in_folder(io::Error::other(format!(
            "there are more than {FILES_MAX} files"
        ))));
    }
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

fn mark(name: &str, bytes: u64) -> FileMark {
    let hash = Sha256::new()
        .chain_update(bytes.to_le_bytes())
        .chain_update(name)
        .finalize();
    let (mark, _) = hash.split_first_chunk().expect("a SHA-256 has 32 bytes");
    *mark
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
                current.is_at_end = true;
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
            read: BASE64_STANDARD.encode(self.read.as_flattened()),
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

    use super::*;
    use dirigo_disk::Real;
    use dirigo_ground::clock::ManualClock;

    const MANY: ReadLimit = ReadLimit {
        events: 1_000,
        bytes: 1 << 20,
    };
    const ONE: ReadLimit = ReadLimit {
        events: 1,
        bytes: 1 << 20,
    };

    fn open(pattern: &Pattern, format: Format, from: Option<&Offset>) -> Result<FolderReader, Error> {
        let opening = Opening {
            key: None,
            time: None,
            clock: Arc::new(ManualClock::new(0)),
            from,
            disk: &(Arc::new(Real) as Arc<dyn Disk>),
        };
        FolderReader::open(pattern, format, Extract::default(), &opening)
    }

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
            open(&pattern, Format::Lines, from)
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
        let mut folder = open(&pattern, Format::Csv, None).unwrap();
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
        let again = open(&pattern, Format::Csv, offset.as_ref());
        assert_eq!(again.unwrap().read(&mut Intake::default(), MANY).unwrap(), Read::End);
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

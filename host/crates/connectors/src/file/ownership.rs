//! Whose a file is that is there when a sink begins.
//!
//! A run that keeps state knows from that what it wrote. One that keeps none leaves a mark on its file, so that the next
//! run of the same pipeline may replace it and no other run does: an attribute of the file, or a hidden file next to it
//! where the file system has no attributes. The mark says how much was written, and once the file is closed also what its
//! ends are and when it was last written to: a file that was changed since is not the pipeline's any more.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::unsynced::parent;
use dirigo_connect::sink::Beginning;
use dirigo_disk::{Disk, File, Mode, PathKind};

/// Bytes at either end of a file that a mark is about: what a disk reads at once, so that a large file costs no more than
/// a small one. A change between them shows in the time of the last write.
const ENDS_BYTES: u64 = 64 << 10;
/// Bytes that a hidden file has at least: each mark covers all of the one before it, and no cut is needed in between.
const HIDDEN_BYTES: usize = 512;

/// What was found where a file is to be begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing that could be lost.
    Nothing,
    /// What the pipeline wrote.
    Own,
    /// Something else.
    Foreign(Origin),
}

/// Where a file comes from that a pipeline may not replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing says.
    Unknown,
    /// Another pipeline.
    Pipeline(String),
    /// The pipeline, and then it was changed.
    Changed,
    /// A run that keeps state.
    WithState,
    /// A run of this pipeline that keeps another state.
    WithOtherState(String),
    /// A run of the pipeline that kept no state.
    WithoutState,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("nothing shows that this pipeline wrote it"),
            Self::Pipeline(name) => write!(formatter, "pipeline `{name}` wrote it"),
            Self::Changed => formatter.write_str("it was changed after this pipeline had written it"),
            Self::WithState => {
                formatter.write_str("a run with `--state` wrote it; to go on from there, give that option again")
            }
            Self::WithOtherState(name) => write!(
                formatter,
                "pipeline `{name}` wrote it with a state that is not in this directory; to go on from there, give `--state` the \
                 directory of that run"
            ),
            Self::WithoutState => {
                formatter.write_str("a run without `--state` wrote it, and the state knows nothing of that")
            }
        }
    }
}

/// What is noted of a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    pipeline: String,
    /// Whether the pipeline's state knows the file.
    keeps_state: bool,
    /// Bytes that are in it for certain.
    written: u64,
    /// Bytes that may be, where the run was killed.
    writing: u64,
    /// What it is like since it was closed.
    closed: Option<Closed>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Closed {
    /// SHA-256 of its ends.
    ends: String,
    modified_ns: i64,
}

/// Finds out whose a file of `bytes` is.
pub(super) fn find(
    file: &dyn File,
    bytes: u64,
    path: &Path,
    disk: &dyn Disk,
    beginning: Beginning<'_>,
) -> io::Result<Found> {
    if bytes == 0 {
        return Ok(Found::Nothing);
    }
    let Some(mark) = Mark::read(file, path, disk) else {
        return Ok(Found::Foreign(Origin::Unknown));
    };
    Ok(if mark.keeps_state && beginning.keeps_state {
        Found::Foreign(Origin::WithOtherState(mark.pipeline))
    } else if mark.keeps_state {
        Found::Foreign(Origin::WithState)
    } else if mark.pipeline != beginning.pipeline {
        Found::Foreign(Origin::Pipeline(mark.pipeline))
    } else if !mark.fits(file, bytes)? {
        Found::Foreign(Origin::Changed)
    } else if beginning.keeps_state {
        Found::Foreign(Origin::WithoutState)
    } else {
        Found::Own
    })
}

/// The pipeline of which a run without state has marked all of a file of `bytes` as its own.
pub(super) fn marked_by(file: &dyn File, bytes: u64, path: &Path, disk: &dyn Disk) -> Option<String> {
    let mark = Mark::read(file, path, disk)?;
    (!mark.keeps_state && bytes <= mark.writing).then_some(mark.pipeline)
}

/// Refuses a file that the pipeline's state knows and that another run has written since, as far as its mark shows that.
pub(super) fn expect_unchanged(
    file: &dyn File,
    path: &Path,
    disk: &dyn Disk,
    resuming: Beginning<'_>,
) -> Result<(), Error> {
    let Some(mark) = Mark::read(file, path, disk) else {
        return Ok(());
    };
    let origin = if mark.pipeline != resuming.pipeline {
        Origin::Pipeline(mark.pipeline)
    } else if mark.keeps_state == resuming.keeps_state {
        return Ok(());
    } else if mark.keeps_state {
        Origin::WithState
    } else {
        Origin::WithoutState
    };
    Err(Error::WrittenSince {
        path: path.to_owned(),
        origin,
    })
}

/// Notes on a file that a run without state has added to what others wrote: it is not the pipeline's alone, and no state
/// knows all of it.
pub(super) fn note_added(file: &dyn File, path: &Path, disk: &dyn Disk, pipeline: &str) -> io::Result<()> {
    Marker::begin(file, 0, path, disk, pipeline).map(drop)
}

/// The hidden file that bears the mark of a file whose file system has no attributes.
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!(".{name}.dirigo"))
}

/// Gives the mark of a file that has another name the name that goes with it.
pub(super) fn rename(from: &Path, to: &Path, disk: &dyn Disk) -> io::Result<()> {
    match disk.look(&hidden(from))? {
        PathKind::File(_) => disk.rename(&hidden(from), &hidden(to)),
        _ => Ok(()),
    }
}

/// Removes what is left of the mark of a file that is gone.
pub(super) fn forget(path: &Path, disk: &dyn Disk) -> io::Result<()> {
    match disk.look(&hidden(path))? {
        PathKind::File(_) => disk.remove(&hidden(path)),
        _ => Ok(()),
    }
}

/// Takes the mark off a file that is no longer, or not only, what a run without state wrote.
pub(super) fn unmark(file: &dyn File, path: &Path, disk: &dyn Disk) -> io::Result<()> {
    match file.set_attribute(None) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
        _ => forget(path, disk),
    }
}

/// Notes on a file that a run with state writes it. Nothing depends on it but what is said to a user who later forgets
/// the state, so where it cannot be noted it is not.
pub(super) fn note_state(file: &dyn File, path: &Path, disk: &dyn Disk, pipeline: &str) {
    let mark = Mark {
        pipeline: pipeline.to_owned(),
        keeps_state: true,
        written: 0,
        writing: 0,
        closed: None,
    };
    let _ = file.set_attribute(Some(&mark.to_json()));
    let _ = forget(path, disk);
}

impl Mark {
    fn read(file: &dyn File, path: &Path, disk: &dyn Disk) -> Option<Self> {
        let noted = file.attribute().ok().flatten();
        let bytes = noted.or_else(|| {
            let hidden = hidden(path);
            let PathKind::File(length) = disk.look(&hidden).ok()? else {
                return None;
            };
            // Longer than any mark is something else.
            let length = usize::try_from(length).ok().filter(|&length| length <= 64 << 10)?;
            let mut bytes = vec![0; length];
            let file = disk.open(&hidden, Mode::Existing).ok()?;
            file.read_at(0, &mut bytes).ok()?;
            Some(bytes)
        })?;
        serde_json::from_slice(&bytes).ok()
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a mark is plain JSON")
    }

    /// Whether the file is as the run left it.
    fn fits(&self, file: &dyn File, bytes: u64) -> io::Result<bool> {
        Ok(match &self.closed {
            Some(closed) => {
                bytes == self.written && file.modified_ns()? == closed.modified_ns && ends(file, bytes)? == closed.ends
            }
            None => (self.written..=self.writing).contains(&bytes),
        })
    }
}

/// The digest of the ends of a file.
fn ends(file: &dyn File, bytes: u64) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut add = |from: u64, to: u64| {
        let length = usize::try_from(to - from).expect("an end is short");
        let mut buffer = vec![0; length];
        file.read_at(from, &mut buffer)?;
        hash.update(&buffer);
        Ok::<(), io::Error>(())
    };
    let head = bytes.min(ENDS_BYTES);
    add(0, head)?;
    add(head.max(bytes.saturating_sub(ENDS_BYTES)), bytes)?;
    Ok(BASE64_STANDARD.encode(hash.finalize()))
}

/// Keeps the mark of a file true while a run without state writes it.
pub(super) struct Marker {
    pipeline: String,
    /// Where the marks go, if not on the file.
    hidden: Option<Box<dyn File>>,
    is_closed: bool,
}

impl Marker {
    /// Marks a file in which the pipeline has written all there is, so many bytes.
    pub(super) fn begin(
        file: &dyn File,
        written: u64,
        path: &Path,
        disk: &dyn Disk,
        pipeline: &str,
    ) -> io::Result<Self> {
        let mut marker = Self {
            pipeline: pipeline.to_owned(),
            hidden: None,
            is_closed: false,
        };
        match marker.write(file, written, written, None) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                let hidden = disk.open(&hidden(path), Mode::Make)?;
                hidden.set_len(0)?;
                marker.hidden = Some(hidden);
                marker.write(file, written, written, None)?;
            }
            Err(error) => return Err(error),
            Ok(()) => forget(path, disk)?,
        }
        Ok(marker)
    }

    /// Says that `more` bytes are about to be written behind `written`.
    pub(super) fn writing(&mut self, file: &dyn File, written: u64, more: usize) -> io::Result<()> {
        self.is_closed = false;
        self.write(file, written, written + more as u64, None)
    }

    /// Says that all is written, unless that was said and nothing has been written since.
    pub(super) fn close(&mut self, file: &dyn File, written: u64) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let closed = Closed {
            ends: ends(file, written)?,
            modified_ns: file.modified_ns()?,
        };
        self.write(file, written, written, Some(closed))?;
        self.is_closed = true;
        Ok(())
    }

    fn write(&self, file: &dyn File, written: u64, writing: u64, closed: Option<Closed>) -> io::Result<()> {
        let mark = Mark {
            pipeline: self.pipeline.clone(),
            keeps_state: false,
            written,
            writing,
            closed,
        };
        let mut json = mark.to_json();
        match &self.hidden {
            None => file.set_attribute(Some(&json)),
            Some(hidden) => {
                json.resize(json.len().max(HIDDEN_BYTES), b' ');
                hidden.write_at(0, &json)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::FileFormat;
    use super::super::line_file::LineFile;
    use super::*;
    use dirigo_connect::sink::{Resume, Sink as _};
    use dirigo_disk::{Real, Simulated};

    fn open(path: &Path, disk: &Arc<dyn Disk>, pipeline: &str) -> Result<LineFile, Error> {
        let beginning = Beginning {
            pipeline,
            keeps_state: false,
            discarded: None,
            goes_on: false,
        };
        LineFile::open(path, &FileFormat::Jsonl, None, Resume::Fresh(beginning), disk)
    }

    fn write(path: &Path, disk: &Arc<dyn Disk>, line: &str) {
        let mut file = open(path, disk, "p").unwrap();
        file.write_line(line.as_bytes()).unwrap();
        file.prepare().unwrap().synced().unwrap();
        file.publish().unwrap();
    }

    fn origin(path: &Path, disk: &Arc<dyn Disk>, pipeline: &str) -> Origin {
        match open(path, disk, pipeline).err().unwrap() {
            Error::Occupied { origin, .. } => origin,
            other => panic!("{other}"),
        }
    }

    /// A folder on a disk whose files have attributes, and one on a disk whose files have none.
    fn disks(folder: &tempfile::TempDir) -> [(PathBuf, Arc<dyn Disk>); 2] {
        [
            (folder.path().join("out.jsonl"), Arc::new(Real)),
            (PathBuf::from("/out.jsonl"), Arc::new(Simulated::new(1))),
        ]
    }

    #[test]
    fn a_pipeline_replaces_its_own_file_and_no_other_does() {
        let folder = tempfile::tempdir().unwrap();
        for (path, disk) in disks(&folder) {
            write(&path, &disk, "1");
            assert_eq!(origin(&path, &disk, "q"), Origin::Pipeline("p".to_owned()));
            write(&path, &disk, "22");
            let file = disk.open(&path, Mode::Existing).unwrap();
            assert_eq!(file.len().unwrap(), 3);
            file.append(b"more\n").unwrap();
            assert_eq!(origin(&path, &disk, "p"), Origin::Changed);
        }
    }

    #[test]
    fn a_file_with_other_ends_of_the_same_length_is_anothers() {
        let folder = tempfile::tempdir().unwrap();
        for (path, disk) in disks(&folder) {
            write(&path, &disk, &"x".repeat(200_000));
            let file = disk.open(&path, Mode::Existing).unwrap();
            file.write_at(199_999, b"y").unwrap();
            assert_eq!(origin(&path, &disk, "p"), Origin::Changed);
        }
    }

    #[test]
    fn a_mark_is_not_on_what_took_the_place_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for (path, disk) in disks(&folder) {
            write(&path, &disk, "1");
            disk.remove(&path).unwrap();
            let file = disk.open(&path, Mode::Make).unwrap();
            file.write_at(0, b"2\n").unwrap();
            drop(file);
            assert!(matches!(origin(&path, &disk, "p"), Origin::Unknown | Origin::Changed));
        }
    }

    #[test]
    fn a_file_that_was_being_written_has_at_least_what_was_and_at_most_what_was_to_be() {
        let mark = Mark {
            pipeline: "p".to_owned(),
            keeps_state: false,
            written: 3,
            writing: 5,
            closed: None,
        };
        let file = Simulated::new(1).open(Path::new("/x"), Mode::Make).unwrap();
        let fits = |bytes| mark.fits(&*file, bytes).unwrap();
        assert_eq!([2, 3, 5, 6].map(fits), [false, true, true, false]);
    }
}

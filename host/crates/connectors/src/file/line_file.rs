//! A file of lines, compressed by its extension.
//!
//! Owns how lines become durable and how what was not committed is taken back. The end of an epoch ends a gzip member or
//! zstd frame, so that a compressed file is whole when it is cut there. Knows nothing of what lines say; one that itself
//! has a line feed takes several. Sinks write their values through it, and so are dead letters written.

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::csv_records::{self, CsvRecords};
use super::ownership::{self, Found, Marker};
use super::unsynced::{Unsynced, parent};
use super::{Error, FileFormat};
use dirigo_connect::sink::{Beginning, DeliveryCapability, Events, Offset, Prepared, Resume, Sink};
use dirigo_disk::{Disk, File, Mode, PathKind};
use dirigo_pipeline::IfExists;

/// Bytes gathered before they are written: large against the cost of a system call.
const BUFFER_BYTES: usize = 256 * 1024;

/// An open file of lines.
pub(super) struct LineFile {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    file: Arc<dyn File>,
    /// How many bytes the file has; `None` for a pipe or a device, which can be neither cut nor made durable.
    length: Option<u64>,
    codec: Option<Codec>,
    /// What is being compressed since the last epoch ended.
    frame: Option<Frame>,
    buffer: Vec<u8>,
    /// What makes records of events, where they are not written as they are.
    records: Option<CsvRecords>,
    unsynced: Unsynced,
    /// What says whose the file is, where no state does.
    marker: Option<Marker>,
    /// The pipeline of a run without state that replaces what is in the file, until it does: with the first line, or at the end of a run that
    /// writes none. A run that fails before has destroyed nothing.
    replaces_for: Option<String>,
    /// Whether nothing more comes in this run.
    is_ending: bool,
    has_failed: bool,
}

#[derive(Clone, Copy)]
enum Codec {
    Gzip,
    Zstd,
}

/// A gzip member or zstd frame that has been begun, and what of it has not been written yet.
enum Frame {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

#[derive(Serialize, Deserialize)]
struct FileOffset {
    length: u64,
    /// The columns of its records, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<String>>,
}

impl LineFile {
    /// Opens a file, and makes it and the folders on the way where they do not exist.
    ///
    /// # Errors
    /// When that is not possible, the file is shorter than the offset says, or one that is to be begun is there and is not
    /// the pipeline's.
    pub(super) fn open(
        path: &Path,
        format: &FileFormat,
        if_exists: Option<IfExists>,
        from: Resume<'_>,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let mut unsynced = Unsynced::default();
        match from {
            Resume::Fresh(_) => unsynced.add_way_to(path, &**disk),
            Resume::At(_) => unsynced.add_entries_to(path, &**disk),
        }
        Self::open_in(unsynced, path, format, if_exists, from, disk)
    }

    /// Opens a file on the way to which nothing has to be made to last but what is in `unsynced`.
    pub(super) fn open_in(
        unsynced: Unsynced,
        path: &Path,
        format: &FileFormat,
        if_exists: Option<IfExists>,
        from: Resume<'_>,
        disk: &Arc<dyn Disk>,
    ) -> Result<Self, Error> {
        let known = match from {
            Resume::Fresh(_) => None,
            Resume::At(offset) => Some(committed_place(path, offset)?),
        };
        let committed = known.as_ref().map_or(0, |place| place.length);
        let cannot_open = |reason| Error::Open {
            path: path.to_owned(),
            reason,
        };
        let file = open_or_make(path, committed, &**disk).map_err(cannot_open)?;
        let entry = file.as_ref().map_or(Ok(PathKind::Missing), |_| disk.look(path));
        let length = match entry.map_err(cannot_open)? {
            PathKind::Missing => Some(0),
            PathKind::File(bytes) => Some(bytes),
            PathKind::Folder | PathKind::Other => None,
        };
        let path_owned = || path.to_owned();
        let Some(file) = file else {
            let path = path_owned();
            return Err(Error::Missing { path, committed });
        };
        if let Some(bytes) = length.filter(|&bytes| bytes < committed) {
            return Err(Error::Truncated {
                path: path_owned(),
                bytes,
                committed,
            });
        }
        let mut this = Self {
            path: path.to_owned(),
            disk: disk.clone(),
            file: file.into(),
            length: length.map(|_| committed),
            codec: Codec::of(path),
            frame: None,
            buffer: Vec::new(),
            records: match format {
                FileFormat::Jsonl => None,
                FileFormat::Csv { columns } => Some(CsvRecords::new(columns.as_deref())),
            },
            unsynced,
            marker: None,
            replaces_for: None,
            is_ending: false,
            has_failed: false,
        };
        if let Some(bytes) = length {
            lock(&*this.file, path)?;
            match from {
                Resume::Fresh(beginning) => this.begin(bytes, if_exists, beginning)?,
                Resume::At(_) => {
                    this.file.set_len(committed).map_err(cannot_open)?;
                    this.keep_mark(committed);
                }
            }
        }
        if let Some(records) = &mut this.records {
            let columns = known.and_then(|place| place.columns).filter(|_| committed > 0);
            if let Some(columns) = columns {
                expect_columns(path, &columns, records)?;
                records.go_on(Some(&columns));
            }
            if this.replaces_for.is_none() {
                records.write_header(&mut this.buffer);
            }
        }
        Ok(this)
    }

    /// Begins a regular file of `bytes`, which is the pipeline's, or may be used as if it was.
    fn begin(&mut self, bytes: u64, if_exists: Option<IfExists>, beginning: Beginning<'_>) -> Result<(), Error> {
        let (path, disk) = (&self.path, &*self.disk);
        let fate = fate(&*self.file, bytes, path, disk, if_exists, beginning)?;
        if matches!(fate, Fate::ReplacesOwn | Fate::Overwrites) && !beginning.keeps_state {
            self.replaces_for = Some(beginning.pipeline.to_owned());
            return Ok(());
        }
        let empty = |marker: &mut Option<Marker>| {
            let written = match fate {
                Fate::Appends if beginning.keeps_state => {
                    ownership::unmark(&*self.file, path, disk)?;
                    None
                }
                Fate::Appends => {
                    ownership::note_added(&*self.file, path, disk, beginning.pipeline)
                        .unwrap_or_else(|error| cannot_mark(path, &error));
                    None
                }
                Fate::GoesOn => Some(bytes),
                Fate::Begins | Fate::ReplacesOwn | Fate::Overwrites => {
                    self.file.set_len(0)?;
                    Some(0)
                }
            };
            if let Some(written) = written.filter(|_| !beginning.keeps_state) {
                *marker = Marker::begin(&*self.file, written, path, disk, beginning.pipeline)
                    .inspect_err(|error| cannot_mark(path, error))
                    .ok();
            }
            if beginning.keeps_state {
                ownership::note_state(&*self.file, path, disk, beginning.pipeline);
            }
            Ok(())
        };
        let outcome = empty(&mut self.marker);
        outcome.map_err(|reason| Error::Open {
            path: path.clone(),
            reason,
        })?;
        if matches!(fate, Fate::Appends | Fate::GoesOn) {
            self.length = Some(bytes);
            self.go_on_with_header(bytes)?;
            self.end_line(bytes)
                .map_err(|reason| cannot_write(&self.path, reason))?;
        }
        Ok(())
    }

    /// Goes on marking a file that a run without state has marked. Only a retry of its dead letters goes on there.
    fn keep_mark(&mut self, committed: u64) {
        let (file, path, disk) = (&*self.file, &self.path, &*self.disk);
        let Some(pipeline) = ownership::marked_by(file, committed, path, disk) else {
            return;
        };
        self.marker = Marker::begin(file, committed, path, disk, &pipeline)
            .inspect_err(|error| cannot_mark(path, error))
            .ok();
    }

    /// Takes the columns from a file that is appended to.
    fn go_on_with_header(&mut self, bytes: u64) -> Result<(), Error> {
        let Some(records) = &mut self.records else {
            return Ok(());
        };
        let reader = FileText {
            file: self.file.clone(),
            at: 0,
            bytes,
        };
        let decompressed: Box<dyn io::Read> = match self.codec {
            None => Box::new(reader),
            Some(Codec::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(reader)),
            Some(Codec::Zstd) => Box::new(zstd::Decoder::new(reader).map_err(|reason| Error::Open {
                path: self.path.clone(),
                reason,
            })?),
        };
        let found = csv_records::header(decompressed).map_err(|reason| Error::Open {
            path: self.path.clone(),
            reason,
        })?;
        expect_columns(&self.path, &found, records)?;
        records.go_on(Some(&found));
        Ok(())
    }

    /// Ends the last line of a file that is appended to, where it has no end. What is in a compressed one is not looked at.
    fn end_line(&mut self, bytes: u64) -> io::Result<()> {
        let mut last = [0];
        self.file.read_at(bytes - 1, &mut last)?;
        if self.codec.is_none() && last != *b"\n" {
            self.buffer.push(b'\n');
        }
        Ok(())
    }

    /// Appends a line. It may be buffered.
    ///
    /// # Errors
    /// When the file cannot be written to.
    #[inline]
    pub(super) fn write_line(&mut self, line: &[u8]) -> Result<(), Error> {
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn write_record(&mut self, records: &mut CsvRecords, event: &[u8]) -> Result<(), Error> {
        let written = records.write(event, &mut self.buffer);
        written.map_err(|reason| Error::Record {
            path: self.path.clone(),
            reason,
        })?;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands buffered lines to the file. In a compressed one they cannot be read before the epoch ends, since to end a
    /// block of the compression for each few lines would undo it.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let result = self.spill();
        self.settle(result)
    }

    /// The columns of its records, once they are known.
    pub(super) fn columns(&self) -> Option<&[String]> {
        self.records.as_ref()?.columns()
    }

    /// Takes over the columns of another file.
    pub(super) fn inherit_columns(&mut self, columns: Option<&[String]>) {
        if let Some(records) = &mut self.records {
            records.inherit(columns);
        }
    }

    /// How many bytes have been handed to the file; `None` for a pipe or a device.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    fn end_epoch(&mut self) -> io::Result<()> {
        if self.is_ending {
            self.replace()?;
        }
        self.spill()?;
        if let Some(frame) = self.frame.take() {
            let rest = frame.end()?;
            self.append(&rest)?;
        }
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            // No event has arrived since the last flush: an idle sink needs no memory.
            self.buffer = Vec::new();
            return Ok(());
        }
        let mut lines = std::mem::take(&mut self.buffer);
        match self.codec {
            None => self.append(&lines)?,
            Some(codec) => {
                let mut frame = self.frame.take().map_or_else(|| Frame::begin(codec), Ok)?;
                let compressed = frame.compress(&lines)?;
                self.append(&compressed)?;
                self.frame = Some(frame);
            }
        }
        lines.clear();
        lines.shrink_to(BUFFER_BYTES);
        self.buffer = lines;
        Ok(())
    }

    /// Empties a file that the run replaces, where that is still to be done.
    fn replace(&mut self) -> io::Result<()> {
        let Some(pipeline) = self.replaces_for.take() else {
            return Ok(());
        };
        self.file.set_len(0)?;
        self.marker = Marker::begin(&*self.file, 0, &self.path, &*self.disk, &pipeline)
            .inspect_err(|error| cannot_mark(&self.path, error))
            .ok();
        if let Some(records) = &mut self.records {
            records.write_header(&mut self.buffer);
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.replace()?;
        match &mut self.length {
            None => self.file.append(bytes),
            Some(length) => {
                if let Some(marker) = &mut self.marker
                    && let Err(error) = marker.writing(&*self.file, *length, bytes.len())
                {
                    cannot_mark(&self.path, &error);
                    self.marker = None;
                }
                self.file.write_at(*length, bytes)?;
                *length += bytes.len() as u64;
                Ok(())
            }
        }
    }

    /// Says on the file that all is written.
    fn close_mark(&mut self) {
        if let (Some(marker), Some(length)) = (&mut self.marker, self.length)
            && let Err(error) = marker.close(&*self.file, length)
        {
            cannot_mark(&self.path, &error);
        }
    }

    fn settle<T>(&mut self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|reason| {
            self.has_failed = true;
            cannot_write(&self.path, reason)
        })
    }
}

impl Sink for LineFile {
    fn write(&mut self, events: Events<'_>) -> Result<(), dirigo_connect::Error> {
        let Some(mut records) = self.records.take() else {
            return Ok(events.values.iter().try_for_each(|value| self.write_line(value))?);
        };
        let written = events
            .values
            .iter()
            .try_for_each(|value| self.write_record(&mut records, value));
        self.records = Some(records);
        Ok(written?)
    }

    fn flush(&mut self) -> Result<(), dirigo_connect::Error> {
        Ok(LineFile::flush(self)?)
    }

    fn prepare(&mut self) -> Result<Prepared, dirigo_connect::Error> {
        let result = self.end_epoch();
        self.settle(result)?;
        let Some(length) = self.length else {
            return Ok(Prepared::default());
        };
        let (file, disk, path) = (self.file.clone(), self.disk.clone(), self.path.clone());
        let folders = self.unsynced.prepare();
        let sync = move || {
            let sync_all = || {
                file.sync()?;
                folders.iter().try_for_each(|folder| folder.sync(&*disk))
            };
            Ok(sync_all().map_err(|reason| cannot_write(&path, reason))?)
        };
        Ok(Prepared {
            offset: Some(serde_json::json!(FileOffset {
                length,
                columns: self.columns().map(<[String]>::to_vec),
            })),
            sync: Some(Box::new(sync)),
        })
    }

    fn publish(&mut self) -> Result<(), dirigo_connect::Error> {
        self.unsynced.committed();
        self.close_mark();
        Ok(())
    }

    fn end(&mut self) {
        self.is_ending = true;
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        delivery_capability(self.length.is_none())
    }
}

impl Drop for LineFile {
    /// Leaves a whole file. A caller that wants to know whether that worked ends the epoch first.
    fn drop(&mut self) {
        // After a failure, what is buffered may have been written in part; writing it again would make it worse.
        if !self.has_failed && self.end_epoch().is_ok() {
            self.close_mark();
        }
    }
}

impl Codec {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl Frame {
    fn begin(codec: Codec) -> io::Result<Self> {
        Ok(match codec {
            Codec::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
            Codec::Zstd => Self::Zstd(zstd::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?),
        })
    }

    /// Takes bytes in, and gives what there is to be written.
    fn compress(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let compressed = match self {
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(compressed))
    }

    /// The rest that is to be written.
    fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Keeps other processes from writing the file while this one does. Where the file system has no locks, nothing does.
fn lock(file: &dyn File, path: &Path) -> Result<(), Error> {
    match file.try_lock() {
        Ok(false) => Err(Error::InUse { path: path.to_owned() }),
        Ok(true) | Err(_) => Ok(()),
    }
}

/// What beginning a file does to what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// There is nothing.
    Begins,
    /// It goes: the pipeline wrote it.
    ReplacesOwn,
    /// It goes: the pipeline file says so.
    Overwrites,
    /// It stays.
    Appends,
    /// It stays, and all of the file is the pipeline's.
    GoesOn,
}

fn fate(
    file: &dyn File,
    bytes: u64,
    path: &Path,
    disk: &dyn Disk,
    if_exists: Option<IfExists>,
    beginning: Beginning<'_>,
) -> Result<Fate, Error> {
    let discarded = beginning.discarded.map(|offset| committed_place(path, offset));
    match if_exists {
        _ if bytes == 0 => return Ok(Fate::Begins),
        Some(IfExists::Append) => return Ok(Fate::Appends),
        // What an earlier run wrote over something, one that goes on adds to.
        Some(IfExists::Overwrite) if !beginning.goes_on => return Ok(Fate::Overwrites),
        _ if discarded.transpose()?.is_some_and(|place| place.length <= bytes)
            && ownership::expect_unchanged(file, path, disk, beginning).is_ok() =>
        {
            return Ok(Fate::ReplacesOwn);
        }
        _ => {}
    }
    let found = ownership::find(file, bytes, path, disk, beginning).map_err(|reason| Error::Open {
        path: path.to_owned(),
        reason,
    })?;
    match found {
        Found::Nothing => Ok(Fate::Begins),
        Found::Own if beginning.goes_on => Ok(Fate::GoesOn),
        Found::Own => Ok(Fate::ReplacesOwn),
        Found::Foreign(origin) => Err(Error::Occupied {
            path: path.to_owned(),
            bytes,
            origin,
        }),
    }
}

/// What beginning a file would do to what is there. One that is missing can be begun if it can be made; neither it nor a
/// folder for it is left there, since the caller may not begin.
pub(super) fn check(
    path: &Path,
    if_exists: Option<IfExists>,
    beginning: Beginning<'_>,
    disk: &dyn Disk,
) -> Result<Option<String>, Error> {
    let cannot_open = |reason| Error::Open {
        path: path.to_owned(),
        reason,
    };
    let kind = disk.look(path).map_err(cannot_open)?;
    let bytes = match kind {
        // To open a pipe is to wait for its reader.
        PathKind::Other => return Ok(None),
        PathKind::File(bytes) => bytes,
        PathKind::Missing if !matches!(disk.look(parent(path)), Ok(PathKind::Folder)) => {
            return Ok(Some(format!("begins `{}`", path.display())));
        }
        PathKind::Missing | PathKind::Folder => 0,
    };
    let file = open_or_make(path, 0, disk).map_err(cannot_open)?;
    if kind == PathKind::Missing {
        disk.remove(path).map_err(cannot_open)?;
    }
    let Some(file) = file else { return Ok(None) };
    lock(&*file, path)?;
    let shown = path.display();
    Ok(Some(match fate(&*file, bytes, path, disk, if_exists, beginning)? {
        Fate::Begins => format!("begins `{shown}`"),
        Fate::ReplacesOwn => {
            format!("replaces `{shown}` ({bytes} bytes), which an earlier run of this pipeline wrote")
        }
        Fate::Overwrites => format!("replaces `{shown}` ({bytes} bytes), as `if_exists` says"),
        Fate::Appends | Fate::GoesOn => format!("appends to `{shown}` ({bytes} bytes)"),
    }))
}

/// Says what follows where a file does not show whose it is.
fn cannot_mark(path: &Path, error: &io::Error) {
    tracing::warn!(
        "cannot note on `{}` that this pipeline writes it ({error}); the next run will take it for another's file, unless \
         `if_exists` says what becomes of it",
        path.display()
    );
}

pub(super) fn cannot_write(path: &Path, reason: io::Error) -> Error {
    Error::Write {
        to: format!("`{}`", path.display()),
        reason,
    }
}

/// What a file of lines can do, or a pipe or a device.
pub(super) fn delivery_capability(is_other: bool) -> DeliveryCapability {
    if is_other {
        DeliveryCapability::AtLeastOnce {
            why: "a pipe or a device takes nothing back",
        }
    } else {
        DeliveryCapability::TakesBack
    }
}

/// Refuses to write records under a header that has other columns.
fn expect_columns(path: &Path, found: &[String], records: &CsvRecords) -> Result<(), Error> {
    match records.columns().filter(|given| *given != found) {
        Some(given) => Err(Error::Header {
            path: path.to_owned(),
            found: found.join(", "),
            expected: given.join(", "),
        }),
        None => Ok(()),
    }
}

fn committed_place(path: &Path, offset: &Offset) -> Result<FileOffset, Error> {
    serde_json::from_value(offset.clone()).map_err(|error| Error::Offset {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

/// What is in a file, from its start.
struct FileText {
    file: Arc<dyn File>,
    at: u64,
    bytes: u64,
}

impl io::Read for FileText {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.bytes - self.at).unwrap_or(usize::MAX);
        let count = buffer.len().min(rest);
        self.file.read_at(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Whether a file could go on at an offset.
pub(super) fn check_committed(
    path: &Path,
    offset: &Offset,
    resuming: Beginning<'_>,
    disk: &dyn Disk,
) -> Result<(), Error> {
    let committed = committed_place(path, offset)?.length;
    let cannot_open = |reason| Error::Open {
        path: path.to_owned(),
        reason,
    };
    let path_owned = || path.to_owned();
    match disk.look(path).map_err(cannot_open)? {
        PathKind::Missing if committed > 0 => Err(Error::Missing {
            path: path_owned(),
            committed,
        }),
        PathKind::File(bytes) if bytes < committed => Err(Error::Truncated {
            path: path_owned(),
            bytes,
            committed,
        }),
        PathKind::File(_) => {
            let file = disk.open(path, Mode::Existing).map_err(cannot_open)?;
            ownership::expect_unchanged(&*file, path, disk, resuming)?;
            lock(&*file, path)
        }
        PathKind::Missing | PathKind::Folder | PathKind::Other => Ok(()),
    }
}

/// Opens the file; makes it, unless something had been committed to it, which then is gone: `None`.
fn open_or_make(path: &Path, committed: u64, disk: &dyn Disk) -> io::Result<Option<Box<dyn File>>> {
    if committed == 0 {
        disk.make_folder(parent(path))?;
        return disk.open(path, Mode::Make).map(Some);
    }
    match disk.open(path, Mode::Existing) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;

    use super::*;
    use dirigo_disk::Real;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    /// As a run of the pipeline `p` begins that keeps no state.
    const FRESH: Resume<'static> = Resume::Fresh(BEGINNING);
    const BEGINNING: Beginning<'static> = Beginning {
        pipeline: "p",
        keeps_state: false,
        discarded: None,
        goes_on: false,
    };

    fn open(path: &Path, from: Resume<'_>) -> Result<LineFile, Error> {
        LineFile::open(path, &FileFormat::Jsonl, None, from, &(Arc::new(Real) as Arc<dyn Disk>))
    }

    /// Ends an epoch and commits it.
    fn commit(file: &mut LineFile) -> Option<Offset> {
        let offset = file.prepare().unwrap().synced().unwrap();
        file.publish().unwrap();
        offset
    }

    fn read(path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let mut text = String::new();
        match Codec::of(path) {
            None => text = String::from_utf8(bytes).unwrap(),
            Some(Codec::Gzip) => {
                flate2::read::MultiGzDecoder::new(bytes.as_slice())
                    .read_to_string(&mut text)
                    .unwrap();
            }
            Some(Codec::Zstd) => {
                zstd::Decoder::new(bytes.as_slice())
                    .unwrap()
                    .read_to_string(&mut text)
                    .unwrap();
            }
        }
        text
    }

    fn write(file: &mut LineFile, lines: &[&str]) {
        for line in lines {
            file.write_line(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn a_fresh_file_is_made_with_its_folders_and_starts_anew() {
        let folder = folder();
        let path = folder.path().join("a/b/out.jsonl");
        for _ in 0..2 {
            let mut file = open(&path, FRESH).unwrap();
            write(&mut file, &["1", "2"]);
            assert_eq!(commit(&mut file), Some(serde_json::json!({ "length": 4 })));
        }
        assert_eq!(read(&path), "1\n2\n");
    }

    #[test]
    fn what_a_run_without_state_replaces_stays_until_it_writes_or_ends() {
        let folder = folder();
        let csv = FileFormat::Csv {
            columns: Some(vec!["n".to_owned()]),
        };
        let open = |path: &Path| LineFile::open(path, &csv, None, FRESH, &(Arc::new(Real) as Arc<dyn Disk>)).unwrap();
        let write = |file: &mut LineFile, n: u32| {
            let event = format!("{{\"n\":{n}}}");
            let mut records = file.records.take().unwrap();
            file.write_record(&mut records, event.as_bytes()).unwrap();
            file.records = Some(records);
        };
        let path = folder.path().join("out.csv");
        let mut first = open(&path);
        write(&mut first, 1);
        commit(&mut first);
        drop(first);

        let mut failing = open(&path);
        failing.flush().unwrap();
        commit(&mut failing);
        drop(failing);
        assert_eq!(
            read(&path),
            "n\n1\n",
            "a run that writes nothing and does not come to its end"
        );
        let mut second = open(&path);
        write(&mut second, 2);
        second.flush().unwrap();
        assert_eq!(read(&path), "n\n2\n", "the first record");
        commit(&mut second);
        drop(second);
        let mut empty = open(&path);
        empty.end();
        commit(&mut empty);
        drop(empty);
        assert_eq!(read(&path), "n\n", "the end of a run that writes nothing");
        drop(open(&path));
    }

    #[test]
    fn what_was_not_committed_is_taken_back_in_every_compression() {
        let folder = folder();
        for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
            let path = folder.path().join(name);
            let mut file = open(&path, FRESH).unwrap();
            write(&mut file, &["one", "two"]);
            let offset = commit(&mut file).unwrap();
            write(&mut file, &["lost"]);
            drop(file);
            assert_eq!(read(&path), "one\ntwo\nlost\n", "{name} is whole when it is dropped");

            let mut file = open(&path, Resume::At(&offset)).unwrap();
            assert_eq!(read(&path), "one\ntwo\n", "{name} is whole where it was cut");
            write(&mut file, &["three"]);
            commit(&mut file);
            assert_eq!(read(&path), "one\ntwo\nthree\n", "{name} is whole while it is open");
        }
    }

    #[test]
    fn a_commit_without_new_lines_adds_nothing() {
        let folder = folder();
        for name in ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"] {
            let path = folder.path().join(name);
            let mut file = open(&path, FRESH).unwrap();
            assert_eq!(commit(&mut file), Some(serde_json::json!({ "length": 0 })));
            write(&mut file, &["x"]);
            let offset = commit(&mut file);
            assert_eq!(commit(&mut file), offset);
        }
    }

    #[test]
    fn a_file_shorter_than_its_offset_is_refused_and_left_alone() {
        let folder = folder();
        let path = folder.path().join("out.jsonl");
        let offset = serde_json::json!({ "length": 10 });
        fs::write(&path, "short").unwrap();
        let error = open(&path, Resume::At(&offset)).err().unwrap().to_string();
        let expected = format!(
            "cannot resume writing `{}`: it has 5 bytes, 10 had been committed; restore it, or `--fresh` discards the \
             state and starts over",
            path.display()
        );
        assert_eq!(error, expected);
        assert_eq!(read(&path), "short");

        fs::remove_file(&path).unwrap();
        let error = open(&path, Resume::At(&offset)).err().unwrap();
        assert!(matches!(error, Error::Missing { committed: 10, .. }), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_another_process_writes_is_left_alone() {
        let folder = folder();
        let path = folder.path().join("out.jsonl");
        let mut file = open(&path, FRESH).unwrap();
        write(&mut file, &["1"]);
        commit(&mut file);
        for error in [
            open(&path, FRESH).err().unwrap(),
            check(&path, None, BEGINNING, &Real).unwrap_err(),
        ] {
            assert!(matches!(error, Error::InUse { .. }), "{error}");
        }
        assert_eq!(read(&path), "1\n");
        drop(file);
        open(&path, FRESH).unwrap();
    }

    #[test]
    fn lines_reach_the_file_when_they_are_flushed_or_many() {
        let folder = folder();
        let path = folder.path().join("out.jsonl");
        let mut file = open(&path, FRESH).unwrap();
        write(&mut file, &["1"]);
        assert_eq!(read(&path), "");
        file.flush().unwrap();
        assert_eq!(read(&path), "1\n");
        write(&mut file, &["x".repeat(BUFFER_BYTES).as_str()]);
        assert_eq!(read(&path).len(), 2 + BUFFER_BYTES + 1);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let path = file.join("out.jsonl");
        let error = open(&path, FRESH).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("cannot open `{}`: ", path.display())),
            "{error}"
        );
    }

    #[test]
    fn an_offset_of_another_kind_is_refused() {
        let folder = folder();
        let error = open(&folder.path().join("x"), Resume::At(&serde_json::json!({})))
            .err()
            .unwrap();
        assert!(error.to_string().ends_with("missing field `length`"), "{error}");
    }

    #[test]
    fn a_device_is_written_to_without_offsets() {
        let mut file = open(Path::new("/dev/null"), FRESH).unwrap();
        write(&mut file, &["1"]);
        assert_eq!(commit(&mut file), None);
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let mut file = open(Path::new("/dev/full"), FRESH).unwrap();
        write(&mut file, &["1"]);
        let error = file.flush().err().unwrap().to_string();
        assert_eq!(error, "cannot write `/dev/full`: No space left on device (os error 28)");
    }
}

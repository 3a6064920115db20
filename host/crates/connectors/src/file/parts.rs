//! A folder of parts: readers see what is committed, and nothing else.
//!
//! A part is written under a hidden name, its own with a dot before it, and gets its own when the epoch in which it was
//! closed is committed. Owns the numbers of the parts, when one is full, and what a crash leaves of them. What is in a part
//! is [`LineFile`]'s to know.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::line_file::{self, LineFile, cannot_write};
use super::ownership::{self, Found};
use super::unsynced::Unsynced;
use super::{Error, FileFormat, PartsSpec, Roll};
use dirigo_connect::Pattern;
use dirigo_connect::sink::{Beginning, DeliveryCapability, Events, Offset, Prepared, Resume, Sink};
use dirigo_disk::{Disk, Mode, PathKind};
use dirigo_ground::clock::Clock;
use dirigo_pipeline::IfExists;

/// Digits of a part's number: names sort as numbers do, and no date or time is taken for one. One part a second fills them in
/// 31 years.
const DIGITS: usize = 9;
const NUMBER_MAX: u64 = 999_999_999;

/// An open folder of parts.
pub(super) struct Parts {
    pattern: Pattern,
    format: FileFormat,
    /// The columns of the parts, once they are known.
    columns: Option<Vec<String>>,
    roll: Option<Roll>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    pipeline: String,
    /// Whether a state knows the parts. Else each bears a mark that says which pipeline wrote it.
    keeps_state: bool,
    /// The number of the next part.
    next: u64,
    open: Option<OpenPart>,
    /// Those that are full, and are shown once the epoch that has just ended is committed.
    closed: Vec<PartOffset>,
    unsynced: Unsynced,
    /// The names of the parts that a run without state replaces, until it does: with its first part, or at its end where it writes none. A run
    /// that fails before has destroyed nothing.
    replaced: Vec<String>,
    /// Whether nothing more comes in this run.
    is_ending: bool,
}

/// The part that is being written.
struct OpenPart {
    number: u64,
    since_ms: i64,
    file: LineFile,
}

/// What an offset says.
#[derive(Serialize, Deserialize)]
struct PartsOffset {
    next: u64,
    open: Option<PartOffset>,
    closed: Vec<PartOffset>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<String>>,
}

/// A part that readers have yet to see.
#[derive(Clone, Serialize, Deserialize)]
struct PartOffset {
    number: u64,
    /// When its first event came, ms since the epoch.
    since_ms: i64,
    /// Where it ends.
    file: Offset,
}

/// Something in the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FolderItem {
    /// A part that readers see.
    Shown(u64),
    /// One that they don't.
    Hidden(u64),
    /// Hidden, but no part: none of our business.
    Ignored,
    /// Neither.
    Foreign,
}

impl Parts {
    /// Opens a folder, and makes it where it does not exist. Finishes what a crash had interrupted.
    pub(super) fn open(
        spec: &PartsSpec,
        pipeline: &str,
        from: Resume<'_>,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let pattern = &spec.pattern;
        let mut parts = Self {
            pattern: pattern.clone(),
            format: spec.format.clone(),
            columns: None,
            roll: spec.roll,
            disk: disk.clone(),
            clock: clock.clone(),
            pipeline: pipeline.to_owned(),
            keeps_state: match from {
                Resume::Fresh(beginning) => beginning.keeps_state,
                Resume::At(_) => true,
            },
            next: 1,
            open: None,
            closed: Vec::new(),
            unsynced: Unsynced::default(),
            replaced: Vec::new(),
            is_ending: false,
        };
        match from {
            Resume::Fresh(_) => parts.unsynced.add_way_to(&pattern.folder, &**disk),
            Resume::At(_) => parts.unsynced.add_entries_to(&pattern.folder, &**disk),
        }
        let made = disk.make_folder(&pattern.folder);
        made.map_err(|reason| parts.cannot_open(reason))?;
        match from {
            Resume::Fresh(beginning) => parts.begin_anew(spec.if_exists, beginning)?,
            Resume::At(offset) => parts.go_on(offset)?,
        }
        Ok(parts)
    }

    /// Removes what an earlier run left, or goes on behind it, as [`fate`] says.
    fn begin_anew(&mut self, if_exists: Option<IfExists>, beginning: Beginning<'_>) -> Result<(), Error> {
        let fate = fate(&self.pattern, if_exists, beginning, &*self.disk)?;
        self.replaced = fate.removed;
        self.next = fate.next;
        if beginning.keeps_state {
            self.replace()?;
        }
        Ok(())
    }

    /// Removes the parts that are replaced, where that is still to be done.
    fn replace(&mut self) -> Result<(), Error> {
        let replaced = std::mem::take(&mut self.replaced);
        replaced.iter().try_for_each(|name| self.remove(name))
    }

    fn go_on(&mut self, offset: &Offset) -> Result<(), Error> {
        let place = committed_place(&self.pattern, offset)?;
        let uncommitted = uncommitted(&self.pattern, &place, &*self.disk)?;
        for name in uncommitted {
            self.remove(&name)?;
        }
        self.next = place.next;
        self.columns = place.columns;
        for part in place.closed {
            // Else it had been shown, and a reader may even have taken it away; but nobody has waited for its name to last.
            self.unsynced.add(&self.pattern.folder);
            if self.look(self.hidden(part.number))? != PathKind::Missing {
                drop(self.reopen(&part)?);
                self.show(part.number)?;
            }
        }
        if let Some(part) = place.open {
            self.open = Some(OpenPart {
                number: part.number,
                since_ms: part.since_ms,
                file: self.reopen(&part)?,
            });
        }
        Ok(())
    }

    /// Opens a part that had been written, and cuts off what was not committed.
    fn reopen(&self, part: &PartOffset) -> Result<LineFile, Error> {
        LineFile::open(
            &self.hidden(part.number),
            &self.format,
            None,
            Resume::At(&part.file),
            &self.disk,
        )
    }

    fn shown(&self, number: u64) -> PathBuf {
        self.pattern.folder.join(name(&self.pattern, number))
    }

    fn hidden(&self, number: u64) -> PathBuf {
        self.pattern.folder.join(hidden_name(&self.pattern, number))
    }

    fn look(&self, path: PathBuf) -> Result<PathKind, Error> {
        self.disk.look(&path).map_err(|reason| Error::Open { path, reason })
    }

    fn remove(&mut self, name: &str) -> Result<(), Error> {
        let path = self.pattern.folder.join(name);
        self.unsynced.add(&self.pattern.folder);
        let removed = ownership::forget(&path, &*self.disk).and_then(|()| self.disk.remove(&path));
        removed.map_err(|reason| Error::Open { path, reason })
    }

    /// Gives a part the name under which readers find it.
    fn show(&mut self, number: u64) -> Result<(), Error> {
        let path = self.shown(number);
        // To rename a file is to replace what has its name, and that would not be ours.
        if self.look(path.clone())? != PathKind::Missing {
            let name = name(&self.pattern, number);
            return Err(self.cannot_go_on(format!("`{name}` is there, and is not from this run")));
        }
        self.unsynced.add(&self.pattern.folder);
        let hidden = self.hidden(number);
        let marks_renamed = if self.keeps_state {
            Ok(())
        } else {
            ownership::rename(&hidden, &path, &*self.disk)
        };
        let renamed = marks_renamed.and_then(|()| self.disk.rename(&hidden, &path));
        renamed.map_err(|reason| cannot_write(&path, reason))
    }

    fn begin(&mut self) -> Result<OpenPart, Error> {
        self.replace()?;
        let number = self.next;
        if number > NUMBER_MAX {
            return Err(self.cannot_go_on(format!("there are {NUMBER_MAX} parts, and no numbers left")));
        }
        self.next += 1;
        let path = self.hidden(number);
        self.unsynced.add_entries_to(&path, &*self.disk);
        let from = Resume::Fresh(Beginning {
            pipeline: &self.pipeline,
            keeps_state: self.keeps_state,
            discarded: None,
            goes_on: false,
        });
        let mut file = LineFile::open_in(Unsynced::default(), &path, &self.format, None, from, &self.disk)?;
        file.inherit_columns(self.columns.as_deref());
        Ok(OpenPart {
            number,
            since_ms: self.clock.wall_ms(),
            file,
        })
    }

    fn is_full(&self, part: &OpenPart) -> bool {
        let Some(roll) = self.roll.filter(|_| !self.is_ending) else {
            return true;
        };
        let age_ms = u128::from(self.clock.wall_ms().saturating_sub(part.since_ms).max(0).unsigned_abs());
        roll.size.is_some_and(|size| part.file.length() >= Some(size))
            || roll.every.is_some_and(|every| age_ms >= every.as_millis())
    }

    fn cannot_open(&self, reason: std::io::Error) -> Error {
        Error::Open {
            path: self.pattern.folder.clone(),
            reason,
        }
    }

    fn cannot_go_on(&self, problem: String) -> Error {
        cannot_go_on(&self.pattern, problem)
    }
}

fn cannot_go_on(pattern: &Pattern, problem: String) -> Error {
    Error::Offset {
        path: pattern.folder.clone(),
        problem,
    }
}

fn found(pattern: &Pattern, name: &str) -> FolderItem {
    let number = |name| number(pattern.matched(name)?);
    match name.strip_prefix('.') {
        Some(shown) => number(shown).map_or(FolderItem::Ignored, FolderItem::Hidden),
        None => number(name).map_or(FolderItem::Foreign, FolderItem::Shown),
    }
}

/// What is in a folder.
fn list(pattern: &Pattern, disk: &dyn Disk) -> Result<Vec<(String, FolderItem)>, Error> {
    let names = disk.list(&pattern.folder).map_err(|reason| Error::Open {
        path: pattern.folder.clone(),
        reason,
    })?;
    let told = |name: std::ffi::OsString| {
        let found = name.to_str().map_or(FolderItem::Foreign, |name| found(pattern, name));
        (name.to_string_lossy().into_owned(), found)
    };
    Ok(names.into_iter().map(told).collect())
}

/// What beginning a folder anew does to what is there.
struct FolderFate {
    /// The names of the parts that go.
    removed: Vec<String>,
    /// The number of the first part that is then written.
    next: u64,
    /// Parts that stay.
    kept: usize,
}

/// What beginning a folder anew does to the parts in it. Something else in it keeps it from being begun: the folder may not
/// be meant. Parts that are added to others are numbered on.
fn fate(
    pattern: &Pattern,
    if_exists: Option<IfExists>,
    beginning: Beginning<'_>,
    disk: &dyn Disk,
) -> Result<FolderFate, Error> {
    let mut fate = FolderFate {
        removed: Vec::new(),
        next: 1,
        kept: 0,
    };
    let known = beginning.discarded.map(|offset| {
        serde_json::from_value::<PartsOffset>(offset.clone()).map_err(|error| Error::Offset {
            path: pattern.folder.clone(),
            problem: error.to_string(),
        })
    });
    let known_next = match known.transpose()? {
        Some(place) if expect_first_unchanged(pattern, beginning, disk).is_ok() => Some(place.next),
        _ => None,
    };
    let if_exists = if beginning.goes_on {
        Some(IfExists::Append)
    } else {
        if_exists
    };
    let items = list(pattern, disk)?;
    if let Some((name, _)) = items.iter().find(|(_, item)| *item == FolderItem::Foreign) {
        return Err(Error::Foreign {
            folder: pattern.folder.clone(),
            name: name.clone(),
        });
    }
    for (name, item) in items {
        let number = match item {
            FolderItem::Ignored | FolderItem::Foreign => continue,
            FolderItem::Shown(number) if if_exists == Some(IfExists::Append) => {
                fate.next = fate.next.max(number + 1);
                fate.kept += 1;
                continue;
            }
            FolderItem::Shown(number) | FolderItem::Hidden(number) => number,
        };
        let is_known = known_next.is_some_and(|next| number < next || matches!(item, FolderItem::Hidden(_)));
        if if_exists != Some(IfExists::Overwrite) && !is_known {
            expect_own(pattern.folder.join(&name), beginning, disk)?;
        }
        fate.removed.push(name);
    }
    Ok(fate)
}

/// Refuses a part that is there and is not the pipeline's.
fn expect_own(path: PathBuf, beginning: Beginning<'_>, disk: &dyn Disk) -> Result<(), Error> {
    let find = || {
        let file = disk.open(&path, Mode::Existing)?;
        ownership::find(&*file, file.len()?, &path, disk, beginning)
    };
    match find() {
        Ok(Found::Nothing | Found::Own) => Ok(()),
        Ok(Found::Foreign(origin)) => Err(Error::OccupiedFolder { path, origin }),
        Err(reason) => Err(Error::Open { path, reason }),
    }
}

fn committed_place(pattern: &Pattern, offset: &Offset) -> Result<PartsOffset, Error> {
    serde_json::from_value(offset.clone()).map_err(|error| cannot_go_on(pattern, error.to_string()))
}

/// The files in the folder of a state that hold what was not committed.
fn uncommitted(pattern: &Pattern, place: &PartsOffset, disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let mut uncommitted = Vec::new();
    for (name, found) in list(pattern, disk)? {
        let is_known = |number| place.open.iter().chain(&place.closed).any(|part| part.number == number);
        match found {
            FolderItem::Hidden(number) if number >= place.next => uncommitted.push(name),
            FolderItem::Hidden(number) if is_known(number) => {}
            // Only the state of another time can have led here. Who has seen them cannot be made to forget them.
            FolderItem::Shown(number) if number >= place.next => {
                return Err(cannot_go_on(
                    pattern,
                    format!("it holds `{name}`, which is newer than the state"),
                ));
            }
            FolderItem::Hidden(_) => {
                let problem = format!("it holds `{name}`, of which the state knows nothing");
                return Err(cannot_go_on(pattern, problem));
            }
            FolderItem::Shown(_) | FolderItem::Ignored | FolderItem::Foreign => {}
        }
    }
    Ok(uncommitted)
}

/// Whether a folder could go on at an offset.
pub(super) fn check_committed(
    spec: &PartsSpec,
    offset: &Offset,
    resuming: Beginning<'_>,
    disk: &dyn Disk,
) -> Result<(), Error> {
    let pattern = &spec.pattern;
    let place = committed_place(pattern, offset)?;
    let folder = &pattern.folder;
    let looked = disk.look(folder).map_err(|reason| Error::Open {
        path: folder.clone(),
        reason,
    })?;
    if looked != PathKind::Missing {
        uncommitted(pattern, &place, disk)?;
        expect_first_unchanged(pattern, resuming, disk)?;
    }
    let hidden = |part: &PartOffset| folder.join(hidden_name(pattern, part.number));
    for part in &place.closed {
        // Else it had been shown.
        if matches!(disk.look(&hidden(part)), Ok(PathKind::File(_))) {
            line_file::check_committed(&hidden(part), &part.file, resuming, disk)?;
        }
    }
    match &place.open {
        Some(part) => line_file::check_committed(&hidden(part), &part.file, resuming, disk),
        None => Ok(()),
    }
}

/// Refuses a folder whose parts another run has written since. That run began with removing those that were there, so one of
/// them shows it.
fn expect_first_unchanged(pattern: &Pattern, resuming: Beginning<'_>, disk: &dyn Disk) -> Result<(), Error> {
    let items = list(pattern, disk)?;
    let Some((name, _)) = items.iter().find(|(_, item)| matches!(item, FolderItem::Shown(_))) else {
        return Ok(());
    };
    let path = pattern.folder.join(name);
    match disk.open(&path, Mode::Existing) {
        Ok(file) => ownership::expect_unchanged(&*file, &path, disk, resuming),
        Err(reason) => Err(Error::Open { path, reason }),
    }
}

fn name(pattern: &Pattern, number: u64) -> String {
    pattern.name(&format!("{number:0DIGITS$}"))
}

/// What a part is called that is not shown yet.
fn hidden_name(pattern: &Pattern, number: u64) -> String {
    format!(".{}", name(pattern, number))
}

/// What beginning a folder anew would do to what is in it.
pub(super) fn check(spec: &PartsSpec, beginning: Beginning<'_>, disk: &dyn Disk) -> Result<Option<String>, Error> {
    let shown = &spec.pattern;
    let looked = disk.look(&spec.pattern.folder);
    let kind = looked.map_err(|reason| Error::Open {
        path: spec.pattern.folder.clone(),
        reason,
    })?;
    if kind == PathKind::Missing {
        return Ok(Some(format!("begins `{shown}`")));
    }
    let FolderFate { removed, next, kept } = fate(&spec.pattern, spec.if_exists, beginning, disk)?;
    Ok(Some(match (removed.len(), kept) {
        (0, 0) => format!("begins `{shown}`"),
        (_, 1..) => format!("appends to `{shown}`, from part {next}"),
        (parts, _) if spec.if_exists.is_some() => format!("replaces {parts} parts of `{shown}`, as `if_exists` says"),
        (parts, _) => {
            format!("replaces {parts} parts of `{shown}`, which an earlier run of this pipeline wrote")
        }
    }))
}

/// A part that readers see in a folder, if there is one.
pub(super) fn any(pattern: &Pattern, disk: &dyn Disk) -> Option<String> {
    let names = disk.list(&pattern.folder).unwrap_or_default();
    let mut names = names.into_iter().filter_map(|name| name.into_string().ok());
    names.find(|name| matches!(found(pattern, name), FolderItem::Shown(_)))
}

/// The number of a part, from what stands for the `*` in its name.
fn number(text: &str) -> Option<u64> {
    let is_number = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

impl Sink for Parts {
    fn write(&mut self, events: Events<'_>) -> Result<(), dirigo_connect::Error> {
        if events.values.is_empty() {
            return Ok(());
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let file = &mut self.open.insert(open).file;
        let written = file.write(events);
        if self.columns.is_none() {
            self.columns = file.columns().map(<[String]>::to_vec);
        }
        written
    }

    /// Nobody sees what is written before it is committed: it may as well gather.
    fn flush(&mut self) -> Result<(), dirigo_connect::Error> {
        Ok(())
    }

    fn prepare(&mut self) -> Result<Prepared, dirigo_connect::Error> {
        if self.is_ending {
            self.replace()?;
        }
        let mut sync_part = None;
        let mut still_open = None;
        if let Some(mut open) = self.open.take() {
            let prepared = open.file.prepare()?;
            sync_part = prepared.sync;
            let part = PartOffset {
                number: open.number,
                since_ms: open.since_ms,
                file: prepared.offset.expect("a part is made as a regular file"),
            };
            if self.is_full(&open) {
                self.closed.push(part);
            } else {
                still_open = Some(part);
                self.open = Some(open);
            }
        }
        let place = PartsOffset {
            next: self.next,
            open: still_open,
            closed: self.closed.clone(),
            columns: self.columns.clone(),
        };
        let (folders, disk) = (self.unsynced.prepare(), self.disk.clone());
        let sync = move || {
            sync_part.map_or(Ok(()), |sync| sync())?;
            folders.iter().try_for_each(|folder| {
                let synced = folder.sync(&*disk);
                synced.map_err(|reason| cannot_write(folder.path(), reason).into())
            })
        };
        Ok(Prepared {
            offset: Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail")),
            sync: Some(Box::new(sync)),
        })
    }

    /// That a name is durable is waited for with the next epoch, whose offset no longer says that it is to be given;
    /// until then a recovery gives it again.
    fn publish(&mut self) -> Result<(), dirigo_connect::Error> {
        self.unsynced.committed();
        if let Some(open) = &mut self.open {
            open.file.publish()?;
        }
        for part in std::mem::take(&mut self.closed) {
            self.show(part.number)?;
        }
        if self.is_ending {
            let folder = &self.pattern.folder;
            let synced = self.disk.sync_folder(folder);
            synced.map_err(|reason| cannot_write(folder, reason))?;
        }
        Ok(())
    }

    fn end(&mut self) {
        self.is_ending = true;
    }

    fn delivery_capability(&self) -> DeliveryCapability {
        DeliveryCapability::Transactional
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use dirigo_disk::Real;
    use dirigo_ground::clock::ManualClock;

    /// As a run of the pipeline `p` begins that keeps no state.
    const FRESH: Resume<'static> = Resume::Fresh(Beginning {
        pipeline: "p",
        keeps_state: false,
        discarded: None,
        goes_on: false,
    });

    /// A folder that parts go to, and who opens it again and again.
    struct TestFolder {
        folder: tempfile::TempDir,
        name: &'static str,
        roll: Option<Roll>,
        clock: Arc<ManualClock>,
    }

    impl TestFolder {
        fn new() -> Self {
            Self::of("*.jsonl", None)
        }

        fn of(name: &'static str, roll: Option<Roll>) -> Self {
            let clock = Arc::new(ManualClock::new(0));
            let folder = tempfile::tempdir().unwrap();
            Self {
                folder,
                name,
                roll,
                clock,
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("out")
        }

        fn try_open(&self, from: Resume<'_>) -> Result<Parts, Error> {
            let (prefix, suffix) = self.name.split_once('*').unwrap();
            let pattern = Pattern {
                folder: self.path(),
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
            };
            let (disk, clock): (Arc<dyn Disk>, Arc<dyn Clock>) = (Arc::new(Real), self.clock.clone());
            let spec = PartsSpec {
                pattern,
                format: FileFormat::Jsonl,
                roll: self.roll,
                if_exists: None,
            };
            Parts::open(&spec, "p", from, &disk, &clock)
        }

        fn open(&self) -> Parts {
            self.try_open(FRESH).unwrap()
        }

        fn resume(&self, at: &Offset) -> Parts {
            self.try_open(Resume::At(at)).unwrap()
        }

        fn refusal(&self, from: Resume<'_>) -> String {
            self.try_open(from).err().unwrap().to_string()
        }

        fn names(&self) -> Vec<String> {
            let names = Real.list(&self.path()).unwrap().into_iter();
            names.map(|name| name.into_string().unwrap()).collect()
        }

        /// What readers see, part by part.
        fn seen(&self) -> Vec<(String, String)> {
            let names = self.names().into_iter().filter(|name| !name.starts_with('.'));
            names
                .map(|name| (name.clone(), text(&self.path().join(name))))
                .collect()
        }
    }

    fn text(path: &Path) -> String {
        let bytes = fs::read(path).unwrap();
        let mut text = String::new();
        match path.extension().unwrap().to_str().unwrap() {
            "gz" => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text),
            "zst" => zstd::Decoder::new(&bytes[..]).unwrap().read_to_string(&mut text),
            _ => (&bytes[..]).read_to_string(&mut text),
        }
        .unwrap();
        text
    }

    fn write(parts: &mut Parts, line: &str) {
        crate::tests::write(parts, &[line]).unwrap();
    }

    fn prepare(parts: &mut Parts) -> Offset {
        parts.prepare().unwrap().synced().unwrap().unwrap()
    }

    /// An epoch that ends well.
    fn commit(parts: &mut Parts) -> Offset {
        let offset = prepare(parts);
        parts.publish().unwrap();
        offset
    }

    fn seen<const N: usize>(parts: [(&str, &str); N]) -> Vec<(String, String)> {
        parts.map(|(name, text)| (name.to_owned(), text.to_owned())).to_vec()
    }

    #[test]
    fn parts_that_a_run_without_state_replaces_stay_until_it_writes_or_ends() {
        let stage = TestFolder::new();
        let of_first = seen([("000000001.jsonl", "a\n"), ("000000002.jsonl", "b\n")]);
        let mut first = stage.open();
        for line in ["a", "b"] {
            write(&mut first, line);
            commit(&mut first);
        }
        drop(first);
        let mut failing = stage.open();
        commit(&mut failing);
        drop(failing);
        assert_eq!(stage.seen(), of_first);
        let mut second = stage.open();
        write(&mut second, "c");
        commit(&mut second);
        drop(second);
        assert_eq!(stage.seen(), seen([("000000001.jsonl", "c\n")]));
        let mut empty = stage.open();
        empty.end();
        commit(&mut empty);
        assert_eq!(stage.seen(), []);
    }

    #[test]
    fn readers_see_a_part_once_its_epoch_is_committed_and_not_before() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "a");
        write(&mut parts, "b");
        parts.flush().unwrap();
        assert_eq!(stage.seen(), []);
        prepare(&mut parts);
        write(&mut parts, "c");
        assert_eq!(stage.seen(), []);
        parts.publish().unwrap();
        assert_eq!(stage.seen(), seen([("000000001.jsonl", "a\nb\n")]));
        commit(&mut parts);
        assert_eq!(
            stage.seen(),
            seen([("000000001.jsonl", "a\nb\n"), ("000000002.jsonl", "c\n")])
        );
    }

    #[test]
    fn an_epoch_without_events_makes_no_part() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        let offset = commit(&mut parts);
        crate::tests::write(&mut parts, &[]).unwrap();
        assert_eq!(commit(&mut parts), offset);
        assert!(stage.names().is_empty());
    }

    #[test]
    fn what_was_prepared_and_not_committed_goes() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "kept");
        let offset = commit(&mut parts);
        write(&mut parts, "lost");
        prepare(&mut parts);
        write(&mut parts, "lost, too");
        drop(parts);
        assert_eq!(stage.names().len(), 3);

        let mut parts = stage.resume(&offset);
        assert_eq!(stage.names(), ["000000001.jsonl"]);
        write(&mut parts, "again");
        commit(&mut parts);
        assert_eq!(
            stage.seen(),
            seen([("000000001.jsonl", "kept\n"), ("000000002.jsonl", "again\n")])
        );
    }

    #[test]
    fn what_was_committed_and_not_shown_is_shown() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "a");
        let offset = prepare(&mut parts);
        write(&mut parts, "lost");
        drop(parts);
        for _ in 0..2 {
            drop(stage.resume(&offset));
            assert_eq!(stage.seen(), seen([("000000001.jsonl", "a\n")]));
            assert_eq!(stage.names().len(), 1);
        }
    }

    #[test]
    fn a_part_that_a_reader_took_away_does_not_come_again() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "a");
        let offset = commit(&mut parts);
        fs::remove_file(stage.path().join("000000001.jsonl")).unwrap();
        let mut parts = stage.resume(&offset);
        write(&mut parts, "b");
        commit(&mut parts);
        assert_eq!(stage.seen(), seen([("000000002.jsonl", "b\n")]));
    }

    #[test]
    fn an_open_part_is_cut_where_it_was_committed_and_goes_on() {
        let roll = Some(Roll {
            size: Some(1 << 20),
            every: None,
        });
        for name in ["p-*.jsonl", "p-*.jsonl.gz", "p-*.jsonl.zst"] {
            let stage = TestFolder::of(name, roll);
            let mut parts = stage.open();
            write(&mut parts, "a");
            commit(&mut parts);
            write(&mut parts, "b");
            let offset = commit(&mut parts);
            write(&mut parts, "lost");
            prepare(&mut parts);
            drop(parts);
            let mut parts = stage.resume(&offset);
            write(&mut parts, "c");
            commit(&mut parts);
            assert_eq!(stage.seen(), [], "{name}");
            parts.end();
            commit(&mut parts);
            let shown = name.replace('*', "000000001");
            assert_eq!(stage.seen(), seen([(shown.as_str(), "a\nb\nc\n")]));
        }
    }

    #[test]
    fn a_part_that_was_closed_after_the_commit_is_open_again() {
        let stage = TestFolder::of(
            "*.jsonl",
            Some(Roll {
                size: Some(4),
                every: None,
            }),
        );
        let mut parts = stage.open();
        write(&mut parts, "a");
        let offset = commit(&mut parts);
        write(&mut parts, "lost");
        prepare(&mut parts);
        write(&mut parts, "the next one");
        drop(parts);
        let mut parts = stage.resume(&offset);
        assert_eq!(stage.names(), [".000000001.jsonl"]);
        write(&mut parts, "b");
        commit(&mut parts);
        assert_eq!(stage.seen(), seen([("000000001.jsonl", "a\nb\n")]));
    }

    #[test]
    fn a_part_is_closed_when_it_is_large_or_old_enough() {
        let stage = TestFolder::of(
            "*.jsonl",
            Some(Roll {
                size: Some(6),
                every: Some(Duration::from_mins(1)),
            }),
        );
        let mut parts = stage.open();
        for line in ["aa", "bb", "c"] {
            write(&mut parts, line);
            commit(&mut parts);
        }
        assert_eq!(stage.seen(), seen([("000000001.jsonl", "aa\nbb\n")]));
        stage.clock.advance(Duration::from_secs(59));
        let offset = commit(&mut parts);
        assert_eq!(stage.seen().len(), 1);
        drop(parts);
        let mut parts = stage.resume(&offset);
        stage.clock.advance(Duration::from_secs(1));
        commit(&mut parts);
        assert_eq!(stage.seen()[1], ("000000002.jsonl".to_owned(), "c\n".to_owned()));
    }

    #[test]
    fn a_run_that_starts_anew_removes_the_parts_of_another_and_nothing_else() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "old");
        commit(&mut parts);
        write(&mut parts, "half");
        drop(parts);
        fs::write(stage.path().join(".hidden"), "").unwrap();
        write(&mut stage.open(), "new");
        assert_eq!(stage.names(), [".000000001.jsonl", ".hidden"]);
    }

    #[test]
    fn a_folder_with_anything_else_in_it_is_refused_and_left_alone() {
        for other in [
            "notes.txt",
            "1.jsonl",
            "20240131.jsonl",
            "000000001.json",
            "00000000a.jsonl",
        ] {
            let stage = TestFolder::new();
            fs::create_dir(stage.path()).unwrap();
            for name in ["000000001.jsonl", other] {
                fs::write(stage.path().join(name), "years of work").unwrap();
            }
            let expected = format!(
                "cannot write parts into `{}`: it holds `{other}`, which is none of them; they need a folder of their own",
                stage.path().display()
            );
            assert_eq!(stage.refusal(FRESH), expected);
            assert_eq!(stage.names().len(), 2);
        }
    }

    #[test]
    fn parts_that_the_state_cannot_know_are_refused_and_left_alone() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "a");
        commit(&mut parts);
        let offset = commit(&mut parts);
        drop(parts);
        for (name, problem) in [
            (
                "000000002.jsonl",
                "it holds `000000002.jsonl`, which is newer than the state",
            ),
            (
                ".000000001.jsonl",
                "it holds `.000000001.jsonl`, of which the state knows nothing",
            ),
        ] {
            fs::write(stage.path().join(name), "x").unwrap();
            let refusal = stage.refusal(Resume::At(&offset));
            assert!(refusal.ends_with(problem), "{refusal}");
            assert_eq!(stage.names().len(), 2);
            fs::remove_file(stage.path().join(name)).unwrap();
        }
        let refusal = stage.refusal(Resume::At(&serde_json::json!({ "length": 3 })));
        assert!(refusal.contains("missing field `next`"), "{refusal}");
    }

    #[test]
    fn a_name_that_somebody_else_took_meanwhile_is_not_taken_from_them() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "a");
        prepare(&mut parts);
        fs::write(stage.path().join("000000001.jsonl"), "x").unwrap();
        let error = parts.publish().unwrap_err().to_string();
        assert!(
            error.ends_with("`000000001.jsonl` is there, and is not from this run"),
            "{error}"
        );
        assert_eq!(stage.seen(), seen([("000000001.jsonl", "x")]));
    }

    #[test]
    fn a_part_that_lost_committed_bytes_is_refused() {
        let stage = TestFolder::new();
        let mut parts = stage.open();
        write(&mut parts, "abc");
        let offset = prepare(&mut parts);
        drop(parts);
        fs::write(stage.path().join(".000000001.jsonl"), "a").unwrap();
        let refusal = stage.refusal(Resume::At(&offset));
        assert!(refusal.contains("it has 1 bytes, 4 had been committed"), "{refusal}");
    }
}

//! A file system in memory that loses what a disk may lose.
//!
//! What is written is seen at once, by this process and by the next. It *survives a loss of power* for sure only once it is
//! synchronised: data with [`File::sync`], names with [`Disk::sync_folder`]. Of everything else any part may survive: sectors
//! without those before them, half a sector, a length without its data, a new name without the removal of the old one.
//!
//! One seed, one course of events, as long as one thread at a time uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_ground::sync::Mutex;

use super::{Disk, File, Mode, PathKind, regular};

/// What a disk writes at once, unless it fails in the middle.
const SECTOR_BYTES: usize = 512;
/// One of so many sectors that reach the disk is written in part only.
const TORN_ONE_IN: u64 = 16;

/// A disk of a simulated machine.
#[derive(Clone)]
pub struct Simulated {
    state: Arc<Mutex<DiskState>>,
}

struct DiskState {
    random: u64,
    files: BTreeMap<Number, Data>,
    next_file: Number,
    names: BTreeMap<PathBuf, Target>,
    /// The names that survive for sure.
    durable_names: BTreeMap<PathBuf, Target>,
    /// What was done to names since, in order.
    renamings: Vec<Renaming>,
    /// How many operations have changed something.
    operations: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    has_failed: bool,
    is_crashed: bool,
    lies: bool,
}

type Number = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Folder,
    File(Number),
}

/// The contents of a file.
#[derive(Clone, Default)]
struct Data {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What leads from one to the other.
    changes: Vec<Change>,
    is_locked: bool,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
struct Renaming {
    from: Option<PathBuf>,
    to: Option<PathBuf>,
    target: Target,
}

/// What becomes of the things that were not synchronised.
#[derive(Clone, Copy)]
enum Fate {
    /// Only the process ended: all of it is there, and can still be lost.
    Unharmed,
    Lost,
    Kept,
    /// The first ones are kept.
    First,
    /// Each by itself.
    Some,
}

impl Simulated {
    /// An empty disk; the seed decides what a crash leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = [PathBuf::from("/"), PathBuf::from(".")].map(|root| (root, Target::Folder));
        Self::with(DiskState {
            random: seed,
            files: BTreeMap::new(),
            next_file: 0,
            names: root.clone().into(),
            durable_names: root.into(),
            renamings: Vec::new(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            has_failed: false,
            is_crashed: false,
            lies: false,
        })
    }

    fn with(state: DiskState) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// How many operations have changed something, or made something durable.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Has the machine stop in the operation that makes [`operations`](Self::operations) reach this: it may be done in part,
    /// and from then on everything fails.
    pub fn crash_at(&self, operations: u64) {
        self.state.lock().crash_at = Some(operations);
    }

    /// Has the operation that makes [`operations`](Self::operations) reach this fail, as on a disk that is full or broken; the
    /// machine goes on.
    pub fn fail_at(&self, operations: u64) {
        self.state.lock().fail_at = Some(operations);
    }

    /// Whether an operation has failed since [`fail_at`](Self::fail_at).
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state.lock().has_failed
    }

    /// Stops the machine now.
    pub fn crash(&self) {
        self.state.lock().is_crashed = true;
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.state.lock().is_crashed
    }

    /// A fault to be found: from now on [`File::sync`] says that all is durable and does nothing.
    pub fn lie_on_sync(&self, lies: bool) {
        self.state.lock().lies = lies;
    }

    /// What a reader of the same disk sees now, also once the machine has stopped: a disk of its own.
    #[must_use]
    pub fn look_on(&self) -> Self {
        let state = self.state.lock();
        Self::with(DiskState {
            files: state.files.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            renamings: state.renamings.clone(),
            crash_at: None,
            fail_at: None,
            has_failed: false,
            is_crashed: false,
            ..*state
        })
    }

    /// What the next process finds: after a loss of power or, one time in four, after the end of the process alone. This one
    /// can do no more. A fault stays.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.state.lock();
        state.is_crashed = true;
        let fate = match state.below(8) {
            0 | 1 => Fate::Unharmed,
            2 => Fate::Lost,
            3 => Fate::Kept,
            4 => Fate::First,
            _ => Fate::Some,
        };
        let mut next = DiskState {
            random: state.next(),
            files: state.files.clone(),
            next_file: state.next_file,
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            renamings: state.renamings.clone(),
            operations: 0,
            crash_at: None,
            fail_at: None,
            has_failed: false,
            is_crashed: false,
            lies: state.lies,
        };
        next.files.values_mut().for_each(|data| data.is_locked = false);
        if !matches!(fate, Fate::Unharmed) {
            next.lose(fate);
        }
        Self::with(next)
    }
}

impl DiskState {
    /// The next of a row of random numbers (Steele et al., "Fast splittable pseudorandom number generators", 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Which of `count` things survive.
    fn survivors(&mut self, fate: Fate, count: usize) -> Vec<bool> {
        let first = self.below(count as u64 + 1);
        let is_kept = |(place, chance): (u64, u64)| match fate {
            Fate::Lost => false,
            Fate::Unharmed | Fate::Kept => true,
            Fate::First => place < first,
            Fate::Some => chance % 2 == 0,
        };
        (0..count as u64).map(|place| is_kept((place, self.next()))).collect()
    }

    /// Has everything that was not synchronised meet its fate; what is left is durable.
    fn lose(&mut self, fate: Fate) {
        let renamings = std::mem::take(&mut self.renamings);
        let survivors = self.survivors(fate, renamings.len());
        for (renaming, _) in renamings.iter().zip(survivors).filter(|(_, survives)| *survives) {
            renaming.apply(&mut self.durable_names);
        }
        let names = self.durable_names.clone();
        // What lies in a folder that is lost is lost with it.
        self.durable_names.retain(|path, _| {
            let mut above = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty());
            above.all(|above| names.get(above) == Some(&Target::Folder))
        });
        self.names = self.durable_names.clone();
        let files = std::mem::take(&mut self.files);
        for (number, data) in files {
            let now = self.surviving(fate, data);
            let data = Data {
                durable: now.clone(),
                now,
                ..Data::default()
            };
            self.files.insert(number, data);
        }
    }

    /// What is left of a file.
    fn surviving(&mut self, fate: Fate, data: Data) -> Vec<u8> {
        let sectors: Vec<Change> = data.changes.into_iter().flat_map(Change::sectors).collect();
        let survivors = self.survivors(fate, sectors.len());
        let mut left = data.durable;
        for (mut change, _) in sectors.into_iter().zip(survivors).filter(|(_, survives)| *survives) {
            if let Change::Write { bytes, .. } = &mut change
                && !matches!(fate, Fate::Kept)
                && self.below(TORN_ONE_IN) == 0
            {
                let length = self.below(bytes.len() as u64);
                bytes.truncate(usize::try_from(length).expect("it is below the length"));
            }
            change.apply(&mut left);
        }
        left
    }

    /// Counts an operation that changes something; an error once the machine stands still. The one in which it stops is done
    /// before the error is given.
    fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.look()?;
        self.operations += 1;
        if self.fail_at == Some(self.operations) {
            self.has_failed = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.is_crashed = self.crash_at.is_some_and(|at| self.operations >= at);
        let done = change(self)?;
        self.look()?;
        Ok(done)
    }

    fn look(&self) -> io::Result<()> {
        if self.is_crashed {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        Ok(())
    }

    fn rename(&mut self, from: Option<&Path>, to: Option<&Path>, target: Target) {
        let renaming = Renaming {
            from: from.map(Path::to_owned),
            to: to.map(Path::to_owned),
            target,
        };
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    fn target(&self, path: &Path) -> io::Result<Target> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("{} is not there", path.display()));
        self.names.get(path).copied().ok_or_else(missing)
    }

    fn file(&self, path: &Path) -> io::Result<Number> {
        match self.target(path)? {
            Target::File(number) => Ok(number),
            Target::Folder => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder")),
        }
    }

    fn data(&mut self, number: Number) -> &mut Data {
        self.files.entry(number).or_default()
    }
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Target>) {
        if let Some(from) = &self.from
            && names.get(from) == Some(&self.target)
        {
            names.remove(from);
        }
        if let Some(to) = &self.to {
            names.insert(to.clone(), self.target);
        }
    }

    fn is_in(&self, folder: &Path) -> bool {
        let mut paths = [&self.from, &self.to].into_iter().flatten();
        paths.any(|path| above(path) == folder)
    }
}

impl Change {
    /// The parts that reach the disk each by itself.
    fn sectors(self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else {
            return vec![self];
        };
        let first = (SECTOR_BYTES - offset % SECTOR_BYTES).min(bytes.len());
        let (first, rest) = bytes.split_at(first);
        let mut at = offset;
        let sectors = [first].into_iter().chain(rest.chunks(SECTOR_BYTES)).map(|bytes| {
            let offset = at;
            at += bytes.len();
            Self::Write {
                offset,
                bytes: bytes.to_vec(),
            }
        });
        sectors.collect()
    }

    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Self::Length(length) => data.resize(*length, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                data.resize(data.len().max(end), 0);
                data[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Data {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }
}

/// The folder in which something lies.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

impl Disk for Simulated {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let mut state = self.state.lock();
        state.look()?;
        let number = match state.file(path) {
            Ok(_) if mode == Mode::New => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && mode != Mode::Existing => {
                state.change(|state| {
                    if state.target(above(path))? != Target::Folder {
                        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is in a file"));
                    }
                    let number = state.next_file;
                    state.next_file += 1;
                    state.files.insert(number, Data::default());
                    state.rename(None, Some(path), Target::File(number));
                    Ok(number)
                })?
            }
            found => found?,
        };
        Ok(Box::new(Handle {
            state: self.state.clone(),
            number,
            has_lock: Mutex::new(false),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<fs::File> {
        regular::open_at_once(path)
    }

    fn look(&self, path: &Path) -> io::Result<PathKind> {
        let state = self.state.lock();
        state.look()?;
        Ok(match state.names.get(path) {
            None => PathKind::Missing,
            Some(Target::Folder) => PathKind::Folder,
            Some(Target::File(number)) => PathKind::File(state.files[number].now.len() as u64),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().change(|state| {
            let target = Target::File(state.file(from)?);
            if state.target(above(to))? == Target::Folder {
                state.rename(Some(from), Some(to), target);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change(|state| {
            let target = Target::File(state.file(path)?);
            state.rename(Some(path), None, target);
            Ok(())
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change(|state| {
            if state.target(path)? != Target::Folder {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            if state
                .names
                .keys()
                .any(|within| within != path && within.starts_with(path))
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            state.rename(Some(path), None, Target::Folder);
            Ok(())
        })
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.state.lock().change(|state| {
            let mut missing: Vec<&Path> = path
                .ancestors()
                .filter(|folder| !folder.as_os_str().is_empty() && !state.names.contains_key(*folder))
                .collect();
            missing.reverse();
            missing
                .into_iter()
                .for_each(|folder| state.rename(None, Some(folder), Target::Folder));
            Ok(())
        })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state.lock();
        state.look()?;
        if state.target(folder)? != Target::Folder {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is a file"));
        }
        let paths = state.names.keys().filter(|path| above(path) == folder);
        let names: BTreeSet<OsString> = paths.filter_map(|path| Some(path.file_name()?.to_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.state.lock().change(|state| {
            state.target(folder)?;
            if state.is_crashed {
                return Ok(());
            }
            let (synced, others) = std::mem::take(&mut state.renamings)
                .into_iter()
                .partition(|renaming| renaming.is_in(folder));
            state.renamings = others;
            let synced: Vec<Renaming> = synced;
            synced
                .iter()
                .for_each(|renaming| renaming.apply(&mut state.durable_names));
            Ok(())
        })
    }
}

impl fmt::Debug for Simulated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Simulated").finish_non_exhaustive()
    }
}

/// An open file.
struct Handle {
    state: Arc<Mutex<DiskState>>,
    number: Number,
    has_lock: Mutex<bool>,
}

impl Handle {
    fn change(&self, change: impl FnOnce(&mut Data)) -> io::Result<()> {
        self.state.lock().change(|state| {
            change(state.data(self.number));
            Ok(())
        })
    }

    fn read<T>(&self, read: impl FnOnce(&mut Data) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        state.look()?;
        Ok(read(state.data(self.number)))
    }
}

/// A place in a file that is in memory.
fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("simulated files fit memory")
}

impl File for Handle {
    fn len(&self) -> io::Result<u64> {
        self.read(|data| data.now.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let is_read = self.read(|data| {
            let found = data.now.get(place(offset)..)?.get(..buffer.len())?;
            buffer.copy_from_slice(found);
            Some(())
        });
        is_read?.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (offset, bytes) = (place(offset), bytes.to_vec());
        self.change(|data| data.change(Change::Write { offset, bytes }))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let bytes = bytes.to_vec();
        self.change(|data| {
            let offset = data.now.len();
            data.change(Change::Write { offset, bytes });
        })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.change(|data| data.change(Change::Length(place(bytes))))
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().change(|state| {
            if state.is_crashed || state.lies {
                return Ok(());
            }
            let data = state.data(self.number);
            for change in data.changes.drain(..) {
                change.apply(&mut data.durable);
            }
            Ok(())
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut has_lock = self.has_lock.lock();
        *has_lock = *has_lock || self.read(|data| !std::mem::replace(&mut data.is_locked, true))?;
        Ok(*has_lock)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if *self.has_lock.lock() {
            self.state.lock().data(self.number).is_locked = false;
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Handle")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 200;

    /// What is left of a file after a crash, over many seeds.
    fn leftovers(write: impl Fn(&Simulated)) -> BTreeSet<Option<Vec<u8>>> {
        let left = (0..SEEDS).map(|seed| {
            let disk = Simulated::new(seed);
            write(&disk);
            let disk = disk.restart();
            let file = disk.open(Path::new("/file"), Mode::Existing).ok()?;
            let mut bytes = vec![0; place(file.len().unwrap())];
            file.read_at(0, &mut bytes).unwrap();
            Some(bytes)
        });
        left.collect()
    }

    fn write(disk: &Simulated, bytes: &[u8]) -> Box<dyn File> {
        let file = disk.open(Path::new("/file"), Mode::Make).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    #[test]
    fn what_is_synchronised_survives() {
        let left = leftovers(|disk| {
            write(disk, b"abc").sync().unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
        });
        assert_eq!(left, [Some(b"abc".to_vec())].into());
    }

    #[test]
    fn of_what_is_not_any_part_may_survive() {
        let left = leftovers(|disk| {
            let file = write(disk, &[1; 1024]);
            file.sync().unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
            file.write_at(0, &[2; 1024]).unwrap();
        });
        let whole = |first: u8, second: u8| Some([[first; 512], [second; 512]].concat());
        for expected in [whole(1, 1), whole(1, 2), whole(2, 1), whole(2, 2)] {
            assert!(left.contains(&expected));
        }
        assert!(left.len() > 4, "some sectors are torn");
    }

    #[test]
    fn a_file_without_a_durable_name_may_be_gone() {
        let left = leftovers(|disk| write(disk, b"abc").sync().unwrap());
        assert_eq!(left, [None, Some(b"abc".to_vec())].into());
    }

    #[test]
    fn a_lie_is_found_out() {
        let left = leftovers(|disk| {
            disk.lie_on_sync(true);
            write(disk, b"abc").sync().unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
        });
        assert!(left.contains(&Some(Vec::new())));
    }

    #[test]
    fn nothing_works_after_a_crash() {
        let disk = Simulated::new(0);
        let file = write(&disk, b"abc");
        disk.crash_at(disk.operations() + 2);
        file.write_at(0, b"x").unwrap();
        assert!(file.write_at(1, b"y").is_err());
        assert!(file.len().is_err() && disk.look(Path::new("/file")).is_err() && disk.is_crashed());
    }

    #[test]
    fn a_lock_ends_with_its_file_or_the_process() {
        let disk = Simulated::new(0);
        let owner = write(&disk, b"");
        let other = write(&disk, b"");
        assert!(owner.try_lock().unwrap() && !other.try_lock().unwrap());
        drop(owner);
        assert!(other.try_lock().unwrap());
        disk.sync_folder(Path::new("/")).unwrap();
        assert!(write(&disk.restart(), b"").try_lock().unwrap());
    }
}

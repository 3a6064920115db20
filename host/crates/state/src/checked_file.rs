//! A file whose pages bear checksums.
//!
//! redb checks what it reads only when it repairs. A changed byte in one of its inner pages hides keys, and one in a leaf changes
//! an entry, without a word. So the database lies in pages of [`PAGE_BYTES`], each of which has a checksum elsewhere in the file;
//! a page is compared with it whenever it is read from the disk.
//!
//! The file is two copies of a header, then groups: a block of [`GROUP_PAGES`] checksums, and the pages that they are of. The
//! first page of the database is in the header: it is the only one that redb changes in place, so its copies are written in
//! turn, and never over the one that is durable. Every other page is written before the durable part of the database refers to
//! it; what a crash leaves of it, or of its checksum, is never read.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dirigo_disk::File;
use dirigo_ground::sync::Mutex;
use hashbrown::HashMap;
use redb::StorageBackend;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The page size of redb on Linux.
const PAGE_BYTES: usize = 4096;
/// Pages whose checksums fill a block.
const GROUP_PAGES: u64 = (PAGE_BYTES / 8) as u64;
/// A copy of the header, rounded up to whole pages.
const HEADER_BYTES: usize = 2 * PAGE_BYTES;
/// What a copy of the header begins with; the last byte is the version of this format.
const MAGIC: &[u8; 16] = b"dirigo database\x01";
/// What a database begins with that an earlier version of Dirigo wrote, without checksums.
const REDB_MAGIC: &[u8] = b"redb\x1a\x0a";

/// A file with checksums.
#[derive(Debug)]
pub(super) struct CheckedFile {
    path: PathBuf,
    file: Box<dyn File>,
    state: Mutex<Checks>,
}

/// The header and the checksums, as far as they are in memory.
#[derive(Debug)]
struct Checks {
    header: Header,
    /// Where the newest durable copy of the header is; the other place may be written.
    durable: Place,
    /// Whether the header was written since the file was synchronised.
    is_header_written: bool,
    /// By group, as far as they were looked at: 2 MiB for each GiB of the database.
    groups: HashMap<u64, Group>,
}

#[derive(Clone, Debug)]
struct Header {
    /// Counts copies that were written.
    number: u64,
    /// Bytes of the database.
    length: u64,
    first_page: Box<[u8; PAGE_BYTES]>,
}

/// Where a copy of the header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Second,
}

#[derive(Debug)]
struct Group {
    /// 0 for a page that was never written, whose bytes are zeros.
    sums: Box<[u64]>,
    is_changed: bool,
}

/// A database that was changed by something else than Dirigo.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged at byte {offset}; restore the file, or discard the state with `--fresh`", .path.display())]
pub(super) struct Damage {
    /// The database.
    pub(super) path: PathBuf,
    /// Where.
    pub(super) offset: u64,
}

/// What a file is found to be.
pub(super) enum Found {
    /// One with checksums, or an empty one.
    Checked(CheckedFile),
    /// A database without checksums.
    Unchecked(Box<dyn File>),
}

impl CheckedFile {
    /// Looks at the header of `file`, which is at `path`.
    ///
    /// # Errors
    /// When it can't be read, is damaged (a [`Damage`]), or is no database.
    pub(super) fn open(path: &Path, file: Box<dyn File>) -> io::Result<Found> {
        let there = file.len()?;
        let mut beginning =
            vec![0; usize::try_from(there).map_or(2 * HEADER_BYTES, |there| there.min(2 * HEADER_BYTES))];
        file.read_at(0, &mut beginning)?;
        let (durable, header) = if beginning.is_empty() {
            (Place::Second, Header::default())
        } else if let Some(found) = newest(&beginning) {
            found
        } else if beginning.starts_with(REDB_MAGIC) {
            return Ok(Found::Unchecked(file));
        } else {
            return Err(damage(path, 0));
        };
        if there < stored_bytes(header.length) {
            // It is made longer before the header says so.
            return Err(damage(path, there));
        }
        Ok(Found::Checked(Self {
            path: path.to_owned(),
            file,
            state: Mutex::new(Checks {
                header,
                durable,
                is_header_written: false,
                groups: HashMap::new(),
            }),
        }))
    }

    /// Reads pages that lie side by side, the first of which is page `first`, and compares them with their checksums.
    fn read_pages(&self, first: u64, out: &mut [u8]) -> io::Result<()> {
        each_run(first, out.len(), |group, slots, bytes| {
            let part = &mut out[bytes];
            self.file.read_at(page_offset(group, slots.start), part)?;
            for (slot, page) in slots.zip(part.chunks_exact(PAGE_BYTES)) {
                let found = sum(group, slot, page);
                let expected = self.group(&mut self.state.lock(), group)?.sums[slot];
                let is_unwritten = || expected == 0 && page.iter().all(|byte| *byte == 0);
                if found != expected && !is_unwritten() {
                    return Err(damage(&self.path, page_offset(group, slot)));
                }
            }
            Ok(())
        })
    }

    fn write_pages(&self, first: u64, data: &[u8]) -> io::Result<()> {
        each_run(first, data.len(), |group, slots, bytes| {
            let part = &data[bytes];
            self.file.write_at(page_offset(group, slots.start), part)?;
            let checks = &mut *self.state.lock();
            let known = self.group(checks, group)?;
            for (slot, page) in slots.zip(part.chunks_exact(PAGE_BYTES)) {
                known.sums[slot] = sum(group, slot, page);
            }
            known.is_changed = true;
            Ok(())
        })
    }

    /// The checksums of a group, read from the file when they are needed first.
    fn group<'a>(&self, checks: &'a mut Checks, number: u64) -> io::Result<&'a mut Group> {
        let is_known = checks.groups.contains_key(&number);
        if !is_known {
            let mut block = [0; PAGE_BYTES];
            let offset = group_offset(number);
            // A group at the end has only as many pages as the database; the block before them is there.
            self.file.read_at(offset, &mut block)?;
            let sums = block.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect();
            let is_changed = false;
            checks.groups.insert(number, Group { sums, is_changed });
        }
        Ok(checks
            .groups
            .get_mut(&number)
            .expect("it is put in where it was not known"))
    }

    /// Writes the checksums that changed.
    fn write_sums(&self, checks: &mut Checks) -> io::Result<()> {
        for (number, group) in checks.groups.iter_mut().filter(|(_, group)| group.is_changed) {
            let block: Vec<u8> = group.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
            self.file.write_at(group_offset(*number), &block)?;
            group.is_changed = false;
        }
        Ok(())
    }

    /// Writes the header to the place that is not the durable copy's.
    fn write_header(&self, checks: &mut Checks) -> io::Result<()> {
        // The pages that it leads to are checked by what is in the file then.
        self.write_sums(checks)?;
        checks.header.number += 1;
        let place = checks.durable.other();
        self.file.write_at(place.offset(), &checks.header.encode())?;
        checks.is_header_written = true;
        Ok(())
    }

    /// Has the header say that the database is shorter, before it is.
    fn shorten(&self, length: u64) -> io::Result<()> {
        let checks = &mut *self.state.lock();
        let before = std::mem::replace(&mut checks.header.length, length);
        let kept = pages(length);
        if kept < pages(before) {
            // The first page that goes, unless it is that of the header.
            let (group, slot) = place_of(kept.max(1));
            checks
                .groups
                .retain(|number, _| *number < group || slot > 0 && *number == group);
            if slot > 0 {
                let group = self.group(checks, group)?;
                group.sums[slot..].fill(0);
                group.is_changed = true;
            }
        }
        self.write_header(checks)
    }

    /// Makes everything durable. Readers go on meanwhile: they wait for the checks, and not for the disk. Only one thread changes a
    /// database at a time, so no header is written between.
    fn sync(&self) -> io::Result<()> {
        let is_header_written = {
            let checks = &mut *self.state.lock();
            self.write_sums(checks)?;
            checks.is_header_written
        };
        self.file.sync()?;
        if is_header_written {
            let checks = &mut *self.state.lock();
            checks.is_header_written = false;
            checks.durable = checks.durable.other();
        }
        Ok(())
    }
}

impl StorageBackend for CheckedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().header.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.state.lock().header.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        each_part(offset, out.len(), |page, within_page, bytes| {
            let part = &mut out[bytes];
            if page == 0 {
                part.copy_from_slice(&self.state.lock().header.first_page[within_page]);
            } else if part.len().is_multiple_of(PAGE_BYTES) {
                self.read_pages(page, part)?;
            } else {
                let mut whole = [0; PAGE_BYTES];
                self.read_pages(page, &mut whole)?;
                part.copy_from_slice(&whole[within_page]);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len >= self.len()? {
            // In this order: a header never says more than is there, whatever a crash leaves.
            self.file.set_len(stored_bytes(len))?;
            self.sync()?;
            let checks = &mut *self.state.lock();
            checks.header.length = len;
            return self.write_header(checks);
        }
        self.shorten(len)?;
        self.sync()?;
        self.file.set_len(stored_bytes(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        each_part(offset, data.len(), |page, within_page, bytes| {
            let part = &data[bytes];
            if page == 0 {
                let checks = &mut *self.state.lock();
                checks.header.first_page[within_page].copy_from_slice(part);
                self.write_header(checks)
            } else if part.len().is_multiple_of(PAGE_BYTES) {
                self.write_pages(page, part)
            } else {
                let mut whole = [0; PAGE_BYTES];
                self.read_pages(page, &mut whole)?;
                whole[within_page].copy_from_slice(part);
                self.write_pages(page, &whole)
            }
        })
    }
}

impl Default for Header {
    fn default() -> Self {
        Self {
            number: 0,
            length: 0,
            first_page: Box::new([0; PAGE_BYTES]),
        }
    }
}

impl Header {
    /// `magic | number u64 | length u64 | first page | checksum u64`, little-endian.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&*self.first_page);
        let sum = xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (first_page, rest) = rest.split_first_chunk::<PAGE_BYTES>()?;
        let (sum, _) = rest.split_first_chunk()?;
        let summed = &bytes[..MAGIC.len() + 16 + PAGE_BYTES];
        (xxh3_64(summed) == u64::from_le_bytes(*sum)).then(|| Self {
            number: u64::from_le_bytes(*number),
            length: u64::from_le_bytes(*length),
            first_page: Box::new(*first_page),
        })
    }
}

impl Place {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    fn offset(self) -> u64 {
        match self {
            Self::First => 0,
            Self::Second => HEADER_BYTES as u64,
        }
    }
}

/// The newest copy of the header that is whole, and where it is.
fn newest(beginning: &[u8]) -> Option<(Place, Header)> {
    let copies = [Place::First, Place::Second].into_iter().filter_map(|place| {
        let bytes = beginning.get(within(place.offset())..)?;
        Some((place, Header::decode(bytes)?))
    });
    copies.max_by_key(|(_, header)| header.number)
}

/// Gives the parts of a range: those within one page, and runs of whole pages. The page, bytes within it, bytes of the range.
fn each_part(
    offset: u64,
    bytes: usize,
    mut take: impl FnMut(u64, Range<usize>, Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        let at = offset + done as u64;
        let (page, start) = (at / PAGE_BYTES as u64, within(at % PAGE_BYTES as u64));
        let left = bytes - done;
        // The first page lies elsewhere than the others.
        let taken = if start == 0 && page > 0 && left >= PAGE_BYTES {
            left / PAGE_BYTES * PAGE_BYTES
        } else {
            left.min(PAGE_BYTES - start)
        };
        let end = if taken < PAGE_BYTES { start + taken } else { PAGE_BYTES };
        take(page, start..end, done..done + taken)?;
        done += taken;
    }
    Ok(())
}

/// Gives each run of pages that lie side by side in the file: the group, places in it, and bytes of the whole.
fn each_run(
    first: u64,
    bytes: usize,
    mut take: impl FnMut(u64, Range<usize>, Range<usize>) -> io::Result<()>,
) -> io::Result<()> {
    let mut page = first;
    let mut done = 0;
    while done < bytes {
        let (group, slot) = place_of(page);
        let pages = ((bytes - done) / PAGE_BYTES).min(within(GROUP_PAGES) - slot);
        let end = done + pages * PAGE_BYTES;
        take(group, slot..slot + pages, done..end)?;
        page += pages as u64;
        done = end;
    }
    Ok(())
}

fn pages(length: u64) -> u64 {
    length.div_ceil(PAGE_BYTES as u64)
}

/// The group of a page other than the first, and its place in it.
fn place_of(page: u64) -> (u64, usize) {
    ((page - 1) / GROUP_PAGES, within((page - 1) % GROUP_PAGES))
}

fn group_offset(group: u64) -> u64 {
    2 * HEADER_BYTES as u64 + group * (GROUP_PAGES + 1) * PAGE_BYTES as u64
}

fn page_offset(group: u64, slot: usize) -> u64 {
    group_offset(group) + (slot as u64 + 1) * PAGE_BYTES as u64
}

/// Bytes of the file that holds so many of the database.
fn stored_bytes(length: u64) -> u64 {
    match pages(length) {
        0 if length == 0 => 0,
        0 | 1 => 2 * HEADER_BYTES as u64,
        pages => {
            let (group, slot) = place_of(pages - 1);
            page_offset(group, slot) + PAGE_BYTES as u64
        }
    }
}

/// The checksum of a page at its place: a page that lies where another belongs is found, too.
fn sum(group: u64, slot: usize, page: &[u8]) -> u64 {
    // 0 stands for a page that was never written.
    xxh3_64_with_seed(page, group * GROUP_PAGES + slot as u64).max(1)
}

fn damage(path: &Path, offset: u64) -> io::Error {
    let path = path.to_owned();
    io::Error::new(io::ErrorKind::InvalidData, Damage { path, offset })
}

/// A place within a page or a group.
fn within(place: u64) -> usize {
    usize::try_from(place).expect("pages and groups are small")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use dirigo_disk::{Disk, Mode, Simulated};

    const PAGE: u64 = PAGE_BYTES as u64;

    fn open(disk: &Simulated) -> io::Result<CheckedFile> {
        let path = Path::new("/file");
        match CheckedFile::open(path, disk.open(path, Mode::Make).unwrap())? {
            Found::Checked(file) => Ok(file),
            Found::Unchecked(_) => panic!("a database without checksums"),
        }
    }

    fn read(file: &CheckedFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut out = vec![0; bytes];
        file.read(offset, &mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_written_is_read_across_pages_and_groups_and_after_reopening() {
        let disk = Simulated::new(0);
        let pages = 2 * GROUP_PAGES + 10;
        let mut expected = vec![0; within(pages * PAGE)];
        let file = open(&disk).unwrap();
        file.set_len(pages * PAGE).unwrap();
        let writes = [
            (0, 320),
            (100, 7),
            (PAGE, PAGE_BYTES),
            (3 * PAGE + 10, 2 * PAGE_BYTES),
            ((GROUP_PAGES - 2) * PAGE, 8 * PAGE_BYTES),
            (2 * GROUP_PAGES * PAGE - 5, 3 * PAGE_BYTES),
            (PAGE - 3, 6),
        ];
        for (number, (offset, bytes)) in (1_u8..).zip(writes) {
            file.write(offset, &vec![number; bytes]).unwrap();
            expected[within(offset)..within(offset) + bytes].fill(number);
            assert!(read(&file, 0, expected.len()).unwrap() == expected, "{number}");
        }
        file.sync_data().unwrap();
        drop(file);
        let file = open(&disk.restart()).unwrap();
        assert_eq!(file.len().unwrap(), pages * PAGE);
        assert!(read(&file, 0, expected.len()).unwrap() == expected);
        assert!(read(&file, pages * PAGE - 1, 2).is_err());
    }

    #[test]
    fn a_changed_bit_is_found_wherever_it_is_or_changes_nothing() {
        let disk = Simulated::new(0);
        let file = open(&disk).unwrap();
        file.set_len(6 * PAGE).unwrap();
        let expected: Vec<u8> = (0..6 * PAGE).map(|at| (at % 251) as u8).collect();
        file.write(0, &expected).unwrap();
        file.sync_data().unwrap();
        drop(file);
        let raw = disk.open(Path::new("/file"), Mode::Existing).unwrap();
        let (mut found, mut same) = (0, 0);
        for at in (0..raw.len().unwrap()).step_by(61) {
            let mut byte = [0];
            raw.read_at(at, &mut byte).unwrap();
            raw.write_at(at, &[byte[0] ^ 4]).unwrap();
            match open(&disk).and_then(|file| read(&file, 0, expected.len())) {
                Ok(now) => {
                    same += 1;
                    assert!(now == expected, "byte {at}");
                }
                Err(error) => {
                    found += 1;
                    let damage = error.get_ref().and_then(|reason| reason.downcast_ref::<Damage>());
                    assert!(damage.is_some(), "byte {at}: {error}");
                }
            }
            raw.write_at(at, &byte).unwrap();
        }
        // Five pages and their checksums against what is unused: the rest of a group's checksums, an old copy of the header.
        assert!(found > 300 && same > 0, "{found} {same}");
    }

    #[test]
    fn pages_that_lie_in_each_others_place_are_found() {
        let disk = Simulated::new(0);
        let file = open(&disk).unwrap();
        file.set_len(4 * PAGE).unwrap();
        file.write(PAGE, &[1; PAGE_BYTES]).unwrap();
        file.write(2 * PAGE, &[2; PAGE_BYTES]).unwrap();
        file.sync_data().unwrap();
        let raw = disk.open(Path::new("/file"), Mode::Existing).unwrap();
        raw.write_at(page_offset(0, 0), &[2; PAGE_BYTES]).unwrap();
        raw.write_at(page_offset(0, 1), &[1; PAGE_BYTES]).unwrap();
        assert!(read(&file, PAGE, PAGE_BYTES).is_err());
        assert!(read(&file, 3 * PAGE, PAGE_BYTES).unwrap() == [0; PAGE_BYTES]);
    }

    #[test]
    fn a_file_that_is_cut_is_found_when_it_is_opened() {
        let disk = Simulated::new(0);
        let file = open(&disk).unwrap();
        file.set_len(4 * PAGE).unwrap();
        file.sync_data().unwrap();
        let raw = disk.open(Path::new("/file"), Mode::Existing).unwrap();
        raw.set_len(stored_bytes(4 * PAGE) - 1).unwrap();
        assert!(open(&disk).is_err());
    }

    #[test]
    fn a_crash_leaves_the_header_and_the_length_of_one_moment() {
        for seed in 0..200 {
            let disk = Simulated::new(seed);
            let file = open(&disk).unwrap();
            disk.sync_folder(Path::new("/")).unwrap();
            file.set_len(3 * PAGE).unwrap();
            file.write(0, &[1; 320]).unwrap();
            file.write(PAGE, &[1; PAGE_BYTES]).unwrap();
            file.sync_data().unwrap();
            // Not synchronised: any part of it may be lost.
            file.write(0, &[2; 320]).unwrap();
            file.write(0, &[3; 320]).unwrap();
            file.set_len((3 + seed) * PAGE).unwrap();
            if seed % 2 == 0 {
                file.set_len(2 * PAGE).unwrap();
            }
            file.write(0, &[4; 320]).unwrap();
            drop(file);
            let file = open(&disk.restart()).unwrap();
            let header = read(&file, 0, 320).unwrap();
            assert!(header.iter().all(|byte| *byte == header[0]), "{seed}");
            assert!((1..=4).contains(&header[0]), "{seed}");
            assert!(read(&file, PAGE, PAGE_BYTES).unwrap() == [1; PAGE_BYTES], "{seed}");
        }
    }

    #[test]
    fn pages_that_were_cut_off_come_back_as_zeros() {
        let disk = Simulated::new(0);
        let file = open(&disk).unwrap();
        let length = 2 * GROUP_PAGES * PAGE;
        file.set_len(length).unwrap();
        file.write(0, &vec![7; within(length)]).unwrap();
        file.set_len(9 * PAGE).unwrap();
        file.set_len(length).unwrap();
        let mut expected = vec![7; within(length)];
        expected[within(9 * PAGE)..].fill(0);
        assert!(read(&file, 0, within(length)).unwrap() == expected);
    }
}

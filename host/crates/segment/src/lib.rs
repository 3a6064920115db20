//! Files of records that bear checksums: what logs are made of.
//!
//! A segment begins with `magic | salt u64 | crc32c u32`. A record is `len u32 | crc32c u32 | number u64 | kind u8 | payload`, little-endian; its
//! checksum is that of the salt and all of its other bytes, so no payload can hold what passes for a record. Owns the form of both, and the
//! search for a whole record behind one that is not. What numbers, kinds and payloads mean, and what follows from a bad record, is up to the log.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use dirigo_disk::{Disk, File, Mode};

/// What a segment begins with.
const MAGIC: &[u8; 8] = b"dirigo-1";
/// What stands before the first record: magic, salt and checksum.
pub const START_BYTES: usize = 20;
/// What stands before each payload.
pub const HEADER_BYTES: usize = 17;
/// As much is read at once when what follows damage is searched.
const SEARCH_BYTES: usize = 1 << 20;

/// Makes an empty segment, durable with its name, and gives it with its salt. What was at the path is gone.
///
/// # Errors
/// When the disk fails.
pub fn begin(disk: &dyn Disk, directory: &Path, path: &Path) -> io::Result<(Box<dyn File>, u64)> {
    let salt = RandomState::new().build_hasher().finish();
    let file = disk.open(path, Mode::Make)?;
    file.set_len(0)?;
    file.write_at(0, &start(salt))?;
    file.sync()?;
    disk.sync_folder(directory)?;
    Ok((file, salt))
}

/// The files of a folder whose names are a prefix, a number and `.log`, as `name` writes them; by their numbers.
///
/// # Errors
/// When the folder cannot be read.
pub fn listed(
    disk: &dyn Disk,
    folder: &Path,
    prefix: &str,
    name: impl Fn(u64) -> String,
) -> io::Result<Vec<(u64, PathBuf)>> {
    let names = disk.list(folder)?;
    let files = names.iter().filter_map(|listed| {
        let listed = listed.to_str()?;
        let number = listed.strip_prefix(prefix)?.strip_suffix(".log")?.parse().ok()?;
        (name(number) == listed).then(|| (number, folder.join(listed)))
    });
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    Ok(files)
}

/// The salt of a segment of so many bytes, if it has a whole start.
///
/// # Errors
/// When the disk fails.
pub fn read_salt(file: &dyn File, bytes: u64) -> io::Result<Option<u64>> {
    let mut start = [0; START_BYTES];
    if bytes < START_BYTES as u64 {
        return Ok(None);
    }
    file.read_at(0, &mut start)?;
    let salt = start[MAGIC.len()..].first_chunk().copied().map(u64::from_le_bytes);
    Ok(salt.filter(|&salt| self::start(salt) == start))
}

/// What a segment with that salt begins with.
fn start(salt: u64) -> [u8; START_BYTES] {
    let mut start = [0; START_BYTES];
    start[..8].copy_from_slice(MAGIC);
    start[8..16].copy_from_slice(&salt.to_le_bytes());
    let sum = crc32c::crc32c(&start[..16]);
    start[16..].copy_from_slice(&sum.to_le_bytes());
    start
}

/// Begins a record at the end of a buffer, whose payload is to follow. Gives where it begins.
pub fn open_record(buffer: &mut Vec<u8>) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Fills in the header of the record that begins at `start` and ends with the buffer.
///
/// # Panics
/// When its payload has 4 GiB or more.
pub fn seal_record(buffer: &mut [u8], start: usize, salt: u64, number: u64, kind: u8) {
    let (header, payload) = buffer[start..].split_at_mut(HEADER_BYTES);
    let len = u32::try_from(payload.len()).expect("what is logged is bounded far below 4 GiB");
    let sum = checksum(salt, len, number, kind, payload);
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&sum.to_le_bytes());
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16] = kind;
}

fn checksum(salt: u64, len: u32, number: u64, kind: u8, payload: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&salt.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &len.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &number.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &[kind]);
    crc32c::crc32c_append(sum, payload)
}

/// The checksum of some bytes.
#[must_use]
pub fn checksum_of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Reads the records of a segment.
#[derive(Debug)]
pub struct Reader<'a> {
    file: &'a dyn File,
    salt: u64,
    bytes: u64,
    kinds: &'static [u8],
    at: u64,
}

struct Header {
    len: u32,
    checksum: u32,
    number: u64,
    kind: u8,
}

impl<'a> Reader<'a> {
    /// A reader of a segment of so many bytes, in front of its first record. Its records are of these kinds.
    #[must_use]
    pub fn new(file: &'a dyn File, salt: u64, bytes: u64, kinds: &'static [u8]) -> Self {
        Self {
            file,
            salt,
            bytes,
            kinds,
            at: START_BYTES as u64,
        }
    }

    /// In front of the record that begins there.
    #[must_use]
    pub fn starting_at(self, at: u64) -> Self {
        Self { at, ..self }
    }

    /// Where the next record begins.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next record, its kind and its payload, if it is a whole one of this number.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn record(&mut self, number: u64) -> io::Result<Option<(u8, Vec<u8>)>> {
        let Some(header) = self.header(self.at)?.filter(|header| header.number == number) else {
            return Ok(None);
        };
        let Some(payload) = self.payload(self.at, &header)? else {
            return Ok(None);
        };
        self.at += (HEADER_BYTES + payload.len()) as u64;
        Ok(Some((header.kind, payload)))
    }

    fn header(&self, at: u64) -> io::Result<Option<Header>> {
        if self.bytes.saturating_sub(at) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_at(at, &mut bytes)?;
        Ok(self.parse(&bytes))
    }

    fn parse(&self, bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let (len, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let (number, kind) = rest.split_first_chunk()?;
        let [kind] = *kind else { return None };
        self.kinds.contains(&kind).then(|| Header {
            len: u32::from_le_bytes(*len),
            checksum: u32::from_le_bytes(*checksum),
            number: u64::from_le_bytes(*number),
            kind,
        })
    }

    /// The payload behind a header, if it is what was written.
    fn payload(&self, at: u64, header: &Header) -> io::Result<Option<Vec<u8>>> {
        let from = at + HEADER_BYTES as u64;
        if self.bytes - from < u64::from(header.len) {
            return Ok(None);
        }
        let mut payload = vec![0; header.len as usize];
        self.file.read_at(from, &mut payload)?;
        let is_whole = header.checksum == checksum(self.salt, header.len, header.number, header.kind, &payload);
        Ok(is_whole.then_some(payload))
    }

    /// Whether a whole record follows behind `from` whose number and payload both match. `matches_number` is to reject all numbers but those near by:
    /// then few places pass for a header.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has_record_behind(
        &self,
        from: u64,
        matches_number: impl Fn(u64) -> bool,
        matches_payload: impl Fn(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let mut buffer = vec![0; SEARCH_BYTES + HEADER_BYTES - 1];
        for start in (from..self.bytes).step_by(SEARCH_BYTES) {
            let length = buffer
                .len()
                .min(usize::try_from(self.bytes - start).unwrap_or(usize::MAX));
            self.file.read_at(start, &mut buffer[..length])?;
            for (at, bytes) in (start..).zip(buffer[..length].windows(HEADER_BYTES)) {
                let bytes = bytes.first_chunk().expect("windows are as long as a header");
                let Some(header) = self.parse(bytes).filter(|header| matches_number(header.number)) else {
                    continue;
                };
                if self
                    .payload(at, &header)?
                    .is_some_and(|payload| matches_payload(&payload))
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

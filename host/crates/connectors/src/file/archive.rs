//! A file of bytes, compressed or not.
//!
//! Owns how a file is opened and decompressed: its first bytes say which way, whatever its name is, and several gzip members
//! or zstd frames one after another are one stream. Knows nothing of what the bytes mean.

use std::fs::{self, Metadata};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::watched::{Changed, Watched};
use dirigo_disk::{Disk, open_regular, open_regular_or_pipe};

/// Compressed bytes read at a time.
const COMPRESSED_BUFFER_BYTES: usize = 128 * 1024;

/// The longest header of a zstd frame.
const FRAME_HEADER_BYTES_MAX: usize = 18;

/// The least window that a zstd frame may ask for, and the greatest that the decoder takes, as powers of two.
const WINDOW_LOG_MIN: u32 = 10;
const WINDOW_LOG_MAX: u32 = 31;

/// The window that a zstd frame may ask for where nothing else is said, in bytes: what `zstd` itself takes without a flag.
pub(super) const ZSTD_WINDOW: u64 = 128 << 20;
/// What may be said instead.
pub(super) const ZSTD_WINDOW_RANGE: std::ops::RangeInclusive<u64> = 1 << WINDOW_LOG_MIN..=1 << WINDOW_LOG_MAX;

/// Reason for `expect`: a gzip file has a member.
const HAS_MEMBER: &str = "a member is taken out only to put in the next";

/// An open file.
pub(super) enum Archive {
    Plain(Box<Watched>),
    Gzip(Box<Gzip>),
    Zstd(Box<Zstd>),
}

/// Gzip members one after another.
pub(super) struct Gzip {
    /// `None` only while one is exchanged for the next.
    member: Option<GzDecoder<BufReader<Watched>>>,
}

/// Zstd frames one after another.
pub(super) struct Zstd {
    decoder: zstd::Decoder<'static, BufReader<Watched>>,
    window_max: u64,
}

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    /// In a way that is not read.
    Foreign(&'static str),
}

impl Compression {
    /// What the first bytes of a file say.
    fn of_content(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // The second is a frame to be skipped, which `pzstd` begins with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Foreign("xz")),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Some(Self::Foreign("bzip2")),
            [0x04, 0x22, 0x4d, 0x18, ..] => Some(Self::Foreign("lz4")),
            [b'P', b'K', 3, 4, ..] => Some(Self::Foreign("zip")),
            _ => None,
        }
    }

    /// What the name of a file says.
    fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        [("gz", Self::Gzip), ("zst", Self::Zstd)]
            .into_iter()
            .find(|(name, _)| extension.eq_ignore_ascii_case(name))
            .map(|(_, compression)| compression)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Foreign(name) => name,
        }
    }
}

/// How the file is compressed. One without a byte is none: a sink leaves it that was never given anything.
fn compression(file: &fs::File, path: &Path, metadata: &Metadata) -> io::Result<Option<Compression>> {
    if !metadata.is_file() {
        return Ok(None);
    }
    let by_name = Compression::of_name(path);
    let mut start = [0; 8];
    let count = read_start(file, &mut start)?;
    match (Compression::of_content(&start[..count]), by_name) {
        (Some(Compression::Foreign(name)), _) => {
            let problem = format!("it is compressed with {name}; what can be read compressed is gzip and zstd");
            Err(io::Error::new(ErrorKind::Unsupported, problem))
        }
        (None, Some(named)) if count > 0 => {
            let problem = format!(
                "it is named as {0} data, and does not begin as {0} data does",
                named.name()
            );
            Err(io::Error::new(ErrorKind::InvalidData, problem))
        }
        (found, _) => Ok(found),
    }
}

fn read_start(file: &fs::File, start: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < start.len() {
        match file.read_at(&mut start[count..], count as u64) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// How many bytes a compressed file holds by what it says itself, without reading it: true of one that was compressed as a whole.
pub(super) fn said_bytes(path: &Path, disk: &dyn Disk) -> Option<u64> {
    let (file, metadata) = open_regular(disk, path).ok()?;
    match compression(&file, path, &metadata).ok()?? {
        Compression::Gzip => {
            // The length of the last member, as far as 32 bits say it.
            let mut length = [0; 4];
            file.read_exact_at(&mut length, metadata.len().checked_sub(4)?).ok()?;
            Some(u32::from_le_bytes(length).into())
        }
        Compression::Zstd => {
            let mut start = [0; FRAME_HEADER_BYTES_MAX];
            let count = read_start(&file, &mut start).ok()?;
            zstd::zstd_safe::get_frame_content_size(&start[..count]).ok()?
        }
        Compression::Foreign(_) => None,
    }
}

impl Archive {
    /// Opens a file, or a pipe where that may be one, whose zstd frames may ask for a window of so many bytes. What comes through
    /// a pipe is taken as it is.
    pub(super) fn open(
        path: &Path,
        disk: &dyn Disk,
        may_be_pipe: bool,
        zstd_window_max: u64,
    ) -> io::Result<(Self, Metadata)> {
        let open = if may_be_pipe {
            open_regular_or_pipe
        } else {
            open_regular
        };
        let (file, metadata) = open(disk, path)?;
        let compression = compression(&file, path, &metadata)?;
        let watched = Watched::new(file, path, &metadata);
        let buffered = |watched| BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, watched);
        let archive = match compression {
            Some(Compression::Gzip) => Self::Gzip(Box::new(Gzip::new(buffered(watched)))),
            Some(Compression::Zstd) => Self::Zstd(Box::new(Zstd::new(buffered(watched), zstd_window_max)?)),
            Some(Compression::Foreign(_)) | None => Self::Plain(Box::new(watched)),
        };
        Ok((archive, metadata))
    }

    /// How much was read of a compressed file.
    pub(super) fn compressed_bytes(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Gzip(_) | Self::Zstd(_) => Some(self.watched().position()),
        }
    }

    /// The file itself.
    pub(super) fn watched(&self) -> &Watched {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(gzip) => gzip.member.as_ref().expect(HAS_MEMBER).get_ref().get_ref(),
            Self::Zstd(zstd) => zstd.decoder.get_ref().get_ref(),
        }
    }

    /// As [`watched`](Self::watched).
    pub(super) fn watched_mut(&mut self) -> &mut Watched {
        match self {
            Self::Plain(file) => file,
            Self::Gzip(gzip) => gzip.member.as_mut().expect(HAS_MEMBER).get_mut().get_mut(),
            Self::Zstd(zstd) => zstd.decoder.get_mut().get_mut(),
        }
    }

    /// Goes to `offset` at once; returns false, and stays, where that is beyond the end or all that comes before must
    /// be read.
    pub(super) fn jump(&mut self, offset: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) => file.jump(offset),
            Self::Gzip(_) | Self::Zstd(_) => Ok(false),
        }
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(gzip) => gzip.read(buffer).map_err(|error| explain("gzip", error)),
            Self::Zstd(zstd) => zstd.read(buffer),
        }
    }
}

impl Gzip {
    fn new(reader: BufReader<Watched>) -> Self {
        Self {
            member: Some(GzDecoder::new(reader)),
        }
    }

    /// Goes on to the next member behind zeros, with which tapes and some tools fill up; `false` where there is none. Anything
    /// else is a member that is broken.
    fn next_member(&mut self) -> io::Result<bool> {
        let Some(member) = &mut self.member else {
            return Ok(false);
        };
        loop {
            let unread = member.get_mut().fill_buf()?;
            let zeros = unread.iter().take_while(|byte| **byte == 0).count();
            match (zeros, unread.len()) {
                (_, 0) => return Ok(false),
                (0, _) => break,
                (zeros, _) => member.get_mut().consume(zeros),
            }
        }
        self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner()));
        Ok(true)
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.member.as_mut().map_or(Ok(0), |member| member.read(buffer))?;
            if count > 0 || buffer.is_empty() || !self.next_member()? {
                return Ok(count);
            }
        }
    }
}

impl Zstd {
    fn new(reader: BufReader<Watched>, window_max: u64) -> io::Result<Self> {
        let mut decoder = zstd::Decoder::with_buffer(reader)?;
        decoder.window_log_max(window_max.ilog2())?;
        Ok(Self { decoder, window_max })
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            // The decoder has no code of its own for this, only these words.
            if error.to_string().contains("Frame requires too much memory") {
                let problem = format!(
                    "the zstd data needs a window of more than {} to decompress: raise `zstd_window_max` of its source, \
                     up to \"2GiB\"",
                    mebibytes(self.window_max)
                );
                return io::Error::new(ErrorKind::OutOfMemory, problem);
            }
            explain("zstd", error)
        })
    }
}

/// A power of two as the pipeline file writes it.
fn mebibytes(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("\"{}MiB\"", bytes >> 20)
    } else {
        format!("\"{}KiB\"", bytes >> 10)
    }
}

/// The decoders say "unexpected end of file" or less; an error of the medium itself speaks for itself, and so does what
/// happened to the file.
fn explain(format: &str, error: io::Error) -> io::Error {
    match error.kind() {
        _ if Changed::cause_of(&error).is_some() => error,
        ErrorKind::UnexpectedEof => io::Error::new(error.kind(), format!("the {format} data is cut off: {error}")),
        _ if error.raw_os_error().is_some() => error,
        kind => io::Error::new(kind, format!("the {format} data is corrupt: {error}")),
    }
}

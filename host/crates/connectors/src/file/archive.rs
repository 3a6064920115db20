//! A file of bytes, compressed or not.
//!
//! Owns how a file is opened and decompressed: its extension says which way, and several gzip members or zstd frames
//! one after another are one stream. Knows nothing of what the bytes mean.

use std::fs::{self, Metadata};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use dirigo_disk::Disk;
use flate2::bufread::MultiGzDecoder;

/// Compressed bytes read at a time.
const COMPRESSED_BUFFER_BYTES: usize = 128 * 1024;

/// An open file.
pub(super) enum Archive {
    Plain(fs::File),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
    Zstd(zstd::Decoder<'static, BufReader<Counted>>),
}

/// A file that counts what was read of it.
pub(super) struct Counted {
    file: fs::File,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl Archive {
    pub(super) fn open(path: &Path, disk: &dyn Disk) -> io::Result<(Self, Metadata)> {
        let file = disk.read(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        // A compressed file without any member is what a sink leaves that was never given anything.
        let is_empty = metadata.is_file() && metadata.len() == 0;
        let counted = |file| BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, Counted { file, bytes: 0 });
        let archive = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") if !is_empty => Self::Gzip(Box::new(MultiGzDecoder::new(counted(file)))),
            Some("zst") if !is_empty => Self::Zstd(zstd::Decoder::with_buffer(counted(file))?),
            _ => Self::Plain(file),
        };
        Ok((archive, metadata))
    }

    /// How much was read of a compressed file.
    pub(super) fn compressed_bytes(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Gzip(decoder) => Some(decoder.get_ref().get_ref().bytes),
            Self::Zstd(decoder) => Some(decoder.get_ref().get_ref().bytes),
        }
    }

    /// Goes to `offset` at once; returns false, and stays, where that is beyond the end or all that comes before must
    /// be read.
    pub(super) fn jump(&mut self, offset: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) if offset <= file.metadata()?.len() => file.seek(SeekFrom::Start(offset)).map(|_| true),
            Self::Plain(_) | Self::Gzip(_) | Self::Zstd(_) => Ok(false),
        }
    }
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer).map_err(|error| explain("gzip", error)),
            Self::Zstd(decoder) => decoder.read(buffer).map_err(|error| explain("zstd", error)),
        }
    }
}

/// The decoders say "unexpected end of file" or less; an error of the medium itself speaks for itself.
fn explain(format: &str, error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::new(error.kind(), format!("the {format} data is cut off: {error}")),
        _ if error.raw_os_error().is_some() => error,
        kind => io::Error::new(kind, format!("the {format} data is corrupt: {error}")),
    }
}

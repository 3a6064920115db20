//! The stretch of a byte stream that is in memory.
//!
//! Owns the buffer, and how far in the stream it is. Reads its medium only in [`Window::fill`], so the caller decides
//! when to wait. Remembers what a [fingerprint](Window::fingerprint) needs. Knows nothing of lines or records.

use std::io::{self, ErrorKind, Read};

use sha2::{Digest, Sha256};

/// Bytes asked for at a time: large against the cost of a system call (about 1 µs, so 4 ps/byte), small against a
/// cache.
const CAPACITY: usize = 256 * 1024;

/// The length that one read asks for where few bytes arrive: a thousand sources that wait for events need 8 MiB together, and not 256.
const CAPACITY_AT_REST: usize = 8 * 1024;

/// Bytes at the start of the stream, and in front of the place where it goes on, by which it is known again.
const FINGERPRINT_BYTES: usize = 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A byte stream, of which the part between what was consumed and what was read is at hand.
#[derive(Debug)]
pub(crate) struct Window<R> {
    pub(crate) reader: R,
    /// Its length is its capacity: what it has beyond `end` is there to be read into.
    buffer: Vec<u8>,
    /// The length that the buffer should have, as long as no record needs more.
    capacity: usize,
    /// Whether the last read gave nothing.
    is_at_rest: bool,
    /// What lies before is consumed; up to `FINGERPRINT_BYTES` of it are kept.
    start: usize,
    end: usize,
    /// How far in the stream `start` is.
    offset: u64,
    /// The first bytes of the stream, at most `FINGERPRINT_BYTES`.
    head: Vec<u8>,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; CAPACITY_AT_REST],
            capacity: CAPACITY_AT_REST,
            is_at_rest: true,
            start: 0,
            end: 0,
            offset: 0,
            head: Vec::new(),
        }
    }

    /// What was read but not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// How far in the stream the unread bytes start.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Steps over the next `count` unread bytes and returns them.
    pub(crate) fn consume(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.start += count;
        self.offset += count as u64;
        &self.buffer[start..self.start]
    }

    /// Reads once, and returns whether there was anything. A byte order mark at the start is stepped over.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let is_start = self.offset == 0 && self.unread().is_empty();
        let mut is_filled = self.fill_once()?;
        if !is_start {
            return Ok(is_filled);
        }
        while is_filled && self.unread().len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(self.unread()) {
            is_filled = self.fill_once()?;
        }
        if self.unread().starts_with(BYTE_ORDER_MARK) {
            self.consume(BYTE_ORDER_MARK.len());
            return Ok(!self.unread().is_empty() || self.fill_once()?);
        }
        Ok(!self.unread().is_empty())
    }

    fn fill_once(&mut self) -> io::Result<bool> {
        self.make_room();
        let count = loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if self.head.len() < FINGERPRINT_BYTES && self.offset + self.unread().len() as u64 == self.head.len() as u64 {
            let wanted = count.min(FINGERPRINT_BYTES - self.head.len());
            self.head.extend_from_slice(&self.buffer[self.end..self.end + wanted]);
        }
        self.end += count;
        if self.end == self.buffer.len() {
            self.capacity = CAPACITY;
        }
        // A reader that has caught up with a busy stream finds nothing now and then; the reader of an idle stream finds nothing several times in a row.
        let was_at_rest = std::mem::replace(&mut self.is_at_rest, count == 0);
        if was_at_rest && self.is_at_rest && self.capacity == CAPACITY {
            self.capacity = CAPACITY_AT_REST;
            self.make_room();
        }
        Ok(count > 0)
    }

    /// Moves the unread bytes to the front where there is little room behind them, and doubles the buffer where that is
    /// not enough; frees what it has grown by and no longer needs. A caller that leaves bytes unread bounds
    /// them.
    fn make_room(&mut self) {
        let room = self.capacity / 4;
        if self.unread().is_empty() || self.end + room > self.buffer.len() {
            let kept = self.start.min(FINGERPRINT_BYTES);
            self.buffer.copy_within(self.start - kept..self.end, 0);
            self.end -= self.start - kept;
            self.start = kept;
        }
        if self.buffer.len() < self.capacity {
            self.buffer.resize(self.capacity, 0);
        }
        if self.end + room > self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        } else if self.buffer.len() > self.capacity && self.end + room < self.capacity {
            self.buffer.truncate(self.capacity);
            self.buffer.shrink_to_fit();
        }
    }

    /// The first bytes of the stream, as far as they were read; at most a KiB.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Whether all is there that the start of the stream gives to a fingerprint.
    pub(crate) fn is_head_full(&self) -> bool {
        self.head.len() == FINGERPRINT_BYTES
    }

    /// Reads on until all is there that the start of the stream gives to a fingerprint.
    pub(crate) fn fill_head(&mut self) -> io::Result<()> {
        while !self.is_head_full() && self.fill()? {}
        Ok(())
    }

    /// Steps forward to `offset` by reading, or to the end of the stream where that comes first.
    pub(crate) fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        while self.offset < offset {
            if self.unread().is_empty() && !self.fill()? {
                break;
            }
            let ahead = usize::try_from(offset.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            self.consume(ahead.min(self.unread().len()));
        }
        Ok(())
    }

    /// Goes on at `offset`, where `reader` has just been moved to.
    pub(crate) fn jumped_to(&mut self, offset: u64) {
        (self.start, self.end, self.offset) = (0, 0, offset);
    }

    /// How many bytes before an offset its fingerprint covers, apart from those at the start of the stream.
    pub(crate) fn fingerprint_reach(offset: u64) -> u64 {
        offset.min(FINGERPRINT_BYTES as u64)
    }

    /// Identifies the stream up to here, by the first and by the last KiB before the unread bytes.
    pub(crate) fn fingerprint(&self) -> String {
        let head = usize::try_from(self.offset).unwrap_or(usize::MAX).min(self.head.len());
        let tail = self.start.min(FINGERPRINT_BYTES);
        let hash = Sha256::new()
            .chain_update(&self.head[..head])
            .chain_update(&self.buffer[self.start - tail..self.start])
            .finalize();
        let (half, _) = hash.split_first_chunk().expect("a SHA-256 has 32 bytes");
        format!("{:032x}", u128::from_be_bytes(*half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Script;

    #[test]
    fn a_byte_order_mark_in_pieces_is_stepped_over() {
        let mut window = Window::new(Script::new([b"\xef".as_slice(), b"\xbb", b"\xbfa"]));
        assert!(window.fill().unwrap());
        assert_eq!((window.unread(), window.offset()), (b"a".as_slice(), 3));
    }

    #[test]
    fn the_start_of_a_byte_order_mark_is_data() {
        let mut window = Window::new(b"\xef\xbb".as_slice());
        assert!(window.fill().unwrap());
        assert_eq!(window.unread(), b"\xef\xbb");
        assert!(!window.fill().unwrap());
    }

    #[test]
    fn a_fingerprint_depends_on_what_was_consumed_and_not_on_how() {
        let bytes: Vec<u8> = (0..800_000_u32).flat_map(u32::to_le_bytes).collect();
        let at = bytes.len() as u64 - 5;
        let mut whole = Window::new(bytes.as_slice());
        whole.skip_to(at).unwrap();
        let mut pieces = Window::new(Script::new(bytes.chunks(997)));
        pieces.skip_to(at).unwrap();
        assert_eq!(whole.fingerprint(), pieces.fingerprint());
        pieces.skip_to(at + 1).unwrap();
        assert_ne!(whole.fingerprint(), pieces.fingerprint());
    }

    #[test]
    fn a_buffer_that_grew_shrinks_again() {
        let bytes = vec![7; 10 * CAPACITY];
        let mut window = Window::new(bytes.as_slice());
        while window.fill().unwrap() {}
        assert_eq!(window.unread().len(), bytes.len());
        window.consume(bytes.len());
        assert!(!window.fill().unwrap());
        assert_eq!(window.buffer.capacity(), CAPACITY_AT_REST);
    }

    #[test]
    fn a_stream_from_which_nothing_comes_has_little_memory() {
        let mut bytes = vec![7; 3 * CAPACITY];
        bytes[3 * CAPACITY - 1] = 8;
        let mut window = Window::new(bytes.as_slice());
        assert_eq!(window.buffer.capacity(), CAPACITY_AT_REST);
        window.skip_to(bytes.len() as u64 - 1).unwrap();
        let fingerprint = window.fingerprint();
        assert_eq!(window.buffer.capacity(), CAPACITY, "much came");
        while window.fill().unwrap() {}
        assert_eq!(window.buffer.capacity(), CAPACITY, "more may come soon");
        assert!(!window.fill().unwrap());
        assert_eq!(window.buffer.capacity(), CAPACITY_AT_REST);
        assert_eq!(
            (window.unread(), window.fingerprint()),
            (&[8][..], fingerprint),
            "nothing is lost"
        );
    }
}

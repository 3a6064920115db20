//! What the host keeps of one key.

use std::ops::Range;

use smallvec::SmallVec;

use super::slots::outside;

/// What the host keeps of a key: its open windows, or what a process knows of it.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Entry {
    /// How many events it covers; 0 for none.
    pub count: u64,
    /// The least event time, ms since the epoch.
    pub start: i64,
    /// The greatest event time, ms since the epoch; where an operator goes by event time, when something of the entry is due.
    pub end: i64,
    /// The state version of the operator that wrote it.
    pub state_version: u32,
    /// How many of the bytes in front are gone: they are moved away once they are most.
    gone: u32,
    bytes: SmallVec<[u8; 32]>,
}

/// Bytes in front that may be gone before the others are moved.
const GONE_MIN: usize = 1 << 10;

impl Entry {
    /// One with these bytes.
    #[must_use]
    pub fn new(count: u64, (start, end): (i64, i64), state_version: u32, bytes: &[u8]) -> Self {
        Self {
            count,
            start,
            end,
            state_version,
            gone: 0,
            bytes: SmallVec::from_slice(bytes),
        }
    }

    /// The operator's accumulator, never empty; or several, or what a process keeps ([`EntryForm`](super::EntryForm)).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.gone as usize..]
    }

    /// The memory that the bytes take outside of the entry.
    pub(super) fn outside(&self) -> usize {
        outside(&self.bytes)
    }

    /// Has these bytes in place of its own.
    pub(super) fn set_bytes(&mut self, bytes: &[u8]) {
        if bytes.len() > self.bytes.capacity() {
            // With room to grow, and without a copy of what was there.
            self.bytes = SmallVec::with_capacity(bytes.len().next_power_of_two());
        }
        self.bytes.clear();
        self.gone = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Gives up its bytes, and their memory.
    pub(super) fn clear_bytes(&mut self) {
        (self.bytes, self.gone) = (SmallVec::new(), 0);
    }

    /// Puts bytes where others were. In front that uses the room of what is gone there.
    pub(super) fn replace(&mut self, range: Range<usize>, by: &[u8]) {
        let gone = self.gone as usize;
        let end = gone + range.end;
        if range.len() == by.len() {
            self.bytes[gone + range.start..end].copy_from_slice(by);
        } else if range.start == 0 && by.len() <= end {
            let start = end - by.len();
            self.bytes[start..end].copy_from_slice(by);
            self.set_gone(start);
        } else {
            self.bytes.drain(gone + range.start..end);
            self.bytes.insert_from_slice(gone + range.start, by);
        }
    }

    /// Takes bytes out. Of those in front of them and those behind them it moves the fewer, mostly.
    pub(super) fn remove(&mut self, range: Range<usize>) {
        let gone = self.gone as usize;
        let behind = self.bytes().len() - range.end;
        if range.start > behind {
            self.bytes.drain(gone + range.start..gone + range.end);
            return;
        }
        self.bytes.copy_within(gone..gone + range.start, gone + range.len());
        self.set_gone(gone + range.len());
    }

    /// Notes how many bytes are gone in front; moves the others to the front where these are too many.
    fn set_gone(&mut self, gone: usize) {
        let are_few = gone < GONE_MIN || gone < self.bytes.len() / 2;
        match u32::try_from(gone) {
            Ok(gone) if are_few => self.gone = gone,
            _ => {
                self.bytes.drain(..gone);
                self.gone = 0;
                if self.bytes.capacity() > 4 * self.bytes.len().max(GONE_MIN) {
                    self.bytes.shrink_to_fit();
                }
            }
        }
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        let head = |entry: &Self| (entry.count, entry.start, entry.end, entry.state_version);
        head(self) == head(other) && self.bytes() == other.bytes()
    }
}

impl Eq for Entry {}

/// The bytes of the first of some items, which take `total` bytes: `from_front` gives those of the next one if it is one of the first, and
/// `from_back` those of the one before if it is none. As fast as the smaller part allows.
pub(super) fn bytes_of_first(
    total: usize,
    mut from_front: impl FnMut() -> Option<usize>,
    mut from_back: impl FnMut() -> Option<usize>,
) -> usize {
    let (mut front, mut back) = (0, total);
    loop {
        let Some(bytes) = from_front() else { return front };
        front += bytes;
        let Some(bytes) = from_back() else { return back };
        back -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_wherever_they_are_taken_out_and_put_in() {
        let mut entry = Entry::default();
        let mut model: Vec<u8> = Vec::new();
        let mut random = 7_u64;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % (bound + 1)
        };
        for step in 0..20_000 {
            let by = vec![u8::try_from(step % 251).unwrap(); below(60)];
            let start = below(model.len());
            let end = start + below(model.len() - start).min(50);
            match below(5) {
                0 => {
                    entry.replace(start..end, &by);
                    model.splice(start..end, by);
                }
                1 => {
                    entry.remove(start..end);
                    model.drain(start..end);
                }
                2 | 3 => {
                    let front = below(model.len()).min(300);
                    entry.remove(0..front);
                    model.drain(..front);
                }
                _ => {
                    let at = model.len();
                    let by = [&by[..], &[9; 200]].concat();
                    entry.replace(at..at, &by);
                    model.extend(by);
                }
            }
            assert_eq!(entry.bytes(), model, "step {step}");
        }
        entry.set_bytes(b"others");
        assert_eq!(entry.bytes(), b"others");
    }
}

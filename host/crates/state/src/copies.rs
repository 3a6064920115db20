//! Entries copied at a cut.
//!
//! They lie end to end in one buffer that is kept from cut to cut: while a pipeline stands still, nothing is allocated for
//! each of them, and no page of memory is touched for the first time.

use std::ops::Range;

use super::entry::Entry;
use super::table::Record;

/// Copies of entries, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Copies {
    /// For each its key and the bytes of its entry, each behind its length (`u32`, little-endian); no bytes for a key that is
    /// to be forgotten.
    bytes: Vec<u8>,
}

impl Copies {
    /// Adds an entry of `key`, or that the key is to be forgotten.
    pub(super) fn push(&mut self, key: &[u8], entry: Option<&Entry>) {
        self.bytes.extend_from_slice(&length(key.len()));
        self.bytes.extend_from_slice(key);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        if let Some(entry) = entry {
            entry.encode_into(&mut self.bytes);
        }
        let written = length(self.bytes.len() - start - 4);
        self.bytes[start..start + 4].copy_from_slice(&written);
    }

    /// Where the next one comes.
    #[must_use]
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// Those of a range between two [`end`](Self::end)s.
    pub fn records(&self, range: Range<usize>) -> impl Iterator<Item = Record> {
        const WHOLE: &str = "copies are read as they were written";
        let mut rest = &self.bytes[range];
        let mut next = move || {
            let (length, behind) = rest.split_first_chunk()?;
            let (bytes, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
            rest = behind;
            Some(bytes)
        };
        std::iter::from_fn(move || {
            let key = next()?;
            let bytes = next().expect(WHOLE);
            let entry = (!bytes.is_empty()).then(|| Entry::decode(bytes).expect(WHOLE));
            Some((key.into(), entry))
        })
    }

    /// Forgets them, and keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("keys and accumulators are far below 4 GiB")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_copied_range_by_range() {
        let entry = |count| Entry::new(count, (0, 0), 0, b"acc");
        let mut copies = Copies::default();
        for _ in 0..2 {
            copies.push(b"a", Some(&entry(1)));
            copies.push(b"", None);
            let middle = copies.end();
            copies.push(b"b", Some(&entry(2)));
            let all = |range| copies.records(range).collect::<Vec<_>>();
            assert_eq!(
                all(0..middle),
                [(b"a".as_slice().into(), Some(entry(1))), (b"".as_slice().into(), None)]
            );
            assert_eq!(all(middle..copies.end()), [(b"b".as_slice().into(), Some(entry(2)))]);
            assert_eq!(all(middle..middle), []);
            copies.clear();
        }
    }
}

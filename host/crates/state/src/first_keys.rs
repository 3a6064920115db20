//! The first keys of very many, in the order of their bytes.
//!
//! The store has keys in the order of their partitions, tables in none. To go through all of them by their bytes, they are
//! looked through again and again, each time for the next so many that memory is spent on.

use std::collections::BTreeSet;

/// Bytes that the keys take which are kept: those of half a million that are short. As often as that goes into all keys, all of
/// them are looked at.
const BYTES_MAX: usize = 32 << 20;
/// What a key takes besides its bytes.
const KEY_OVERHEAD_BYTES: usize = 32;

/// The first keys behind one of all that it is shown, in order and each once.
#[derive(Debug)]
pub struct FirstKeys {
    after: Option<Box<[u8]>>,
    keys: BTreeSet<Box<[u8]>>,
    bytes: usize,
    bytes_max: usize,
    has_more: bool,
}

impl FirstKeys {
    /// Those behind `after`, or from the first on.
    #[must_use]
    pub fn after(after: Option<Box<[u8]>>) -> Self {
        Self::within(after, BYTES_MAX)
    }

    fn within(after: Option<Box<[u8]>>, bytes_max: usize) -> Self {
        Self {
            after,
            keys: BTreeSet::new(),
            bytes: 0,
            bytes_max,
            has_more: false,
        }
    }

    /// Shows it a key.
    pub fn show(&mut self, key: &[u8]) {
        let is_before = self.after.as_deref().is_some_and(|after| key <= after);
        let is_behind = self.has_more && self.keys.last().is_some_and(|last| key > &**last);
        if is_before || is_behind || !self.keys.insert(key.into()) {
            return;
        }
        self.bytes += key.len() + KEY_OVERHEAD_BYTES;
        while self.bytes > self.bytes_max && self.keys.len() > 1 {
            let last = self.keys.pop_last().expect("there are several");
            self.bytes -= last.len() + KEY_OVERHEAD_BYTES;
            self.has_more = true;
        }
    }

    /// The keys, and whether there are others behind them.
    pub fn into_keys(self) -> (impl Iterator<Item = Box<[u8]>>, bool) {
        (self.keys.into_iter(), self.has_more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_come_in_order_and_once_however_few_are_kept_at_a_time() {
        let all: BTreeSet<Vec<u8>> = (0..1_000_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761)).to_string().into_bytes())
            .collect();
        for kept in [1, 7, 5_000] {
            let (mut found, mut after, mut rounds) = (Vec::new(), None, 0);
            loop {
                let mut first = FirstKeys::within(after.take(), kept * (10 + KEY_OVERHEAD_BYTES));
                // Some are shown twice, as those that two layers have.
                all.iter().chain(all.iter().rev()).for_each(|key| first.show(key));
                let (keys, has_more) = first.into_keys();
                found.extend(keys.map(<[u8]>::into_vec));
                rounds += 1;
                if !has_more {
                    break;
                }
                after = found.last().map(|last| last.as_slice().into());
            }
            assert!(found.iter().eq(&all), "{kept} at a time");
            assert!(rounds >= 1_000 / (kept + 1), "{rounds} rounds of {kept}");
        }
    }
}

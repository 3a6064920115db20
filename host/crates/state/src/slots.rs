//! The slots of a table, by number.
//!
//! They lie in pieces, so that a large table grows as quickly as a small one: nothing moves, and no second copy takes memory
//! meanwhile.

use smallvec::SmallVec;

use super::entry::Entry;
use super::table::Record;
use dirigo_ground::lineage::{AFTER_ALL, Epoch};

/// Slots of a piece: 512 KiB. The first one grows up to it, since most tables of an actor per key have one slot.
const PIECE: usize = 4096;

/// Two cache lines: a look-up reads the first, a fold the second besides.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) key: SmallVec<[u8; 24]>,
    /// The turn that last touched it, and the group that its next event joins in that turn.
    pub(super) turn: u32,
    pub(super) group: u32,
    /// When it last changed, 0 for what is as the store gave it.
    pub(super) changed: Epoch,
    /// Whether the store knows, or is about to learn, an entry of the key.
    pub(super) is_stored: bool,
    /// Whether it is in the list of what changed in this epoch.
    pub(super) is_listed: bool,
    /// Whether no key has it.
    pub(super) is_free: bool,
    /// Whether it is noted when its next window in time closes.
    pub(super) is_due_noted: bool,
    pub(super) entry: Entry,
}

const _: () = assert!(size_of::<Slot>() == 128, "a slot takes two cache lines");

impl Slot {
    pub(super) fn is_open(&self) -> bool {
        self.entry.count > 0
    }

    /// Whether something of it is due at some time, where its operator goes by time.
    pub(super) fn is_due_ever(&self) -> bool {
        self.is_open() && self.entry.end != AFTER_ALL
    }

    /// What the store is to know of it; nothing of a key that came and went without its knowing.
    pub(super) fn record(&self) -> Option<Record> {
        let is_open = self.is_open();
        (is_open || self.is_stored).then(|| (self.key.as_slice().into(), is_open.then(|| self.entry.clone())))
    }

    /// The bytes of key and accumulator that don't lie within it.
    pub(super) fn outside(&self) -> usize {
        outside(&self.key) + self.entry.outside()
    }
}

/// The bytes that a vector has outside of itself.
pub(super) fn outside<const N: usize>(bytes: &SmallVec<[u8; N]>) -> usize {
    if bytes.spilled() { bytes.capacity() } else { 0 }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("an actor has fewer than 2^32 keys: each takes 128 bytes of memory")
}

/// Slots, numbered from 0.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// All are full but for the last that has any.
    pieces: Vec<Vec<Slot>>,
    len: usize,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many there may be without another piece.
    pub(super) fn capacity(&self) -> usize {
        match self.pieces.as_slice() {
            [only] => only.capacity(),
            pieces => pieces.len() * PIECE,
        }
    }

    #[inline]
    pub(super) fn at(&self, number: u32) -> &Slot {
        &self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, number: u32) -> &mut Slot {
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.pieces.iter().flatten()
    }

    /// Adds a slot; gives its number.
    pub(super) fn push(&mut self, slot: Slot) -> u32 {
        let number = number(self.len);
        let piece = self.len / PIECE;
        if piece == self.pieces.len() {
            let capacity = if piece == 0 { 0 } else { PIECE };
            self.pieces.push(Vec::with_capacity(capacity));
        }
        self.pieces[piece].push(slot);
        self.len += 1;
        number
    }

    /// The number of the last one.
    pub(super) fn last(&self) -> Option<u32> {
        self.len.checked_sub(1).map(number)
    }

    /// Takes the last one away, and the memory of a piece that nothing is left in.
    pub(super) fn pop(&mut self) -> Option<Slot> {
        let last = self.len.checked_sub(1)?;
        let slot = self.pieces[last / PIECE].pop();
        self.len = last;
        if last % PIECE == 0 {
            self.pieces.truncate(last / PIECE);
        }
        slot
    }

    /// Keeps those that `is_kept` says, under new numbers, in the same order.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(&Slot) -> bool) {
        let mut kept = 0;
        for number in 0..self.len {
            let slot = &mut self.pieces[number / PIECE][number % PIECE];
            if is_kept(slot) {
                let slot = std::mem::take(slot);
                self.pieces[kept / PIECE][kept % PIECE] = slot;
                kept += 1;
            }
        }
        for (number, piece) in self.pieces.iter_mut().enumerate() {
            piece.truncate(kept.saturating_sub(number * PIECE));
        }
        // What was needed once will most likely be needed again; not more than as much as is in use now.
        self.pieces.truncate(1 + 2 * kept.div_ceil(PIECE));
        self.len = kept;
    }
}

//! Eight bytes of a document at a time: a `u64` whose lowest byte comes first.

const HIGH_BITS: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[inline]
pub(super) const fn is_ascii(word: u64) -> bool {
    word & HIGH_BITS == 0
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
pub(super) const fn plain_bytes(word: u64) -> usize {
    let special = zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')) | control_bytes(word);
    before_mark(special)
}

/// How many digits the word begins with.
#[inline]
pub(super) const fn digits(word: u64) -> usize {
    let offsets = word ^ repeat(b'0');
    let others = (((offsets & !HIGH_BITS) + repeat(0x80 - 10)) | offsets) & HIGH_BITS;
    before_mark(others)
}

/// Marks the high bit of each zero byte; above the lowest mark there may be false ones.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & HIGH_BITS
}

/// Marks the high bit of each byte below 0x20; above the lowest mark there may be false ones.
const fn control_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x20)) & !word & HIGH_BITS
}

/// How many bytes come before the lowest mark: 8 without any.
const fn before_mark(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

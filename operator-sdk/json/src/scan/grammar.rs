//! The grammar of JSON: where a value that begins here ends, if it is one.
//!
//! Knows nothing of fields.

use std::num::NonZeroUsize;

use super::word::{self, Marks, WIDTH, Word};

/// Containers that may stand inside each other. `serde_json` draws the same line for typed events; a `u128` holds one
/// bit for each.
const DEPTH_MAX: u32 = 128;

/// Where something ends. It is never the start of the document, so that its absence takes no room: an end that may be
/// missing travels in one register.
pub(in super::super) type End = NonZeroUsize;

#[derive(Clone, Copy)]
pub(in super::super) struct Scanner<'d> {
    pub(in super::super) document: &'d [u8],
}

#[allow(
    clippy::redundant_closure,
    reason = "a function with target features of its own is no `Fn`, a closure that calls it is"
)]
impl<'d> Scanner<'d> {
    /// Reads any value, of which this is the first byte.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    pub(super) fn value(self, first: u8, at: usize) -> Option<End> {
        match first {
            b'"' => self.string(at),
            b'{' | b'[' => self.container(at),
            _ => self.scalar(first, at),
        }
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[cfg_attr(target_arch = "wasm32", inline)]
    #[cfg_attr(not(target_arch = "wasm32"), inline(always))]
    #[allow(
        clippy::inline_always,
        reason = "left to the compiler, it is inlined where layouts are compared or not, as other crates change: 7 % of reading JSON"
    )]
    pub(in super::super) fn scalar(self, first: u8, at: usize) -> Option<End> {
        match first {
            b'"' => self.string(at),
            b'-' | b'0'..=b'9' => self.number(first, at),
            _ => self.literal(first, at),
        }
    }

    /// Reads an object or array without recursion: a guest's stack is small, and a document may be nested on purpose.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn container(self, at: usize) -> Option<End> {
        // The lowest bit tells the innermost container: 1 for an object, 0 for an array.
        let (mut nesting, mut depth) = (0_u128, 0_u32);
        let (mut first, mut at) = (self.byte(at)?, at);
        loop {
            // Here begins a value.
            if first == b'{' || first == b'[' {
                let is_object = first == b'{';
                (first, at) = self.token(at + 1)?;
                if first != if is_object { b'}' } else { b']' } {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    (nesting, depth) = (nesting << 1 | u128::from(is_object), depth + 1);
                    if is_object {
                        (first, at) = self.behind_name(at)?;
                    }
                    continue;
                }
                at += 1;
            } else {
                at = self.scalar(first, at)?.get();
            }
            // Here ends one, and perhaps the containers around it.
            loop {
                if depth == 0 {
                    return End::new(at);
                }
                (first, at) = self.token(at)?;
                let is_object = nesting & 1 == 1;
                match first {
                    b',' => break,
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                (nesting, depth, at) = (nesting >> 1, depth - 1, at + 1);
            }
            (first, at) = self.token(at + 1)?;
            if nesting & 1 == 1 {
                (first, at) = self.behind_name(at)?;
            }
        }
    }

    /// Reads the name of a member, up to its value: its first byte and where that is.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn behind_name(self, at: usize) -> Option<(u8, usize)> {
        if self.byte(at)? != b'"' {
            return None;
        }
        self.value_behind_name(self.string(at)?.get())
    }

    /// Reads the colon behind a name.
    #[inline]
    pub(super) fn value_behind_name(self, at: usize) -> Option<(u8, usize)> {
        let [colon, first] = self.pair(at).to_le_bytes();
        if colon == b':' && first > b' ' {
            Some((first, at + 1))
        } else {
            let at = self.value_behind_blanks(at)?.get();
            Some((self.byte(at)?, at))
        }
    }

    #[inline(never)]
    fn value_behind_blanks(self, at: usize) -> Option<End> {
        match self.token(at)? {
            (b':', at) => End::new(self.token(at + 1)?.1),
            _ => None,
        }
    }

    /// Reads a string, of which the quote is here.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    pub(super) fn string(self, at: usize) -> Option<End> {
        match self.plain_string(at) {
            Some(end) => Some(end),
            None => self.any_string(at),
        }
    }

    /// Reads a string of a few ASCII characters that stand for themselves, as most are.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    pub(super) fn plain_string(self, at: usize) -> Option<End> {
        let start = at + 1;
        let marks = match self.word(start) {
            Some(word) => word::not_plain(word),
            None => self.last_marks(start, |word| word::not_plain(word)),
        };
        let end = start + marks.trailing_zeros() as usize;
        if marks != 0 && self.byte(end)? == b'"' {
            End::new(end + 1)
        } else {
            None
        }
    }

    /// Reads any string.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    pub(super) fn any_string(self, at: usize) -> Option<End> {
        let (mut end, mut is_ascii) = (at + 1, true);
        loop {
            end = self.plain_end(end);
            match self.byte(end)? {
                b'"' => break,
                b'\\' => end = self.escape(end + 1)?.get(),
                0x80.. => {
                    is_ascii = false;
                    while !self.byte(end)?.is_ascii() {
                        end += 1;
                    }
                }
                _ => return None,
            }
        }
        if is_ascii || std::str::from_utf8(&self.document[at + 1..end]).is_ok() {
            End::new(end + 1)
        } else {
            None
        }
    }

    /// Where the plain part of a string ends, at the latest with the document.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    pub(super) fn plain_end(self, mut at: usize) -> usize {
        loop {
            let marks = match self.word(at) {
                Some(word) => word::not_plain(word),
                None => self.last_marks(at, |word| word::not_plain(word)),
            };
            if marks != 0 {
                return at + marks.trailing_zeros() as usize;
            }
            at += WIDTH;
        }
    }

    /// Reads an escape behind its backslash.
    #[cold]
    pub(super) fn escape(self, at: usize) -> Option<End> {
        match self.byte(at)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => End::new(at + 1),
            // Half of a surrogate pair stands for no character, but JSON allows it where no one looks at it.
            b'u' => {
                let digits = self.document.get(at + 1..at + 5)?;
                if digits.iter().all(u8::is_ascii_hexdigit) {
                    End::new(at + 5)
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    /// Reads a number, of which this is the first byte.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    fn number(self, first: u8, at: usize) -> Option<End> {
        match self.short_number(first, at) {
            Some(end) => Some(end),
            None => self.any_number(at),
        }
    }

    /// Reads a number that has no exponent and fits into one word, as most do.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    fn short_number(self, first: u8, at: usize) -> Option<End> {
        let start = at + usize::from(first == b'-');
        let marks = match self.word(start) {
            Some(word) => word::no_digits(word),
            None => self.last_marks(start, |word| word::no_digits(word)),
        };
        let mut digits = marks.trailing_zeros() as usize;
        let first_digit = if first == b'-' { self.byte(start)? } else { first };
        if marks == 0 || digits == 0 || (digits > 1 && first_digit == b'0') {
            return None;
        }
        let mut behind = self.byte(start + digits)?;
        if behind == b'.' {
            let others = marks & (marks - 1);
            let fraction_end = others.trailing_zeros() as usize;
            if others == 0 || fraction_end == digits + 1 {
                return None;
            }
            digits = fraction_end;
            behind = self.byte(start + digits)?;
        }
        // What else may not follow a number, may not follow a value either: that is left to whoever reads on.
        match behind {
            b'e' | b'E' => None,
            _ => End::new(start + digits),
        }
    }

    /// Reads any number: the end of the document may be its end.
    #[inline(never)]
    fn any_number(self, start: usize) -> Option<End> {
        let at = start + usize::from(self.is_at(start, b'-'));
        let mut end = if self.is_at(at, b'0') {
            at + 1
        } else {
            self.digits(at)?.get()
        };
        if self.is_at(end, b'.') {
            end = self.digits(end + 1)?.get();
        }
        if self.is_at(end, b'e') || self.is_at(end, b'E') {
            let has_sign = self.is_at(end + 1, b'-') || self.is_at(end + 1, b'+');
            end = self.digits(end + 1 + usize::from(has_sign))?.get();
        }
        End::new(end)
    }

    /// Reads one digit or more.
    pub(super) fn digits(self, start: usize) -> Option<End> {
        let mut at = start;
        while self.byte(at).is_some_and(|byte| byte.is_ascii_digit()) {
            at += 1;
        }
        if at > start { End::new(at) } else { None }
    }

    #[inline(never)]
    fn literal(self, first: u8, at: usize) -> Option<End> {
        let literal: &[u8] = match first {
            b't' => b"true",
            b'f' => b"false",
            b'n' => b"null",
            _ => return None,
        };
        if self.document[at..].starts_with(literal) {
            End::new(at + literal.len())
        } else {
            None
        }
    }

    /// The next byte that is not whitespace, and where it is.
    #[inline]
    pub(in super::super) fn token(self, at: usize) -> Option<(u8, usize)> {
        match self.byte(at)? {
            0..=b' ' => self.token_behind_blanks(at),
            byte => Some((byte, at)),
        }
    }

    fn token_behind_blanks(self, mut at: usize) -> Option<(u8, usize)> {
        loop {
            match self.byte(at)? {
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                byte => return Some((byte, at)),
            }
        }
    }

    pub(super) fn is_blank_from(self, at: usize) -> bool {
        self.token(at).is_none()
    }

    #[inline]
    pub(in super::super) fn byte(self, at: usize) -> Option<u8> {
        self.document.get(at).copied()
    }

    /// Two bytes, the first one lowest; zero where there are not two any more.
    #[inline]
    pub(super) fn pair(self, at: usize) -> u16 {
        match self.document.get(at..at.wrapping_add(2)) {
            Some(&[first, second]) => u16::from_le_bytes([first, second]),
            _ => 0,
        }
    }

    #[inline]
    fn is_at(self, at: usize, byte: u8) -> bool {
        self.byte(at) == Some(byte)
    }

    #[inline]
    fn word(self, at: usize) -> Option<&'d Word> {
        self.document.get(at..)?.first_chunk()
    }

    /// The marks from here on where the document has no whole word any more; its end is marked too.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn last_marks(self, at: usize, marks: impl Fn(&Word) -> Marks) -> Marks {
        let left = self.document.len() - at;
        match self.document.last_chunk() {
            Some(word) => marks(word) >> (WIDTH - left) | 1 << left,
            None => self.padded_marks(left, marks),
        }
    }

    /// The marks of the last bytes of a document that is shorter than a word. Zeros behind them are marked in any case.
    #[cold]
    #[inline(never)]
    fn padded_marks(self, left: usize, marks: impl Fn(&Word) -> Marks) -> Marks {
        let mut word = [0; WIDTH];
        word[..left].copy_from_slice(&self.document[self.document.len() - left..]);
        marks(&word)
    }
}

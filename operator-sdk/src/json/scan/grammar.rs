//! The grammar of JSON: where a value that begins here ends, if it is one.
//!
//! Knows nothing of fields.

use std::{cell::Cell, num::NonZeroUsize};

use super::word;

/// Containers that may stand inside each other. `serde_json` draws the same line for typed events; a `u128` holds one
/// bit for each.
const DEPTH_MAX: u32 = 128;

/// Where something ends. It is never the start of the document, so that its absence takes no room: an end that may be
/// missing travels in one register.
pub(super) type End = NonZeroUsize;

pub(super) struct Scanner<'d> {
    pub(super) document: &'d [u8],
    /// Whether any string so far has an escape. Without, names are equal if their bytes are.
    pub(super) has_escapes: Cell<bool>,
}

impl Scanner<'_> {
    /// Reads any value, of which this is the first byte.
    #[inline]
    pub(super) fn value(&self, first: u8, at: usize) -> Option<End> {
        match first {
            b'{' | b'[' => self.container(at),
            _ => self.scalar(first, at),
        }
    }

    #[inline]
    pub(super) fn scalar(&self, first: u8, at: usize) -> Option<End> {
        match first {
            b'"' => self.string(at),
            b'-' | b'0'..=b'9' => self.number(at),
            b't' => self.literal(at, b"true"),
            b'f' => self.literal(at, b"false"),
            b'n' => self.literal(at, b"null"),
            _ => None,
        }
    }

    /// Reads an object or array without recursion: a guest's stack is small, and a document may be nested on purpose.
    fn container(&self, at: usize) -> Option<End> {
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
    fn behind_name(&self, at: usize) -> Option<(u8, usize)> {
        if self.byte(at)? != b'"' {
            return None;
        }
        self.value_behind_name(self.string(at)?.get())
    }

    /// Reads the colon behind a name.
    #[inline]
    pub(super) fn value_behind_name(&self, at: usize) -> Option<(u8, usize)> {
        match self.token(at)? {
            (b':', at) => self.token(at + 1),
            _ => None,
        }
    }

    /// Reads a string, of which the quote is here.
    pub(super) fn string(&self, at: usize) -> Option<End> {
        let start = at + 1;
        let mut at = start;
        let mut is_ascii = true;
        loop {
            while let Some(word) = self.word(at) {
                is_ascii &= word::is_ascii(word);
                let plain = word::plain_bytes(word);
                at += plain;
                if plain < 8 {
                    break;
                }
            }
            match self.byte(at)? {
                b'"' => break,
                b'\\' => at = self.escape(at + 1)?.get(),
                0..0x20 => return None,
                byte => {
                    is_ascii &= byte.is_ascii();
                    at += 1;
                }
            }
        }
        if is_ascii || std::str::from_utf8(&self.document[start..at]).is_ok() {
            End::new(at + 1)
        } else {
            None
        }
    }

    /// Reads an escape behind its backslash.
    #[cold]
    fn escape(&self, at: usize) -> Option<End> {
        self.has_escapes.set(true);
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

    /// Reads a number: the end of the document may be its end.
    fn number(&self, start: usize) -> Option<End> {
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
    #[inline]
    fn digits(&self, start: usize) -> Option<End> {
        let mut at = start;
        while let Some(word) = self.word(at) {
            let digits = word::digits(word);
            at += digits;
            if digits < 8 {
                return if at > start { End::new(at) } else { None };
            }
        }
        while self.byte(at).is_some_and(|byte| byte.is_ascii_digit()) {
            at += 1;
        }
        if at > start { End::new(at) } else { None }
    }

    fn literal(&self, at: usize, literal: &[u8]) -> Option<End> {
        if self.document[at..].starts_with(literal) {
            End::new(at + literal.len())
        } else {
            None
        }
    }

    /// The next byte that is not whitespace, and where it is.
    #[inline]
    pub(super) fn token(&self, mut at: usize) -> Option<(u8, usize)> {
        loop {
            match self.byte(at)? {
                b' ' | b'\t' | b'\n' | b'\r' => at += 1,
                byte => return Some((byte, at)),
            }
        }
    }

    pub(super) fn is_blank_from(&self, at: usize) -> bool {
        self.token(at).is_none()
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.document.get(at).copied()
    }

    #[inline]
    fn is_at(&self, at: usize, byte: u8) -> bool {
        self.byte(at) == Some(byte)
    }

    #[inline]
    fn word(&self, at: usize) -> Option<u64> {
        let bytes = self.document.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }
}

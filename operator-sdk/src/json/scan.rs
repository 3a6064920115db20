//! One pass over a JSON document, which checks all of it and notes where the wanted fields are.
//!
//! It builds nothing: what it returns are positions in the document. It is written by hand because it runs once per
//! event in every built-in operator: over a sensor reading of 70 bytes it takes a third of the time of the same pass
//! with `serde_json`'s visitors. It accepts what `serde_json` accepts, which its tests check on mutated documents, and
//! leaves it to `serde_json` to say what is wrong with the others.

#![allow(
    clippy::inline_always,
    reason = "left to itself the compiler keeps the place in memory between the small functions: 15 % slower"
)]

use std::ops::Range;

use super::Field;

/// Containers that may stand inside each other. `serde_json` draws the same line; a `u128` holds one bit for each.
const DEPTH_MAX: u32 = 128;

/// Where a field is in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// Its value is here.
    Found(Range<usize>),
    /// The object that it belongs to has no such field; a new one would go here, behind a comma unless it is the first.
    Absent { end: usize, is_first: bool },
    /// There is no object or array that it could belong to.
    Unreachable,
}

/// Reads the whole document and finds the fields, or returns `None` if it is not JSON.
///
/// Of fields that stand twice in an object the last one counts, as in most parsers.
#[inline]
pub(super) fn locate<const N: usize>(document: &[u8], fields: [&Field; N]) -> Option<[Spot; N]> {
    const { assert!(N <= 32, "one bit of a u32 for each field") };
    let mut search = Search {
        fields,
        spots: [const { Spot::Unreachable }; N],
    };
    let mut scanner = Scanner { document, at: 0 };
    scanner.whitespace();
    scanner.at = scanner.search(&mut search, 0, u32::MAX >> (32 - N))?;
    scanner.whitespace();
    (scanner.at == document.len()).then_some(search.spots)
}

/// The fields that are looked for and what is known of them. `wanted` below is a set of them, one bit for each.
struct Search<'f, const N: usize> {
    fields: [&'f Field; N],
    spots: [Spot; N],
}

impl<const N: usize> Search<'_, N> {
    /// Which of the wanted fields lead through the step that `is_step` recognises.
    #[inline(always)]
    fn through(&self, wanted: u32, depth: usize, mut is_step: impl FnMut(&super::Step) -> bool) -> u32 {
        (0..N)
            .filter(|&i| wanted & (1 << i) != 0 && is_step(&self.fields[i].steps[depth]))
            .fold(0, |set, i| set | 1 << i)
    }

    /// The wanted fields that end at this depth, by number.
    #[inline(always)]
    fn ending(&self, wanted: u32, depth: usize) -> impl Iterator<Item = usize> + use<N> {
        let ends: [bool; N] = std::array::from_fn(|i| self.fields[i].steps.len() == depth + 1);
        (0..N).filter(move |&i| wanted & (1 << i) != 0 && ends[i])
    }

    /// Those of `wanted` that lead on beyond this depth.
    #[inline(always)]
    fn beyond(&self, wanted: u32, depth: usize) -> u32 {
        self.ending(wanted, depth).fold(wanted, |set, i| set & !(1 << i))
    }
}

/// A place in the document.
///
/// The methods that take it by reference are inlined, the others take a copy and return where they got to: so the place
/// stays in a register.
#[derive(Clone, Copy)]
struct Scanner<'d> {
    document: &'d [u8],
    at: usize,
}

/// The content of a string, between its quotes.
struct Text<'d> {
    content: &'d [u8],
    has_escapes: bool,
}

impl Text<'_> {
    #[inline(always)]
    fn is(&self, name: &str) -> bool {
        if self.has_escapes {
            self.unescaped().is_some_and(|text| text == name)
        } else {
            self.content == name.as_bytes()
        }
    }

    #[cold]
    fn unescaped(&self) -> Option<String> {
        serde_json::from_slice(&[b"\"", self.content, b"\""].concat()).ok()
    }
}

impl<'d> Scanner<'d> {
    /// Reads a value in which fields are wanted.
    fn search<const N: usize>(mut self, search: &mut Search<'_, N>, depth: usize, wanted: u32) -> Option<usize> {
        match self.peek()? {
            b'{' => self.search_object(search, depth, wanted)?,
            b'[' => self.search_array(search, depth, wanted)?,
            _ => self.scalar()?,
        }
        Some(self.at)
    }

    #[inline(always)]
    fn search_object<const N: usize>(&mut self, search: &mut Search<'_, N>, depth: usize, wanted: u32) -> Option<()> {
        self.at += 1;
        self.whitespace();
        let mut end = self.at;
        let is_empty = self.skip_if(b'}');
        let mut is_open = !is_empty;
        while is_open {
            let name = self.name()?;
            let here = search.through(wanted, depth, |step| name.is(&step.name));
            self.search_member(search, depth, here)?;
            end = self.at;
            self.whitespace();
            match self.next()? {
                b',' => self.whitespace(),
                b'}' => is_open = false,
                _ => return None,
            }
        }
        for i in search.ending(wanted, depth) {
            if search.spots[i] == Spot::Unreachable {
                search.spots[i] = Spot::Absent {
                    end,
                    is_first: is_empty,
                };
            }
        }
        Some(())
    }

    #[inline(always)]
    fn search_array<const N: usize>(&mut self, search: &mut Search<'_, N>, depth: usize, wanted: u32) -> Option<()> {
        self.at += 1;
        self.whitespace();
        if self.skip_if(b']') {
            return Some(());
        }
        for index in 0.. {
            let here = search.through(wanted, depth, |step| step.index == Some(index));
            self.search_member(search, depth, here)?;
            self.whitespace();
            match self.next()? {
                b',' => self.whitespace(),
                b']' => break,
                _ => return None,
            }
        }
        Some(())
    }

    /// Reads the value of a member that the fields `here` lead to or through.
    #[inline(always)]
    fn search_member<const N: usize>(&mut self, search: &mut Search<'_, N>, depth: usize, here: u32) -> Option<()> {
        let start = self.at;
        if here == 0 {
            return self.value();
        }
        let beyond = search.beyond(here, depth);
        if beyond == 0 {
            self.value()?;
        } else {
            for i in (0..N).filter(|&i| beyond & (1 << i) != 0) {
                search.spots[i] = Spot::Unreachable;
            }
            self.at = self.search(search, depth + 1, beyond)?;
        }
        for i in search.ending(here, depth) {
            search.spots[i] = Spot::Found(start..self.at);
        }
        Some(())
    }

    /// Reads any value.
    #[inline(always)]
    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' => self.at = self.container()?,
            _ => self.scalar()?,
        }
        Some(())
    }

    #[inline(always)]
    fn scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => None,
        }
    }

    /// Reads an object or array without recursion: a guest's stack is small, and a document may be nested on purpose.
    fn container(mut self) -> Option<usize> {
        // The lowest bit tells the innermost container: 1 for an object, 0 for an array.
        let (mut nesting, mut depth) = (0_u128, 0_u32);
        loop {
            let opener = self.peek()?;
            if opener == b'{' || opener == b'[' {
                self.at += 1;
                self.whitespace();
                let is_object = opener == b'{';
                if !self.skip_if(if is_object { b'}' } else { b']' }) {
                    if depth == DEPTH_MAX {
                        return None;
                    }
                    (nesting, depth) = (nesting << 1 | u128::from(is_object), depth + 1);
                    if is_object {
                        self.name()?;
                    }
                    continue;
                }
            } else {
                self.scalar()?;
            }
            loop {
                if depth == 0 {
                    return Some(self.at);
                }
                self.whitespace();
                match (self.next()?, nesting & 1 == 1) {
                    (b'}', true) | (b']', false) => (nesting, depth) = (nesting >> 1, depth - 1),
                    (b',', is_object) => {
                        self.whitespace();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    _ => return None,
                }
            }
        }
    }

    /// Reads the name of an object's member, up to its value.
    #[inline(always)]
    fn name(&mut self) -> Option<Text<'d>> {
        let name = self.string()?;
        self.whitespace();
        if self.next()? != b':' {
            return None;
        }
        self.whitespace();
        Some(name)
    }

    #[inline(always)]
    fn string(&mut self) -> Option<Text<'d>> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at;
        let (mut has_escapes, mut high_bits) = (false, 0);
        loop {
            high_bits |= self.plain_words();
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    self.at = self.escape()?;
                }
                0..0x20 => return None,
                byte => high_bits |= u64::from(byte),
            }
        }
        let content = &self.document[start..self.at - 1];
        (high_bits & HIGH_BITS == 0 || std::str::from_utf8(content).is_ok()).then_some(Text { content, has_escapes })
    }

    /// Goes to the next quote, backslash or control character, or to the last few bytes of the document, eight bytes at
    /// a time. Returns the bits of all bytes that it saw: whether one of them is not ASCII.
    #[inline(always)]
    fn plain_words(&mut self) -> u64 {
        let mut seen = 0;
        while let Some(word) = self.document[self.at..].first_chunk::<8>() {
            let word = u64::from_le_bytes(*word);
            seen |= word;
            let special = zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\')) | control_bytes(word);
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                break;
            }
            self.at += 8;
        }
        seen
    }

    /// Reads an escape behind its backslash.
    #[cold]
    fn escape(mut self) -> Option<usize> {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
            // Half of a surrogate pair stands for no character, but JSON allows it where no one looks at it.
            b'u' => (0..4).try_for_each(|_| self.next().filter(u8::is_ascii_hexdigit).map(drop))?,
            _ => return None,
        }
        Some(self.at)
    }

    #[inline(always)]
    fn number(&mut self) -> Option<()> {
        self.skip_if(b'-');
        if !self.skip_if(b'0') {
            self.digits()?;
        }
        if self.skip_if(b'.') {
            self.digits()?;
        }
        if self.skip_if(b'e') || self.skip_if(b'E') {
            if !self.skip_if(b'-') {
                self.skip_if(b'+');
            }
            self.digits()?;
        }
        Some(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(word) = self.document[self.at..].first_chunk::<8>() {
            let others = other_than_digits(u64::from_le_bytes(*word));
            if others != 0 {
                self.at += others.trailing_zeros() as usize / 8;
                return (self.at > start).then_some(());
            }
            self.at += 8;
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    #[inline(always)]
    fn literal(&mut self, word: &[u8]) -> Option<()> {
        let matches = self.document[self.at..].starts_with(word);
        self.at += word.len();
        matches.then_some(())
    }

    #[inline(always)]
    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.document.get(self.at).copied()
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn skip_if(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }
}

const HIGH_BITS: u64 = repeat(0x80);

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks the high bit of each zero byte; above the lowest mark there may be false ones.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & HIGH_BITS
}

/// Marks the high bit of each byte below 0x20; above the lowest mark there may be false ones.
const fn control_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x20)) & !word & HIGH_BITS
}

/// Marks the high bit of each byte that is not an ASCII digit.
const fn other_than_digits(word: u64) -> u64 {
    let offsets = word ^ repeat(b'0');
    (((offsets & !HIGH_BITS) + repeat(0x80 - 10)) | offsets) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// Whether the document is JSON, on which both parsers have to agree.
    fn is_json(document: &[u8]) -> bool {
        let field = Field::new("/a/1/b").unwrap();
        let ours = locate(document, [&field]).is_some();
        let text = std::str::from_utf8(document);
        let theirs = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(document));
        ours
    }

    #[test]
    fn what_is_json_is_accepted() {
        for document in [
            r#"{"sensor":"s-0042","ts":1700000000000,"value":21.53}"#,
            r#" { "a" : [ 1 , { "b" : [ ] , "c" : { } } ] , "d" : null } "#,
            r#"[-0,0.5,-1e9,1E+10,12345678901234567890,1.5e-300,true,false,null,"",[],{}]"#,
            r#""\u00e9\ud83d\ude00\n\"\\\/ grün, and longer than eight bytes""#,
            "7",
        ] {
            assert!(is_json(document.as_bytes()), "{document}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let structure = [
            "",
            " ",
            "{",
            "[1,]",
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            "{a:1}",
            "[1}",
            "1 2",
            "{} []",
            "'a'",
        ];
        let scalars = [
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "1e+",
            "tru",
            "nulll",
            "\u{feff}1",
            "\"",
        ];
        let strings = [r#""\x""#, r#""\u12""#, "\"a\tb\"", "\"12345678\u{0}\""];
        for document in [&structure[..], &scalars, &strings].concat() {
            assert!(!is_json(document.as_bytes()), "{document}");
        }
        assert!(!is_json(b"\"\xff\""));
        assert!(!is_json(b"\"\xed\xa0\x80\""), "a surrogate is not UTF-8");
    }

    #[test]
    fn mutated_documents_are_judged_as_serde_json_judges_them() {
        const ALPHABET: &[u8] = b"{}[]:,\"\\ \n\x00\x1f\x7f\x80\xc3\xa9\xff0123456789.-+eEtrufalsnbd/";
        let seeds = [
            r#"{"sensor":"s-0042","ts":1700000000000,"value":21.53,"ok":true}"#,
            r#"{"a":[0,{"b":"\ud83d\ude00\n","c":{}},[]],"x":null,"y":-1.5e-7,"z":[[[{}]]]}"#,
            r#"["grün und länger als acht",{"a":[1,{"b":false}]}, 12 , 1E5 ]"#,
        ];
        // A plain congruential generator: the same mutations in every run.
        let mut state = 1_u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % n
        };
        let (rounds, mut accepted) = (60_000, 0);
        for round in 0..rounds {
            let mut document = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..=below(3) {
                let (at, byte) = (below(document.len()), ALPHABET[below(ALPHABET.len())]);
                match below(4) {
                    0 => document[at] = byte,
                    1 => document.insert(at, byte),
                    2 if document.len() > 1 => drop(document.remove(at)),
                    _ => document.truncate(at + 1),
                }
            }
            accepted += usize::from(is_json(&document));
        }
        assert!(
            (rounds / 100..rounds / 2).contains(&accepted),
            "mutations should break many, not all: {accepted}"
        );
    }

    #[test]
    fn nesting_has_a_limit_and_needs_no_stack() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        let field = Field::new("a").unwrap();
        assert!(locate(&nested(127), [&field]).is_some());
        assert!(locate(&nested(1_000_000), [&field]).is_none());
    }
}

//! One pass over a JSON document, which checks all of it and notes where the wanted fields are.
//!
//! It builds nothing: what it returns are positions in the document. It is written by hand because it runs once per
//! event in every built-in operator: over a sensor reading of 70 bytes all of `builtin:filter` burns 1,500 fuel in a
//! component, this pass alone with `serde_json`'s visitors 3,600. It accepts what `serde_json` accepts, which its tests
//! check on mutated documents; what is wrong with the others, `fault` finds out.

pub(super) mod fault;
mod grammar;
mod word;

use self::grammar::End;
pub(super) use self::grammar::Scanner;
use super::{Field, field::Step};

/// Where a field is in a document.
///
/// All of it is words, so that moving one takes few instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Spot {
    /// Its value is here.
    Found { start: usize, end: usize },
    /// The object that it belongs to has no such field; a new one would go here, behind so many commas: one, unless the
    /// object is empty.
    Absent { end: usize, commas: usize },
    /// There is no object or array that it could belong to.
    Unreachable,
}

/// Reads the whole document, notes where the fields are, and returns whether it is JSON at all.
///
/// Of fields that stand twice in an object the last one counts, as in most parsers.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
pub(super) fn locate<const N: usize>(document: &[u8], search: &mut Search<'_, N>) -> bool {
    const { assert!(N <= 32, "one bit of a u32 for each field") };
    let scanner = Scanner { document };
    let end = match scanner.token(0) {
        Some((first, start)) if N == 0 => scanner.value(first, start),
        Some((first, start)) => scanner.search(first, start, search, 0, all_of(N)),
        None => None,
    };
    end.is_some_and(|end| end.get() == document.len() || scanner.is_blank_from(end.get()))
}

/// A set of so many fields.
#[inline]
const fn all_of(fields: usize) -> u32 {
    match fields {
        0 => 0,
        _ => u32::MAX >> (32 - fields),
    }
}

/// The fields that are looked for and what is known of them. `wanted` below is a set of them, one bit for each.
pub(super) struct Search<'f, const N: usize> {
    fields: [&'f Field; N],
    pub(super) spots: [Spot; N],
}

impl<'f, const N: usize> Search<'f, N> {
    #[inline]
    pub(super) fn new(fields: [&'f Field; N]) -> Search<'f, N> {
        Search {
            fields,
            spots: [Spot::Unreachable; N],
        }
    }

    /// The steps that the wanted fields take at this depth.
    #[inline]
    fn steps(&self, wanted: u32, depth: usize) -> [Option<&'f Step>; N] {
        let mut steps = [None; N];
        for (i, field) in self.fields.iter().enumerate() {
            if wanted & (1 << i) != 0 {
                steps[i] = field.steps.get(depth);
            }
        }
        steps
    }

    /// Those of `wanted` that lead on beyond this depth.
    #[inline]
    fn beyond(&self, wanted: u32, depth: usize) -> u32 {
        let mut set = wanted;
        for (i, field) in self.fields.iter().enumerate() {
            if field.steps.len() == depth + 1 {
                set &= !(1 << i);
            }
        }
        set
    }

    #[inline]
    fn set(&mut self, those: u32, spot: Spot) {
        for i in (0..N).filter(|i| those & (1 << i) != 0) {
            self.spots[i] = spot;
        }
    }

    /// Notes for those that were not found in an object where they could be.
    #[inline]
    fn set_absent(&mut self, those: u32, end: usize, commas: usize) {
        for i in (0..N).filter(|i| those & (1 << i) != 0) {
            if self.spots[i] == Spot::Unreachable {
                self.spots[i] = Spot::Absent { end, commas };
            }
        }
    }
}

/// Which of the steps are those that `is_step` recognises.
#[inline]
fn through<const N: usize>(steps: &[Option<&Step>; N], mut is_step: impl FnMut(&Step) -> bool) -> u32 {
    let mut set = 0;
    for (i, step) in steps.iter().enumerate() {
        if step.is_some_and(&mut is_step) {
            set |= 1 << i;
        }
    }
    set
}

impl Scanner<'_> {
    /// Reads a value in which fields are wanted.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn search<const N: usize>(
        self,
        first: u8,
        at: usize,
        search: &mut Search<'_, N>,
        depth: usize,
        wanted: u32,
    ) -> Option<End> {
        match first {
            b'{' => self.search_object(at, search, depth, wanted),
            b'[' => self.search_array(at, search, depth, wanted),
            _ => self.scalar(first, at),
        }
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn search_object<const N: usize>(
        self,
        start: usize,
        search: &mut Search<'_, N>,
        depth: usize,
        wanted: u32,
    ) -> Option<End> {
        let (first, mut at) = self.token(start + 1)?;
        let mut end = start + 1;
        if first == b'"' {
            let names = Names::new(search.steps(wanted, depth));
            loop {
                let (name_end, is_plain) = match self.plain_string(at) {
                    Some(end) => (end.get(), true),
                    None => (self.any_string(at)?.get(), false),
                };
                let (first, value) = self.value_behind_name(name_end)?;
                let here = names.through(self.document, at, name_end, is_plain);
                end = match here {
                    0 => self.value(first, value)?.get(),
                    _ => self.member(first, value, search, depth, here)?.get(),
                };
                if self.pair(end) == u16::from_le_bytes(*b",\"") {
                    at = end + 1;
                    continue;
                }
                at = self.behind_member(end)?.get();
                if self.byte(at)? != b'"' {
                    break;
                }
            }
        } else if first != b'}' {
            return None;
        }
        search.set_absent(wanted & !search.beyond(wanted, depth), end, usize::from(first == b'"'));
        End::new(at + 1)
    }

    /// Reads on to the next name of an object, or to its end.
    #[inline(never)]
    fn behind_member(self, end: usize) -> Option<End> {
        match self.token(end)? {
            (b',', at) => match self.token(at + 1)? {
                (b'"', at) => End::new(at),
                _ => None,
            },
            (b'}', at) => End::new(at),
            _ => None,
        }
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn search_array<const N: usize>(
        self,
        start: usize,
        search: &mut Search<'_, N>,
        depth: usize,
        wanted: u32,
    ) -> Option<End> {
        let (mut byte, mut at) = self.token(start + 1)?;
        if byte == b']' {
            return End::new(at + 1);
        }
        let mut index = 0;
        let steps = search.steps(wanted, depth);
        loop {
            let here = through(&steps, |step| step.index == Some(index));
            (byte, at) = self.token(self.member(byte, at, search, depth, here)?.get())?;
            match byte {
                b',' => (byte, at) = self.token(at + 1)?,
                b']' => return End::new(at + 1),
                _ => return None,
            }
            index += 1;
        }
    }

    /// Reads the value of a member that the fields `here` lead to or through.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn member<const N: usize>(
        self,
        first: u8,
        at: usize,
        search: &mut Search<'_, N>,
        depth: usize,
        here: u32,
    ) -> Option<End> {
        let beyond = search.beyond(here, depth);
        let end = if beyond == 0 {
            self.value(first, at)?
        } else {
            search.set(beyond, Spot::Unreachable);
            self.search(first, at, search, depth + 1, beyond)?
        };
        if here != 0 {
            let found = Spot::Found {
                start: at,
                end: end.get(),
            };
            search.set(here & !beyond, found);
        }
        Some(end)
    }
}

/// The names that are looked for in one object.
struct Names<'f, const N: usize> {
    steps: [Option<&'f Step>; N],
    /// How long each is in its quotes: most names are told apart by that. Zero stands for no name.
    lengths: [usize; N],
}

impl<'f, const N: usize> Names<'f, N> {
    #[inline]
    fn new(steps: [Option<&'f Step>; N]) -> Names<'f, N> {
        let length = |step: Option<&Step>| step.map_or(0, |step| step.name.len() + 2);
        Names {
            steps,
            lengths: steps.map(length),
        }
    }

    /// Which of the fields lead through the member whose name, in its quotes, lies from here to there.
    #[inline]
    fn through(&self, document: &[u8], at: usize, end: usize, is_plain: bool) -> u32 {
        let mut candidates = 0;
        for (i, &length) in self.lengths.iter().enumerate() {
            candidates |= u32::from(length == end - at) << i;
        }
        if candidates == 0 && is_plain {
            return 0;
        }
        let content = &document[at + 1..end - 1];
        if is_plain {
            through(&self.steps, |step| is_same(content, step.name.as_bytes()))
        } else {
            through(&self.steps, |step| is_named_once_unescaped(content, step))
        }
    }
}

/// Compares names of usual length without a call: in a component that compares byte by byte.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match left.len() {
        4..=8 => left.first_chunk::<4>() == right.first_chunk() && left.last_chunk::<4>() == right.last_chunk(),
        9..=16 => left.first_chunk::<8>() == right.first_chunk() && left.last_chunk::<8>() == right.last_chunk(),
        _ => left == right,
    }
}

#[cold]
fn is_named_once_unescaped(content: &[u8], step: &Step) -> bool {
    if !content.contains(&b'\\') {
        return content == step.name.as_bytes();
    }
    serde_json::from_slice::<String>(&[b"\"", content, b"\""].concat()).is_ok_and(|name| name == step.name)
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// Whether the document is JSON, on which both parsers have to agree.
    fn is_json(document: &[u8]) -> bool {
        let field = Field::new("/a/1/b").unwrap();
        let ours = locate(document, &mut Search::new([&field]));
        let text = std::str::from_utf8(document);
        let theirs = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(document));
        if let Ok(text) = text {
            let error = serde_json::from_str::<IgnoredAny>(text).err();
            let said = error.map(|error| crate::explained(&error, document));
            assert_eq!(fault::explain(document), said, "{text}");
        }
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
        assert!(locate(&nested(127), &mut Search::new([&field])));
        assert!(!locate(&nested(1_000_000), &mut Search::new([&field])));
    }
}

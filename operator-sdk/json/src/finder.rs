//! The same fields in one document after another.
//!
//! A program that writes events writes them alike: the same members in the same order, and the same bytes between their values. So the
//! layout of one document predicts where the values of the next are, and only those have to be read (speculative parsing, as in Li et al.,
//! "Mison: A Fast JSON Parser for Data Analytics", PVLDB 10, 2017). A document that is laid out otherwise is read as any other.

use std::sync::Arc;

use super::scan::{Scanner, Search, Spot, locate};
use super::{Field, Value, is_json};

/// Layouts that are known at a time, which is as many kinds of documents as may take turns.
const LAYOUTS_MAX: usize = 4;

/// Scalars in a document whose layout is learned: in larger ones, most of the time goes into other things.
const SCALARS_MAX: usize = 64;

/// Bytes that a layout keeps at most: for each scalar a name as long as any that people write.
const LAYOUT_BYTES_MAX: usize = SCALARS_MAX * 256;

/// Documents of which nothing is learned after one whose layout is none that is kept, or takes the place of another: to learn one takes about
/// as long as to read a few.
const LEARNING_INTERVAL: u32 = 16;

/// Finds the same fields in one document after another.
#[derive(Debug, Default)]
pub struct Finder {
    fields: Vec<Arc<Field>>,
    /// The one that was right last comes first.
    layouts: Vec<Layout>,
    /// Of how many documents nothing is learned.
    rest: u32,
    /// Where the scalars of a document end, behind a zero.
    ends: Vec<usize>,
}

/// What is the same in documents that are written alike.
#[derive(Debug)]
struct Layout {
    /// What stands in front of each scalar, and behind the last one.
    between: Vec<Text>,
    /// Where each field is.
    places: Vec<Option<[Position; 2]>>,
}

/// A position in a document: `bytes` bytes behind the end of the scalar with the number `scalars`, counted from 1, or behind the start of the
/// document where that is 0.
#[derive(Clone, Copy, Debug)]
struct Position {
    scalars: usize,
    bytes: usize,
}

/// Bytes that are compared with those of a document.
#[derive(Debug)]
struct Text {
    bytes: Box<[u8]>,
    /// The first sixteen, and which bits of them count.
    word: u128,
    mask: u128,
}

impl Finder {
    /// Looks for these fields from now on, of which there are at most [`FIELDS_MAX`](super::FIELDS_MAX).
    ///
    /// # Panics
    /// When there are more.
    pub fn look_for<'f>(&mut self, fields: impl Iterator<Item = &'f Arc<Field>> + Clone) {
        let are_known = fields.clone().eq(&self.fields);
        if !are_known {
            *self = Finder {
                fields: fields.cloned().collect(),
                ..Finder::default()
            };
        }
        assert!(self.fields.len() <= super::FIELDS_MAX, "{} fields", self.fields.len());
    }

    /// How many fields it looks for.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it looks for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The values of the fields in a document, of which there are at most `N`, in the order of the fields, with nothing behind them; `None`
    /// where the document is not JSON.
    #[inline]
    pub fn find<'j, const N: usize>(&mut self, document: &'j [u8]) -> Option<[Option<Value<'j>>; N]> {
        debug_assert!(
            self.fields.len() <= N,
            "{} fields are looked for as {N}",
            self.fields.len()
        );
        self.rest = self.rest.saturating_sub(1);
        let Self { layouts, ends, .. } = self;
        let Some(right) = layouts.iter().position(|layout| layout.is_of(document, ends)) else {
            return self.find_anew(document);
        };
        if right > 0 {
            layouts.swap(0, right);
        }
        let places = &layouts[0].places;
        let at = |position: Position| ends[position.scalars] + position.bytes;
        let mut found = [None; N];
        for (value, place) in found.iter_mut().zip(places) {
            if let Some([start, end]) = *place {
                *value = Some(Value::new(&document[at(start)..at(end)]));
            }
        }
        Some(found)
    }

    /// Without a prediction.
    #[inline(never)]
    fn find_anew<'j, const N: usize>(&mut self, document: &'j [u8]) -> Option<[Option<Value<'j>>; N]> {
        let Some(last) = self.fields.len().checked_sub(1) else {
            return is_json(document).then_some([None; N]);
        };
        let mut search = Search::new(std::array::from_fn::<_, N, _>(|i| &*self.fields[i.min(last)]));
        if !locate(document, &mut search) {
            return None;
        }
        let spots = search.spots;
        if self.rest == 0 {
            self.learn(document, &spots[..=last]);
        }
        let mut found = spots.map(|spot| match spot {
            Spot::Found { start, end } => Some(Value::new(&document[start..end])),
            Spot::Absent { .. } | Spot::Unreachable => None,
        });
        found[last + 1..].fill(None);
        Some(found)
    }

    fn learn(&mut self, document: &[u8], spots: &[Spot]) {
        let layout = Layout::of(document, spots);
        if layout.is_none() || self.layouts.len() == LAYOUTS_MAX {
            self.rest = LEARNING_INTERVAL;
        }
        let Some(layout) = layout else { return };
        self.ends.resize(self.ends.len().max(layout.between.len()), 0);
        self.layouts.truncate(LAYOUTS_MAX - 1);
        self.layouts.insert(0, layout);
    }
}

impl Layout {
    /// That of a document in which these are the places of the fields; `None` where it has too many scalars, or too much between them.
    fn of(document: &[u8], spots: &[Spot]) -> Option<Layout> {
        let scanner = Scanner { document };
        let (mut between, mut ends) = (Vec::new(), vec![0]);
        let (mut at, mut scalar_bytes) = (0, 0);
        let is_too_long = |at: usize, scalar_bytes: usize| at - scalar_bytes > LAYOUT_BYTES_MAX;
        while let Some((first, start)) = scanner.token(at) {
            let is_scalar = !matches!(first, b'{' | b'}' | b'[' | b']' | b',' | b':');
            if !is_scalar {
                at = start + 1;
                continue;
            }
            at = scanner.scalar(first, start)?.get();
            let is_name = first == b'"' && scanner.token(at).is_some_and(|(byte, _)| byte == b':');
            if is_name {
                continue;
            }
            if between.len() == SCALARS_MAX || is_too_long(start, scalar_bytes) {
                return None;
            }
            scalar_bytes += at - start;
            between.push(Text::new(&document[ends[ends.len() - 1]..start]));
            ends.push(at);
        }
        if is_too_long(document.len(), scalar_bytes) {
            return None;
        }
        between.push(Text::new(&document[ends[ends.len() - 1]..]));
        let position = |at: usize| {
            let scalars = ends.partition_point(|&end| end <= at) - 1;
            Position {
                scalars,
                bytes: at - ends[scalars],
            }
        };
        let place = |spot: &Spot| match *spot {
            Spot::Found { start, end } => Some([position(start), position(end)]),
            Spot::Absent { .. } | Spot::Unreachable => None,
        };
        Some(Layout {
            places: spots.iter().map(place).collect(),
            between,
        })
    }

    /// Whether a document is laid out so, and is JSON: then `ends` says behind its zero where the scalars end.
    #[inline]
    fn is_of(&self, document: &[u8], ends: &mut [usize]) -> bool {
        let scanner = Scanner { document };
        let Some((behind, in_front)) = self.between.split_last() else {
            return false;
        };
        let mut at = 0;
        for (text, end) in in_front.iter().zip(&mut ends[1..]) {
            let scalar = text
                .behind(document, at)
                .and_then(|start| scanner.scalar(scanner.byte(start)?, start));
            let Some(scalar) = scalar else { return false };
            at = scalar.get();
            *end = at;
        }
        behind.behind(document, at) == Some(document.len())
    }
}

impl Text {
    fn new(bytes: &[u8]) -> Text {
        let mut word = [0; 16];
        let length = bytes.len().min(word.len());
        word[..length].copy_from_slice(&bytes[..length]);
        let mask = u128::MAX.checked_shr(128 - 8 * u32::try_from(length).expect("it is sixteen at most"));
        Text {
            bytes: bytes.into(),
            word: u128::from_le_bytes(word),
            mask: mask.unwrap_or(0),
        }
    }

    /// The position behind these bytes, if the document has them at `at`.
    #[inline]
    fn behind(&self, document: &[u8], at: usize) -> Option<usize> {
        let rest = document.get(at..)?;
        let is_here = match rest.first_chunk() {
            Some(word) if self.bytes.len() <= word.len() => (u128::from_le_bytes(*word) ^ self.word) & self.mask == 0,
            _ => rest.starts_with(&self.bytes),
        };
        if is_here { Some(at + self.bytes.len()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(names: &[&str]) -> Finder {
        let fields: Vec<_> = names.iter().map(|name| Arc::new(Field::new(*name).unwrap())).collect();
        let mut finder = Finder::default();
        finder.look_for(fields.iter());
        finder
    }

    /// What it finds, on which a look without a prediction has to agree.
    fn found(finder: &mut Finder, document: &str) -> Option<[Option<String>; 4]> {
        let shown =
            |found: Option<[Option<Value<'_>>; 4]>| found.map(|all| all.map(|one| one.map(|one| one.to_string())));
        let found = shown(finder.find(document.as_bytes()));
        let mut anew = Finder {
            fields: finder.fields.clone(),
            ..Finder::default()
        };
        assert_eq!(found, shown(anew.find(document.as_bytes())), "{document}");
        found
    }

    fn is_predicted(finder: &mut Finder, document: &str) -> bool {
        let Finder { layouts, ends, .. } = finder;
        layouts.iter().any(|layout| layout.is_of(document.as_bytes(), ends))
    }

    #[test]
    fn documents_that_are_written_alike_are_predicted() {
        let mut finder = finder(&["a", "/b/c", "/b", "d"]);
        let first = r#"{"a":1,"b":{"c":"x","e":[true,{}]} , "f":null}"#;
        assert_eq!(
            found(&mut finder, first).unwrap(),
            [Some("1"), Some(r#""x""#), Some(r#"{"c":"x","e":[true,{}]}"#), None].map(|text| text.map(str::to_owned))
        );
        for alike in [
            r#"{"a":-1.5e9,"b":{"c":"xyz\n and much longer than a word","e":[0,{}]} , "f":"grün"}"#,
            r#"{"a":"","b":{"c":null,"e":[12345678901234567890,{}]} , "f":0}"#,
        ] {
            assert!(is_predicted(&mut finder, alike), "{alike}");
            found(&mut finder, alike);
        }
        for other in [
            r#"{"a":1,"b":{"c":"x","e":[true,{}]}, "f":null}"#,
            r#"{"a":1,"b":{"c":"x","e":[true,{}]} , "f":null} "#,
            r#"{"a":1,"b":{"c":"x","e":[true,{}]} , "f":}"#,
            r#"{"a":01,"b":{"c":"x","e":[true,{}]} , "f":null}"#,
            r#"{"a":1,"b":{"c":"x","e":[true,{}]} , "f":[]}"#,
            r#"{"a":1,"b":{"c":"x","e":[true,{}]} , "f":null"#,
            r#"{"a":1,"b":{"c":"x"#,
            "",
        ] {
            assert!(!is_predicted(&mut finder, other), "{other}");
            found(&mut finder, other);
        }
    }

    #[test]
    fn kinds_of_documents_take_turns() {
        let mut finder = finder(&["v"]);
        let document = |kind: usize, v: usize| format!(r#"{{"kind-{kind}":{kind},"v":{v}}}"#);
        for v in 0..3 {
            for kind in 0..LAYOUTS_MAX {
                let found = found(&mut finder, &document(kind, v)).unwrap();
                assert_eq!(found[0], Some(v.to_string()));
            }
        }
        assert!((0..LAYOUTS_MAX).all(|kind| is_predicted(&mut finder, &document(kind, 77))));
        // Many kinds cost little: a layout is learned now and then.
        for kind in 0..1000 {
            found(&mut finder, &document(kind, kind));
        }
        assert_eq!(finder.layouts.len(), LAYOUTS_MAX);
    }

    #[test]
    fn documents_that_are_too_large_are_not_looked_at_each_time() {
        let many = format!("[{}0]", "0,".repeat(SCALARS_MAX));
        let long = format!(r#"[0,{{"{}":1}}]"#, "x".repeat(LAYOUT_BYTES_MAX));
        let behind = format!("[0,[{}]]", "[],".repeat(LAYOUT_BYTES_MAX) + "[]");
        for document in [&many, &long, &behind] {
            let mut finder = finder(&["0"]);
            found(&mut finder, document);
            assert!(finder.layouts.is_empty() && finder.rest == LEARNING_INTERVAL);
            (0..LEARNING_INTERVAL).for_each(|_| drop(found(&mut finder, "[0]")));
            assert!(is_predicted(&mut finder, "[1]"));
        }
    }

    #[test]
    fn scalars_alone_and_containers_without_any_have_layouts() {
        let mut finder = finder(&["0"]);
        for documents in [
            ["7", "\"x\""],
            ["[]", "[]"],
            [" {} ", " {} "],
            ["[[1],2]", "[[\"\"],false]"],
        ] {
            found(&mut finder, documents[0]);
            assert!(is_predicted(&mut finder, documents[1]), "{documents:?}");
            found(&mut finder, documents[1]);
        }
    }

    #[test]
    fn the_last_of_equal_members_is_where_it_was() {
        let mut finder = finder(&["/a/b", "c"]);
        for document in [
            r#"{"a":{"b":1},"c":1,"a":2,"c":3}"#,
            r#"{"a":{"b":"4"},"c":5,"a":"6","c":7}"#,
            r#"{"a":1,"a":{"b":2}}"#,
            r#"{"a":3,"a":{"b":4}}"#,
        ] {
            found(&mut finder, document);
        }
        assert_eq!(
            found(&mut finder, r#"{"a":{"b":8},"c":8,"a":8,"c":9}"#).unwrap()[1].as_deref(),
            Some("9")
        );
    }

    #[test]
    fn mutated_documents_are_judged_as_without_a_prediction() {
        const ALPHABET: &[u8] = b"{}[]:,\"\\ \n\x00\x7f\xc3\xa90123456789.-+eEtrufalsnbd";
        let document =
            r#"{"sensor":"s-0042","ts":1700000000000,"value":21.53,"a longer name than a word":[1,{"x":true}]}"#;
        let mut finder = finder(&["sensor", "value", "/a longer name than a word/1"]);
        found(&mut finder, document);
        let mut state = 1_u64;
        let mut below = |n: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % n
        };
        let mut predicted = 0;
        for _ in 0..20_000 {
            let mut mutated = document.as_bytes().to_vec();
            for _ in 0..=below(2) {
                let (at, byte) = (below(mutated.len()), ALPHABET[below(ALPHABET.len())]);
                match below(4) {
                    0 | 1 => mutated[at] = byte,
                    2 => mutated.insert(at, byte),
                    _ => drop(mutated.remove(at)),
                }
            }
            let Ok(text) = std::str::from_utf8(&mutated) else {
                assert!(finder.find::<4>(&mutated).is_none(), "{mutated:?}");
                continue;
            };
            predicted += usize::from(is_predicted(&mut finder, text));
            found(&mut finder, text);
        }
        assert!(predicted > 1_000, "{predicted} were predicted");
    }
}

//! The layout of accumulators: what an operator says of the bytes that it keeps.
//!
//! Owns the notation of `wit/state.wit`, and reads bytes by it. To the host accumulators are opaque all the same: what is read here is
//! for people, and no result depends on it.

mod ordered;

use serde_json::{Map, Number, Value};

use dirigo_ground::items::Item;

/// How deep types may lie in each other.
const DEPTH_MAX: usize = 64;
/// The longest layout that is read, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The layout of bytes in an encoding that the host knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    state: Type,
    /// The maps and lists of a process, by their names.
    items: Vec<(String, Type)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Type {
    Unit,
    Bool,
    Unsigned { bits: u32 },
    Signed { bits: u32 },
    Float { bits: u32 },
    Char,
    Text,
    Bytes,
    Option(Box<Type>),
    List(Box<Type>),
    Map(Box<(Type, Type)>),
    Tuple(Vec<Type>),
    Array(Box<Type>, usize),
    Struct(Vec<(String, Type)>),
    Enum(Vec<(String, Type)>),
}

impl Layout {
    /// Reads a layout; `None` if it is of an encoding that the host does not know, or not in its notation.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text
            .strip_prefix("postcard:")
            .filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        let mut parser = Parser { rest: text };
        let state = parser.parse(0)?;
        let mut items = Vec::new();
        while parser.takes(";") {
            let name = parser.word()?;
            let is_typed = parser.takes(":");
            items.push((name, parser.parse(0).filter(|_| is_typed)?));
        }
        parser.rest.trim().is_empty().then_some(Self { state, items })
    }

    /// An accumulator as JSON; `None` if its bytes are not laid out so.
    ///
    /// What JSON has no word for becomes text: numbers that are none, and bytes in hexadecimal.
    #[must_use]
    pub fn decode(&self, accumulator: &[u8]) -> Option<Value> {
        decode(&self.state, accumulator)
    }

    /// An item of a process as JSON: the name of its map or list, the key, and the value. `None` if it is not laid out so.
    #[must_use]
    pub fn decode_item(&self, item: Item<'_>) -> Option<(&str, Value, Value)> {
        /// Between the name of a map and the key.
        const SEPARATOR: u8 = 0;
        let end = item.name.iter().position(|byte| *byte == SEPARATOR)?;
        let (map, key) = (&item.name[..end], &item.name[end + 1..]);
        let (map, laid_out) = self.items.iter().find(|(name, _)| name.as_bytes() == map)?;
        let (key, value) = match laid_out {
            Type::Map(pair) => (ordered::decode(&pair.0, key)?, decode(&pair.1, item.value)?),
            Type::List(value) => (
                ordered::decode(&Type::Unsigned { bits: 64 }, key)?,
                decode(value, item.value)?,
            ),
            _ => return None,
        };
        Some((map, key, value))
    }
}

fn decode(laid_out: &Type, encoded: &[u8]) -> Option<Value> {
    /// What the SDK writes in front: which encoding it is.
    const POSTCARD: u8 = 0;
    let (&POSTCARD, bytes) = encoded.split_first()? else {
        return None;
    };
    let mut reader = Reader {
        rest: bytes,
        values_left: 8 * bytes.len() + 1024,
        name_bytes_left: 64 * bytes.len() + 16 * 1024,
    };
    let value = reader.read(laid_out)?;
    reader.rest.is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    /// Takes this token, if it comes next.
    fn takes(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> Option<String> {
        let rest = self.rest.trim_start();
        if rest.starts_with('"') {
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let name = stream.next()?.ok()?;
            self.rest = &rest[stream.byte_offset()..];
            return Some(name);
        }
        let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let end = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn parse(&mut self, depth: usize) -> Option<Type> {
        if depth == DEPTH_MAX {
            return None;
        }
        let depth = depth + 1;
        if self.takes("[") {
            let item = self.parse(depth)?;
            return self.takes("]").then(|| Type::List(Box::new(item)));
        }
        if self.takes("(") {
            return self.tuple(depth);
        }
        if self.takes("{") {
            return self.fields(depth);
        }
        if self.takes("<") {
            return self.variants(depth);
        }
        let word = self.word()?;
        let bits = |prefix: &str| {
            word.strip_prefix(prefix)?
                .parse()
                .ok()
                .filter(|bits| [8, 16, 32, 64, 128].contains(bits))
        };
        Some(match word.as_str() {
            "bool" => Type::Bool,
            "char" => Type::Char,
            "string" => Type::Text,
            "bytes" => Type::Bytes,
            "f32" => Type::Float { bits: 32 },
            "f64" => Type::Float { bits: 64 },
            "option" => Type::Option(Box::new(self.parse(depth)?)),
            "map" => {
                let is_open = self.takes("{");
                let key = self.parse(depth).filter(|_| is_open)?;
                let is_pair = self.takes("=>");
                let value = self.parse(depth).filter(|_| is_pair)?;
                self.takes("}").then(|| Type::Map(Box::new((key, value))))?
            }
            _ => match (bits("u"), bits("i")) {
                (Some(bits), _) => Type::Unsigned { bits },
                (_, Some(bits)) => Type::Signed { bits },
                _ => return None,
            },
        })
    }

    /// A tuple behind its parenthesis.
    fn tuple(&mut self, depth: usize) -> Option<Type> {
        if self.takes(")") {
            return Some(Type::Unit);
        }
        let mut items = vec![self.parse(depth)?];
        if self.takes(";") {
            let length = self.word()?.parse().ok()?;
            return self.takes(")").then(|| Type::Array(Box::new(items.remove(0)), length));
        }
        while self.takes(",") {
            items.push(self.parse(depth)?);
        }
        self.takes(")").then_some(Type::Tuple(items))
    }

    /// The fields of a struct behind its brace.
    fn fields(&mut self, depth: usize) -> Option<Type> {
        let mut fields = Vec::new();
        if self.takes("}") {
            return Some(Type::Struct(fields));
        }
        loop {
            let name = self.word()?;
            let is_typed = self.takes(":");
            fields.push((name, self.parse(depth).filter(|_| is_typed)?));
            if self.takes("}") {
                return Some(Type::Struct(fields));
            }
            if !self.takes(",") {
                return None;
            }
        }
    }

    /// The variants of an enum behind its angle.
    fn variants(&mut self, depth: usize) -> Option<Type> {
        let mut variants = Vec::new();
        loop {
            let name = self.word()?;
            let payload = if self.takes("(") {
                match self.tuple(depth)? {
                    Type::Tuple(mut items) if items.len() == 1 => items.remove(0),
                    items => items,
                }
            } else if self.takes("{") {
                self.fields(depth)?
            } else {
                Type::Unit
            };
            variants.push((name, payload));
            if self.takes(">") {
                return Some(Type::Enum(variants));
            }
            if !self.takes("|") {
                return None;
            }
        }
    }
}

/// Reads postcard.
struct Reader<'a> {
    rest: &'a [u8],
    /// How many values may still be made: those that take no bytes are no reason to make any number.
    values_left: usize,
    /// Bytes that the names of fields and variants may still take: they are the component's to choose, and come with each value.
    name_bytes_left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    /// A number in groups of seven bits, the lowest first.
    fn varint(&mut self) -> Option<u128> {
        let mut number = 0_u128;
        for shift in (0..u128::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn name(&mut self, name: &str) -> Option<String> {
        self.name_bytes_left = self.name_bytes_left.checked_sub(name.len())?;
        Some(name.to_owned())
    }

    fn read(&mut self, laid_out: &Type) -> Option<Value> {
        self.values_left = self.values_left.checked_sub(1)?;
        Some(match laid_out {
            Type::Unit => Value::Null,
            Type::Bool => match self.byte()? {
                0 => false.into(),
                1 => true.into(),
                _ => return None,
            },
            Type::Unsigned { bits: 8 } => self.byte()?.into(),
            Type::Signed { bits: 8 } => self.byte()?.cast_signed().into(),
            Type::Unsigned { .. } => whole(self.varint()?),
            Type::Signed { .. } => {
                let folded = self.varint()?;
                signed((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
            }
            Type::Float { bits: 32 } => {
                let bytes = self.take(4)?.first_chunk()?;
                float(f32::from_le_bytes(*bytes).into())
            }
            Type::Float { .. } => {
                let bytes = self.take(8)?.first_chunk()?;
                float(f64::from_le_bytes(*bytes))
            }
            Type::Char | Type::Text => self.text()?.into(),
            Type::Bytes => {
                let length = self.length()?;
                hexadecimal(self.take(length)?).into()
            }
            Type::Option(inner) => match self.byte()? {
                0 => Value::Null,
                1 => self.read(inner)?,
                _ => return None,
            },
            Type::List(item) => {
                let length = self.length()?;
                self.items(length, |_| item)?
            }
            Type::Array(item, length) => self.items(*length, |_| item)?,
            Type::Tuple(items) => self.items(items.len(), |index| &items[index])?,
            Type::Map(pair) => self.map(pair)?,
            Type::Struct(fields) => {
                let mut object = Map::new();
                for (name, field) in fields {
                    object.insert(self.name(name)?, self.read(field)?);
                }
                Value::Object(object)
            }
            Type::Enum(variants) => {
                let index = self.length()?;
                let (name, payload) = variants.get(index)?;
                match payload {
                    Type::Unit => self.name(name)?.into(),
                    payload => Value::Object([(self.name(name)?, self.read(payload)?)].into_iter().collect()),
                }
            }
        })
    }

    fn items<'t>(&mut self, length: usize, item: impl Fn(usize) -> &'t Type) -> Option<Value> {
        (0..length).map(|index| self.read(item(index))).collect()
    }

    /// An object if the keys are text, else a list of pairs.
    fn map(&mut self, pair: &(Type, Type)) -> Option<Value> {
        let (key, value) = pair;
        let length = self.length()?;
        if *key == Type::Text {
            let mut object = Map::new();
            for _ in 0..length {
                let key = self.text()?.to_owned();
                object.insert(key, self.read(value)?);
            }
            return Some(Value::Object(object));
        }
        let mut pairs = Vec::new();
        for _ in 0..length {
            pairs.push(Value::Array(vec![self.read(key)?, self.read(value)?]));
        }
        Some(Value::Array(pairs))
    }
}

/// A whole number; one that few readers of JSON know as such is text.
fn whole(number: u128) -> Value {
    u64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

fn signed(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn decoded(layout: &str, bytes: &[u8]) -> Option<Value> {
        let layout = Layout::parse(&format!("postcard:{layout}")).expect(layout);
        layout.decode(&[&[0], bytes].concat())
    }

    #[test]
    fn an_accumulator_is_read_by_its_layout() {
        let pi = 3.25_f64.to_le_bytes();
        let bytes = [&pi[..], &[0xac, 0x02, 1, 3, 2, 2, b'h', b'i', 1]].concat();
        assert_eq!(
            decoded(
                "{sum: f64, count: u64, least: option i32, \"of which\": [<No | Yes | Said(string)>], on: bool}",
                &bytes
            ),
            // The list has one item: three is its length in the wrong place otherwise.
            None
        );
        let bytes = [&pi[..], &[0xac, 0x02, 1, 3, 2, 1, 2, 2, b'h', b'i', 1]].concat();
        assert_eq!(
            decoded(
                "{sum: f64, count: u64, least: option i32, \"of which\": [<No | Yes | Said(string)>], on: bool}",
                &bytes
            ),
            Some(json!({"sum": 3.25, "count": 300, "least": -2, "of which": ["Yes", {"Said": "hi"}], "on": true}))
        );
    }

    #[test]
    fn long_names_for_many_small_values_are_not_repeated_without_end() {
        let layout = format!("[{{\"{}\": ()}}]", "x".repeat(4_000));
        assert!(decoded(&layout, &[3]).is_some());
        // A thousand of them in two bytes.
        assert_eq!(decoded(&layout, &[0xe8, 0x07]), None);
    }

    #[test]
    fn tuples_maps_and_what_json_cannot_say() {
        assert_eq!(decoded("(u8; 3)", &[1, 2, 3]), Some(json!([1, 2, 3])));
        assert_eq!(
            decoded("(i8, char, ())", &[0xff, 1, b'x']),
            Some(json!([-1, "x", null]))
        );
        assert_eq!(decoded("map {string => u8}", &[1, 1, b'k', 7]), Some(json!({"k": 7})));
        assert_eq!(
            decoded("map {u8 => bytes}", &[1, 9, 2, 0xab, 1]),
            Some(json!([[9, "ab01"]]))
        );
        assert_eq!(decoded("f64", &f64::NAN.to_le_bytes()), Some(json!("NaN")));
        assert_eq!(decoded("<A(u8, u8) | B{x: u8}>", &[1, 4]), Some(json!({"B": {"x": 4}})));
        assert_eq!(decoded("<A((u8, u16))>", &[0, 4, 5]), Some(json!({"A": [4, 5]})));
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(decoded("u64", &most), Some(json!(u64::MAX)));
        assert_eq!(decoded("i64", &most), Some(json!(i64::MIN)));
    }

    #[test]
    fn items_are_read_by_the_layout_of_their_map() {
        let layout = Layout::parse("postcard:(); seen: map {(string, i16) => u8}; \"the last\": [string]").unwrap();
        let decoded = |name: &[u8], value: &[u8]| {
            layout.decode_item(Item {
                name,
                version: 1,
                value,
            })
        };
        assert_eq!(
            decoded(b"seen\0a\0\xffb\0\x01\x7f\xff", &[0, 7]),
            Some(("seen", json!(["a\0b", -1]), json!(7)))
        );
        assert_eq!(
            decoded(b"the last\0\0\0\0\0\0\0\x01\x02", &[0, 1, b'x']),
            Some(("the last", json!(258), json!("x")))
        );
        for name in [&b"seen\0a"[..], b"seen", b"other\0", b"seen\0a\0\x01\x7f\xff\xff"] {
            assert_eq!(decoded(name, &[0, 7]), None, "{name:?}");
        }
        assert_eq!(Layout::parse("postcard:(); seen"), None);
    }

    #[test]
    fn bytes_that_are_laid_out_otherwise_are_not_read() {
        assert_eq!(decoded("u8", &[1, 2]), None, "one is left over");
        assert_eq!(decoded("u64", &[0x80]), None, "the number goes on");
        assert_eq!(decoded("bool", &[2]), None);
        assert_eq!(decoded("[()]", &[0xff, 0xff, 0xff, 0xff, 0x7f]), None);
        assert_eq!(decoded("(((((); 1000); 1000); 1000); 1000)", &[]), None);
        assert_eq!(
            Layout::parse("postcard:u8").unwrap().decode(&[1, 7]),
            None,
            "another encoding"
        );
    }

    #[test]
    fn what_is_not_in_the_notation_is_no_layout() {
        let deep = "[".repeat(100_000);
        for text in [
            "u8",
            "postcard:",
            "postcard:u7",
            "postcard:{a u8}",
            "postcard:(u8",
            "postcard:u8 u8",
            "json:x",
            &format!("postcard:{deep}"),
        ] {
            assert_eq!(Layout::parse(text), None, "{text:.20}");
        }
    }
}

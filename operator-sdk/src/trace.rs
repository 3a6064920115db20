//! What a type is made of, derived from how it deserializes: it asks for its parts, and gets some value for each.
//!
//! So no operator has to describe its accumulator or its settings, and none can describe them wrongly.

use std::cell::Cell;
use std::fmt;

use serde::de::value::{StrDeserializer, U32Deserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// How often a type is deserialized at most: once for each variant of its enums, and for each value that a part of it refuses.
const PASSES_MAX: usize = 1_000;
/// How deep types may lie in each other. One that lies in itself has no end, and cannot be told.
const DEPTH_MAX: usize = 32;

/// What a type is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Bytes in which parts follow each other, and nothing tells what comes next.
    Postcard,
    /// JSON: the fields of a struct go by their names, and may be absent.
    Json,
}

/// What `T` is made of, if it can be found out: not of a type that lies in itself, or takes none of the values that are tried.
pub(crate) fn of<T: DeserializeOwned>(format: Format) -> Option<Node> {
    let mut root = Node::Unknown;
    for _ in 0..PASSES_MAX {
        let pass = Pass::new(format);
        match pass.run::<T>(&mut root) {
            Ok(_) if root.is_known() => return Some(root),
            Ok(_) => {}
            Err(Stop::Underivable) => return None,
            // It may like another value better.
            Err(Stop::Refused) => root.last_leaf(pass.fed.get())?.try_next()?,
        }
    }
    None
}

/// A value of `T`, whose parts are `root`, made of a JSON object without these fields, and perhaps with one that it cannot know.
pub(crate) fn value_without<T: DeserializeOwned>(
    root: &mut Node,
    left_out: &[&'static str],
    has_unknown: bool,
) -> Option<T> {
    let pass = Pass {
        left_out: left_out.to_vec(),
        has_unknown,
        ..Pass::new(Format::Json)
    };
    pass.run(root).ok()
}

/// Part of a type.
#[derive(Debug, Default)]
pub(crate) enum Node {
    #[default]
    Unknown,
    /// Whatever there is.
    Any(Leaf),
    Unit,
    Leaf(Leaf),
    Option(Box<Node>),
    List(Box<Node>),
    Map(Box<(Node, Node)>),
    Tuple(Vec<Node>),
    Struct(Vec<(&'static str, Node)>),
    Enum(Vec<(&'static str, Node)>),
}

/// What has no parts.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) name: &'static str,
    /// Which of the values it is given.
    value: usize,
    /// How many leaves got a value before it, in the last pass.
    fed: usize,
}

/// One deserialization.
#[derive(Debug)]
struct Pass {
    format: Format,
    /// Fields of the outermost struct that are not there.
    left_out: Vec<&'static str>,
    /// Whether it has one that the struct cannot know.
    has_unknown: bool,
    /// How many leaves got a value.
    fed: Cell<usize>,
}

impl Pass {
    fn new(format: Format) -> Self {
        Self {
            format,
            left_out: Vec::new(),
            has_unknown: false,
            fed: Cell::new(0),
        }
    }

    fn run<T: DeserializeOwned>(&self, root: &mut Node) -> Result<T, Stop> {
        T::deserialize(Tracer {
            node: root,
            pass: self,
            depth: 0,
        })
    }
}

/// Why a pass ended without a value.
#[derive(Debug)]
enum Stop {
    /// The type cannot be derived.
    Underivable,
    /// It refuses a value.
    Refused,
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it cannot be told")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

impl Node {
    fn is_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Unit | Self::Leaf(_) | Self::Any(_) => true,
            Self::Option(node) | Self::List(node) => node.is_known(),
            Self::Map(pair) => pair.0.is_known() && pair.1.is_known(),
            Self::Tuple(nodes) => nodes.iter().all(Self::is_known),
            Self::Struct(nodes) | Self::Enum(nodes) => nodes.iter().all(|(_, node)| node.is_known()),
        }
    }

    /// The leaf that got the last value of a pass.
    fn last_leaf(&mut self, fed: usize) -> Option<&mut Leaf> {
        match self {
            Self::Leaf(leaf) | Self::Any(leaf) => (leaf.fed + 1 == fed).then_some(leaf),
            Self::Unknown | Self::Unit => None,
            Self::Option(node) | Self::List(node) => node.last_leaf(fed),
            Self::Map(pair) => {
                let (key, value) = &mut **pair;
                key.last_leaf(fed).or_else(|| value.last_leaf(fed))
            }
            Self::Tuple(nodes) => nodes.iter_mut().find_map(|node| node.last_leaf(fed)),
            Self::Struct(nodes) | Self::Enum(nodes) => nodes.iter_mut().find_map(|(_, node)| node.last_leaf(fed)),
        }
    }

    fn boxed(&mut self, is_list: bool) -> &mut Node {
        match (&self, is_list) {
            (Self::Option(_), false) | (Self::List(_), true) => {}
            (_, false) => *self = Self::Option(Box::default()),
            (_, true) => *self = Self::List(Box::default()),
        }
        let (Self::Option(node) | Self::List(node)) = self else {
            unreachable!("it was made one")
        };
        node
    }
}

/// The name of what may be anything.
const ANY: &str = "any";

/// What a part is given that wants a number, text or bytes, in turn.
const NUMBERS: [u8; 10] = [1, 0, 2, 3, 4, 5, 6, 7, 8, 16];
const TEXTS: [&str; 9] = [
    "a",
    "",
    "0",
    "2000-01-01T00:00:00Z",
    "2000-01-01",
    "00:00:00",
    "2000-01-01T00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
];
const LENGTHS: [usize; 9] = [0, 16, 32, 4, 8, 12, 20, 24, 64];

impl Leaf {
    fn try_next(&mut self) -> Option<()> {
        self.value += 1;
        (self.value < NUMBERS.len().min(TEXTS.len())).then_some(())
    }
}

/// Deserializes into a value that is made up, and notes what was asked for.
struct Tracer<'a> {
    node: &'a mut Node,
    pass: &'a Pass,
    depth: usize,
}

impl<'a> Tracer<'a> {
    /// For a part of it.
    fn inner<'b>(&self, node: &'b mut Node) -> Result<Tracer<'b>, Stop>
    where
        'a: 'b,
    {
        if self.depth == DEPTH_MAX {
            return Err(Stop::Underivable);
        }
        Ok(Tracer {
            node,
            pass: self.pass,
            depth: self.depth + 1,
        })
    }

    /// Which of the values a leaf is given.
    fn leaf(self, name: &'static str) -> usize {
        let fed = self.pass.fed.get();
        self.pass.fed.set(fed + 1);
        match self.node {
            Node::Leaf(leaf) | Node::Any(leaf) if leaf.name == name => {
                leaf.fed = fed;
                leaf.value
            }
            node => {
                let leaf = Leaf { name, value: 0, fed };
                *node = if name == ANY { Node::Any(leaf) } else { Node::Leaf(leaf) };
                0
            }
        }
    }
}

macro_rules! numbers {
    ($($deserialize:ident $visit:ident $type:ty;)*) => {$(
        fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let value = self.leaf(stringify!($type));
            #[allow(clippy::cast_lossless, clippy::cast_possible_wrap, reason = "they are small, for any of the types")]
            visitor.$visit(NUMBERS[value] as $type)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_i128 visit_i128 i128;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_u128 visit_u128 u128;
        deserialize_f32 visit_f32 f32;
        deserialize_f64 visit_f64 f64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.pass.format == Format::Postcard {
            return Err(Stop::Underivable);
        }
        match self.leaf(ANY) {
            0 => visitor.visit_unit(),
            1 => visitor.visit_str("a"),
            2 => visitor.visit_u64(1),
            3 => visitor.visit_f64(0.5),
            4 => visitor.visit_bool(true),
            _ => Err(Stop::Refused),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_any(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = self.leaf("bool");
        visitor.visit_bool(value.is_multiple_of(2))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = self.leaf("char");
        visitor.visit_char(if value == 0 { 'a' } else { '0' })
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = self.leaf("string");
        visitor.visit_str(TEXTS[value])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let value = self.leaf("bytes");
        visitor.visit_bytes(&[0; 64][..LENGTHS[value]])
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Tracer { node, pass, depth } = self;
        let this = Tracer {
            node: &mut Node::Unknown,
            pass,
            depth,
        };
        visitor.visit_some(this.inner(node.boxed(false))?)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        *self.node = Node::Unit;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Tracer { node, pass, depth } = self;
        visitor.visit_seq(Parts {
            nodes: [node.boxed(true)].into_iter(),
            pass,
            depth,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        /// Longer than any accumulator that a person writes down.
        const LENGTH_MAX: usize = 10_000;
        if length > LENGTH_MAX {
            return Err(Stop::Underivable);
        }
        let Tracer { node, pass, depth } = self;
        if !matches!(node, Node::Tuple(nodes) if nodes.len() == length) {
            *node = Node::Tuple((0..length).map(|_| Node::Unknown).collect());
        }
        let Node::Tuple(nodes) = node else {
            unreachable!("it was made one")
        };
        visitor.visit_seq(Parts {
            nodes: nodes.iter_mut(),
            pass,
            depth,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Tracer { node, pass, depth } = self;
        if !matches!(node, Node::Map(_)) {
            *node = Node::Map(Box::default());
        }
        let Node::Map(pair) = node else {
            unreachable!("it was made one")
        };
        let (key, value) = &mut **pair;
        visitor.visit_map(Entry {
            key: Some(key),
            value,
            pass,
            depth,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Tracer { node, pass, depth } = self;
        if !matches!(node, Node::Struct(nodes) if nodes.len() == fields.len()) {
            *node = Node::Struct(fields.iter().map(|name| (*name, Node::Unknown)).collect());
        }
        let Node::Struct(nodes) = node else {
            unreachable!("it was made one")
        };
        if pass.format == Format::Json {
            return visitor.visit_map(Fields {
                nodes: nodes.iter_mut(),
                value: None,
                unknown: Node::Unknown,
                has_unknown: pass.has_unknown && depth == 0,
                pass,
                depth,
            });
        }
        visitor.visit_seq(Parts {
            nodes: nodes.iter_mut().map(|(_, node)| node),
            pass,
            depth,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let Tracer { node, pass, depth } = self;
        if !matches!(node, Node::Enum(nodes) if nodes.len() == variants.len()) {
            *node = Node::Enum(variants.iter().map(|name| (*name, Node::Unknown)).collect());
        }
        let Node::Enum(nodes) = node else {
            unreachable!("it was made one")
        };
        let index = nodes.iter().position(|(_, node)| !node.is_known()).unwrap_or(0);
        let Some((_, node)) = nodes.get_mut(index) else {
            return Err(Stop::Underivable);
        };
        visitor.visit_enum(Variant {
            name: variants[index],
            index: u32::try_from(index).map_err(|_| Stop::Underivable)?,
            payload: Tracer { node, pass, depth },
        })
    }

    fn is_human_readable(&self) -> bool {
        self.pass.format == Format::Json
    }
}

/// The parts of a list, a tuple or a struct.
struct Parts<'a, I> {
    nodes: I,
    pass: &'a Pass,
    depth: usize,
}

impl<'de, 'a, I: Iterator<Item = &'a mut Node>> SeqAccess<'de> for Parts<'a, I> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        let Some(node) = self.nodes.next() else {
            return Ok(None);
        };
        seed.deserialize(part(node, self.pass, self.depth)?).map(Some)
    }
}

fn part<'a>(node: &'a mut Node, pass: &'a Pass, depth: usize) -> Result<Tracer<'a>, Stop> {
    if depth == DEPTH_MAX {
        return Err(Stop::Underivable);
    }
    let depth = depth + 1;
    Ok(Tracer { node, pass, depth })
}

/// The fields of a struct, by name.
struct Fields<'a, I> {
    nodes: I,
    /// Of the field whose name was read.
    value: Option<&'a mut Node>,
    unknown: Node,
    has_unknown: bool,
    pass: &'a Pass,
    depth: usize,
}

impl<'de, 'a, I: Iterator<Item = &'a mut (&'static str, Node)>> MapAccess<'de> for Fields<'a, I> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let is_left_out = |name: &str| self.depth == 0 && self.pass.left_out.contains(&name);
        let next = self.nodes.find(|(name, _)| !is_left_out(name));
        let name = match next {
            Some((name, node)) => {
                self.value = Some(node);
                *name
            }
            None if std::mem::take(&mut self.has_unknown) => "no struct has a field of this name",
            None => return Ok(None),
        };
        let name: StrDeserializer<'_, Stop> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        let node = self.value.take();
        seed.deserialize(part(node.unwrap_or(&mut self.unknown), self.pass, self.depth)?)
    }
}

/// The one entry of a map.
struct Entry<'a> {
    key: Option<&'a mut Node>,
    value: &'a mut Node,
    pass: &'a Pass,
    depth: usize,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(key) = self.key.take() else { return Ok(None) };
        seed.deserialize(part(key, self.pass, self.depth)?).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(part(self.value, self.pass, self.depth)?)
    }
}

/// A variant of an enum.
struct Variant<'a> {
    name: &'static str,
    index: u32,
    payload: Tracer<'a>,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Stop;
    type Variant = Tracer<'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Tracer<'a>), Stop> {
        if self.payload.pass.format == Format::Json {
            let name: StrDeserializer<'_, Stop> = self.name.into_deserializer();
            return Ok((seed.deserialize(name)?, self.payload));
        }
        let index: U32Deserializer<Stop> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self.payload))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        *self.node = Node::Unit;
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        // Within parentheses of its own: a tuple in a variant is not a variant of two parts.
        self.deserialize_tuple(1, Only(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_struct("", fields, visitor)
    }
}

/// Reads the one part of a tuple.
struct Only<T>(T);

impl<'de, T: DeserializeSeed<'de>> Visitor<'de> for Only<T> {
    type Value = T::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("one part")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<T::Value, A::Error> {
        let part = parts.next_element_seed(self.0)?;
        part.ok_or_else(|| de::Error::custom("there is one"))
    }
}

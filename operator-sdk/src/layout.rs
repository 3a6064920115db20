//! How a type is laid out in bytes, as text: what tells a host that a changed operator would read old state otherwise.
//!
//! The notation is that of `wit/state.wit`.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::trace::{self, Format, Node};

/// The layout of `T` as postcard encodes it, if it can be told.
pub(crate) fn of<T: DeserializeOwned>() -> Option<String> {
    type_of::<T>().map(|root| format!("postcard:{root}"))
}

/// The type in a layout.
pub(crate) fn type_of<T: DeserializeOwned>() -> Option<String> {
    trace::of::<T>(Format::Postcard).map(|root| root.to_string())
}

/// A name in a layout.
pub(crate) fn name(name: &str) -> impl fmt::Display + '_ {
    Name(name)
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown | Self::Any(_) => formatter.write_str("?"),
            Self::Unit => formatter.write_str("()"),
            Self::Leaf(leaf) => formatter.write_str(leaf.name),
            Self::Option(node) => write!(formatter, "option {node}"),
            Self::List(node) => write!(formatter, "[{node}]"),
            Self::Map(pair) => write!(formatter, "map {{{} => {}}}", pair.0, pair.1),
            Self::Tuple(nodes) => tuple(nodes, formatter),
            Self::Struct(fields) => fields_of(fields, formatter),
            Self::Enum(variants) => {
                formatter.write_str("<")?;
                for (index, (name, node)) in variants.iter().enumerate() {
                    formatter.write_str(if index == 0 { "" } else { " | " })?;
                    write!(formatter, "{}", Name(name))?;
                    match node {
                        Self::Unit => {}
                        Self::Tuple(nodes) => tuple(nodes, formatter)?,
                        Self::Struct(fields) => fields_of(fields, formatter)?,
                        node => write!(formatter, "({node})")?,
                    }
                }
                formatter.write_str(">")
            }
        }
    }
}

fn tuple(nodes: &[Node], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [first, others @ ..] if !others.is_empty() && others.iter().all(|other| other == first) => {
            write!(formatter, "({first}; {})", texts.len())
        }
        _ => write!(formatter, "({})", texts.join(", ")),
    }
}

fn fields_of(fields: &[(&str, Node)], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str("{")?;
    for (index, (name, node)) in fields.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(formatter, "{comma}{}: {node}", Name(name))?;
    }
    formatter.write_str("}")
}

/// A name: as it is if it is a word, else as a JSON string.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let bytes = self.0.as_bytes();
        let is_word = bytes.first().is_some_and(|&byte| is_letter(byte))
            && bytes.iter().all(|&byte| is_letter(byte) || byte.is_ascii_digit());
        if is_word {
            formatter.write_str(self.0)
        } else {
            formatter.write_str(&serde_json::Value::from(self.0).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::num::NonZeroU32;
    use std::time::Duration;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is the type that matters")]
    struct Totals {
        sum: f64,
        count: u64,
        largest: Option<i32>,
        #[serde(rename = "of which")]
        parts: Vec<(String, bool)>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is the type that matters")]
    enum Shape {
        Nothing,
        Circle(f64),
        Pair((u8, u16)),
        Box(u8, u8),
        Named {
            width: NonZeroU32,
            inner: Option<Box<Other>>,
        },
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is the type that matters")]
    enum Other {
        A,
        B(char),
    }

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is the type that matters")]
    struct Wrapper(Totals);

    #[derive(Deserialize)]
    #[allow(dead_code, reason = "it is the type that matters")]
    struct Endless {
        next: Option<Box<Endless>>,
    }

    #[test]
    fn a_layout_has_names_and_types_in_their_order() {
        let sum = "{sum: f64, count: u64, largest: option i32, \"of which\": [(string, bool)]}";
        assert_eq!(of::<Totals>(), Some(format!("postcard:{sum}")));
        assert_eq!(of::<Wrapper>(), of::<Totals>(), "a wrapper is not encoded");
        let simple = |layout: Option<String>| layout.unwrap();
        assert_eq!(simple(of::<(f64, u64)>()), "postcard:(f64, u64)");
        assert_eq!(simple(of::<[u8; 4]>()), "postcard:(u8; 4)");
        assert_eq!(simple(of::<()>()), "postcard:()");
        assert_eq!(
            simple(of::<HashMap<String, Vec<i8>>>()),
            "postcard:map {string => [i8]}"
        );
        assert_eq!(
            simple(of::<BTreeMap<u8, Duration>>()),
            "postcard:map {u8 => {secs: u64, nanos: u32}}"
        );
    }

    #[test]
    fn a_layout_has_every_variant_of_an_enum() {
        assert_eq!(
            of::<[Shape; 2]>().unwrap(),
            "postcard:(<Nothing | Circle(f64) | Pair((u8, u16)) | Box(u8; 2) | Named{width: u32, inner: option <A | \
             B(char)>}>; 2)"
        );
    }

    #[test]
    fn a_type_that_takes_no_value_or_has_no_end_has_no_layout() {
        assert_eq!(of::<Endless>(), None);
        assert_eq!(of::<serde_json::Value>(), None);
    }

    #[test]
    fn a_part_that_refuses_a_value_is_given_another() {
        #[derive(Deserialize)]
        #[serde(try_from = "u8")]
        struct Even;
        impl TryFrom<u8> for Even {
            type Error = &'static str;

            fn try_from(number: u8) -> Result<Self, Self::Error> {
                if number.is_multiple_of(2) { Ok(Even) } else { Err("odd") }
            }
        }
        assert_eq!(of::<(u8, Even, String)>().unwrap(), "postcard:(u8, u8, string)");
    }
}

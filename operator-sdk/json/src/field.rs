//! The name of a place in a JSON document: a field of the object, or a JSON pointer into it.

use std::fmt;

use serde::Deserialize;

use crate::{Error, Result};

/// A field of a JSON object, by its name (`value`) or, when it begins with `/`, by a JSON pointer (`/reading/value`).
///
/// It deserializes from a string, so that it can stand in an operator's configuration. Two are equal that name the same place,
/// however they are written: `value` and `/value`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct Field {
    text: String,
    /// The way to the field from the top of the document; never empty.
    pub(super) steps: Vec<Step>,
    /// What stands in front of the value of a new field: a comma, the last name in quotes, a colon.
    pub(super) label: Vec<u8>,
}

/// One step down into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    /// Where the step leads in an array, if the name is a number.
    pub(super) index: Option<usize>,
}

impl Field {
    /// Parses the name of a field.
    ///
    /// # Errors
    /// When it is empty, or a pointer with a `~` that is neither `~0` nor `~1`.
    pub fn new(text: impl Into<String>) -> Result<Field> {
        let text = text.into();
        let steps = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape).collect::<Result<Vec<_>>>()?,
            None if text.is_empty() => {
                return Err(Error::new(
                    "a field has a name, such as `value`, or a pointer, such as `/reading/value`",
                ));
            }
            None => vec![text.clone()],
        };
        let steps: Vec<_> = steps.into_iter().map(Step::new).collect();
        let label = format!(",{}:", serde_json::Value::from(&*steps[steps.len() - 1].name)).into_bytes();
        Ok(Field { text, steps, label })
    }
}

impl Field {
    /// The field to which these names lead from the top of a document, of which there is one at least.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn from_names(names: &[String]) -> Field {
        let escaped = names
            .iter()
            .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")));
        Field::new(escaped.collect::<String>()).expect("names that are escaped make a pointer")
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Field) -> bool {
        self.steps == other.steps
    }
}

impl Eq for Field {}

impl Field {
    /// Whether one of them lies in the other, or both are the same: to write one changes the other.
    #[must_use]
    pub fn overlaps(&self, other: &Field) -> bool {
        self.steps.iter().zip(&other.steps).all(|(own, other)| own == other)
    }

    /// The name of the last step, which a new member gets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.steps[self.steps.len() - 1].name
    }

    /// What stands in front of the value of a new member: a comma, the name in quotes, a colon.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        &self.label
    }

    /// Whether a document that has it is an object: arrays have no member of that name.
    #[must_use]
    pub fn is_in_object(&self) -> bool {
        self.steps[0].index.is_none()
    }

    /// The name of the first step, and where the field is in what lies there; `None` where it is that itself.
    #[must_use]
    pub fn split(&self) -> (&str, Option<Field>) {
        let names: Vec<String> = self.steps[1..].iter().map(|step| step.name.clone()).collect();
        let below = (!names.is_empty()).then(|| Field::from_names(&names));
        (&self.steps[0].name, below)
    }

    /// Whether it is a member of the document itself, not of what lies in it.
    #[must_use]
    pub fn is_top_level(&self) -> bool {
        self.steps.len() == 1
    }
}

impl serde::Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl Step {
    fn new(name: String) -> Step {
        // RFC 6901 allows no sign and no leading zeros.
        let is_index = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        let index = if is_index { name.parse().ok() } else { None };
        Step { name, index }
    }
}

fn unescape(token: &str) -> Result<String> {
    let is_escaped = |(at, _)| token[at + 1..].starts_with(['0', '1']);
    if !token.match_indices('~').all(is_escaped) {
        return Err(Error::new(format!(
            "in a JSON pointer `~` is written `~0`, and `/` inside a name `~1`; found `{token}`"
        )));
    }
    Ok(token.replace("~1", "/").replace("~0", "~"))
}

impl TryFrom<String> for Field {
    type Error = Error;

    fn try_from(text: String) -> Result<Field> {
        Field::new(text)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

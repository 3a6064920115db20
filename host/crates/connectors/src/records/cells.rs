//! What the cells of a CSV are.
//!
//! Owns the types that a pipeline file can give to columns, and what a cell is that has none: a JSON number is that number, and everything
//! else is a text. Knows nothing of records.

use std::borrow::Cow;
use std::sync::Arc;

use super::csv::unquoted;
use super::json::is_number;
use super::time::excerpt;
use dirigo_connect::Format;
use dirigo_fields::Cell;
use dirigo_ground::fields::FieldType;
use dirigo_json::{Value, is_json};
use dirigo_pipeline::keys::{At, Choice, Diagnostic, Entries, Field, Problems, Word};

/// The type of a column, as `fields` of a source names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnType(FieldType);

impl Choice for ColumnType {
    const WHAT: &'static str = "column type";
    const WANTED: &'static str = "a column type";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("boolean", Self(FieldType::Boolean)),
        ("s64", Self(FieldType::S64)),
        ("f64", Self(FieldType::F64)),
        ("text", Self(FieldType::Text)),
        ("json", Self(FieldType::Json)),
    ];
}

impl From<ColumnType> for FieldType {
    fn from(ColumnType(field_type): ColumnType) -> Self {
        field_type
    }
}

/// Texts that may stand for null: each cell is compared with each of them.
const NULLS_MAX: usize = 64;

/// What a pipeline file says of the cells of a CSV.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellRules {
    /// The types of columns, by their names, each once.
    pub types: Vec<(String, ColumnType)>,
    /// The cells, as they are written, that stand for null.
    pub nulls: Vec<String>,
}

/// An empty cell is null, in quotes too, and each cell is what it looks like.
impl Default for CellRules {
    fn default() -> Self {
        Self {
            types: Vec::new(),
            nulls: vec![String::new(), "\"\"".to_owned()],
        }
    }
}

/// What a cell of a column without a type is, or of one whose cells have this type; `None` where it is none of those.
#[inline]
pub(super) fn to_cell<'c>(written: &'c [u8], field_type: Option<FieldType>, nulls: &[String]) -> Option<Cell<'c>> {
    if nulls.iter().any(|null| null.as_bytes() == written) {
        return Some(Cell::Null);
    }
    let text = unquoted(written);
    match field_type {
        None if is_number(&text) => Some(Cell::Number(text)),
        None | Some(FieldType::Text) => Some(Cell::Text(text)),
        Some(FieldType::Boolean) => to_boolean(&text),
        Some(FieldType::S64) => to_integer(text),
        Some(FieldType::F64) => to_number(text),
        Some(FieldType::Json) => to_json(text),
        Some(FieldType::Bytes) => unreachable!("no column can be given this type"),
    }
}

fn to_boolean(text: &[u8]) -> Option<Cell<'static>> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(Cell::Boolean(true))
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(Cell::Boolean(false))
    } else {
        None
    }
}

fn to_integer(text: Cow<'_, [u8]>) -> Option<Cell<'_>> {
    let number = to_json_number(text)?;
    let is_integer = Value::new(&number).as_integer().is_some();
    is_integer.then_some(Cell::Number(number))
}

fn to_number(text: Cow<'_, [u8]>) -> Option<Cell<'_>> {
    let number = to_json_number(text)?;
    let is_finite = Value::new(&number).as_number().is_some_and(f64::is_finite);
    is_finite.then_some(Cell::Number(number))
}

/// A number as JSON writes it, with the same digits: `+7` and `007` are `7`, `7.` is `7`, and `.5` is `0.5`. It has one byte more at most.
fn to_json_number(text: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    if is_number(&text) {
        return Some(text);
    }
    let (sign, unsigned): (&[u8], &[u8]) = match text.split_first()? {
        (b'+', unsigned) => (b"", unsigned),
        (b'-', unsigned) => (b"-", unsigned),
        _ => (b"", &text),
    };
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = unsigned.split_at(digits(unsigned));
    let (fraction, exponent) = match rest.strip_prefix(b".") {
        Some(rest) => rest.split_at(digits(rest)),
        None => rest.split_at(0),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let zeros = whole.iter().take_while(|byte| **byte == b'0').count();
    let whole = if zeros == whole.len() { b"0" } else { &whole[zeros..] };
    let point: &[u8] = if fraction.is_empty() { b"" } else { b"." };
    let number = [sign, whole, point, fraction, exponent].concat();
    is_number(&number).then_some(Cow::Owned(number))
}

/// Without white space around it, and on one line: within JSON, line ends are white space.
fn to_json(text: Cow<'_, [u8]>) -> Option<Cell<'_>> {
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
        Cow::Owned(text) => Cow::Owned(text.trim_ascii().to_vec()),
    };
    if !(is_json(&text) && is_json_within(&text)) {
        return None;
    }
    let is_line_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    if !text.iter().any(is_line_end) {
        return Some(Cell::Json(text));
    }
    let on_one_line = text.iter().map(|byte| if is_line_end(byte) { b' ' } else { *byte });
    Some(Cell::Json(on_one_line.collect()))
}

/// Whether a JSON value is not nested too deeply to be a member of an object.
fn is_json_within(json: &[u8]) -> bool {
    /// Each container has two brackets, and may lie in 128 others.
    const SHALLOW_BYTES: usize = 2 * 128;
    json.len() < SHALLOW_BYTES || is_json(&[b"[", json, b"]"].concat())
}

/// The rules that the keys `fields` and `nulls` of a source come to, whose records are in this format. `None` once what is wrong has been
/// reported.
pub(crate) fn validate(
    fields: &Field<Entries<Word<ColumnType>>>,
    nulls: &Field<Vec<At<String>>>,
    format: Format,
    problems: &mut Problems,
) -> Option<Arc<CellRules>> {
    let reason = match format {
        Format::Csv => None,
        Format::Jsonl => Some("JSON values have types of their own"),
        Format::Lines => Some("lines have no fields"),
    };
    if let Some(reason) = reason {
        let keys = [("fields", fields.key()), ("nulls", nulls.key())];
        let given = keys.into_iter().filter_map(|(key, place)| Some((key, place?)));
        for (key, place) in given.clone() {
            problems.push(
                Diagnostic::error(format!("`{key}` is for csv, and the format is {format}"))
                    .at(place, reason)
                    .help(format!("remove `{key}`")),
            );
        }
        if given.count() > 0 {
            return None;
        }
    }
    if let Some(surplus) = nulls.given().and_then(|nulls| nulls.value.get(NULLS_MAX)) {
        problems.push(
            Diagnostic::error(format!("`nulls` has more than {NULLS_MAX} texts"))
                .at(surplus.place, "one too many")
                .help("each cell is compared with each of them; give the column a type with `fields`, or reject events in an operator"),
        );
        return None;
    }
    let default = CellRules::default();
    Some(Arc::new(CellRules {
        types: fields
            .map(|Entries(types)| types.iter().map(|(name, at)| (name.clone(), at.value.0)).collect())
            .unwrap_or_default(),
        nulls: nulls
            .map(|nulls| nulls.iter().map(|at| at.value.clone()).collect())
            .unwrap_or(default.nulls),
    }))
}

/// Why a cell is not of the type of its column.
#[cold]
pub(super) fn mistyped(column: &str, written: &[u8], field_type: FieldType) -> String {
    let right = match field_type {
        FieldType::Boolean => "`true` or `false`",
        FieldType::S64 => "an integer of 64 bits, such as `-12`",
        FieldType::F64 => "a number that 64 bits hold, such as `-1.5e3`",
        FieldType::Text | FieldType::Bytes => "a text",
        FieldType::Json => "one JSON value",
    };
    format!(
        "column `{column}` is {:?}, and `fields` says {field_type}: {right}",
        excerpt(&unquoted(written))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str, field_type: FieldType) -> Option<String> {
        match to_cell(text.as_bytes(), Some(field_type), &[]) {
            Some(Cell::Number(number)) => Some(String::from_utf8(number.into_owned()).unwrap()),
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn numbers_keep_their_digits_however_they_are_written() {
        let long = [
            "9007199254740993",
            "+9007199254740993",
            "09007199254740993",
            "9007199254740993.",
            "+0009007199254740993.",
        ];
        for text in long {
            for field_type in [FieldType::S64, FieldType::F64] {
                assert_eq!(
                    number(text, field_type).as_deref(),
                    Some(long[0]),
                    "{text} as {field_type}"
                );
            }
        }
        let others = [
            ("-007", "-7"),
            ("-0", "-0"),
            ("00", "0"),
            (".5", "0.5"),
            ("-.50", "-0.50"),
            ("+1.10", "1.10"),
            ("01.5e+3", "1.5e+3"),
            ("1.E15", "1E15"),
            (
                "0.1000000000000000055511151231257827",
                "0.1000000000000000055511151231257827",
            ),
        ];
        for (text, json) in others {
            assert_eq!(number(text, FieldType::F64).as_deref(), Some(json), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_none_in_any_spelling() {
        let texts = [
            "", "+", "-", ".", "-.", "+-7", "--7", "e5", ".e5", "1e", "7 ", "1.2.3", "0x7", "inf", "-NaN", "1_0",
            "1e400",
        ];
        for text in texts {
            assert_eq!(number(text, FieldType::F64), None, "{text}");
            assert_eq!(number(text, FieldType::S64), None, "{text}");
        }
        assert_eq!(
            number("009223372036854775808", FieldType::S64),
            None,
            "it takes 65 bits"
        );
        assert_eq!(
            number("-009223372036854775808", FieldType::S64).as_deref(),
            Some("-9223372036854775808")
        );
    }
}

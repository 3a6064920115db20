//! The pipeline file as a tree in which every key and value knows where it stands.
//!
//! Owns TOML syntax: what it reports are broken lines and numbers that do not fit. Does not know which keys a pipeline
//! has.

use toml::de::{DeArray, DeFloat, DeInteger, DeTable, DeValue};
use toml::value::Datetime;
use toml::{Spanned, de};

use super::diagnostic::{Diagnostic, Problems};
use super::outside::Found;
use super::span::{Origin, Span};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) place: Span,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Datetime),
    List(Vec<Node>),
    Table(Vec<KeyValue>),
    /// A text from outside of the file, which is read as what is wanted.
    Outside(Found),
    /// What has been reported already: nothing more is to be said of it.
    Broken,
}

/// A key of a table with its value.
#[derive(Clone, Debug)]
pub struct KeyValue {
    pub(super) key: String,
    pub(super) place: Span,
    pub(super) node: Node,
}

impl KeyValue {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Value {
    /// What it is, in the words of an error message.
    pub(super) fn described(&self) -> String {
        match self {
            Value::String(text) if text.chars().count() <= 40 => format!("the string {text:?}"),
            Value::String(_) => "a string".to_owned(),
            Value::Integer(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the float {number}"),
            Value::Boolean(fact) => format!("the boolean {fact}"),
            Value::Datetime(moment) => format!("the date-time {moment}"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            // Not the text, which may be secret.
            Value::Outside(found) => found.described.clone(),
            Value::Broken => "a broken value".to_owned(),
        }
    }
}

/// The tree of a pipeline file; `None` where its syntax is broken.
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let place = Span::in_file(0..0);
        return Some(Node {
            place,
            value: Import {
                origin: Origin::File,
                offset: 0,
                problems,
            }
            .table(table.get_ref()),
        });
    }
    report_syntax(text, &errors, problems);
    None
}

/// The value of an override, which starts at byte `offset` of its text; `None` where it is no TOML value.
pub(super) fn parse_value(text: &str, origin: Origin, offset: usize, problems: &mut Problems) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    Some(
        Import {
            origin,
            offset,
            problems,
        }
        .node(&value),
    )
}

/// One problem per line, and none behind an open bracket: what follows one is read as part of it, and complaints about
/// that would only bury the cause.
fn report_syntax(text: &str, errors: &[de::Error], problems: &mut Problems) {
    let mut reported_line = None;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = text[..span.start].matches('\n').count();
        if let Some((list, header)) = single_brackets(text, error) {
            problems.push(brackets_problem(list, header));
            return;
        }
        if reported_line != Some(line) {
            problems.push(syntax_problem(error, &text[span.clone()], Span::in_file(span)));
            reported_line = Some(line);
        }
        if error.message().contains("array") || error.message().contains("inline table") {
            return;
        }
    }
}

/// What the parser says of a word without quotes.
const STRINGS_ARE_QUOTED: &str = "string values must be quoted";

/// The tables of which a file may have several.
const LISTS: [&str; 4] = ["source", "operator", "sink", "test"];

/// Where a duplicate key is one of [`LISTS`]: its name, and the first of its headers in single brackets.
fn single_brackets(text: &str, error: &de::Error) -> Option<(&'static str, Span)> {
    if error.message() != "duplicate key" {
        return None;
    }
    let key = text.get(error.span()?)?;
    let list = LISTS
        .into_iter()
        .find(|list| *list == key.trim_matches(['[', ']', ' ']))?;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let header = line.split('#').next().unwrap_or(line).trim();
        let inner = header.strip_prefix('[').and_then(|header| header.strip_suffix(']'));
        if inner.is_some_and(|inner| inner.trim() == list) {
            let start = start + line.find('[').expect("the line starts with a bracket");
            return Some((list, Span::in_file(start..start + header.len())));
        }
        start += line.len();
    }
    None
}

fn brackets_problem(list: &str, header: Span) -> Diagnostic {
    Diagnostic::error(format!("there are several `{list}`s, but not in a list"))
        .at(header, "single brackets are for what there is once")
        .help(format!("write `[[{list}]]`, with double brackets"))
}

/// What is wrong where `written` stands.
fn syntax_problem(error: &de::Error, written: &str, place: Span) -> Diagnostic {
    let message = error.message();
    let (what, expected) = message.split_once(", ").unwrap_or((message, "this is not TOML"));
    let is_word = written.starts_with(char::is_alphabetic);
    let (what, expected) = match what {
        // The parser goes by the first letter: `file` would be `false`, and `nats` not a number.
        "invalid boolean" | "invalid float" if is_word => match written.to_lowercase().as_str() {
            "true" | "false" | "inf" | "nan" => (what, expected.to_owned()),
            _ => (STRINGS_ARE_QUOTED, format!("write `\"{written}\"`")),
        },
        STRINGS_ARE_QUOTED if is_word => (what, format!("write `\"{written}\"`")),
        "duplicate key" => (what, "it is there already".to_owned()),
        _ => (what, expected.to_owned()),
    };
    let help = match what {
        STRINGS_ARE_QUOTED => Some("a value is \"text\", a number, true or false, [a list] or { a table }"),
        "recursion limit" | "cannot recurse further; max recursion depth met" => {
            Some("tables and lists nest at most 80 deep")
        }
        _ => None,
    };
    Diagnostic::error(format!("invalid TOML: {what}"))
        .at(place, expected)
        .help_if(help.map(str::to_owned))
}

/// Copies what the parser borrowed from a text, and turns digits into numbers.
struct Import<'a> {
    origin: Origin,
    offset: usize,
    problems: &'a mut Problems,
}

impl Import<'_> {
    fn place<T>(&self, spanned: &Spanned<T>) -> Span {
        let span = spanned.span();
        Span {
            origin: self.origin,
            start: self.offset + span.start,
            end: self.offset + span.end,
        }
    }

    fn node(&mut self, spanned: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(spanned);
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(digits) => self.integer(digits, place),
            DeValue::Float(digits) => self.float(digits, place),
            DeValue::Boolean(fact) => Value::Boolean(*fact),
            DeValue::Datetime(moment) => Value::Datetime(*moment),
            DeValue::Array(items) => self.list(items),
            DeValue::Table(table) => self.table(table),
        };
        Node { place, value }
    }

    fn list(&mut self, items: &DeArray<'_>) -> Value {
        Value::List(items.iter().map(|item| self.node(item)).collect())
    }

    fn table(&mut self, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| KeyValue {
            key: String::from(AsRef::<str>::as_ref(key.get_ref())),
            place: self.place(key),
            node: self.node(value),
        };
        Value::Table(table.iter().map(entry).collect())
    }

    fn integer(&mut self, digits: &DeInteger<'_>, place: Span) -> Value {
        if let Ok(number) = i64::from_str_radix(digits.as_str(), digits.radix()) {
            return Value::Integer(number);
        }
        let figures = digits.as_str().trim_start_matches(['+', '-']);
        if figures.is_empty() || figures.chars().any(|figure| !figure.is_digit(digits.radix())) {
            self.problems.push(not_a_number(place));
            return Value::Broken;
        }
        let limits = format!("an integer lies between {} and {}", i64::MIN, i64::MAX);
        self.problems.push(
            Diagnostic::error("the integer is too large")
                .at(place, "beyond 64 bits")
                .help(limits),
        );
        Value::Broken
    }

    fn float(&mut self, digits: &DeFloat<'_>, place: Span) -> Value {
        let is_written_infinite = digits.as_str().ends_with("inf");
        match digits.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() || number.is_nan() || is_written_infinite => Value::Float(number),
            _ => {
                let problem = if digits.as_str().is_ascii() {
                    Diagnostic::error("the float is too large").at(place, "beyond 64 bits")
                } else {
                    not_a_number(place)
                };
                self.problems.push(problem);
                Value::Broken
            }
        }
    }
}

/// Of a number that the parser lets pass, and that has no digits, or some of another base or script.
fn not_a_number(place: Span) -> Diagnostic {
    Diagnostic::error("invalid TOML: invalid number").at(place, "this is no number")
}

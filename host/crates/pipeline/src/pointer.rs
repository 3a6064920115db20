//! JSON pointers, RFC 6901.
//!
//! Owns their syntax, and that of the column names which stand for them in csv. Does not resolve them.

use super::diagnostic::{Diagnostic, Problems};
use super::model::{Format, Pointer};
use super::section::At;

/// The pointer that `at` writes for records of this format, with the key (`key` or `time`) that it is the value of.
pub(super) fn parse(key: &str, at: &At<String>, format: Format, problems: &mut Problems) -> Option<Pointer> {
    let text = at.value.as_str();
    let tokens = match format {
        Format::Lines => Err(Flaw::Fieldless),
        Format::Csv if !text.starts_with('/') && !text.is_empty() => Ok(vec![text.to_owned()]),
        Format::Csv => tokens(text).and_then(|tokens| if tokens.len() > 1 { Err(Flaw::Deep) } else { Ok(tokens) }),
        Format::Jsonl => tokens(text),
    };
    match tokens {
        Ok(tokens) => Some(Pointer {
            text: text.to_owned(),
            tokens,
        }),
        Err(flaw) => {
            problems.push(flaw.diagnostic(key, at));
            None
        }
    }
}

enum Flaw {
    Fieldless,
    Empty,
    Rootless,
    Escape,
    Deep,
}

fn tokens(text: &str) -> Result<Vec<String>, Flaw> {
    if text.is_empty() {
        return Err(Flaw::Empty);
    }
    text.strip_prefix('/')
        .ok_or(Flaw::Rootless)?
        .split('/')
        .map(unescape)
        .collect()
}

fn unescape(token: &str) -> Result<String, Flaw> {
    let mut parts = token.split('~');
    let mut unescaped = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (tilde_or_slash, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => return Err(Flaw::Escape),
        };
        unescaped.push(tilde_or_slash);
        unescaped.push_str(rest);
    }
    Ok(unescaped)
}

impl Flaw {
    fn diagnostic(&self, key: &str, at: &At<String>) -> Diagnostic {
        let text = at.value.as_str();
        let (message, label, help) = match self {
            Flaw::Fieldless => (
                format!("format `lines` has no `{key}`"),
                "lines have no fields to point at",
                Some(format!("remove `{key}`, or read the lines as `jsonl` or `csv`")),
            ),
            Flaw::Empty => (
                format!("`{key}` is empty"),
                "this points at the whole event",
                Some("point at one of its fields, such as \"/sensor\"".to_owned()),
            ),
            Flaw::Rootless => (
                format!("`{text}` is not a JSON pointer"),
                "a JSON pointer starts with `/`",
                Some(format!(
                    "write \"/{}\"",
                    text.trim_start_matches("$.").replace('.', "/")
                )),
            ),
            Flaw::Escape => (
                format!("`{text}` is not a JSON pointer"),
                "`~` stands alone",
                Some("write `~0` for `~`, and `~1` for a `/` within a name".to_owned()),
            ),
            Flaw::Deep => (
                format!("`{text}` points into a csv field"),
                "a csv record has only columns",
                Some("write the column's name".to_owned()),
            ),
        };
        Diagnostic::error(message).at(at.place, label).help_if(help)
    }
}

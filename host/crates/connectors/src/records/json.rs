//! Finding members in JSON text without reading the rest of it.
//!
//! A [`Cursor`] walks over the text once and stops at what was asked for. It checks what it needs for that: the syntax
//! of the objects and arrays that it walks through, of the names and values directly in them, and of every number and
//! literal. What lies within values that it passes over is checked only as far as is needed to find their ends, and
//! what follows the last thing asked for is not looked at. It knows nothing of keys or times.
//!
//! Measured on lines of 68 bytes: one walk for two pointers takes 47 ns, two calls of `sonic_rs::get` take 140.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr, memchr_iter};

use super::words::{digit_count, plain_length};

/// A place where the text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unexpected {
    expected: &'static str,
    found: Option<u8>,
    at: usize,
}

/// A byte, as itself where it can be printed.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // An escape in quotes would have a backslash too many.
            quote @ (b'\'' | b'"' | b'\\') => write!(f, "{}", char::from(quote)),
            byte => write!(f, "{}", byte.escape_ascii()),
        }
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, found, at } = self;
        match found {
            Some(byte) => write!(f, "expected {expected} but found `{}` at byte {}", Shown(*byte), at + 1),
            None => write!(f, "expected {expected} but it ends after byte {at}"),
        }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A value as it stands in the text, quotes and brackets included.
///
/// Nothing but the text: whatever travelled next to it would cost more than to look at the first byte again, for the
/// processor waits where it loads at once what was stored in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a>(pub(super) &'a [u8]);

impl<'a> Value<'a> {
    #[inline]
    pub(super) fn kind(self) -> JsonKind {
        match self.0[0] {
            b'n' => JsonKind::Null,
            b't' | b'f' => JsonKind::Bool,
            b'"' => JsonKind::String,
            b'[' => JsonKind::Array,
            b'{' => JsonKind::Object,
            _ => JsonKind::Number,
        }
    }

    /// What a string says; an error for an escape that JSON does not have.
    #[inline]
    pub(super) fn unescaped(self) -> Result<Cow<'a, [u8]>, String> {
        let content = &self.0[1..self.0.len() - 1];
        if plain_length(content) == content.len() {
            return Ok(Cow::Borrowed(content));
        }
        match serde_json::from_slice::<String>(self.0) {
            Ok(text) => Ok(Cow::Owned(text.into_bytes())),
            Err(error) => Err(dirigo_json::explained(&error, self.0)),
        }
    }
}

/// The value that `tokens` lead to from the top of `text`. Of members with the same name the first counts.
pub(super) fn find<'a>(text: &'a [u8], tokens: &[String]) -> Result<Option<Value<'a>>, Unexpected> {
    let Some((first, rest)) = tokens.split_first() else {
        return Ok(Some(Value(text)));
    };
    let [found, _] = find_two(text, [Some(first), None])?;
    match found {
        Some(value) if !rest.is_empty() => find(value.0, rest),
        found => Ok(found),
    }
}

/// The values directly under the top of `text` that two tokens name, found in one walk.
#[inline]
pub(super) fn find_two<'a>(text: &'a [u8], tokens: [Option<&String>; 2]) -> Result<[Option<Value<'a>>; 2], Unexpected> {
    let mut cursor = Cursor {
        text,
        at: 0,
        expected: "",
    };
    cursor.skip_space();
    let found = match cursor.peek() {
        Some(b'{') => cursor.members(tokens.map(|token| token.map(String::as_bytes))),
        Some(b'[') => cursor.items(tokens.map(|token| token.and_then(|token| item_index(token)))),
        _ => cursor.value().map(|()| [None; 2]),
    };
    found.map_err(|NotJson| cursor.unexpected())
}

/// The item that a reference token names in an array (RFC 6901, section 4).
fn item_index(token: &str) -> Option<usize> {
    let is_index = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if is_index { token.parse().ok() } else { None }
}

/// Whether the text is a JSON number, and nothing else.
pub(super) fn is_number(text: &[u8]) -> bool {
    let mut cursor = Cursor {
        text,
        at: 0,
        expected: "",
    };
    cursor.number().is_ok() && cursor.at == text.len()
}

/// Whether a line is an object without another in it, as far as its brackets show: what most lines are, seen at once.
#[inline]
pub(super) fn is_flat_object(line: &[u8]) -> bool {
    match line {
        [b'{', inner @ .., b'}', b'\n'] => memchr(b'}', inner).is_none(),
        _ => false,
    }
}

/// Why a line is not one JSON value, as far as its ends show; `None` where they show nothing.
///
/// An object or an array must close with the line and not before, and anything else is short enough to be read whole. What is
/// between the brackets is not looked at: to read it would cost ten times as much.
pub(super) fn flaw(line: &[u8]) -> Option<String> {
    let text = line.trim_ascii();
    let close = match text.first() {
        Some(b'{') => b'}',
        Some(b'[') => b']',
        _ => return scalar_flaw(text),
    };
    if text.len() > 1 && text.last() == Some(&close) && !closes_before(text, close) {
        return None;
    }
    nested_flaw(text)
}

/// Whether a closing bracket is followed by what can follow none within a value, be it only in a string.
#[inline]
fn closes_before(text: &[u8], close: u8) -> bool {
    memchr_iter(close, &text[..text.len() - 1]).any(|at| {
        let next = text[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        !matches!(next, Some(b',' | b'}' | b']'))
    })
}

#[cold]
fn nested_flaw(text: &[u8]) -> Option<String> {
    let mut cursor = Cursor {
        text,
        at: 0,
        expected: "",
    };
    if let Err(NotJson) = cursor.nested() {
        return Some(format!(
            "the line is not one JSON value: {}; in jsonl, a value has a line of its own and does not continue on the next",
            cursor.unexpected()
        ));
    }
    let end = cursor.at;
    let between = &text[end..];
    if between.is_empty() {
        return None;
    }
    let is_cr = between.starts_with(b"\r");
    cursor.skip_space();
    let help = if is_cr {
        "; lines end with LF or CRLF, not with CR alone"
    } else {
        ""
    };
    Some(format!(
        "the line is not one JSON value: another begins at byte {}{help}",
        cursor.at + 1
    ))
}

#[cold]
fn scalar_flaw(text: &[u8]) -> Option<String> {
    let zeros = text.iter().take_while(|&&byte| byte == 0).count();
    if zeros > 0 {
        return Some(format!(
            "the line begins with {zeros} zero bytes, as a crash leaves them: it is not JSON"
        ));
    }
    let mut cursor = Cursor {
        text,
        at: 0,
        expected: "",
    };
    match cursor.value() {
        Ok(()) if cursor.at == text.len() => None,
        Ok(()) => Some(format!(
            "the line is not one JSON value: that ends before byte {}",
            cursor.at + 1
        )),
        Err(NotJson) => Some(format!("the value is not JSON: {}", cursor.unexpected())),
    }
}

/// Whether the text is an object or an array up to its closing bracket, so that nothing can be appended to it but space.
pub(super) fn is_closed(text: &[u8]) -> bool {
    let mut cursor = Cursor {
        text: text.trim_ascii(),
        at: 0,
        expected: "",
    };
    matches!(cursor.peek(), Some(b'{' | b'[')) && cursor.nested().is_ok() && cursor.at == cursor.text.len()
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// What should have been at `at`, where it has stopped.
    expected: &'static str,
}

/// The cursor has come to where the text is not JSON. It keeps the details itself, so that success costs nothing.
struct NotJson;

impl<'a> Cursor<'a> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    fn stop(&mut self, expected: &'static str) -> NotJson {
        self.expected = expected;
        NotJson
    }

    #[cold]
    fn unexpected(&self) -> Unexpected {
        Unexpected {
            expected: self.expected,
            found: self.peek(),
            at: self.at,
        }
    }

    /// The members of the object at the cursor that have the wanted names.
    #[inline]
    fn members(&mut self, wanted: [Option<&[u8]>; 2]) -> Result<[Option<Value<'a>>; 2], NotJson> {
        let [mut first, mut second] = [None; 2];
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            return Ok([first, second]);
        }
        loop {
            let name = self.name()?;
            let value = self.next_value()?;
            let is_last = self.is_last(b'}', "`,` or `}`")?;
            if first.is_none() && is_named(name, wanted[0]) {
                first = Some(value);
            }
            if second.is_none() && is_named(name, wanted[1]) {
                second = Some(value);
            }
            let is_found = (first.is_some() || wanted[0].is_none()) && (second.is_some() || wanted[1].is_none());
            if is_last || is_found {
                return Ok([first, second]);
            }
        }
    }

    /// The items of the array at the cursor that have the wanted indexes.
    fn items(&mut self, wanted: [Option<usize>; 2]) -> Result<[Option<Value<'a>>; 2], NotJson> {
        let mut found = [None; 2];
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b']') {
            return Ok(found);
        }
        for index in 0.. {
            let value = self.next_value()?;
            for (found, wanted) in found.iter_mut().zip(wanted) {
                if wanted == Some(index) {
                    *found = Some(value);
                }
            }
            let is_last = self.is_last(b']', "`,` or `]`")?;
            if is_last || wanted.iter().flatten().all(|wanted| *wanted <= index) {
                break;
            }
        }
        Ok(found)
    }

    /// Steps over what follows a member or item, and says whether it was the end of them.
    #[inline]
    fn is_last(&mut self, close: u8, expected: &'static str) -> Result<bool, NotJson> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => Ok(true),
            _ => Err(self.stop(expected)),
        }
    }

    /// Steps over a member's name and the colon; returns the name with its quotes.
    #[inline]
    fn name(&mut self) -> Result<&'a [u8], NotJson> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.stop("a member's name"));
        }
        let start = self.at;
        self.string()?;
        let name = &self.text[start..self.at];
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.stop("`:`"));
        }
        self.at += 1;
        Ok(name)
    }

    #[inline]
    fn next_value(&mut self) -> Result<Value<'a>, NotJson> {
        self.skip_space();
        let start = self.at;
        self.value()?;
        Ok(Value(&self.text[start..self.at]))
    }

    /// Steps over the value at the cursor.
    #[inline]
    fn value(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{' | b'[') => self.nested(),
            Some(b't') => self.literal("true", "`true`"),
            Some(b'f') => self.literal("false", "`false`"),
            Some(b'n') => self.literal("null", "`null`"),
            _ => Err(self.stop("a value")),
        }
    }

    fn literal(&mut self, literal: &str, expected: &'static str) -> Result<(), NotJson> {
        if !self.text[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.stop(expected));
        }
        self.at += literal.len();
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), NotJson> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), NotJson> {
        let count = digit_count(&self.text[self.at..]);
        self.at += count;
        if count == 0 { Err(self.stop("a digit")) } else { Ok(()) }
    }

    /// Steps over the string at the cursor.
    #[inline]
    fn string(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        loop {
            self.at += plain_length(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    if self.peek().is_none() {
                        return Err(self.stop("the end of an escape"));
                    }
                    self.at += 1;
                }
                _ => return Err(self.stop("a string's closing quote")),
            }
        }
    }

    /// Steps over the object or array at the cursor. Counts brackets without telling `[` from `{`, so that no depth
    /// needs memory or stack.
    fn nested(&mut self) -> Result<(), NotJson> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return Err(self.stop("a closing bracket")),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

#[inline]
fn is_named(quoted: &[u8], wanted: Option<&[u8]>) -> bool {
    let Some(wanted) = wanted else {
        return false;
    };
    let content = &quoted[1..quoted.len() - 1];
    if content.len() <= wanted.len() {
        // A backslash in the text of a name begins an escape, and so never says a backslash that is wanted.
        return content == wanted && !wanted.contains(&b'\\');
    }
    // Only with escapes, which are longer than what they say, can it still be the same.
    content.contains(&b'\\') && Value(quoted).unescaped().is_ok_and(|name| *name == *wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, pointer: &[&str]) -> Option<String> {
        let tokens: Vec<String> = pointer.iter().map(|&token| token.to_owned()).collect();
        let value = find(text.as_bytes(), &tokens).unwrap()?;
        Some(String::from_utf8(value.0.to_vec()).unwrap())
    }

    fn problem(text: &str) -> String {
        find(text.as_bytes(), &["wanted".to_owned()]).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_one_value() {
        for line in [
            "{}",
            " {\"a\":1}\r",
            "[{\"a\":{}},[]]",
            r#"{"a":"}{"}"#,
            r#"{"a":{} ,"b":[{ } ]}"#,
            "12",
            "-1.5e3",
            "\"a\\\"b\"",
            "true",
            "null",
        ] {
            assert_eq!(flaw(line.as_bytes()), None, "{line}");
        }
        assert!(is_flat_object(b"{\"a\":[1]}\n"));
        for line in ["{}{}\n", "{\"a\":{}}\n", "{}", "{\n", "[]\n", "\n", ""] {
            assert!(!is_flat_object(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_one_value_says_why() {
        for (line, why) in [
            (r#"{"a":1}{"a":2}"#, "another begins at byte 8"),
            (r#"{"a":1}  [2]"#, "another begins at byte 10"),
            ("[1][2]", "another begins at byte 4"),
            (r#"{"a":1} {"#, "another begins at byte 9"),
            (r#"{"a":1} x"#, "another begins at byte 9"),
            ("{\"a\":1}\r{\"a\":2}", "lines end with LF or CRLF, not with CR alone"),
            (
                "{",
                "expected a closing bracket but it ends after byte 1; in jsonl, a value has a line of its own",
            ),
            (r#"{"a":"x"#, "expected a string's closing quote"),
            ("[", "a value has a line of its own"),
            (r#""a": 1,"#, "that ends before byte 4"),
            ("1 2", "that ends before byte 2"),
            ("}", "expected a value but found `}` at byte 1"),
            ("oops", "expected a value but found `o` at byte 1"),
            ("\0\0{\"a\":1}", "begins with 2 zero bytes"),
            ("", "expected a value but it ends after byte 0"),
        ] {
            let found = flaw(line.as_bytes()).unwrap_or_default();
            assert!(found.contains(why), "{line}: {found}");
        }
    }

    #[test]
    fn members_and_items_are_found_at_any_depth() {
        let text = r#" {"a": {"b": [10, {"c": "x"}]}, "d": -1.5e3 , "": 7, "a/b": true}"#;
        assert_eq!(found(text, &["a", "b", "1", "c"]).unwrap(), r#""x""#);
        assert_eq!(found(text, &["a", "b", "0"]).unwrap(), "10");
        assert_eq!(found(text, &["d"]).unwrap(), "-1.5e3");
        assert_eq!(found(text, &[""]).unwrap(), "7");
        assert_eq!(found(text, &["a/b"]).unwrap(), "true");
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for (text, pointer) in [
            ("{}", "a"),
            ("[]", "0"),
            ("[1]", "1"),
            ("[1]", "00"),
            ("[1]", "-"),
            ("3", "a"),
        ] {
            assert_eq!(found(text, &[pointer]), None, "{text} {pointer}");
        }
        assert_eq!(found(r#"{"a":"b"}"#, &["a", "b"]), None);
    }

    #[test]
    fn the_first_of_two_members_of_one_name_counts() {
        assert_eq!(found(r#"{"a":1,"a":2}"#, &["a"]).unwrap(), "1");
    }

    #[test]
    fn an_escaped_name_is_the_name_that_it_says() {
        assert_eq!(found(r#"{"\u0061\n":1}"#, &["a\n"]).unwrap(), "1");
        // The name is one backslash, in the text two.
        assert_eq!(found(r#"{"\\":1}"#, &["\\"]).unwrap(), "1");
        assert_eq!(found(r#"{"\\":1}"#, &["\\\\"]), None);
    }

    #[test]
    fn text_that_is_not_json_says_what_was_expected_where() {
        assert_eq!(problem("hello"), "expected a value but found `h` at byte 1");
        assert_eq!(problem(r#"{"a" 1}"#), "expected `:` but found `1` at byte 6");
        assert_eq!(problem(r#"{"a":1"#), "expected `,` or `}` but it ends after byte 6");
        assert_eq!(
            problem(r#"{"wanted":1"#),
            "expected `,` or `}` but it ends after byte 11"
        );
        assert_eq!(problem(r#"{"a":01}"#), "expected `,` or `}` but found `1` at byte 7");
        assert_eq!(
            problem(r#"{"a":"x"#),
            "expected a string's closing quote but it ends after byte 7"
        );
        assert_eq!(
            problem(r#"{"a":"x\"#),
            "expected the end of an escape but it ends after byte 8"
        );
        assert_eq!(
            problem("{\"a\":\"x\ny\"}"),
            "expected a string's closing quote but found `\\n` at byte 8"
        );
        assert_eq!(
            problem(r#"{"a":[1,{}"#),
            "expected a closing bracket but it ends after byte 10"
        );
        assert_eq!(
            problem(r#"{"a":1,}"#),
            "expected a member's name but found `}` at byte 8"
        );
        assert_eq!(problem(r#"{"a":nul}"#), "expected `null` but found `n` at byte 6");
        assert_eq!(problem(r#"{"a":-}"#), "expected a digit but found `}` at byte 7");
        assert_eq!(problem(""), "expected a value but it ends after byte 0");
    }

    #[test]
    fn a_million_brackets_need_no_stack() {
        let text = format!(
            r#"{{"deep":{}{},"wanted":1}}"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(found(&text, &["wanted"]).unwrap(), "1");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<f64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[ab\"\\\\é]{0,2}", inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_a_full_parser_finds(
            json in any_json(),
            tokens in prop::collection::vec("[ab\"\\\\é012]{0,2}", 1..3),
            pretty: bool,
        ) {
            let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) }.unwrap();
            let pointer: String = tokens.iter().flat_map(|token| ["/", token]).collect();
            let found = find(text.as_bytes(), &tokens).unwrap();
            let found = found.map(|value| serde_json::from_slice::<serde_json::Value>(value.0).unwrap());
            // Parsed back, since a float's text need not read as the same float.
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(found.as_ref(), json.pointer(&pointer));
        }

        #[test]
        fn no_bytes_make_it_panic(
            text in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\0-.e1tn a"[..]), 0..40),
        ) {
            let _ = find(&text, &["a".to_owned()]);
        }
    }
}

//! Where a document stops being JSON, and why.
//!
//! `serde_json` says what is wrong best, and in a component burns 116 to 172 fuel for each byte that it reads on the way: an event of
//! 60 kB would be out of fuel before its reason is known. So our own scanner finds the place, for a few fuel a byte, and `serde_json` is
//! shown a document of a few bytes that goes wrong there in the same way: its innermost container, and what stands at the place.

use serde::de::IgnoredAny;

use super::grammar::{End, Scanner};

/// How much of the document is shown from the place where it goes wrong: more than the longest escape or literal.
const SHOWN_BYTES: usize = 16;

/// What stands before the place: enough for `serde_json` to be in the same state.
struct Fault {
    before: &'static str,
    /// What stands for the value or the name in front of it, or for the start of the string or the number that goes wrong.
    token: &'static [u8],
    at: usize,
}

/// Where the scanner is in the innermost container.
#[derive(Clone, Copy)]
enum State {
    /// Before the value of the document.
    Document,
    /// Before a value: behind the bracket or a comma of an array, behind the colon of a member.
    First,
    Next,
    Member,
    /// Before a name, behind the brace or a comma of an object.
    FirstName,
    NextName,
    /// Behind a name.
    Colon,
    /// Behind a value: of the document, of an array, of an object.
    End,
    ArrayEnd,
    ObjectEnd,
}

impl State {
    /// A document in this state, but for the value or the name that the scanner is behind.
    fn document(self) -> &'static str {
        match self {
            Self::Document | Self::End => "",
            Self::First | Self::ArrayEnd => "[",
            Self::Next => "[\"\",",
            Self::Member | Self::ObjectEnd => "{\"\":",
            Self::FirstName | Self::Colon => "{",
            Self::NextName => "{\"\":\"\",",
        }
    }

    /// Something wrong at this place.
    fn fault(self, at: usize) -> Fault {
        let token: &[u8] = match self {
            Self::Colon | Self::End | Self::ArrayEnd | Self::ObjectEnd => b"\"\"",
            _ => b"",
        };
        self.fault_behind(token, at)
    }

    fn fault_behind(self, token: &'static [u8], at: usize) -> Fault {
        Fault {
            before: self.document(),
            token,
            at,
        }
    }
}

/// What `serde_json` says is wrong with the document, if it is not JSON, and at which byte, counted from 1.
pub(in super::super) fn explain(document: &[u8]) -> Option<String> {
    let Fault { before, token, at } = Scanner { document }.fault()?;
    let shown = &document[at..document.len().min(at + SHOWN_BYTES)];
    let small = [before.as_bytes(), token, shown].concat();
    let error = serde_json::from_slice::<IgnoredAny>(&small).err()?;
    let (message, small_end) = by_byte(&error, &small);
    let end = at + small_end.saturating_sub(before.len() + token.len());
    Some(format!("{message} at byte {end}"))
}

/// What `serde_json` says is wrong with a document, without the place, and how many bytes there are up to the place.
pub(in super::super) fn by_byte(error: &serde_json::Error, document: &[u8]) -> (String, usize) {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let lines = document.split_inclusive(|&byte| byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    let message = message.strip_suffix(&place).unwrap_or(&message);
    (message.to_owned(), before + error.column())
}

impl Scanner<'_> {
    /// Where the document goes wrong, if it does. Containers may be nested without bound.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn fault(self) -> Option<Fault> {
        // Whether each container is an object, the innermost one last.
        let mut containers: Vec<bool> = Vec::new();
        let mut state = State::Document;
        let mut at = 0;
        loop {
            // Here begins a value.
            at = self.behind_blanks(at);
            let Some(byte) = self.byte(at) else {
                return Some(state.fault(at));
            };
            if byte == b'{' || byte == b'[' {
                let is_object = byte == b'{';
                at = self.behind_blanks(at + 1);
                if self.byte(at) != Some(if is_object { b'}' } else { b']' }) {
                    containers.push(is_object);
                    state = State::First;
                    if is_object {
                        match self.behind_colon(at, State::FirstName) {
                            Ok(value) => (state, at) = (State::Member, value),
                            Err(fault) => return Some(fault),
                        }
                    }
                    continue;
                }
                at += 1;
            } else {
                let scalar = match byte {
                    b'"' => match self.string_end(at) {
                        Ok(end) => End::new(end),
                        Err(place) => return Some(state.fault_behind(b"\"", place)),
                    },
                    _ => self.scalar(byte, at),
                };
                match scalar {
                    // No digit may follow a zero, and none is left behind another number.
                    Some(end) if byte > b'9' || byte == b'"' || !self.is_digit(end.get()) => at = end.get(),
                    _ if matches!(byte, b'-' | b'0'..=b'9') => return Some(self.number_fault(state, at)),
                    _ => return Some(state.fault(at)),
                }
            }
            // Here ends one, and perhaps the containers around it.
            loop {
                at = self.behind_blanks(at);
                let byte = self.byte(at);
                match containers.last() {
                    None => return byte.map(|_| State::End.fault(at)),
                    Some(true) => match byte {
                        Some(b',') => match self.behind_colon(self.behind_blanks(at + 1), State::NextName) {
                            Ok(value) => (state, at) = (State::Member, value),
                            Err(fault) => return Some(fault),
                        },
                        Some(b'}') => {
                            containers.pop();
                            at += 1;
                            continue;
                        }
                        _ => return Some(State::ObjectEnd.fault(at)),
                    },
                    Some(false) => match byte {
                        Some(b',') => (state, at) = (State::Next, at + 1),
                        Some(b']') => {
                            containers.pop();
                            at += 1;
                            continue;
                        }
                        _ => return Some(State::ArrayEnd.fault(at)),
                    },
                }
                break;
            }
        }
    }

    /// Reads the name of a member and the colon behind it.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn behind_colon(self, at: usize, state: State) -> Result<usize, Fault> {
        if self.byte(at) != Some(b'"') {
            return Err(state.fault(at));
        }
        let end = self.string_end(at);
        let end = end.map_err(|place| state.fault_behind(b"\"", place))?;
        let at = self.behind_blanks(end);
        match self.byte(at) {
            Some(b':') => Ok(at + 1),
            _ => Err(State::Colon.fault(at)),
        }
    }

    #[inline]
    fn behind_blanks(self, mut at: usize) -> usize {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte(at) {
            at += 1;
        }
        at
    }

    fn is_digit(self, at: usize) -> bool {
        self.byte(at).is_some_and(|byte| byte.is_ascii_digit())
    }

    /// Where the string ends that begins here, or where it goes wrong. That it is UTF-8 is known.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline]
    fn string_end(self, start: usize) -> Result<usize, usize> {
        match self.plain_string(start) {
            Some(end) => Ok(end.get()),
            None => self.any_string_end(start),
        }
    }

    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    #[inline(never)]
    fn any_string_end(self, start: usize) -> Result<usize, usize> {
        let mut at = start + 1;
        loop {
            at = match self.byte(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => self.escape(at + 1).ok_or(at)?.get(),
                Some(0x80..) => at + 1,
                Some(b' '..) => self.plain_end(at),
                _ => return Err(at),
            };
        }
    }

    /// Where the number goes wrong that begins here.
    #[cold]
    fn number_fault(self, state: State, start: usize) -> Fault {
        let at = start + usize::from(self.byte(start) == Some(b'-'));
        let mut end = match self.byte(at) {
            Some(b'0') if self.is_digit(at + 1) => return state.fault_behind(b"0", at + 1),
            Some(b'0') => at + 1,
            _ => match self.digits(at) {
                Some(end) => end.get(),
                None => return state.fault_behind(b"-", at),
            },
        };
        if self.byte(end) == Some(b'.') {
            end = match self.digits(end + 1) {
                Some(end) => end.get(),
                None => return state.fault_behind(b"1.", end + 1),
            };
        }
        match self.byte(end + 1) {
            Some(b'-' | b'+') => state.fault_behind(b"1e-", end + 2),
            _ => state.fault_behind(b"1e", end + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(document: &[u8]) -> Option<String> {
        let error = serde_json::from_slice::<IgnoredAny>(document).err()?;
        Some(crate::explained(&error, document))
    }

    #[test]
    fn what_is_wrong_is_what_serde_json_says_wherever_it_is() {
        let padding = [
            "",
            " \n",
            "[1, {\"a\": [2.5e3, \"b\"],\n \"c\": ",
            "{\"x\" :\t",
            "[[], {}, \"\\u00e9\", ",
        ];
        let faults = [
            "",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{a:1}",
            "{,}",
            "[,]",
            "[1 2]",
            "[1}",
            "{\"a\":1]",
            "{\"a\":1 \"b\":2}",
            "1 2",
            "{} []",
            "'a'",
            "01",
            "-01",
            "1.",
            "1.x",
            ".5",
            "+1",
            "-",
            "-x",
            "1e",
            "1e+",
            "1ex",
            "12e+x",
            "tru",
            "truth",
            "nulll",
            "nul",
            "fals3",
            "\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12",
            "\"\\u12g4\"",
            "\"a\tb\"",
            "\"a\nb\"",
            "{\"a\tb\":1}",
            "{\"\\q\":1}",
            "{\"a",
            "}",
            "]",
            ":",
            "\u{feff}1",
            "[0 1]",
            "[10 1]",
            "[1.5 1]",
            "{1:2}",
            "{\"a\":1,2}",
            "{\"a\"::1}",
            "<html>",
            "hello",
            "[true false]",
            "[{} 1]",
        ];
        for before in padding {
            for fault in faults {
                for behind in ["", "  \n ", "]", " \"and\" more, of the same"] {
                    let document = format!("{before}{fault}{behind}");
                    assert_eq!(
                        explain(document.as_bytes()),
                        theirs(document.as_bytes()),
                        "{document:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_json_has_no_fault_however_deep() {
        assert_eq!(explain(br#" {"a":[1,-0.5e7,"\n\u12aB",{},[]],"b":{"c":null}} "#), None);
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(explain(&deep), None);
    }
}

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

/// What `serde_json` says is wrong with the document, if it is not JSON: the message, with its line and column.
pub(in super::super) fn explain(document: &[u8]) -> Option<String> {
    let Fault { before, token, at } = Scanner { document }.fault()?;
    let shown = &document[at..document.len().min(at + SHOWN_BYTES)];
    let small = [before.as_bytes(), token, shown].concat();
    let error = serde_json::from_slice::<IgnoredAny>(&small).err()?;
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    // Lines of the small document begin in what is shown alone.
    let line_start = match error.line() {
        0 | 1 => 0,
        line => {
            let ends = small.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            ends.map(|(end, _)| end + 1).nth(line - 2)?
        }
    };
    let offset = (line_start + error.column()).checked_sub(before.len() + token.len());
    let (line, column) = match offset {
        Some(offset) => place_of(document, at + offset),
        None => place_of(document, at),
    };
    Some(format!("{message} at line {line} column {column}"))
}

/// The line of what ends here, counted from 1, and how many bytes of it there are up to here.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn place_of(document: &[u8], end: usize) -> (usize, usize) {
    /// As many as a byte counts: these are added sixteen at a time.
    const BLOCK_BYTES: usize = 240;
    let before = &document[..end];
    let line_ends = |block: &[u8]| block.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    let mut lines = 1;
    let mut last_block = None;
    for (index, block) in before.chunks(BLOCK_BYTES).enumerate() {
        let here = line_ends(block);
        if here > 0 {
            lines += usize::from(here);
            last_block = Some(index * BLOCK_BYTES);
        }
    }
    let start = last_block.map_or(0, |block| {
        let there = &before[block..before.len().min(block + BLOCK_BYTES)];
        let last = there.iter().rposition(|&byte| byte == b'\n');
        last.map_or(0, |last| block + last + 1)
    });
    (lines, end - start)
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
        serde_json::from_slice::<IgnoredAny>(document)
            .err()
            .map(|error| error.to_string())
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

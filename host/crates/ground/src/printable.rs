//! Text of others, fit for a terminal.
//!
//! Values, keys, reasons, log lines, paths and names come from guests, events and files. Printed as they are, they could move
//! the cursor, change colours and titles, write over what stands there, forge a line of the log, or reverse the order in which
//! a line is read. What is printed for people goes through here; what is printed for programs does not.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` as one line: what no terminal shows as it is, line breaks and tabs included, stands as an escape such as `\n` or
/// `\u{1b}`.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// `text` of several lines: they stay, and so do tabs. For what is already made of lines, each of which was [`line()`].
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| {
        !matches!(character, '\n' | '\t') && is_unprintable(character)
    })
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    let Some(start) = text.find(&is_escaped) else {
        return Cow::Borrowed(text);
    };
    let mut shown = text[..start].to_owned();
    for character in text[start..].chars() {
        match character {
            _ if !is_escaped(character) => shown.push(character),
            '\n' | '\r' | '\t' => shown.extend(character.escape_default()),
            _ => write!(shown, "{}", character.escape_unicode()).expect("a string takes what is written"),
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal does something else with it than to show it where it stands. Joiners are not among them: scripts and
/// emoji need them.
fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' // marks of direction
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // embeddings, overrides and isolates
            | '\u{2028}' | '\u{2029}' // line and paragraph separators
            | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' // invisible
            | '\u{fff9}'..='\u{fffb}' // interlinear annotations
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_terminal_is_escaped() {
        let hostile = "a\u{1b}[2J\u{7}\r\nb\u{9b}31m\u{7f}\u{202e}txt.exe\u{2066}\u{2028}\u{e0041}\t";
        let shown = line(hostile);
        assert_eq!(
            shown,
            "a\\u{1b}[2J\\u{7}\\r\\nb\\u{9b}31m\\u{7f}\\u{202e}txt.exe\\u{2066}\\u{2028}\\u{e0041}\\t"
        );
        assert!(shown.is_ascii() && !shown.chars().any(char::is_control));
        assert_eq!(lines("a\tb\nc\u{1b}\r\n"), "a\tb\nc\\u{1b}\\r\n");
    }

    #[test]
    fn what_is_text_stays_as_it_is() {
        for text in [
            "",
            "C:\\new\\u{1b}",
            "naïve 日本語 עברית",
            "👩\u{200d}🚀 क\u{200d}ष می\u{200c}خواهم",
        ] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}

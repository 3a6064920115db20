//! The report of `dirigo test` for programs that show test results: JUnit XML, as far as all of them agree on what that is.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// What is reported of one pipeline file.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The pipeline file.
    pub(crate) file: String,
    /// Its cases.
    pub(crate) cases: Vec<SuiteCase>,
}

/// What is reported of a case.
#[derive(Debug)]
pub(crate) struct SuiteCase {
    /// What it shows.
    pub(crate) name: String,
    /// Where it stands in the file, from 1.
    pub(crate) line: usize,
    /// How long it took.
    pub(crate) duration: Duration,
    /// Whether it passed.
    pub(crate) is_passed: bool,
    /// What there is to say of it.
    pub(crate) details: String,
}

/// The report as a document.
pub(crate) fn document(suite: &Suite) -> String {
    let duration: Duration = suite.cases.iter().map(|case| case.duration).sum();
    let failures = suite.cases.iter().filter(|case| !case.is_passed).count();
    let counts = format!(
        "tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{}\"",
        suite.cases.len(),
        seconds(duration)
    );
    let file = attribute(&suite.file);
    let mut document = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line =
        |line: std::fmt::Arguments<'_>| writeln!(document, "{line}").expect("a string takes what is written");
    line(format_args!("<testsuites {counts}>"));
    line(format_args!("  <testsuite name=\"{file}\" {counts}>"));
    for case in &suite.cases {
        let (name, details) = (attribute(&case.name), text(&case.details));
        let start = format!(
            "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{}\" time=\"{}\"",
            case.line,
            seconds(case.duration)
        );
        if !case.is_passed {
            let message = attribute(case.details.lines().next().unwrap_or_default().trim());
            line(format_args!("{start}>"));
            line(format_args!(
                "      <failure message=\"{message}\" type=\"case\">{details}</failure>"
            ));
            line(format_args!("    </testcase>"));
        } else if details.is_empty() {
            line(format_args!("{start}/>"));
        } else {
            line(format_args!("{start}>"));
            line(format_args!("      <system-out>{details}</system-out>"));
            line(format_args!("    </testcase>"));
        }
    }
    line(format_args!("  </testsuite>"));
    line(format_args!("</testsuites>"));
    document
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// `raw` within quotes. Readers make spaces of line breaks and tabs there that are not escaped.
fn attribute(raw: &str) -> Cow<'_, str> {
    escaped(raw, |character| {
        matches!(character, '&' | '<' | '>' | '"' | '\'' | '\t' | '\n' | '\r')
    })
}

/// `raw` between tags. Readers make a line feed of a carriage return there that is not escaped.
fn text(raw: &str) -> Cow<'_, str> {
    escaped(raw, |character| matches!(character, '&' | '<' | '>' | '\r'))
}

/// `raw` with what is special in its place as entities. What no document may hold, not even as an entity, stands as text such as
/// `\u{1b}`.
fn escaped(raw: &str, is_special: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |character: char| is_special(character) || is_forbidden(character);
    if !raw.contains(is_escaped) {
        return Cow::Borrowed(raw);
    }
    let mut escaped = String::with_capacity(raw.len() + raw.len() / 8);
    for character in raw.chars() {
        match character {
            _ if is_forbidden(character) => escaped.extend(character.escape_unicode()),
            _ if !is_special(character) => escaped.push(character),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            _ => write!(escaped, "&#{};", u32::from(character)).expect("a string takes what is written"),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character is none of XML 1.0 (fifth edition, section 2.2).
fn is_forbidden(character: char) -> bool {
    !matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, is_passed: bool, details: &str) -> SuiteCase {
        SuiteCase {
            name: name.into(),
            line: 7,
            duration: Duration::from_millis(1_500),
            is_passed,
            details: details.into(),
        }
    }

    #[test]
    fn a_suite_has_a_case_for_each_and_what_failed_says_how() {
        let suite = Suite {
            file: "p.toml".into(),
            cases: vec![
                case("adds up", true, ""),
                case("a < b & \"c\"", false, "  event 1: expected <1>\n    - 1\n"),
                case("notes", true, "  note: it's\n"),
            ],
        };
        let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"4.500\">
  <testsuite name=\"p.toml\" tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"4.500\">
    <testcase name=\"adds up\" classname=\"p.toml\" file=\"p.toml\" line=\"7\" time=\"1.500\"/>
    <testcase name=\"a &lt; b &amp; &quot;c&quot;\" classname=\"p.toml\" file=\"p.toml\" line=\"7\" time=\"1.500\">
      <failure message=\"event 1: expected &lt;1&gt;\" type=\"case\">  event 1: expected &lt;1&gt;
    - 1
</failure>
    </testcase>
    <testcase name=\"notes\" classname=\"p.toml\" file=\"p.toml\" line=\"7\" time=\"1.500\">
      <system-out>  note: it's
</system-out>
    </testcase>
  </testsuite>
</testsuites>
";
        assert_eq!(document(&suite), expected);
    }

    #[test]
    fn what_means_something_in_xml_is_escaped() {
        assert_eq!(
            text("a]]> <b> & 'c' \"d\"\t\n\r"),
            "a]]&gt; &lt;b&gt; &amp; 'c' \"d\"\t\n&#13;"
        );
        assert_eq!(attribute("<'\"&>\t\n\r"), "&lt;&apos;&quot;&amp;&gt;&#9;&#10;&#13;");
        assert_eq!(text("&amp;"), "&amp;amp;");
        assert_eq!(attribute("žluťoučký 馬 𝄞 \u{85}"), "žluťoučký 馬 𝄞 \u{85}");
    }

    #[test]
    fn what_no_document_may_hold_stands_as_text() {
        let forbidden = (char::MIN..=char::MAX).filter(|character| is_forbidden(*character));
        let forbidden: Vec<char> = forbidden.collect();
        assert_eq!(
            forbidden.len(),
            29 + 2,
            "C0 but for three, and two that are no characters"
        );
        for character in forbidden {
            let shown = format!("\\u{{{:x}}}", u32::from(character));
            let raw = character.to_string();
            assert_eq!((&*text(&raw), &*attribute(&raw)), (&*shown, &*shown));
        }
    }
}

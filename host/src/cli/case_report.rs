//! What is said of a test case: that it passed, or all that it takes to see why it did not.

use std::fmt::{self, Write as _};
use std::path::Path;

use dirigo::flow::DeadLetter;
use dirigo::pipeline::Test;
use dirigo::printable;
use dirigo::runtime::case::{CaseOutcome, Difference, SinkOutputs};
use serde_json::Value;

/// More events than these are not shown of a list: nobody compares them by eye.
const SHOWN_MAX: usize = 100;

/// The lines about one case.
pub(crate) fn text(test: &Test, outcome: &CaseOutcome, file: &Path) -> String {
    let mut said = Report::default();
    if outcome.is_passed() {
        said.line(0, format_args!("ok      {}", test.name));
    } else {
        said.line(
            0,
            format_args!("FAILED  {} ({}:{})", test.name, file.display(), test.line),
        );
    }
    if let Some(failure) = &outcome.failure {
        said.line(1, format_args!("{failure}"));
    }
    for outputs in &outcome.sinks {
        if let Some(difference) = &outputs.difference {
            said.difference(outputs, difference);
        }
    }
    for dead_letter in &outcome.dead_letters {
        said.dead_letter(dead_letter);
    }
    said.0
}

#[derive(Default)]
struct Report(String);

impl Report {
    fn line(&mut self, depth: usize, line: fmt::Arguments<'_>) {
        let line = line.to_string();
        writeln!(self.0, "{:1$}{2}", "", 2 * depth, printable::line(&line)).expect("a string takes what is written");
    }

    fn difference(&mut self, outputs: &SinkOutputs, difference: &Difference) {
        let sink = &outputs.sink;
        let number = difference.index + 1;
        let (expected, actual) = (said(difference.expected.as_ref()), said(difference.actual.as_ref()));
        let place = match &difference.pointer {
            whole if whole.is_empty() => String::new(),
            pointer => format!(" at `{pointer}`"),
        };
        self.line(
            1,
            format_args!("sink `{sink}`, event {number}{place}: expected {expected}, got {actual}"),
        );
        self.list("expected", &outputs.expected, difference.index);
        self.list("got", &outputs.actual, difference.index);
    }

    fn list(&mut self, title: &str, values: &[Value], marked: usize) {
        match values.len() {
            0 => self.line(2, format_args!("{title} no events")),
            1 => self.line(2, format_args!("{title} 1 event:")),
            many => self.line(2, format_args!("{title} {many} events:")),
        }
        for (index, value) in values.iter().enumerate().take(SHOWN_MAX) {
            let mark = if index == marked { '>' } else { ' ' };
            self.line(2, format_args!("{mark} {:>3}  {value}", index + 1));
        }
        if values.len() > SHOWN_MAX {
            self.line(2, format_args!("       and {} more", values.len() - SHOWN_MAX));
        }
    }

    fn dead_letter(&mut self, dead_letter: &DeadLetter) {
        let DeadLetter {
            operator,
            kind,
            reason,
            backtrace,
            event,
            window,
            ..
        } = dead_letter;
        let what = if window.is_none() {
            format!("event {} of the input", event.position)
        } else {
            let key = event.key_bytes().unwrap_or_default();
            format!("the window of `{}`", String::from_utf8_lossy(&key))
        };
        self.line(
            1,
            format_args!("note: {what} is a dead letter of `{operator}`, {kind}: {reason}"),
        );
        for frame in backtrace.iter().flat_map(|backtrace| backtrace.lines()) {
            self.line(2, format_args!("{frame}"));
        }
    }
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn test() -> Test {
        Test {
            name: "adds up".into(),
            input: Vec::new(),
            output: Vec::new(),
            line: 7,
        }
    }

    fn outcome(expected: Vec<Value>, actual: Vec<Value>) -> CaseOutcome {
        CaseOutcome {
            sinks: vec![SinkOutputs {
                sink: "out".into(),
                difference: Difference::first(&expected, &actual),
                expected,
                actual,
            }],
            dead_letters: Vec::new(),
            failure: None,
        }
    }

    #[test]
    fn a_difference_is_marked_in_both_lists() {
        let outcome = outcome(
            vec![json!({"n": 1}), json!({"n": 2})],
            vec![json!({"n": 1}), json!({"n": 3})],
        );
        let expected = "\
FAILED  adds up (p.toml:7)
  sink `out`, event 2 at `/n`: expected 2, got 3
    expected 2 events:
        1  {\"n\":1}
    >   2  {\"n\":2}
    got 2 events:
        1  {\"n\":1}
    >   2  {\"n\":3}
";
        assert_eq!(text(&test(), &outcome, Path::new("p.toml")), expected);
    }

    #[test]
    fn a_missing_event_is_nothing() {
        let said = text(&test(), &outcome(vec![json!(1)], vec![]), Path::new("p.toml"));
        assert!(
            said.contains("sink `out`, event 1: expected 1, got nothing\n"),
            "{said}"
        );
        assert!(said.contains("got no events\n"), "{said}");
    }

    #[test]
    fn what_passed_takes_one_line() {
        let said = text(&test(), &outcome(vec![json!(1)], vec![json!(1.0)]), Path::new("p.toml"));
        assert_eq!(said, "ok      adds up\n");
    }
}

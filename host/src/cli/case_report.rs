//! What is said of a test case: that it passed, or all that it takes to see why it did not.

use std::fmt::{self, Write as _};
use std::path::Path;

use dirigo::flow::DeadLetter;
use dirigo::pipeline::{ExpectedDeadLetter, Test};
use dirigo::printable;
use dirigo::runtime::case::{
    self, CaseOutcome, DeadLetterDifference, Difference, Edit, FirstDifference, FuelExcess, LateDifference,
    SinkOutputs, UnorderedDifference,
};
use serde_json::Value;

use super::output::{counted, grouped};

/// More lines than these are not shown of a difference: nobody compares them by eye.
const SHOWN_MAX: usize = 100;
/// So many events that are alike are shown before and behind those that are not.
const AROUND: usize = 3;

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
    said.0 + &details(test, outcome)
}

/// The lines about one case without the one that says whether it passed.
pub(crate) fn details(test: &Test, outcome: &CaseOutcome) -> String {
    let mut said = Report::default();
    if let Some(failure) = &outcome.failure {
        said.line(1, format_args!("{failure}"));
    }
    for outputs in &outcome.sinks {
        match &outputs.difference {
            Some(Difference::Listed(difference)) => said.listed(outputs, difference),
            Some(Difference::Unordered(difference)) => said.unordered(&outputs.sink, difference),
            None => {}
        }
    }
    if let Some(difference) = &outcome.dead_letter_difference {
        said.dead_letters(difference, &outcome.dead_letters);
    }
    if let Some(difference) = &outcome.late_difference {
        said.late(*difference);
    }
    for excess in &outcome.fuel_excesses {
        said.fuel(excess);
    }
    if test.dead_letters.is_none() {
        for dead_letter in &outcome.dead_letters {
            said.note(dead_letter);
        }
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

    fn listed(&mut self, outputs: &SinkOutputs, difference: &FirstDifference) {
        let SinkOutputs {
            sink, expected, actual, ..
        } = outputs;
        let number = difference.index + 1;
        let place = match &difference.pointer {
            whole if whole.is_empty() => String::new(),
            pointer => format!(" at `{pointer}`"),
        };
        self.line(
            1,
            format_args!(
                "sink `{sink}`, event {number}{place}: expected {}, got {}",
                said(difference.expected.as_ref()),
                said(difference.actual.as_ref())
            ),
        );
        self.line(
            2,
            format_args!("- expected {}, + got {}", count(expected.len()), count(actual.len())),
        );
        self.edits(expected, actual);
    }

    fn edits(&mut self, expected: &[Value], actual: &[Value]) {
        let edits = case::edits(expected, actual);
        let is_shown = |&place: &usize| {
            let near = place.saturating_sub(AROUND)..edits.len().min(place + AROUND + 1);
            edits[near].iter().any(|edit| !matches!(edit, Edit::Same(_)))
        };
        let mut place = 0;
        for _ in 0..SHOWN_MAX {
            let hidden = (place..edits.len()).take_while(|place| !is_shown(place)).count();
            if hidden > 1 {
                self.line(2, format_args!("    …  {} that are alike", count(hidden)));
                place += hidden;
            } else if place < edits.len() {
                self.edit(edits[place], expected, actual);
                place += 1;
            }
        }
        if place < edits.len() {
            let rest = counted((edits.len() - place) as u64, "more line");
            self.line(2, format_args!("    …  {rest}"));
        }
    }

    fn edit(&mut self, edit: Edit, expected: &[Value], actual: &[Value]) {
        let (mark, place, value) = match edit {
            Edit::Same(place) => (' ', place, &expected[place]),
            Edit::Missing(place) => ('-', place, &expected[place]),
            Edit::Extra(place) => ('+', place, &actual[place]),
        };
        self.line(2, format_args!("{mark} {:>3}  {value}", place + 1));
    }

    fn unordered(&mut self, sink: &str, difference: &UnorderedDifference) {
        let UnorderedDifference { missing, extra } = difference;
        self.line(
            1,
            format_args!(
                "sink `{sink}`, in any order: - {} missing, + {} too many",
                grouped(missing.len() as u64),
                grouped(extra.len() as u64)
            ),
        );
        for (mark, values) in [('-', missing), ('+', extra)] {
            for value in values.iter().take(SHOWN_MAX) {
                self.line(2, format_args!("{mark} {value}"));
            }
            self.rest(values.len());
        }
    }

    fn dead_letters(&mut self, difference: &DeadLetterDifference, came: &[DeadLetter]) {
        let DeadLetterDifference { missing, extra } = difference;
        self.line(
            1,
            format_args!(
                "dead letters: - {} missing, + {} too many",
                grouped(missing.len() as u64),
                grouped(extra.len() as u64)
            ),
        );
        for ExpectedDeadLetter {
            operator,
            reason,
            value,
        } in missing.iter().take(SHOWN_MAX)
        {
            let reason = reason
                .as_ref()
                .map_or(String::new(), |reason| format!(": … {reason} …"));
            let value = value.as_ref().map_or(String::new(), |value| format!(" of {value}"));
            self.line(2, format_args!("- `{operator}`{value}{reason}"));
        }
        self.rest(missing.len());
        for &place in extra.iter().take(SHOWN_MAX) {
            let dead_letter = &came[place];
            let DeadLetter {
                operator, kind, reason, ..
            } = dead_letter;
            let what = if dead_letter.window.is_none() {
                case::value_of(dead_letter).to_string()
            } else {
                what_failed(dead_letter)
            };
            self.line(2, format_args!("+ `{operator}` of {what}: {kind}: {reason}"));
            self.backtrace(dead_letter, 3);
        }
        self.rest(extra.len());
    }

    fn rest(&mut self, count: usize) {
        if count > SHOWN_MAX {
            self.line(2, format_args!("  and {} more", grouped((count - SHOWN_MAX) as u64)));
        }
    }

    fn late(&mut self, difference: LateDifference) {
        let LateDifference { expected, actual } = difference;
        self.line(
            1,
            format_args!("late events: expected {}, got {}", grouped(expected), grouped(actual)),
        );
    }

    fn fuel(&mut self, excess: &FuelExcess) {
        let FuelExcess {
            operator,
            events,
            fuel_per_event,
            fuel_per_event_max,
            ..
        } = excess;
        self.line(
            1,
            format_args!(
                "operator `{operator}` burnt {} fuel per event, on the average of {}; the case allows {}",
                grouped(*fuel_per_event),
                counted(*events, "event"),
                grouped(*fuel_per_event_max)
            ),
        );
    }

    fn note(&mut self, dead_letter: &DeadLetter) {
        let DeadLetter {
            operator, kind, reason, ..
        } = dead_letter;
        let what = what_failed(dead_letter);
        self.line(
            1,
            format_args!("note: {what} is a dead letter of `{operator}`, {kind}: {reason}"),
        );
        self.backtrace(dead_letter, 2);
    }

    fn backtrace(&mut self, dead_letter: &DeadLetter, depth: usize) {
        for frame in dead_letter.backtrace.iter().flat_map(|backtrace| backtrace.lines()) {
            self.line(depth, format_args!("{frame}"));
        }
    }
}

fn what_failed(dead_letter: &DeadLetter) -> String {
    let event = &dead_letter.event;
    if dead_letter.window.is_none() {
        return format!("event {} of the input", event.position);
    }
    let key = event.key_bytes().unwrap_or_default();
    format!("the window of `{}`", String::from_utf8_lossy(&key))
}

fn count(events: usize) -> String {
    match events {
        0 => "no events".to_owned(),
        events => counted(events as u64, "event"),
    }
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use dirigo::flow::FailedEvent;
    use dirigo::pipeline::OutputOrder;
    use serde_json::json;

    use super::*;

    fn test() -> Test {
        Test {
            name: "adds up".into(),
            input: Vec::new(),
            output: Vec::new(),
            order: OutputOrder::Listed,
            dead_letters: None,
            late: None,
            fuel_per_event_max: None,
            line: 7,
        }
    }

    fn outcome(expected: Vec<Value>, actual: Vec<Value>, order: OutputOrder) -> CaseOutcome {
        CaseOutcome {
            sinks: vec![SinkOutputs {
                sink: "out".into(),
                difference: Difference::of(&expected, &actual, order),
                expected,
                actual,
            }],
            ..passed()
        }
    }

    fn passed() -> CaseOutcome {
        CaseOutcome {
            sinks: Vec::new(),
            dead_letters: Vec::new(),
            dead_letter_difference: None,
            late_difference: None,
            fuel_excesses: Vec::new(),
            failure: None,
        }
    }

    fn said_of(outcome: &CaseOutcome) -> String {
        text(&test(), outcome, Path::new("p.toml"))
    }

    fn listed(expected: Vec<Value>, actual: Vec<Value>) -> String {
        said_of(&outcome(expected, actual, OutputOrder::Listed))
    }

    #[test]
    fn a_difference_is_shown_line_by_line() {
        let said = listed(
            vec![json!({"n": 1}), json!({"n": 2}), json!({"n": 4})],
            vec![json!({"n": 1}), json!({"n": 3}), json!({"n": 4}), json!({"n": 5})],
        );
        let expected = "\
FAILED  adds up (p.toml:7)
  sink `out`, event 2 at `/n`: expected 2, got 3
    - expected 3 events, + got 4 events
        1  {\"n\":1}
    -   2  {\"n\":2}
    +   2  {\"n\":3}
        3  {\"n\":4}
    +   4  {\"n\":5}
";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_missing_event_is_nothing() {
        let said = listed(vec![json!(1)], vec![]);
        let expected = "\
FAILED  adds up (p.toml:7)
  sink `out`, event 1: expected 1, got nothing
    - expected 1 event, + got no events
    -   1  1
";
        assert_eq!(said, expected);
    }

    #[test]
    fn of_what_is_alike_only_what_is_next_to_a_difference_is_shown() {
        let numbers = |numbers: &[u64]| -> Vec<Value> { numbers.iter().map(|number| json!(number)).collect() };
        let expected: Vec<u64> = (1..=20).collect();
        let mut actual = expected.clone();
        actual[7] = 100;
        actual.remove(18);
        let said = listed(numbers(&expected), numbers(&actual));
        let lines = "\
        …  4 events that are alike
        5  5
        6  6
        7  7
    -   8  8
    +   8  100
        9  9
       10  10
       11  11
        …  4 events that are alike
       16  16
       17  17
       18  18
    -  19  19
       20  20
";
        let shown: Vec<&str> = said.lines().skip(3).map(str::trim_start).collect();
        let wanted: Vec<&str> = lines.lines().map(str::trim_start).collect();
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_long_difference_is_cut() {
        let numbers = |first: u64| -> Vec<Value> { (first..first + 1_500).map(|number| json!(number)).collect() };
        let said = listed(numbers(0), numbers(10_000));
        assert_eq!(said.lines().count(), 3 + SHOWN_MAX + 1);
        assert!(said.ends_with("    …  2,900 more lines\n"), "{said}");
    }

    #[test]
    fn in_any_order_what_is_missing_and_what_is_too_much_is_shown() {
        let said = said_of(&outcome(
            vec![json!(1), json!(2), json!(2)],
            vec![json!(2), json!(3), json!(1.0)],
            OutputOrder::Any,
        ));
        let expected = "\
FAILED  adds up (p.toml:7)
  sink `out`, in any order: - 1 missing, + 1 too many
    - 2
    + 3
";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_passed_takes_one_line() {
        assert_eq!(listed(vec![json!(1)], vec![json!(1.0)]), "ok      adds up\n");
    }

    fn dead_letter(reason: &str, value: &str) -> DeadLetter {
        DeadLetter {
            id: 1,
            pipeline: "p".into(),
            operator: "map".into(),
            component: None,
            kind: "rejected".into(),
            reason: reason.into(),
            backtrace: Some("frame\n".into()),
            event: FailedEvent::new("s", 3, None, b"", value.as_bytes()),
            window: None,
            input: None,
            timers: None,
            state: None,
            accumulator: None,
            fuel: 0,
            attempt: 1,
            setup: None,
        }
    }

    #[test]
    fn dead_letters_that_differ_are_shown_line_by_line() {
        let outcome = CaseOutcome {
            dead_letters: vec![dead_letter("expected", "1"), dead_letter("two\nlines", r#"{"n": 1}"#)],
            dead_letter_difference: Some(DeadLetterDifference {
                missing: vec![
                    ExpectedDeadLetter {
                        operator: "map".into(),
                        reason: Some("is null".into()),
                        value: Some(json!({"n": null})),
                    },
                    ExpectedDeadLetter {
                        operator: "other".into(),
                        reason: None,
                        value: None,
                    },
                ],
                extra: vec![1],
            }),
            ..passed()
        };
        let test = Test {
            dead_letters: Some(Vec::new()),
            ..test()
        };
        let expected = "\
FAILED  adds up (p.toml:7)
  dead letters: - 2 missing, + 1 too many
    - `map` of {\"n\":null}: … is null …
    - `other`
    + `map` of {\"n\":1}: rejected: two\\nlines
      frame
";
        assert_eq!(text(&test, &outcome, Path::new("p.toml")), expected);
    }

    #[test]
    fn dead_letters_that_nothing_is_said_of_are_notes() {
        let outcome = CaseOutcome {
            dead_letters: vec![dead_letter("no number", "1")],
            ..passed()
        };
        let expected = "\
ok      adds up
  note: event 3 of the input is a dead letter of `map`, rejected: no number
    frame
";
        assert_eq!(said_of(&outcome), expected);
        let test = Test {
            dead_letters: Some(Vec::new()),
            ..test()
        };
        assert_eq!(
            text(&test, &outcome, Path::new("p.toml")),
            "ok      adds up\n",
            "those that are expected are none"
        );
    }

    #[test]
    fn what_counts_is_said_with_both_numbers() {
        let outcome = CaseOutcome {
            late_difference: Some(LateDifference {
                expected: 1,
                actual: 2_000,
            }),
            fuel_excesses: vec![FuelExcess {
                operator: "map".into(),
                fuel: 4_690,
                events: 2,
                fuel_per_event: 2_345,
                fuel_per_event_max: 1_000,
            }],
            ..passed()
        };
        let expected = "\
FAILED  adds up (p.toml:7)
  late events: expected 1, got 2,000
  operator `map` burnt 2,345 fuel per event, on the average of 2 events; the case allows 1,000
";
        assert_eq!(said_of(&outcome), expected);
    }
}

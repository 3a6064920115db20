//! What Apache Beam's triggers do with windows of ten, as far as windows in time do the same here: a window puts out what it holds when the
//! watermark has passed its end, before that after so many elements, and again for late ones, where it is asked to; what comes later is dropped.
//!
//! Elements are their own times. Those of the cases that have a counterpart there are the ones of Beam's `trigger_transcripts.yaml`.

use std::fmt::Write as _;

use crate::support::{Folder, assert_says};

/// A step of a case.
enum Step {
    /// Elements enter.
    Input(&'static [i64]),
    /// The watermark comes so far.
    Watermark(i64),
    /// A window leaves: its start and its end, how many elements it has, and their sum.
    Expect((i64, i64), u64, i64),
    /// The same, with which of its results it is.
    ExpectPane((i64, i64), u64, i64, u32),
    /// The input ends.
    End,
}
use Step::{End, Expect, ExpectPane, Input, Watermark};

/// A pipeline with windows that are said so, whose event time passes by watermarks alone, and a case of these steps. Behind each step an event enters by
/// another source and leaves by the same sink: what the step puts out has to leave before it.
fn case(window: &str, steps: &[Step], late: u64) -> Folder {
    let (mut input, mut output) = (String::new(), String::new());
    let mut behind = String::new();
    let has_panes = steps.iter().any(|step| matches!(step, ExpectPane(..)));
    let expect = |output: &mut String, (start, end): (i64, i64), count: u64, sum: i64, pane: Option<u32>| {
        let pane = pane.map(|pane| format!(", pane = {pane}")).unwrap_or_default();
        let window = format!("key = \"\", start = {start}, end = {end}, count = {count}, sum = {sum}{pane}");
        writeln!(output, "{{ value = {{ {window} }} }},").unwrap();
    };
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Expect(span, count, sum) => {
                expect(&mut output, span, count, sum, has_panes.then_some(0));
                continue;
            }
            ExpectPane(span, count, sum, pane) => {
                expect(&mut output, span, count, sum, Some(pane));
                continue;
            }
            Input(_) | Watermark(_) | End => {}
        }
        output.push_str(&std::mem::take(&mut behind));
        match step {
            Input(elements) => {
                for element in *elements {
                    writeln!(input, "{{ at = \"elements\", value = {{ ts = {element} }} }},").unwrap();
                }
            }
            Watermark(watermark) => writeln!(input, "{{ at = \"elements\", watermark = {watermark} }},").unwrap(),
            Expect(..) | ExpectPane(..) | End => continue,
        }
        writeln!(input, "{{ at = \"steps\", value = {{ step = {number} }} }},").unwrap();
        behind = format!("{{ value = {{ step = {number} }} }},\n");
    }
    output.push_str(&behind);
    Folder::with_pipeline(&format!(
        r#"
[pipeline]
name = "p"
[[source]]
id = "elements"
kind = "stdin"
time = "/ts"
lateness = "1h"
[[operator]]
id = "windows"
component = "builtin:reduce"
window = {{ {window}
config = {{ field = "ts", aggregate = "sum", pane = {has_panes} }}
[[source]]
id = "steps"
kind = "generator"
[[sink]]
id = "out"
kind = "stdout"
inputs = ["windows", "steps"]
[[test]]
name = "transcript"
input = [
{input}]
output = [
{output}]
late = {late}
"#
    ))
}

#[track_caller]
fn passes(window: &str, steps: &[Step], late: u64) {
    case(window, steps, late).dirigo(&["test", "pipeline.toml"]).expect(0);
}

#[track_caller]
fn fails(window: &str, steps: &[Step], late: u64, said: &[&str]) {
    let ran = case(window, steps, late).dirigo(&["test", "pipeline.toml"]).expect(1);
    assert_says(&ran.stdout, said);
}

const FIXED: &str = "tumbling = \"10ms\" }";
const SESSIONS: &str = "session = \"10ms\" }";

/// Windows of ten that have a result after each two elements, too.
const FIXED_EARLY: &str = "tumbling = \"10ms\" }\nearly = { events = 2 }";
const SESSIONS_EARLY: &str = "session = \"10ms\" }\nearly = { events = 2 }";

#[test]
fn fixed_windows_leave_when_the_watermark_has_passed_their_ends() {
    let steps = [
        Input(&[1, 2, 3, 10, 11]),
        Watermark(25),
        Expect((0, 10), 3, 6),
        Expect((10, 20), 2, 21),
    ];
    passes(FIXED, &steps, 0);
}

#[test]
fn fixed_windows_drop_what_comes_behind_the_watermark() {
    let steps = [
        Input(&[1, 2, 3, 10, 11, 25]),
        Watermark(100),
        Expect((0, 10), 3, 6),
        Expect((10, 20), 2, 21),
        Expect((20, 30), 1, 25),
        Input(&[7]),
        End,
    ];
    passes(FIXED, &steps, 1);
}

#[test]
fn an_element_behind_the_watermark_is_in_its_window_while_that_is_open() {
    let steps = [
        Watermark(5),
        Input(&[2, 3, 7, 8]),
        Watermark(11),
        Expect((0, 10), 4, 20),
    ];
    passes(FIXED, &steps, 0);
    let steps = [Watermark(8), Input(&[2, 3, 7]), Watermark(11), Expect((0, 10), 3, 12)];
    passes(FIXED, &steps, 0);
}

#[test]
fn a_fixed_window_closes_at_its_end_and_not_before() {
    let steps = [
        Input(&[0, 9]),
        Watermark(9),
        Input(&[5]),
        Watermark(10),
        Expect((0, 10), 3, 14),
        Input(&[9, 10]),
        Watermark(10),
        End,
        Expect((10, 20), 1, 10),
    ];
    passes(FIXED, &steps, 1);
}

#[test]
fn a_session_grows_until_the_watermark_has_passed_its_end() {
    // The elements of Beam's sessions with early and late panes; the one pane here is the one at the watermark.
    let steps = [
        Input(&[1, 2, 3]),
        Input(&[4]),
        Input(&[5]),
        Input(&[6]),
        Watermark(100),
        Expect((1, 16), 6, 21),
        Input(&[1]),
        Input(&[3, 4]),
        End,
    ];
    passes(SESSIONS, &steps, 3);
}

#[test]
fn watermarks_between_the_elements_of_a_session_do_not_cut_it() {
    let steps = [
        Input(&[1]),
        Watermark(10),
        Input(&[9]),
        Watermark(18),
        Input(&[18]),
        Watermark(27),
        Watermark(28),
        Expect((1, 28), 3, 28),
    ];
    passes(SESSIONS, &steps, 0);
}

#[test]
fn sessions_of_their_own_leave_one_by_one_and_one_element_joins_two() {
    let steps = [
        Input(&[1, 20, 35]),
        Watermark(12),
        Expect((1, 11), 1, 1),
        Input(&[28]),
        Watermark(44),
        Watermark(45),
        Expect((20, 45), 3, 83),
    ];
    passes(SESSIONS, &steps, 0);
}

#[test]
fn an_element_behind_the_watermark_is_in_a_session_that_is_open() {
    let steps = [
        Input(&[20]),
        Watermark(28),
        // Alone each would be late. The first reaches the session from the front; from there the second does.
        Input(&[15]),
        Input(&[8]),
        // This one does not, and neither does one that touches the session only.
        Input(&[-3, -2]),
        Watermark(30),
        Expect((8, 30), 3, 43),
    ];
    passes(SESSIONS, &steps, 2);
}

#[test]
fn fixed_windows_have_early_results_after_each_two_elements() {
    // Beam discards what it has put out in this case; the elements of each pane are those that its window has by then.
    let steps = [
        Input(&[1, 2]),
        Expect((0, 10), 2, 3),
        Input(&[4]),
        Input(&[14]),
        Input(&[5]),
        ExpectPane((0, 10), 4, 12, 1),
        Input(&[18]),
        Expect((10, 20), 2, 32),
        Input(&[6]),
        Watermark(100),
        ExpectPane((0, 10), 5, 18, 2),
        ExpectPane((10, 20), 2, 32, 1),
    ];
    passes(FIXED_EARLY, &steps, 0);
}

#[test]
fn a_session_has_early_results_after_each_two_elements() {
    let steps = [
        Input(&[1, 2]),
        Expect((1, 12), 2, 3),
        Input(&[3]),
        Input(&[4]),
        ExpectPane((1, 14), 4, 10, 1),
        Input(&[5]),
        Watermark(100),
        ExpectPane((1, 15), 5, 15, 2),
    ];
    passes(SESSIONS_EARLY, &steps, 0);
}

#[test]
fn late_elements_bring_a_session_out_again() {
    // In Beam's case three late elements bring a result; here they do when event time goes on.
    let late = "session = \"10ms\" }\nearly = { events = 2 }\nallowed_lateness = \"100ms\"";
    let steps = [
        Input(&[1, 2]),
        Expect((1, 12), 2, 3),
        Input(&[3]),
        Input(&[4]),
        ExpectPane((1, 14), 4, 10, 1),
        Input(&[5]),
        Watermark(100),
        ExpectPane((1, 15), 5, 15, 2),
        Input(&[1]),
        Input(&[3, 4]),
        Watermark(101),
        ExpectPane((1, 15), 8, 23, 3),
        Watermark(115),
        Input(&[5]),
        End,
    ];
    passes(late, &steps, 1);
}

#[test]
fn a_late_element_joins_two_sessions_that_were_finished() {
    let late = "session = \"10ms\" }\nallowed_lateness = \"100ms\"";
    let steps = [
        Input(&[1, 15, 40]),
        Watermark(30),
        Expect((1, 11), 1, 1),
        Expect((15, 25), 1, 15),
        Input(&[6]),
        Watermark(31),
        ExpectPane((1, 25), 3, 22, 1),
        Input(&[24]),
        Watermark(50),
        ExpectPane((1, 34), 4, 46, 2),
        Expect((40, 50), 1, 40),
    ];
    passes(late, &steps, 0);
}

#[test]
fn elements_of_sessions_that_become_one_count_together() {
    let steps = [
        Input(&[1, 15]),
        Input(&[6]),
        Expect((1, 25), 3, 22),
        Input(&[30, 31]),
        Expect((30, 41), 2, 61),
        Watermark(100),
        ExpectPane((1, 25), 3, 22, 1),
        ExpectPane((30, 41), 2, 61, 1),
    ];
    passes(SESSIONS_EARLY, &steps, 0);
}

#[test]
fn late_elements_bring_a_fixed_window_out_again_until_they_come_too_late() {
    let late = "tumbling = \"10ms\" }\nallowed_lateness = \"20ms\"\nearly = { events = 3 }";
    let steps = [
        Input(&[1, 2, 10, 11, 80, 81]),
        Watermark(100),
        Expect((0, 10), 2, 3),
        Expect((10, 20), 2, 21),
        Expect((80, 90), 2, 161),
        Input(&[7, 8]),
        Input(&[17, 18]),
        Input(&[82]),
        Watermark(101),
        ExpectPane((80, 90), 3, 243, 1),
    ];
    passes(late, &steps, 4);
    let late = "tumbling = \"10ms\" }\nallowed_lateness = \"100ms\"";
    let steps = [
        Input(&[1, 2, 3, 10, 11, 25]),
        Watermark(100),
        Expect((0, 10), 3, 6),
        Expect((10, 20), 2, 21),
        Expect((20, 30), 1, 25),
        Input(&[7]),
        Watermark(101),
        ExpectPane((0, 10), 4, 13, 1),
    ];
    passes(late, &steps, 0);
}

#[test]
fn windows_have_one_result_where_fewer_elements_come_than_bring_one_early() {
    let early = "tumbling = \"10ms\" }\nearly = { events = 3 }";
    let steps = [
        Input(&[1, 2, 10, 11, 80, 81]),
        Watermark(100),
        Expect((0, 10), 2, 3),
        Expect((10, 20), 2, 21),
        ExpectPane((80, 90), 2, 161, 0),
        Input(&[7, 8]),
        Input(&[17, 18]),
        End,
    ];
    passes(early, &steps, 4);
}

#[test]
fn a_transcript_that_is_wrong_fails() {
    let input = || Input(&[1, 2, 3]);
    let says = ["FAILED", "sink `out`, event 1"];
    fails(FIXED, &[input(), Expect((0, 10), 3, 6), Watermark(100)], 0, &says);
    fails(
        FIXED,
        &[input(), Watermark(100)],
        0,
        &["sink `out`, event 2", "+   2  {\"count\":3"],
    );
    let steps = [input(), Watermark(100), Expect((0, 10), 2, 3)];
    fails(
        FIXED,
        &steps,
        0,
        &["event 2 at `/", "-   2  {\"count\":2", "+   2  {\"count\":3"],
    );
    let steps = [input(), Watermark(100), Expect((0, 20), 3, 6)];
    fails(FIXED, &steps, 0, &["event 2 at `/end`: expected 20, got 10"]);
    let steps = [input(), Watermark(100), Expect((0, 10), 3, 6), Input(&[1])];
    fails(FIXED, &steps, 0, &["late events: expected 0, got 1"]);
}

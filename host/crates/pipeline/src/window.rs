//! Checks of windows.
//!
//! Owns their shapes, and which of their settings exclude each other. How windows of time begin and end, `dirigo_ground::windowing` knows.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::early::{self, Early, EarlyTable};
use super::model::Window;
use super::section::At;
use super::span::Span;
use super::time::ZoneName;
use super::units::{Lapse, Length};
use super::validate::Validation;
use super::{raw, suggest};
use dirigo_ground::windowing::{EarlyEvents, Session, Sliding, TimeWindows};

/// What a window may be.
const SHAPES_HELP: &str = "there are `{ count = 5 }`, `{ tumbling = \"1m\" }`, `{ sliding = \"10m\", every = \"1m\" }`, \
                           `{ session = \"30s\" }` and `{ global = true }`";

pub(super) fn validate(at: &At<raw::Window>, validation: &mut Validation<'_>) -> Option<Window> {
    let raw = &at.value;
    let shapes = [
        ("count", !raw.count.is_absent()),
        ("tumbling", !raw.tumbling.is_absent()),
        ("sliding", !raw.sliding.is_absent()),
        ("session", !raw.session.is_absent()),
        ("global", !raw.global.is_absent()),
        ("time", !raw.time.is_absent()),
        ("duration", !raw.duration.is_absent()),
    ];
    let given: Vec<&str> = shapes
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(shape, _)| *shape)
        .collect();
    let problem = match given.as_slice() {
        [shape @ ("count" | "tumbling" | "session" | "global")] if raw.every.given().is_some() => {
            let place = raw.every.given().map_or(at.place, |every| every.place);
            let problem = Diagnostic::error(format!("a `{shape}` window has no `every`"));
            validation.problems.push(
                problem
                    .at(place, "how often a sliding window begins")
                    .help("remove it; or write `{ sliding = \"10m\", every = \"1m\" }`"),
            );
            return None;
        }
        ["count"] => {
            refuse_times("a count window", "it goes by no time", raw, validation);
            return raw.count.map(|count| Window::Count(count.to_u64()));
        }
        ["global"] => return global(raw, validation),
        ["session"] => return session(raw, validation).map(Window::Time),
        ["tumbling" | "sliding"] => return periodic(at, validation).map(Window::Time),
        [] if !raw.every.is_absent() => return periodic(at, validation).map(Window::Time),
        [] => Diagnostic::error("the window has no shape").at(at.place, "empty"),
        [shape] => {
            Diagnostic::error(format!("a window has no `{shape}`")).at(at.place, "windows in time are of three kinds")
        }
        shapes => Diagnostic::error(format!("the window has {} shapes at once", shapes.len()))
            .at(at.place, format!("{} exclude each other", suggest::listed(shapes))),
    };
    validation.problems.push(problem.help(SHAPES_HELP));
    None
}

/// All events of a key.
fn global(raw: &raw::Window, validation: &mut Validation<'_>) -> Option<Window> {
    refuse_times("a global window", "it holds all events", raw, validation);
    let global = raw.global.given()?;
    if !global.value {
        let problem = Diagnostic::error("`global` is false").at(global.place, "then the window has no shape");
        validation.problems.push(problem.help(SHAPES_HELP));
        return None;
    }
    Some(Window::Global {
        early_events: EarlyEvents::NONE,
    })
}

/// Reports an `offset` and a `zone` of a window that has none.
fn refuse_times(who: &str, why: &str, raw: &raw::Window, validation: &mut Validation<'_>) {
    let given = [
        ("offset", raw.offset.given().map(|at| at.place)),
        ("zone", raw.zone.given().map(|at| at.place)),
    ];
    for (key, place) in given {
        if let Some(place) = place {
            let problem = Diagnostic::error(format!("{who} has no `{key}`")).at(place, why);
            validation.problems.push(problem.help("remove it"));
        }
    }
}

fn session(raw: &raw::Window, validation: &mut Validation<'_>) -> Option<TimeWindows> {
    refuse_times("a session", "a session begins with its first event", raw, validation);
    let at = raw.session.given()?;
    let gap_ms = positive_ms("session", at.value, at.place, validation)?;
    Some(TimeWindows::Session(Session::of_gap(gap_ms)))
}

/// Tumbling and sliding windows.
fn periodic(at: &At<raw::Window>, validation: &mut Validation<'_>) -> Option<TimeWindows> {
    let raw = &at.value;
    let lengths = lengths(at, validation)?;
    let sliding = if !raw.zone.is_absent() || lengths.are_of_months() {
        calendar(&lengths, raw, validation)?
    } else {
        in_ms(&lengths, validation)?
    };
    if sliding.overlaps() > WINDOWS_MAX {
        let place = raw.every.given().map_or(at.place, |every| every.place);
        let label = format!("an event would be in {} windows", sliding.overlaps());
        let problem = Diagnostic::error("too many windows overlap").at(place, label);
        validation
            .problems
            .push(problem.help(format!("at most {WINDOWS_MAX} may: let `every` be longer")));
        return None;
    }
    with_offset(sliding, raw, validation).map(TimeWindows::Sliding)
}

/// How many windows an event may be in: each has a result. An hour every 10 ms has 360,000.
const WINDOWS_MAX: i64 = 1_000_000;

/// What a pipeline file says of how long windows are.
struct Lengths<'a> {
    /// The key of the length, and the length.
    length: (&'static str, &'a At<Length>),
    /// How often one begins, where that is said besides.
    every: Option<&'a At<Length>>,
}

impl Lengths<'_> {
    fn are_of_months(&self) -> bool {
        let mut all = self.every.into_iter().chain([self.length.1]);
        all.any(|at| matches!(at.value, Length::Months(_)))
    }

    /// Reports that a window begins only after the one in front of it has ended.
    fn check_gaps(&self, length: i64, every: i64, shown: &str, validation: &mut Validation<'_>) -> Option<()> {
        if every > length {
            let place = self.every.map_or(self.length.1.place, |every| every.place);
            validation.problems.push(
                Diagnostic::error("events between two windows would be in none")
                    .at(place, format!("a window is only {shown} long"))
                    .help("`every` is at most as long as `sliding`"),
            );
            return None;
        }
        Some(())
    }
}

fn lengths<'a>(at: &'a At<raw::Window>, validation: &mut Validation<'_>) -> Option<Lengths<'a>> {
    let raw = &at.value;
    let alone = |key, length| Lengths {
        length: (key, length),
        every: None,
    };
    match (raw.tumbling.given(), raw.sliding.given(), raw.every.given()) {
        (Some(tumbling), ..) => return Some(alone("tumbling", tumbling)),
        (None, Some(sliding), Some(every)) => {
            return Some(Lengths {
                length: ("sliding", sliding),
                every: Some(every),
            });
        }
        // A day of the calendar begins every day.
        (None, None, Some(every)) if raw.sliding.is_absent() && !raw.zone.is_absent() => {
            return Some(alone("every", every));
        }
        _ => {}
    }
    let example = "`{ sliding = \"10m\", every = \"1m\" }` has a window of ten minutes begin every minute";
    for (key, field, what) in [
        ("sliding", &raw.sliding, "the length of a window"),
        ("every", &raw.every, "how often one begins"),
    ] {
        if field.is_absent() && raw.tumbling.is_absent() {
            validation.problems.push(
                Diagnostic::error(format!("the window has no `{key}`"))
                    .at(at.place, format!("{what} is missing"))
                    .help(example),
            );
        }
    }
    None
}

/// Windows of one length in ms.
fn in_ms(lengths: &Lengths<'_>, validation: &mut Validation<'_>) -> Option<Sliding> {
    let mut ms_of = |key, at: &At<Length>| match at.value {
        Length::Lapse(lapse) => positive_ms(key, lapse, at.place, validation),
        Length::Months(_) => None,
    };
    let (key, length) = lengths.length;
    let length_ms = ms_of(key, length);
    let every_ms = lengths.every.map_or(length_ms, |every| ms_of("every", every));
    let (length_ms, every_ms) = (length_ms?, every_ms?);
    lengths.check_gaps(length_ms, every_ms, &shown_ms(length_ms), validation)?;
    Some(Sliding::of_ms(length_ms, every_ms))
}

/// A length in units of the calendar.
#[derive(Clone, Copy)]
enum Units {
    Days(i64),
    Months(i64),
}

/// Windows of days or months, as the clocks of a zone show them.
fn calendar(lengths: &Lengths<'_>, raw: &raw::Window, validation: &mut Validation<'_>) -> Option<Sliding> {
    let zone = raw.zone.map(|ZoneName(zone)| *zone).unwrap_or_default();
    let (key, length) = lengths.length;
    let has_zone = !raw.zone.is_absent();
    let of_length = units(key, length, has_zone, validation);
    let every = lengths
        .every
        .map_or(of_length, |every| units("every", every, has_zone, validation));
    let place = lengths.every.map_or(length.place, |every| every.place);
    let problem = match (of_length?, every?) {
        // In UTC all days are of one length.
        (Units::Days(length), Units::Days(every)) if length % every == 0 && zone.is_utc() => {
            return Some(Sliding::of_ms(length * DAY_MS, every * DAY_MS));
        }
        (Units::Days(length), Units::Days(every)) if length % every == 0 => {
            return Some(Sliding::of_days(every, length / every, zone));
        }
        (Units::Months(length), Units::Months(every)) if length % every == 0 => {
            return Some(Sliding::of_months(every, length / every, zone));
        }
        (Units::Days(length), Units::Days(every)) if every > length => {
            lengths.check_gaps(length, every, &format!("{length} days"), validation)?;
            return None;
        }
        (Units::Months(length), Units::Months(every)) if every > length => {
            lengths.check_gaps(length, every, &format!("{length} months"), validation)?;
            return None;
        }
        (Units::Days(length), Units::Days(_)) | (Units::Months(length), Units::Months(_)) => {
            Diagnostic::error("`sliding` is no multiple of `every`")
                .at(place, format!("a window would end within one of these parts of {length}"))
                .help("windows of the calendar begin and end with its days or months: write `{ sliding = \"7d\", every = \"1d\" }`")
        }
        _ => Diagnostic::error("`sliding` and `every` are in different units")
            .at(place, "months differ in length")
            .help("write both in days, or both in months"),
    };
    validation.problems.push(problem);
    None
}

fn units(key: &str, at: &At<Length>, has_zone: bool, validation: &mut Validation<'_>) -> Option<Units> {
    let Lapse(duration) = match at.value {
        Length::Months(months) => return Some(Units::Months(months)),
        Length::Lapse(lapse) => lapse,
    };
    let ms = positive_ms(key, Lapse(duration), at.place, validation)?;
    if ms % DAY_MS != 0 {
        let help = if has_zone {
            "with a `zone` a length is so many days, weeks, months or years, such as \"1d\"; hours and less need no `zone`"
        } else {
            "months differ in length: write both in months or years, or both in other units"
        };
        validation.problems.push(
            Diagnostic::error(format!("`{key}` is no whole number of days"))
                .at(at.place, "windows of the calendar are of days, weeks, months or years")
                .help(help),
        );
        return None;
    }
    Some(Units::Days(ms / DAY_MS))
}

const DAY_MS: i64 = 86_400_000;

/// The windows, begun as much later as `offset` says.
fn with_offset(sliding: Sliding, raw: &raw::Window, validation: &mut Validation<'_>) -> Option<Sliding> {
    let Some(offset) = raw.offset.given() else {
        return Some(sliding);
    };
    let offset_ms = ms("offset", offset.value, offset.place, validation)?;
    if sliding.months > 0 {
        let problem = Diagnostic::error("months have no `offset`").at(offset.place, "they begin on their first day");
        validation.problems.push(problem.help("remove it"));
        return None;
    }
    let every_ms = sliding.every_ms.max(sliding.days * DAY_MS);
    if offset_ms >= every_ms {
        validation.problems.push(
            Diagnostic::error("`offset` is longer than the time from one window to the next")
                .at(offset.place, format!("a window begins every {}", shown_ms(every_ms)))
                .help(format!("`{}` means the same", shown_ms(offset_ms % every_ms))),
        );
        return None;
    }
    Some(Sliding { offset_ms, ..sliding })
}

/// The window that a setting is of. Where an operator of a file has none, that is reported; what a built-in one may have is checked elsewhere.
fn expected(
    key: &str,
    place: Span,
    raw: &raw::Operator,
    window: Option<Window>,
    validation: &mut Validation<'_>,
) -> Option<Window> {
    let is_builtin = raw.component.given().is_some_and(|at| at.value.starts_with("builtin:"));
    if raw.window.is_absent() && !is_builtin {
        let problem = Diagnostic::error(format!("`{key}` is of a window, and there is none")).at(place, "no `window`");
        validation.problems.push(problem.help("add a `window`, or remove it"));
    }
    window
}

/// Windows that one late event may finish again: each with all that it holds, at one time.
const OVERLAPS_MAX: i64 = 100;

/// The window, with how long it takes late events in after its end.
pub(super) fn allowed_lateness(
    raw: &raw::Operator,
    window: Option<Window>,
    validation: &mut Validation<'_>,
) -> Option<Window> {
    let Some(at) = raw.allowed_lateness.given() else {
        return window;
    };
    let problem = match expected("allowed_lateness", at.place, raw, window, validation)? {
        Window::Time(TimeWindows::Sliding(sliding)) if sliding.overlaps() > OVERLAPS_MAX => {
            let overlaps = sliding.overlaps();
            Diagnostic::error("too many windows overlap for `allowed_lateness`")
                .at(at.place, format!("a late event would finish {overlaps} windows again"))
                .help(format!(
                    "at most {OVERLAPS_MAX} may: let `every` be longer, or the `lateness` of the source"
                ))
        }
        Window::Time(TimeWindows::Sliding(sliding)) => {
            let allowed_ms = ms("allowed_lateness", at.value, at.place, validation)?;
            return Some(Window::Time(TimeWindows::Sliding(Sliding { allowed_ms, ..sliding })));
        }
        Window::Time(TimeWindows::Session(session)) => {
            let allowed_ms = ms("allowed_lateness", at.value, at.place, validation)?;
            return Some(Window::Time(TimeWindows::Session(Session { allowed_ms, ..session })));
        }
        Window::Global { .. } => Diagnostic::error("a global window has no `allowed_lateness`")
            .at(at.place, "no event is late for it")
            .help("remove it"),
        Window::Count(_) => Diagnostic::error("count windows have no `allowed_lateness`")
            .at(at.place, "no event is late for them")
            .help("remove it"),
    };
    validation.problems.push(problem);
    window
}

/// How many early results a window may have: each is merged from all of its parts before.
const EARLY_MAX: i64 = 100;

/// The window, with when it has results before its end.
pub(super) fn early(raw: &raw::Operator, window: Option<Window>, validation: &mut Validation<'_>) -> Option<Window> {
    let Some(at) = raw.early.given() else {
        return window;
    };
    let of = expected("early", at.place, raw, window, validation)?;
    let found = match &at.value {
        Early::Every(lapse) => early_by_time(*lapse, at.place, of, validation),
        Early::Table(table) => early_by_events(table, at.place, of, validation),
    };
    found.or(window)
}

fn early_by_time(lapse: Lapse, place: Span, window: Window, validation: &mut Validation<'_>) -> Option<Window> {
    let by_events = "remove it; or write `early = { events = 100 }` for a result after each 100 events";
    let problem = match window {
        Window::Time(TimeWindows::Sliding(sliding)) if sliding.overlaps() == 1 => {
            let early_ms = positive_ms("early", lapse, place, validation)?;
            // Months and days of a calendar are no shorter.
            let length_ms = sliding.length_ms.max(DAY_MS * sliding.days.max(28 * sliding.months));
            if early_ms < length_ms && length_ms / early_ms <= EARLY_MAX {
                return Some(Window::Time(TimeWindows::Sliding(Sliding { early_ms, ..sliding })));
            }
            let label = format!("a window is {} long", shown_ms(length_ms));
            if early_ms >= length_ms {
                Diagnostic::error("`early` is not before the end of a window")
                    .at(place, label)
                    .help("write a shorter time, or remove it")
            } else {
                Diagnostic::error("a window would have too many early results")
                    .at(place, label)
                    .help(format!(
                        "it may have {EARLY_MAX}: write `{}` or more",
                        shown_ms(length_ms / EARLY_MAX)
                    ))
            }
        }
        Window::Time(TimeWindows::Sliding(_)) => sliding_has_no_early(place),
        Window::Time(TimeWindows::Session(_)) => Diagnostic::error("sessions have no `early` by event time")
            .at(place, "an earlier event moves the start of a session")
            .help(by_events),
        Window::Global { .. } => Diagnostic::error("a global window has no `early` by event time")
            .at(place, "it goes by no time")
            .help(by_events),
        Window::Count(_) => count_has_no_early(place),
    };
    validation.problems.push(problem);
    None
}

fn early_by_events(table: &EarlyTable, place: Span, window: Window, validation: &mut Validation<'_>) -> Option<Window> {
    let early_events = EarlyEvents::every(early::events(table, &mut validation.problems)?);
    let problem = match window {
        Window::Time(TimeWindows::Sliding(sliding)) if sliding.overlaps() == 1 => {
            let sliding = Sliding {
                early_events,
                ..sliding
            };
            return Some(Window::Time(TimeWindows::Sliding(sliding)));
        }
        Window::Time(TimeWindows::Session(session)) => {
            let session = Session {
                early_events,
                ..session
            };
            return Some(Window::Time(TimeWindows::Session(session)));
        }
        Window::Global { .. } => return Some(Window::Global { early_events }),
        Window::Time(TimeWindows::Sliding(_)) => sliding_has_no_early(place),
        Window::Count(_) => count_has_no_early(place),
    };
    validation.problems.push(problem);
    None
}

fn sliding_has_no_early(place: Span) -> Diagnostic {
    Diagnostic::error("sliding windows have no `early`")
        .at(place, "one ends every so often")
        .help("remove it, and let `every` be shorter")
}

fn count_has_no_early(place: Span) -> Diagnostic {
    Diagnostic::error("count windows have no `early`")
        .at(place, "each ends after a fixed number of events")
        .help("remove it; a global window has totals so far: `window = { global = true }` with `early = { events = 100 }`")
}

/// A duration in ms, which lasts.
fn positive_ms(key: &str, lapse: Lapse, place: Span, validation: &mut Validation<'_>) -> Option<i64> {
    validation.expect_positive(key, lapse.0, place);
    ms(key, lapse, place, validation).filter(|ms| *ms > 0)
}

/// A duration in ms, which event times are in.
fn ms(key: &str, Lapse(duration): Lapse, place: Span, validation: &mut Validation<'_>) -> Option<i64> {
    if duration.subsec_nanos() % 1_000_000 != 0 {
        validation.problems.push(
            Diagnostic::error(format!("`{key}` is no whole number of milliseconds"))
                .at(place, "event times are in milliseconds")
                .help("the shortest is \"1ms\""),
        );
        return None;
    }
    i64::try_from(duration.as_millis()).ok()
}

fn shown_ms(ms: i64) -> String {
    humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string()
}

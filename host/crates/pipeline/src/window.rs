//! Checks of windows.
//!
//! Owns their shapes, and which of their settings exclude each other. How windows of time begin and end, `dirigo_ground::windowing` knows.

use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::model::Window;
use super::section::{At, Field};
use super::units::{Lapse, Length};
use super::validate::Validation;
use super::{raw, suggest};
use dirigo_ground::windowing::{Sliding, TimeWindows};
use dirigo_ground::zone::Zone;

pub(super) fn validate(at: &At<raw::Window>, validation: &mut Validation<'_>) -> Option<Window> {
    let raw = &at.value;
    let shapes = [
        ("count", !raw.count.is_absent()),
        ("tumbling", !raw.tumbling.is_absent()),
        ("sliding", !raw.sliding.is_absent()),
        ("session", !raw.session.is_absent()),
        ("time", !raw.time.is_absent()),
        ("duration", !raw.duration.is_absent()),
    ];
    let given: Vec<&str> = shapes
        .iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(shape, _)| *shape)
        .collect();
    if let ([shape @ ("count" | "tumbling" | "session")], Some(every)) = (given.as_slice(), raw.every.given()) {
        let problem = Diagnostic::error(format!("a `{shape}` window has no `every`"));
        validation.problems.push(
            problem
                .at(every.place, "how often a sliding window begins")
                .help("remove it; or write `{ sliding = \"10m\", every = \"1m\" }`"),
        );
        return None;
    }
    let problem = match given.as_slice() {
        ["count"] => {
            if let Some(offset) = raw.offset.given() {
                let problem =
                    Diagnostic::error("a count window has no `offset`").at(offset.place, "it goes by no time");
                validation.problems.push(problem.help("remove it"));
            }
            return raw.count.map(|count| Window::Count(count.to_u64()));
        }
        ["tumbling" | "sliding" | "session"] => return time_windows(at, validation).map(Window::Time),
        [] if !raw.every.is_absent() => return time_windows(at, validation).map(Window::Time),
        [] => Diagnostic::error("the window has no shape").at(at.place, "empty"),
        [shape] => {
            Diagnostic::error(format!("a window has no `{shape}`")).at(at.place, "windows in time are of three kinds")
        }
        shapes => Diagnostic::error(format!("the window has {} shapes at once", shapes.len()))
            .at(at.place, format!("{} exclude each other", suggest::listed(shapes))),
    };
    validation.problems.push(problem.help(
        "there are `{ count = 5 }`, `{ tumbling = \"1m\" }`, `{ sliding = \"10m\", every = \"1m\" }` and `{ session = \"30s\" }`",
    ));
    None
}

/// Windows in event time, of one shape.
fn time_windows(at: &At<raw::Window>, validation: &mut Validation<'_>) -> Option<TimeWindows> {
    let raw = &at.value;
    let offset = raw.offset.given();
    if !raw.session.is_absent() {
        if let Some(offset) = offset {
            let problem = Diagnostic::error("a session has no `offset`");
            validation.problems.push(
                problem
                    .at(offset.place, "a session begins with its first event")
                    .help("remove it"),
            );
        }
        let gap_ms = window_ms("session", &raw.session, validation)?;
        return Some(TimeWindows::Session { gap_ms });
    }
    let sliding = if raw.tumbling.is_absent() {
        sliding_windows(at, validation)?
    } else {
        tumbling(&raw.tumbling, validation)?
    };
    let Some(offset) = offset else {
        return Some(TimeWindows::Sliding(sliding));
    };
    let offset_ms = ms("offset", offset, validation)?;
    if sliding.months > 0 {
        let problem =
            Diagnostic::error("months have no `offset`").at(offset.place, "they are those of the calendar, in UTC");
        validation.problems.push(problem.help("remove it"));
        return None;
    }
    if offset_ms >= sliding.every_ms {
        validation.problems.push(
            Diagnostic::error("`offset` is longer than the time from one window to the next")
                .at(
                    offset.place,
                    format!("a window begins every {}", shown_ms(sliding.every_ms)),
                )
                .help(format!("`{}` means the same", shown_ms(offset_ms % sliding.every_ms))),
        );
        return None;
    }
    Some(TimeWindows::Sliding(Sliding { offset_ms, ..sliding }))
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
    let problem = match window? {
        Window::Time(TimeWindows::Sliding(sliding)) if sliding.overlaps() > OVERLAPS_MAX => {
            let overlaps = sliding.overlaps();
            Diagnostic::error("too many windows overlap for `allowed_lateness`")
                .at(at.place, format!("a late event would finish {overlaps} windows again"))
                .help(format!(
                    "at most {OVERLAPS_MAX} may: let `every` be longer, or the `lateness` of the source"
                ))
        }
        Window::Time(TimeWindows::Sliding(sliding)) => {
            let allowed_ms = ms("allowed_lateness", at, validation)?;
            return Some(Window::Time(TimeWindows::Sliding(Sliding { allowed_ms, ..sliding })));
        }
        Window::Time(TimeWindows::Session { .. }) => {
            let problem = Diagnostic::error("sessions have no `allowed_lateness` in this version");
            problem
                .at(at.place, "an event may join two that were finished")
                .help("let the `lateness` of the source be longer: sessions are finished later then")
        }
        Window::Count(_) => Diagnostic::error("count windows have no `allowed_lateness`")
            .at(at.place, "no event is late for them")
            .help("remove it"),
    };
    validation.problems.push(problem);
    window
}

fn tumbling(field: &Field<Length>, validation: &mut Validation<'_>) -> Option<Sliding> {
    let at = field.given()?;
    match at.value {
        Length::Months(months) => Some(Sliding::of_months(months, 1, Zone::utc())),
        Length::Lapse(lapse) => {
            let place = at.place;
            validation.expect_positive("tumbling", lapse.0, place);
            let length_ms = ms("tumbling", &At { value: lapse, place }, validation)?;
            (length_ms > 0).then(|| Sliding::of_ms(length_ms, length_ms))
        }
    }
}

fn sliding_windows(at: &At<raw::Window>, validation: &mut Validation<'_>) -> Option<Sliding> {
    let raw = &at.value;
    let example = "`{ sliding = \"10m\", every = \"1m\" }` has a window of ten minutes begin every minute";
    for (key, field, what) in [
        ("sliding", &raw.sliding, "the length of a window"),
        ("every", &raw.every, "how often one begins"),
    ] {
        if field.is_absent() {
            validation.problems.push(
                Diagnostic::error(format!("the window has no `{key}`"))
                    .at(at.place, format!("{what} is missing"))
                    .help(example),
            );
            return None;
        }
    }
    let (length_ms, every_ms) = (
        window_ms("sliding", &raw.sliding, validation),
        window_ms("every", &raw.every, validation),
    );
    let (length_ms, every_ms) = (length_ms?, every_ms?);
    if every_ms > length_ms {
        let place = raw.every.given().map_or(at.place, |every| every.place);
        validation.problems.push(
            Diagnostic::error("events between two windows would be in none")
                .at(place, format!("a window is only {} long", shown_ms(length_ms)))
                .help("`every` is at most as long as `sliding`"),
        );
        return None;
    }
    Some(Sliding::of_ms(length_ms, every_ms))
}

fn window_ms(key: &str, field: &Field<Lapse>, validation: &mut Validation<'_>) -> Option<i64> {
    let at = field.given()?;
    validation.positive(key, field).filter(|duration| !duration.is_zero())?;
    ms(key, at, validation)
}

/// A duration in ms, which event times are in.
fn ms(key: &str, at: &At<Lapse>, validation: &mut Validation<'_>) -> Option<i64> {
    let Lapse(duration) = at.value;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        validation.problems.push(
            Diagnostic::error(format!("`{key}` is no whole number of milliseconds"))
                .at(at.place, "event times are in milliseconds")
                .help("the shortest is \"1ms\""),
        );
        return None;
    }
    i64::try_from(duration.as_millis()).ok()
}

fn shown_ms(ms: i64) -> String {
    humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string()
}

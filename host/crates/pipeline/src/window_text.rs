//! Windows in the words of a pipeline file.

use std::fmt;
use std::time::Duration;

use dirigo_ground::windowing::{Sliding, TimeWindows};

use super::model::Window;

impl fmt::Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (early_events, allowed_ms, early_ms) = match self {
            Self::Count(count) => return write!(formatter, "{{ count = {count} }}"),
            Self::Global { early_events } => {
                formatter.write_str("{ global = true }")?;
                (early_events, 0, 0)
            }
            Self::Time(TimeWindows::Session(session)) => {
                write!(formatter, "{{ session = \"{}\" }}", shown_ms(session.gap_ms))?;
                (&session.early_events, session.allowed_ms, 0)
            }
            Self::Time(TimeWindows::Sliding(sliding)) => {
                write_sliding(sliding, formatter)?;
                (&sliding.early_events, sliding.allowed_ms, sliding.early_ms)
            }
        };
        if allowed_ms > 0 {
            write!(formatter, " with `allowed_lateness = \"{}\"`", shown_ms(allowed_ms))?;
        }
        if early_ms > 0 {
            write!(formatter, " with `early = \"{}\"`", shown_ms(early_ms))?;
        }
        if !early_events.are_none() {
            write!(formatter, " with `early = {{ events = {} }}`", early_events.events())?;
        }
        Ok(())
    }
}

fn write_sliding(sliding: &Sliding, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (length, every) = match *sliding {
        Sliding {
            months: months @ 1..,
            periods,
            ..
        } => (format!("{}month", months * periods), format!("{months}month")),
        Sliding {
            days: days @ 1..,
            periods,
            ..
        } => (format!("{}d", days * periods), format!("{days}d")),
        Sliding {
            length_ms, every_ms, ..
        } => (shown_ms(length_ms), shown_ms(every_ms)),
    };
    if length == every {
        write!(formatter, "{{ tumbling = \"{length}\"")?;
    } else {
        write!(formatter, "{{ sliding = \"{length}\", every = \"{every}\"")?;
    }
    if sliding.offset_ms > 0 {
        write!(formatter, ", offset = \"{}\"", shown_ms(sliding.offset_ms))?;
    }
    if !sliding.zone.is_utc() {
        write!(formatter, ", zone = \"{}\"", sliding.zone.name())?;
    }
    formatter.write_str(" }")
}

fn shown_ms(ms: i64) -> String {
    humantime::format_duration(Duration::from_millis(ms.unsigned_abs())).to_string()
}

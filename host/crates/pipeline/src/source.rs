//! Checks of a source.
//!
//! Owns what all sources have; the rest is their connectors'. Does not read the source.

use super::connector::{self, SourceKeys, Written};
use super::diagnostic::Diagnostic;
use super::model::{Format, Source};
use super::section::Open;
use super::validate::Validation;
use super::{pointer, raw, time};

pub(super) fn validate(raw: &Open<raw::Source>, validation: &mut Validation<'_>) -> Option<Source> {
    let problems = &mut validation.problems;
    let id = raw
        .id
        .required("id", "\"readings\"", raw.place, "the source", problems)
        .map(|at| at.value.0.clone());
    let who = id
        .as_ref()
        .map_or_else(|| "the source".to_owned(), |id| format!("source `{id}`"));
    let written = Written {
        others: &raw.others,
        place: raw.place,
        who: &who,
    };
    let kinds = validation.connectors.sources();
    let kind = connector::kind_of(kinds, "source kind", &raw.kind, written, validation);
    let foreign = kind.map_or_else(String::new, |kind| format!("a {} source", kind.name()));
    connector::refuse_others::<raw::Source, _>(kinds, kind, written, &foreign, validation);
    let SourceKeys { format, spec } = kind?.validate(written, validation);
    let format = format?;
    let key = raw
        .key
        .given()
        .map(|at| pointer::parse("key", at, format, &mut validation.problems));
    let time = raw
        .time
        .given()
        .map(|at| time::parse(at, format, &who, &mut validation.problems));
    let watermark = raw
        .watermark
        .given()
        .map(|at| pointer::parse("watermark", at, format, &mut validation.problems));
    if let (Some(place), Some(lateness)) = (raw.watermark.key(), raw.lateness.key()) {
        validation.problems.push(
            Diagnostic::error("`watermark` and `lateness` exclude each other")
                .at(place, "events say how far event time has come")
                .also(lateness, "`lateness` derives the watermark from the times of events")
                .help("remove one of the two"),
        );
    }
    let idle = validation.positive("idle", &raw.idle);
    let max_drift = validation.positive("max_drift", &raw.max_drift);
    if !spec.as_ref().is_some_and(|spec| spec.has_times()) {
        remark_on_time(raw, &who, format, validation);
    }
    Some(Source {
        id: id?,
        spec: spec?,
        key: key.flatten(),
        time: time.flatten(),
        lateness: raw.lateness.map(|lateness| lateness.0).unwrap_or_default(),
        watermark: watermark.flatten(),
        idle,
        max_ahead: raw.max_ahead.map(|ahead| ahead.0),
        max_drift,
    })
}

fn remark_on_time(raw: &raw::Source, who: &str, format: Format, validation: &mut Validation<'_>) {
    if raw.time.is_absent() {
        let note = Diagnostic::note(format!(
            "{who} has no `time`: results that show event time depend on the clock"
        ))
        .at(raw.place, "an event's time is its arrival");
        let help = match format {
            Format::Jsonl => Some("point `time` at a field such as \"/ts\""),
            Format::Csv => Some("name a column with `time`"),
            Format::Lines => None,
        };
        validation.problems.push(note.help_if(help.map(str::to_owned)));
    }
}

//! Checks of a source.
//!
//! Owns which options go with which kind. Does not read the source.

use std::path::Path;
use std::time::Duration;

use super::choice::{SourceWord, Word};
use super::diagnostic::Diagnostic;
use super::model::{Format, Generator, Source, SourceKind};
use super::place::Place;
use super::section::At;
use super::units::{Lapse, Moment, Rate, Whole};
use super::validate::Validation;
use super::{pointer, raw};

pub(super) fn validate(raw: &raw::Source, validation: &mut Validation<'_>) -> Option<Source> {
    let problems = &mut validation.problems;
    let id = raw
        .id
        .required("id", "\"readings\"", raw.place, "the source", problems)
        .map(|at| at.value.0.clone());
    let who = id
        .as_ref()
        .map_or_else(|| "the source".to_owned(), |id| format!("source `{id}`"));
    let word = raw
        .kind
        .required("kind", "\"file\"", raw.place, &who, problems)
        .map(|at| at.value.0);
    if let Some(word) = word {
        refuse_foreign_options(raw, word, validation);
    }
    let kind = word.and_then(|word| kind(raw, word, &who, validation));
    let format = format_of(raw, word)?;
    let key = raw
        .key
        .given()
        .map(|at| pointer::parse("key", at, format, &mut validation.problems));
    let time = raw
        .time
        .given()
        .map(|at| pointer::parse("time", at, format, &mut validation.problems));
    let idle = validation.positive("idle", &raw.idle);
    remark_on_time(raw, &who, format, validation);
    Some(Source {
        id: id?,
        kind: kind?,
        key: key.flatten(),
        time: time.flatten(),
        lateness: raw.lateness.map(|lateness| lateness.0).unwrap_or_default(),
        idle,
    })
}

/// The keys that only some kinds have.
fn options(raw: &raw::Source) -> [(&'static str, Option<Place>, &'static [SourceWord]); 8] {
    use SourceWord::{File, Generator, Stdin};
    [
        ("path", raw.path.key(), &[File]),
        ("format", raw.format.key(), &[File, Stdin]),
        ("count", raw.count.key(), &[Generator]),
        ("rate", raw.rate.key(), &[Generator]),
        ("sensors", raw.sensors.key(), &[Generator]),
        ("seed", raw.seed.key(), &[Generator]),
        ("start", raw.start.key(), &[Generator]),
        ("step", raw.step.key(), &[Generator]),
    ]
}

fn refuse_foreign_options(raw: &raw::Source, kind: SourceWord, validation: &mut Validation<'_>) {
    for (key, place, kinds) in options(raw) {
        if let Some(place) = place.filter(|_| !kinds.contains(&kind)) {
            let owners: Vec<&str> = kinds.iter().map(|kind| kind.written()).collect();
            validation.problems.push(
                Diagnostic::error(format!("a {} source has no `{key}`", kind.written()))
                    .at(place, format!("`{key}` is for kind = \"{}\"", owners.join("\" or \"")))
                    .help(format!("remove `{key}`, or change `kind`")),
            );
        }
    }
}

impl SourceWord {
    fn written(self) -> &'static str {
        match self {
            SourceWord::File => "file",
            SourceWord::Stdin => "stdin",
            SourceWord::Generator => "generator",
        }
    }
}

fn kind(raw: &raw::Source, word: SourceWord, who: &str, validation: &mut Validation<'_>) -> Option<SourceKind> {
    match word {
        SourceWord::File => file(raw, who, validation),
        SourceWord::Stdin => Some(SourceKind::Stdin {
            format: format_of(raw, Some(word))?,
        }),
        SourceWord::Generator => generator(raw, validation).map(SourceKind::Generator),
    }
}

fn file(raw: &raw::Source, who: &str, validation: &mut Validation<'_>) -> Option<SourceKind> {
    let at = raw
        .path
        .required("path", "\"readings.jsonl\"", raw.place, who, &mut validation.problems)?;
    let (path, pattern) = if at.value.contains('*') || at.value.ends_with('/') {
        (None, validation.source_files(at, who))
    } else {
        (validation.source_file(at, who), None)
    };
    if raw.format.is_absent() && format_by_extension(&at.value).is_none() {
        validation.problems.push(
            Diagnostic::error(format!("{who} has no `format`"))
                .at(at.place, "the extension does not tell the format")
                .help("add `format = \"jsonl\"`, `\"csv\"` or `\"lines\"`"),
        );
    }
    let format = format_of(raw, Some(SourceWord::File))?;
    match pattern {
        Some(pattern) => Some(SourceKind::Folder { pattern, format }),
        None => Some(SourceKind::File { path: path?, format }),
    }
}

/// The format that is written, or that goes without saying; `None` where it cannot be known.
fn format_of(raw: &raw::Source, word: Option<SourceWord>) -> Option<Format> {
    if !raw.format.is_absent() {
        return raw.format.map(|Word(format)| *format);
    }
    match word? {
        SourceWord::File => format_by_extension(&raw.path.given()?.value),
        SourceWord::Stdin | SourceWord::Generator => Some(Format::Jsonl),
    }
}

fn format_by_extension(path: &str) -> Option<Format> {
    let lower = path.to_ascii_lowercase();
    let inner = lower
        .strip_suffix(".gz")
        .or_else(|| lower.strip_suffix(".zst"))
        .unwrap_or(&lower);
    match Path::new(inner).extension()?.to_str()? {
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "txt" | "log" => Some(Format::Lines),
        _ => None,
    }
}

fn generator(raw: &raw::Source, validation: &mut Validation<'_>) -> Option<Generator> {
    let step_ms = match raw.step.given() {
        Some(at) => step_ms(at, validation),
        None => Some(default_step_ms()),
    };
    let generator = Generator {
        count: raw.count.map(|count| count.to_u64()),
        rate: raw.rate.map(|Rate(rate)| *rate),
        sensors: raw
            .sensors
            .map(|sensors| Whole::to_u32(*sensors))
            .unwrap_or(raw::SENSORS),
        seed: raw.seed.map(|seed| seed.to_u64()).unwrap_or(raw::SEED),
        start_ms: raw.start.map(|Moment(start)| *start).unwrap_or_else(default_start_ms),
        step_ms: step_ms?,
    };
    refuse_times_beyond_64_bits(&generator, raw, validation);
    Some(generator)
}

fn default_step_ms() -> u64 {
    let step = humantime::parse_duration(raw::STEP).expect("the default step is a duration");
    u64::try_from(step.as_millis()).expect("the default step is short")
}

fn default_start_ms() -> i64 {
    raw::START
        .parse::<jiff::Timestamp>()
        .expect("the default start is an RFC 3339 time")
        .as_millisecond()
}

fn step_ms(at: &At<Lapse>, validation: &mut Validation<'_>) -> Option<u64> {
    let Lapse(step) = at.value;
    if !step.is_zero() && step.as_nanos().is_multiple_of(Duration::from_millis(1).as_nanos()) {
        return u64::try_from(step.as_millis()).ok();
    }
    validation.problems.push(
        Diagnostic::error("`step` is not a whole number of ms")
            .at(at.place, "event time is counted in ms")
            .help("write at least \"1ms\""),
    );
    None
}

fn refuse_times_beyond_64_bits(generator: &Generator, raw: &raw::Source, validation: &mut Validation<'_>) {
    let Some(count) = generator.count else {
        return;
    };
    let span = u128::from(count) * u128::from(generator.step_ms);
    let room = u128::from(i64::MAX.abs_diff(generator.start_ms));
    if let Some(at) = raw.count.given().filter(|_| span > room) {
        validation.problems.push(
            Diagnostic::error("the generator outlives event time")
                .at(at.place, "so many steps exceed 64 bits of ms")
                .help("make `count` or `step` smaller"),
        );
    }
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
    for (key, place) in [("lateness", raw.lateness.key()), ("idle", raw.idle.key())] {
        if let Some(place) = place {
            validation.problems.push(
                Diagnostic::note(format!("`{key}` has no effect yet"))
                    .at(place, "it delays windows in event time, which are not in this version"),
            );
        }
    }
}

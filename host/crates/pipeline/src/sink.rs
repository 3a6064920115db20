//! Checks of a sink.
//!
//! Owns which options go with which kind. Writes nothing.

use super::choice::{CommitWord, SinkWord, Word};
use super::diagnostic::Diagnostic;
use super::model::{Order, Roll, Sink, SinkKind};
use super::raw;
use super::units::Size;
use super::validate::Validation;

pub(super) fn validate(raw: &raw::Sink, validation: &mut Validation<'_>) -> Option<Sink> {
    let problems = &mut validation.problems;
    let id = raw
        .id
        .required("id", "\"averages\"", raw.place, "the sink", problems)
        .map(|at| at.value.0.clone());
    let who = id
        .as_ref()
        .map_or_else(|| "the sink".to_owned(), |id| format!("sink `{id}`"));
    let word = raw
        .kind
        .required("kind", "\"file\"", raw.place, &who, problems)
        .map(|at| at.value.0);
    let kind = word.and_then(|word| kind(raw, word, &who, validation));
    let order = raw.order.map(|Word(order)| *order).unwrap_or(Order::Key);
    Some(Sink {
        id: id?,
        inputs: Vec::new(),
        kind: kind?,
        order,
    })
}

fn kind(raw: &raw::Sink, word: SinkWord, who: &str, validation: &mut Validation<'_>) -> Option<SinkKind> {
    if word == SinkWord::File {
        return file(raw, who, validation);
    }
    for (key, place) in [
        ("path", raw.path.key()),
        ("commit", raw.commit.key()),
        ("roll", raw.roll.key()),
    ] {
        if let Some(place) = place {
            validation.problems.push(
                Diagnostic::error(format!("{who} has no `{key}`"))
                    .at(place, format!("`{key}` is for kind = \"file\""))
                    .help(format!("remove `{key}`, or change `kind`")),
            );
        }
    }
    match word {
        SinkWord::Stdout => Some(SinkKind::Stdout),
        SinkWord::File | SinkWord::Null => Some(SinkKind::Null),
    }
}

fn file(raw: &raw::Sink, who: &str, validation: &mut Validation<'_>) -> Option<SinkKind> {
    let example = "\"out.jsonl\"";
    let at = raw
        .path
        .required("path", example, raw.place, who, &mut validation.problems)?;
    let commit = raw.commit.map(|Word(commit)| *commit);
    if commit == Some(CommitWord::Epoch) {
        let roll = match raw.roll.given() {
            Some(at) => Some(roll(&at.value, validation)?),
            None => None,
        };
        return Some(SinkKind::Parts {
            pattern: validation.written_files(at, who)?,
            roll,
        });
    }
    if let Some(place) = raw.roll.key() {
        validation.problems.push(
            Diagnostic::error(format!("{who} has no parts to `roll`"))
                .at(place, "a sink without `commit = \"epoch\"` writes one file")
                .help("add `commit = \"epoch\"`, or remove `roll`"),
        );
    }
    if at.value.contains('*') && commit.is_none() {
        validation.problems.push(
            Diagnostic::error(format!("{who} writes one file, and no parts"))
                .at(at.place, "a `*` stands for the number of a part")
                .help("add `commit = \"epoch\"`, or name one file"),
        );
        return None;
    }
    Some(SinkKind::File {
        path: validation.written_file(at, "sink file", who)?,
    })
}

fn roll(raw: &raw::Roll, validation: &mut Validation<'_>) -> Option<Roll> {
    let roll = Roll {
        size: raw.size.map(|Size(size)| *size),
        every: validation.positive("every", &raw.every),
    };
    let problem = match raw.size.given() {
        Some(at) if at.value.0 == 0 => Diagnostic::error("`size` is 0").at(at.place, "nothing fits"),
        None if raw.size.is_absent() && raw.every.is_absent() => {
            Diagnostic::error("`roll` says neither `size` nor `every`").at(raw.place, "a part would never be full")
        }
        _ => return Some(roll),
    };
    let problem = problem.help("write `roll = { size = \"64MiB\", every = \"1m\" }`, or one of them");
    validation.problems.push(problem);
    None
}

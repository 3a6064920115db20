//! Checks of a sink.
//!
//! Owns which options go with which kind. Writes nothing.

use super::choice::{SinkWord, Word};
use super::diagnostic::Diagnostic;
use super::model::{Order, Sink, SinkKind};
use super::raw;
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
        let at = raw
            .path
            .required("path", "\"out.jsonl\"", raw.place, who, &mut validation.problems)?;
        return Some(SinkKind::File {
            path: validation.written_file(at, "sink file", who)?,
        });
    }
    if let Some(place) = raw.path.key() {
        validation.problems.push(
            Diagnostic::error(format!("{who} has no `path`"))
                .at(place, "`path` is for kind = \"file\"")
                .help("remove `path`, or change `kind`"),
        );
    }
    match word {
        SinkWord::Stdout => Some(SinkKind::Stdout),
        SinkWord::File | SinkWord::Null => Some(SinkKind::Null),
    }
}

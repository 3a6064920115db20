//! Checks of a sink.
//!
//! Owns what all sinks have; the rest is their connectors'. Writes nothing.

use super::choice::Word;
use super::connector::{self, Written};
use super::model::{Order, Sink};
use super::raw;
use super::section::Open;
use super::validate::Validation;

pub(super) fn validate(raw: &Open<raw::Sink>, validation: &mut Validation<'_>) -> Option<Sink> {
    let problems = &mut validation.problems;
    let id = raw
        .id
        .required("id", "\"averages\"", raw.place, "the sink", problems)
        .map(|at| at.value.0.clone());
    let who = id
        .as_ref()
        .map_or_else(|| "the sink".to_owned(), |id| format!("sink `{id}`"));
    let written = Written {
        others: &raw.others,
        place: raw.place,
        who: &who,
    };
    let kinds = validation.connectors.sinks();
    let kind = connector::kind_of(kinds, "sink kind", &raw.kind, written, validation);
    connector::refuse_others::<raw::Sink, _>(kinds, kind, written, &who, validation);
    let spec = kind.and_then(|kind| kind.validate(written, validation));
    let order = raw.order.map(|Word(order)| *order).unwrap_or(Order::Key);
    Some(Sink {
        id: id?,
        inputs: Vec::new(),
        spec: spec?,
        order,
    })
}

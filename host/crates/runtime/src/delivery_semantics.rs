//! What is promised of each sink.
//!
//! Follows from what its sources can give again, what it can take back, and how often state is kept. A promise is worth as
//! much as its exceptions, so each comes with the reason why it is not more.

use std::fmt;

use serde::Serialize;

use super::wiring;
use dirigo_connect::Source;
use dirigo_connect::sink::{DeliveryCapability, Sink};
use dirigo_disk::Disk;
use dirigo_ground::lineage::SourceIndex;
use dirigo_pipeline::Pipeline;

/// What is promised of a sink, whatever ends a run that keeps state, and whenever, once a run has gone on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliverySemantics {
    /// The sink.
    pub sink: String,
    /// What is promised.
    pub promise: DeliveryGuarantee,
    /// Why it is not more, or what it does not say.
    pub why: Option<String>,
}

/// How often an event takes effect at a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryGuarantee {
    /// Once.
    ExactlyOnce,
    /// Once or more often.
    AtLeastOnce,
    /// Once or not at all.
    AtMostOnce,
    /// Nothing is promised: some events may be lost and some come again.
    None,
}

/// What sources and sinks can do.
#[derive(Clone, Debug)]
pub struct DeliveryCapabilities {
    /// By source, whether it can be read again.
    pub sources: Vec<bool>,
    /// By sink.
    pub sinks: Vec<DeliveryCapability>,
}

impl DeliveryCapabilities {
    /// Of those that are open.
    #[must_use]
    pub fn of_open(sources: &[Box<dyn Source>], sinks: &[Box<dyn Sink>]) -> Self {
        Self {
            sources: sources.iter().map(|source| source.can_be_read_again()).collect(),
            sinks: sinks.iter().map(|sink| sink.delivery_capability()).collect(),
        }
    }

    /// Of those that a pipeline names; opens none.
    #[must_use]
    pub fn foreseen(pipeline: &Pipeline, disk: &dyn Disk) -> Self {
        let sources = pipeline.sources.iter();
        Self {
            sources: sources.map(|source| source.spec.can_be_read_again(disk)).collect(),
            sinks: pipeline
                .sinks
                .iter()
                .map(|sink| sink.spec.delivery_capability(disk))
                .collect(),
        }
    }
}

/// What is promised of each sink of a pipeline whose run keeps state; nothing of those that write nothing.
#[must_use]
pub fn delivery_semantics(pipeline: &Pipeline, capabilities: &DeliveryCapabilities) -> Vec<DeliverySemantics> {
    let sinks = pipeline.sinks.iter().zip(&capabilities.sinks);
    let of_sinks = sinks.zip(wiring::sources_of_sinks(pipeline));
    of_sinks
        .filter_map(|((sink, &delivery_capability), sources)| {
            let described = |&index: &SourceIndex| {
                let index = usize::from(index);
                (pipeline.sources[index].id.as_str(), capabilities.sources[index])
            };
            let sources: Vec<_> = sources.iter().map(described).collect();
            let (promise, why) = semantics_of(&sources, delivery_capability, pipeline.checkpoint.is_some())?;
            Some(DeliverySemantics {
                sink: sink.id.clone(),
                promise,
                why,
            })
        })
        .collect()
}

/// What can be promised of a sink with these sources, of each of which is said whether it can be read again; `None` where
/// there is nothing to be promised. Without checkpoints, only a run that ends in order keeps anything.
fn semantics_of(
    sources: &[(&str, bool)],
    delivery_capability: DeliveryCapability,
    has_checkpoints: bool,
) -> Option<(DeliveryGuarantee, Option<String>)> {
    let since = if has_checkpoints {
        "after the last checkpoint"
    } else {
        "since the run began"
    };
    let lost: Vec<String> = sources
        .iter()
        .filter(|(_, can_be_read_again)| !can_be_read_again)
        .map(|(id, _)| format!("`{id}`"))
        .collect();
    let are_lost = match lost.as_slice() {
        [] => None,
        [one] => Some(format!(
            "source {one} cannot be replayed, so a crash loses what it produced {since}"
        )),
        several => Some(format!(
            "sources {} cannot be replayed, so a crash loses what they produced {since}",
            several.join(", ")
        )),
    };
    // What is on its way at a checkpoint comes again, even if its source does not give it again.
    let can_repeat = has_checkpoints || lost.len() < sources.len();
    Some(match (delivery_capability, are_lost) {
        (DeliveryCapability::WritesNothing, _) => return None,
        (DeliveryCapability::Transactional, None) => (DeliveryGuarantee::ExactlyOnce, None),
        (DeliveryCapability::TakesBack, None) => {
            let why = "after a crash, lines that were not committed are removed from the file; who reads it meanwhile may have seen them";
            (DeliveryGuarantee::ExactlyOnce, Some(why.to_owned()))
        }
        (DeliveryCapability::SendsAgain { why }, None) => (DeliveryGuarantee::AtLeastOnce, Some(why.to_owned())),
        (DeliveryCapability::SendsAgain { why }, Some(lost)) => {
            (DeliveryGuarantee::None, Some(format!("{lost}; {why}")))
        }
        (DeliveryCapability::AtLeastOnce { why }, None) => {
            let why = format!("{why}, and a crash repeats the output {since}");
            (DeliveryGuarantee::AtLeastOnce, Some(why))
        }
        (DeliveryCapability::AtLeastOnce { why }, Some(lost)) if can_repeat => (
            DeliveryGuarantee::None,
            Some(format!("{lost}; {why}, and some may come again")),
        ),
        (_, Some(lost)) => (DeliveryGuarantee::AtMostOnce, Some(lost)),
    })
}

impl fmt::Display for DeliveryGuarantee {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            DeliveryGuarantee::ExactlyOnce => "exactly-once",
            DeliveryGuarantee::AtLeastOnce => "at-least-once",
            DeliveryGuarantee::AtMostOnce => "at-most-once",
            DeliveryGuarantee::None => "none",
        })
    }
}

impl fmt::Display for DeliverySemantics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}`: {}", self.sink, self.promise)?;
        match &self.why {
            Some(why) => write!(formatter, ": {why}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STDOUT: DeliveryCapability = DeliveryCapability::AtLeastOnce {
        why: "standard output cannot be truncated",
    };
    const AGAIN: (&str, bool) = ("again", true);
    const ONCE: (&str, bool) = ("once", false);

    fn judged(sources: &[(&str, bool)], delivery_capability: DeliveryCapability, has_checkpoints: bool) -> String {
        let (promise, why) = semantics_of(sources, delivery_capability, has_checkpoints).unwrap();
        why.map_or(promise.to_string(), |why| format!("{promise}: {why}"))
    }

    #[test]
    fn what_comes_again_and_is_taken_back_takes_effect_exactly_once() {
        for has_checkpoints in [true, false] {
            let judged = |delivery_capability| judged(&[AGAIN], delivery_capability, has_checkpoints);
            assert_eq!(judged(DeliveryCapability::Transactional), "exactly-once");
            assert_eq!(
                judged(DeliveryCapability::TakesBack),
                "exactly-once: after a crash, lines that were not committed are removed from the file; who reads it meanwhile may have seen them"
            );
        }
    }

    #[test]
    fn what_cannot_be_taken_back_comes_again() {
        assert_eq!(
            judged(&[AGAIN], STDOUT, true),
            "at-least-once: standard output cannot be truncated, and a crash repeats the output after the last \
             checkpoint"
        );
        assert_eq!(
            judged(&[AGAIN], STDOUT, false),
            "at-least-once: standard output cannot be truncated, and a crash repeats the output since the run began"
        );
    }

    #[test]
    fn what_is_sent_once_it_is_committed_comes_more_than_once_only_by_being_sent_again() {
        let sends = DeliveryCapability::SendsAgain {
            why: "a batch may be sent again",
        };
        assert_eq!(
            judged(&[AGAIN], sends, true),
            "at-least-once: a batch may be sent again"
        );
        assert_eq!(
            judged(&[ONCE], sends, true),
            "none: source `once` cannot be replayed, so a crash loses what it produced after the last checkpoint; a \
             batch may be sent again"
        );
    }

    #[test]
    fn what_does_not_come_again_is_lost() {
        for delivery_capability in [DeliveryCapability::Transactional, DeliveryCapability::TakesBack] {
            assert_eq!(
                judged(&[AGAIN, ONCE], delivery_capability, true),
                "at-most-once: source `once` cannot be replayed, so a crash loses what it produced after the last \
                 checkpoint"
            );
        }
        assert_eq!(
            judged(&[ONCE, ("other", false)], DeliveryCapability::Transactional, false),
            "at-most-once: sources `once`, `other` cannot be replayed, so a crash loses what they produced since the \
             run began"
        );
    }

    #[test]
    fn what_is_lost_or_comes_again_is_promised_nothing() {
        let none = "none: source `once` cannot be replayed, so a crash loses what it produced after the last \
                    checkpoint; standard output cannot be truncated, and some may come again";
        assert_eq!(judged(&[ONCE], STDOUT, true), none);
        assert!(judged(&[ONCE, AGAIN], STDOUT, false).starts_with("none: "));
    }

    #[test]
    fn without_checkpoints_nothing_comes_again_that_is_not_read_again() {
        assert!(judged(&[ONCE], STDOUT, false).starts_with("at-most-once: "));
    }

    #[test]
    fn of_what_writes_nothing_nothing_is_promised() {
        assert_eq!(
            semantics_of(&[AGAIN, ONCE], DeliveryCapability::WritesNothing, true),
            None
        );
    }
}

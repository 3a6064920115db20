//! How the input of a case enters: part by part, each once all that came of the one in front of it has left.
//!
//! A part ends behind a watermark, where the next entry is of another source, and where it is a batch. So all that a watermark closes has
//! left before what follows it enters, and outputs come in an order that does not depend on who is faster.

use std::sync::Arc;
use std::time::Duration;

use super::CaseFailure;
use crate::connectors::BATCH_EVENTS;
use crate::graph::Graph;
use dirigo_connectors::memory::{Feed, FeedEntry, InputRecord};
use dirigo_ground::lineage::SourceIndex;
use dirigo_pipeline::{self as pipeline, Pipeline, TestEntry, TestInput};

/// How often it is looked whether a part is finished, before the next one enters.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Entries that enter by one source in a row.
#[derive(Debug)]
pub(super) struct InputPart {
    source: usize,
    entries: Vec<FeedEntry>,
    /// The number of the last event in it or in front of it.
    last: u64,
}

impl InputPart {
    /// Whether another entry of this source belongs to it.
    fn has_room(&self, source: usize) -> bool {
        let ends_with_watermark = matches!(self.entries.last(), Some(FeedEntry::Watermark(_)));
        self.source == source && !ends_with_watermark && self.entries.len() < BATCH_EVENTS
    }
}

pub(super) fn parts(pipeline: &Pipeline, input: &[TestEntry]) -> Result<Vec<InputPart>, CaseFailure> {
    let mut parts: Vec<InputPart> = Vec::new();
    let mut last = 0;
    for entry in input {
        let find = |source: &pipeline::Source| source.id == entry.at;
        let source = pipeline
            .sources
            .iter()
            .position(find)
            .expect("a case names sources that the pipeline has");
        let fed = match &entry.input {
            TestInput::Watermark(watermark) => FeedEntry::Watermark(*watermark),
            TestInput::Event(value) => {
                last += 1;
                let format = pipeline.sources[source].spec.format();
                let value = format.record(value).ok_or_else(|| CaseFailure::NoRecord {
                    number: last,
                    source_id: entry.at.clone(),
                })?;
                FeedEntry::Record(InputRecord { position: last, value })
            }
        };
        match parts.last_mut() {
            Some(part) if part.has_room(source) => {
                part.entries.push(fed);
                part.last = last;
            }
            _ => parts.push(InputPart {
                source,
                entries: vec![fed],
                last,
            }),
        }
    }
    Ok(parts)
}

/// Hands the parts in, and ends all sources behind them.
pub(super) async fn enter(parts: Vec<InputPart>, mut feeds: Vec<Feed>, graph: Arc<Graph>) {
    for InputPart { source, entries, last } in parts {
        // The others bring nothing up to there: no sink is to hold this part back for them.
        for other in (0..feeds.len()).filter(|other| *other != source) {
            let other = SourceIndex::try_from(other).expect("a pipeline file bounds the number of sources");
            graph.progress.pass_over(other, last);
        }
        feeds[source].hand_in(entries);
        while !(feeds[source].is_sent_on() && graph.has_settled()) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dirigo_pipeline::{Admission, Inputs, Surroundings, parse_in};

    use super::*;

    fn entries(parts: &[InputPart]) -> Vec<(usize, usize, u64)> {
        let entry = |part: &InputPart| (part.source, part.entries.len(), part.last);
        parts.iter().map(entry).collect()
    }

    #[test]
    fn a_part_ends_behind_a_watermark_at_another_source_and_where_it_is_a_batch() {
        let text = "[pipeline]\nname = \"p\"\n[[source]]\nid = \"a\"\nkind = \"generator\"\n[[source]]\nid = \"b\"\n\
                    kind = \"generator\"\n[[sink]]\nid = \"out\"\nkind = \"null\"\n[[test]]\nname = \"t\"\ninput = [\n\
                    { at = \"a\", value = 1 }, { at = \"a\", value = 2 }, { at = \"a\", watermark = 1 },\n\
                    { at = \"a\", watermark = 2 }, { at = \"b\", value = 3 }, { at = \"a\", value = 4 }]\noutput = []";
        let environment = |_: &str| Err(std::env::VarError::NotPresent);
        let surroundings = Surroundings {
            connectors: &dirigo_connectors::builtin(),
            environment: &environment,
            inputs: Inputs::HandedIn,
            admission: &Admission::default(),
            stored: None,
        };
        let loaded = parse_in(text, Path::new("pipeline.toml"), &[], surroundings)
            .unwrap()
            .pipeline;
        let parts = parts(&loaded, &loaded.tests[0].input).unwrap();
        assert_eq!(
            entries(&parts),
            [(0, 3, 2), (0, 1, 2), (1, 1, 3), (0, 1, 4)],
            "watermarks have no numbers"
        );
        let many: Vec<TestEntry> = (0..=BATCH_EVENTS).map(|_| loaded.tests[0].input[0].clone()).collect();
        let parts = super::parts(&loaded, &many).unwrap();
        let batch = BATCH_EVENTS as u64;
        assert_eq!(entries(&parts), [(0, BATCH_EVENTS, batch), (0, 1, batch + 1)]);
    }
}

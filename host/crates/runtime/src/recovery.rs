//! Putting back what was on its way when the last run stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::start_error::StartError;
use super::wiring;
use dirigo_actor::{CapturedBatch, Operator};
use dirigo_flow::{Content, EventSink, SavedBatch};
use dirigo_ground::lineage::{BEFORE_ALL, OutputTag, Progress, ReadBatch, SourceIndex, Ticket};
use dirigo_pipeline::Pipeline;
use dirigo_state::{ClosedWindow, Entry, EntryForm, InFlight, Offsets, Step};

/// What was on its way when the last run stopped.
#[derive(Debug, Default)]
pub struct RecoveredBatches {
    /// Where each batch waited, in the order in which they go back: what lies furthest downstream first, so that what it puts
    /// out comes behind what went before.
    batches: Vec<(String, SavedBatch)>,
    /// By source: the lowest position that may come next.
    next_positions: BTreeMap<String, u64>,
    /// By source: how far event time has come.
    watermarks: BTreeMap<String, i64>,
    /// By operator: how many windows it had open, and how many events were in them.
    open_windows: BTreeMap<String, (u64, u64)>,
    /// How many windows were closed at the end of the input.
    pub(super) closed_windows: u64,
}

impl RecoveredBatches {
    /// What a store has of it, for `pipeline` to go on with.
    ///
    /// # Errors
    /// When it cannot be read, or some of it has nowhere to go in that pipeline.
    pub(super) fn read(stored: Vec<InFlight>, offsets: &Offsets, pipeline: &Pipeline) -> Result<Self, StartError> {
        let operators = pipeline.operators.iter().map(|operator| &operator.id);
        let items: Vec<&String> = operators.chain(pipeline.sinks.iter().map(|sink| &sink.id)).collect();
        let is_source = |id: &String| wiring::line_ids(pipeline).any(|line| line == id);
        let read = |InFlight { item, bytes }: InFlight| {
            let form = wiring::entry_form(pipeline, &item);
            let saved = SavedBatch::decode(&bytes).filter(|saved| holds_what_it_says(&item, saved, form));
            let saved = saved.ok_or(StartError::Unreadable { what: "batches" })?;
            let events = saved.len();
            if !items.contains(&&item) {
                return Err(StartError::Orphaned { item, events });
            }
            if !is_source(&saved.source) {
                let item = saved.source;
                return Err(StartError::Orphaned { item, events });
            }
            Ok((item, saved))
        };
        Ok(Self {
            batches: stored.into_iter().map(read).collect::<Result<_, _>>()?,
            next_positions: offsets.next_positions.clone(),
            watermarks: offsets.watermarks.clone(),
            open_windows: offsets.open_windows.clone(),
            closed_windows: offsets.closed_windows,
        })
    }
}

/// Whether the values of windows, and of steps of a process, are what such have on their way to `item`.
fn holds_what_it_says(item: &str, saved: &SavedBatch, form: EntryForm) -> bool {
    match saved.content {
        Content::Windows => saved.values().all(|value| is_window(value, form)),
        Content::Events if are_steps(item, saved, form) => saved.values().all(|value| Step::decode(value).is_some()),
        _ => true,
    }
}

/// Whether these are steps of a process that event time has come to: they are of its own line.
fn are_steps(item: &str, saved: &SavedBatch, form: EntryForm) -> bool {
    form == EntryForm::Keyed && saved.source == item && saved.content == Content::Events
}

/// Whether these bytes are a window that has left its state, of an operator that keeps entries of this form.
pub(super) fn is_window(bytes: &[u8], form: EntryForm) -> bool {
    match form {
        EntryForm::Segments => ClosedWindow::decode(bytes).is_some(),
        EntryForm::Window => Entry::decode(bytes).is_some(),
        EntryForm::Keyed => false,
    }
}

/// Where it goes back to. Nothing runs yet.
pub(super) struct Recovery<'a> {
    pub(super) progress: &'a Arc<Progress>,
    pub(super) operators: &'a [Arc<Operator>],
    pub(super) event_sinks: &'a [Arc<EventSink>],
    /// The names of the sources, and of the timed operators.
    pub(super) sources: &'a [Arc<str>],
    pub(super) now_ns: u64,
}

impl Recovery<'_> {
    /// Puts everything back. Says how many events each operator and sink has in by that, and not by an edge.
    pub(super) fn restore(&self, recovered_batches: RecoveredBatches) -> BTreeMap<String, u64> {
        const KNOWN: &str = "that everything has its place was found when it was read";
        let destination = |(item, saved): (String, SavedBatch)| {
            let source = self.source(&saved.source).expect(KNOWN);
            (self.destination(&item).expect(KNOWN), source, saved)
        };
        let restored_batches: Vec<_> = recovered_batches.batches.into_iter().map(destination).collect();
        let tickets = self.open_tickets(&restored_batches);
        for (name, next_position) in recovered_batches.next_positions {
            if let Some(source) = self.source(&name) {
                self.progress.resume(source, next_position);
            }
        }
        for (name, watermark) in recovered_batches.watermarks {
            if let Some(source) = self.source(&name) {
                self.progress.pass_time(source, watermark);
            }
        }
        for operator in self.operators {
            if let Some(&(windows, events)) = recovered_batches.open_windows.get(operator.id()) {
                operator.resume_open_windows(windows, events);
            }
        }
        let mut restored = BTreeMap::new();
        for (destination, source, saved) in restored_batches {
            let content = saved.content;
            if let Some(id) = destination.takes(&saved) {
                *restored.entry(id.to_owned()).or_default() += saved.len() as u64;
            }
            match destination {
                Destination::Operator(operator) => {
                    let ticket = tickets[&(source, saved.ticket)].clone();
                    let output = match &saved.output {
                        None => OutputTag::Own,
                        Some(name) => match operator.output_tag(name) {
                            Some(output) => output,
                            // Nothing reads it any more.
                            None => continue,
                        },
                    };
                    let mut batch = saved.into_batch(ticket);
                    batch.origin.output = output;
                    operator.restore(CapturedBatch { batch, content });
                }
                // What a sink holds back is no longer in flight.
                Destination::Sink(event_sink) => event_sink.restore(saved.into_batch(Ticket::detached()), source),
            }
        }
        restored
    }

    /// New tickets, in the order of the old ones, and shared as those were.
    fn open_tickets(
        &self,
        restored_batches: &[(Destination<'_>, SourceIndex, SavedBatch)],
    ) -> BTreeMap<(SourceIndex, u64), Arc<Ticket>> {
        let mut reads: BTreeMap<(SourceIndex, u64), ReadBatch> = BTreeMap::new();
        let in_flight = restored_batches
            .iter()
            .filter(|(destination, ..)| matches!(destination, Destination::Operator(_)));
        for (_, source, saved) in in_flight {
            let read = reads.entry((*source, saved.ticket)).or_insert(ReadBatch {
                first: saved.first_position,
                last: saved.first_position,
                events: 0,
                bytes: 0,
                arrival_ns: self.now_ns,
                // That of the source counts, once all of these are done with.
                watermark: BEFORE_ALL,
            });
            read.events += saved.len();
            read.bytes += saved.bytes();
        }
        let open = |((source, number), read): (&(SourceIndex, u64), &ReadBatch)| {
            ((*source, *number), self.progress.open(*source, read))
        };
        reads.iter().map(open).collect()
    }

    fn destination(&self, item: &str) -> Option<Destination<'_>> {
        let operator = self.operators.iter().find(|operator| operator.id() == item);
        let event_sink = || self.event_sinks.iter().find(|event_sink| event_sink.id == item);
        operator
            .map(Destination::Operator)
            .or_else(|| event_sink().map(Destination::Sink))
    }

    fn source(&self, name: &str) -> Option<SourceIndex> {
        (0..)
            .zip(self.sources)
            .find(|(_, known)| ***known == *name)
            .map(|(index, _)| index)
    }
}

#[derive(Clone, Copy)]
enum Destination<'a> {
    Operator(&'a Arc<Operator>),
    Sink(&'a Arc<EventSink>),
}

impl Destination<'_> {
    /// Whose events these are; of no operator yet where one is to put them out, or where they are windows, or steps of a process that took
    /// its events in before.
    fn takes(&self, saved: &SavedBatch) -> Option<&str> {
        match self {
            Destination::Operator(operator) => {
                let is_taken = saved.content == Content::Events && saved.source != operator.id();
                is_taken.then(|| operator.id())
            }
            Destination::Sink(event_sink) => Some(&event_sink.id),
        }
    }
}

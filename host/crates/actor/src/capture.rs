//! What a checkpoint takes of an operator, and what a recovery gives back to it.
//!
//! Both happen while nobody takes effects. Owns in which order the batches of an actor go back: what waits in an actor is
//! outputs that must wait for those before them, and events that have had no effect yet.

use std::sync::Arc;

use super::counters;
use super::directory::{Directory, STAYS};
use super::mailbox::MailboxItem;
use super::{Actor, ActorIdentity, Operator};
use dirigo_flow::Content;
use dirigo_ground::batch::Batch;
use dirigo_state::Copies;

/// A batch that was on its way.
#[derive(Clone, Debug)]
pub struct CapturedBatch {
    /// The events; with the keys that the operator gave them, if it does. Or windows that it is to finish.
    pub batch: Batch,
    /// What they are to the operator.
    pub content: Content,
}

impl Operator {
    /// Copies what changed since the last cut, and gives what is on its way, actor by actor, each in order. The pipeline is
    /// paused.
    #[must_use]
    pub fn capture(&self, copies: &mut Copies) -> Vec<CapturedBatch> {
        let mut waiting = Vec::new();
        for actor in self.actors() {
            actor.capture(copies, &mut waiting);
        }
        waiting
    }

    /// Gives back what a cut found on its way, in the same order. Everything that comes after this operator has its own back
    /// already, and nothing in front of it runs.
    pub fn restore(&self, waiting: CapturedBatch) {
        let CapturedBatch { batch, content } = waiting;
        match (content, &self.directory) {
            (Content::Events, _) if self.are_due(&batch) => self.take_in_steps(batch),
            (Content::Events, _) => {
                counters::add(&self.counters.events_in, batch.len());
                self.gate.enter(batch.len(), batch.size());
                self.directory.deliver(self, batch);
            }
            (Content::Windows, _) => self.finish_windows(&batch),
            (Content::OutputsOfWindows, _) => stand_in_line(self.closer.get_or_make(self), batch),
            // A stateless operator has one actor.
            (Content::Outputs, Directory::Shards(shards)) if !self.kind().is_stateful() => {
                let actor = shards.lock().actors()[0].clone();
                stand_in_line(actor, batch);
            }
            // An actor with state works on one chunk at a time: nothing of it comes before.
            (Content::Outputs, _) => self.forward(batch),
        }
    }
}

/// Has outputs leave where they stand among what is still to become some.
fn stand_in_line(actor: Arc<Actor>, batch: Batch) {
    let delivered = actor.deliver(MailboxItem::done(batch));
    delivered.expect(STAYS);
}

impl Actor {
    fn capture(&self, copies: &mut Copies, waiting: &mut Vec<CapturedBatch>) {
        let mut chunks: Vec<(u64, Vec<MailboxItem>)> = Vec::new();
        for replica in &self.replicas {
            let mut replica = replica.lock();
            if !replica.is_helper() {
                replica.capture_table(self, copies);
            }
            chunks.extend(replica.unfinished());
        }
        chunks.extend(self.sequence.early().into_iter().map(|(number, outputs)| {
            let done = outputs.into_iter().map(MailboxItem::done);
            (number, done.collect())
        }));
        chunks.sort_by_key(|(number, _)| *number);
        let unfinished = chunks.into_iter().flat_map(|(_, item)| item);
        let mailbox = self.mailbox.lock();
        let is_closer = self.identity == ActorIdentity::Closer;
        waiting.extend(unfinished.chain(mailbox.waiting()).map(|item| CapturedBatch {
            batch: item.batch,
            content: match (is_closer, item.is_done) {
                (false, false) => Content::Events,
                (false, true) => Content::Outputs,
                (true, false) => Content::Windows,
                (true, true) => Content::OutputsOfWindows,
            },
        }));
    }
}

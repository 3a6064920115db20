//! Connections between the parts of a pipeline.
//!
//! Owns what travels on an edge, how much was sent along it, and the rule that nothing is begun whose output would go where
//! there is no room. Does not know who receives: sources, operators and sinks meet here as [`Receiver`]s.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use super::gate::Gate;
use super::tap::Tap;
use dirigo_ground::batch::Batch;

/// What travels on an edge.
#[derive(Clone, Debug)]
pub enum Message {
    /// Events.
    Batch(Batch),
}

/// The end of an edge: an operator or a sink.
pub trait Receiver: Send + Sync {
    /// Its name in the pipeline.
    fn id(&self) -> &str;

    /// Takes what was sent; never waits.
    fn receive(&self, message: Message);

    /// The bound on what waits for it.
    fn gate(&self) -> &Gate<Waker>;

    /// What events take from here to a sink, in ns; 0 at a sink.
    fn path_ns(&self) -> u64;
}

/// A connection from a source or an operator to an operator or a sink.
pub struct Edge {
    receiver: Arc<dyn Receiver>,
    /// Which of the receiver's inputs it is, of how many.
    input: (u32, u32),
    sent: AtomicU64,
    received: AtomicU64,
    tap: Arc<Tap>,
}

impl Edge {
    /// A connection to the input `input` of `inputs` of `receiver`.
    #[must_use]
    pub fn new(receiver: Arc<dyn Receiver>, input: u32, inputs: u32) -> Self {
        Self {
            receiver,
            input: (input, inputs),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            tap: Arc::default(),
        }
    }

    /// The name of what it leads to.
    #[must_use]
    pub fn receiver_id(&self) -> &str {
        self.receiver.id()
    }

    /// Where its events can be looked at.
    #[must_use]
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// Events sent and events received.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }

    /// What events take from the start of the longest of `edges` to a sink, in ns.
    #[must_use]
    pub fn longest_path_ns(edges: &[Edge]) -> u64 {
        edges.iter().map(|edge| edge.receiver.path_ns()).max().unwrap_or(0)
    }

    /// Sends a batch along all of `edges`.
    pub fn send_all(edges: &[Edge], batch: Batch) {
        let Some((last, others)) = edges.split_last() else {
            return;
        };
        others.iter().for_each(|edge| edge.send(batch.clone()));
        last.send(batch);
    }

    fn send(&self, mut batch: Batch) {
        let (input, inputs) = self.input;
        batch.origin.path = path_through(batch.origin.path, input, inputs);
        let events = batch.len() as u64;
        self.tap.pass(&batch);
        self.sent.fetch_add(events, Ordering::Relaxed);
        self.receiver.receive(Message::Batch(batch));
        self.received.fetch_add(events, Ordering::Relaxed);
    }

    /// Whether one of `edges` leads to something full.
    #[must_use]
    pub fn is_any_full(edges: &[Edge]) -> bool {
        edges.iter().any(|edge| edge.receiver.gate().is_full())
    }

    /// Whether one of `edges` leads to something full; if so, the waker is woken once there is room.
    pub fn must_wait(edges: &[Edge], waker: impl Fn() -> Waker) -> bool {
        edges.iter().any(|edge| {
            let gate = edge.receiver.gate();
            gate.is_full() && gate.wait(waker())
        })
    }
}

/// The path of events that took `path` and enter by one of some inputs: by its remainder one tells by which. Behind more ways than numbers can
/// tell apart, some have the same.
fn path_through(path: u32, input: u32, inputs: u32) -> u32 {
    (path % (u32::MAX / inputs)) * inputs + input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_input_is_told_however_long_the_path_is() {
        for inputs in 1..10 {
            let mut path = 0;
            for step in 0..200 {
                let input = step % inputs;
                path = path_through(path, input, inputs);
                assert_eq!(path % inputs, input, "step {step} of {inputs} inputs");
            }
        }
        let ways: std::collections::BTreeSet<_> = (0..1 << 10)
            .map(|way| (0..10).fold(0, |path, layer| path_through(path, way >> layer & 1, 2)))
            .collect();
        assert_eq!(ways.len(), 1 << 10);
    }
}

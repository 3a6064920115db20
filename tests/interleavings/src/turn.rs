//! What the host's turns do with their alarms.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::Actor;
use crate::turn_waker::TurnWaker;

/// A turn under way.
pub struct Turn<F> {
    future: Pin<Box<F>>,
    alarm: Arc<TurnWaker>,
}

/// How a slice of a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// So did the turn.
    Ended,
    /// It can go on.
    Preempted,
    /// Whoever rings schedules it.
    Waiting,
}

impl<F: Future<Output = ()>> Turn<F> {
    /// A turn of `actor`.
    pub fn new(actor: &Arc<Actor>, future: F) -> Self {
        Self {
            future: Box::pin(future),
            alarm: TurnWaker::new(Arc::downgrade(actor), 0),
        }
    }

    /// Runs a slice.
    pub fn poll(&mut self) -> Slice {
        let waker = self.alarm.set();
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(()) => Slice::Ended,
            Poll::Pending if self.alarm.park() => Slice::Waiting,
            Poll::Pending => Slice::Preempted,
        }
    }
}

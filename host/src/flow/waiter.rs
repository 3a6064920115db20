//! Who waits for room, and how they are told.

use std::sync::Arc;

use super::signal::Signal;
use crate::actor::Cell;

/// Someone who waits at a gate.
#[derive(Clone, Debug)]
pub enum Waiter {
    /// A replica of an actor, whose turn would add to what waits.
    Cell(Cell),
    /// The thread of a source.
    Source(Arc<Signal>),
}

/// Lets everyone go on.
pub fn wake_all(waiters: Vec<Waiter>) {
    for waiter in waiters {
        match waiter {
            Waiter::Cell(cell) => cell.schedule(),
            Waiter::Source(signal) => signal.ring(),
        }
    }
}

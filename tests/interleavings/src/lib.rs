//! The host's protocols without locks, under a scheduler that tries interleavings.
//!
//! What is checked are the source files of the host. They find the checker's locks and atomics in `sync` where the host has its
//! own, and stand-ins for what they know of actors: a replica here takes a place, runs turns that do nothing, and comes to rest
//! in the order in which the host's does. Every operation on a lock or an atomic may be where another thread goes on; those that
//! the host orders weakly are taken for ordered, as `shuttle` does. (`loom` tries weak orders too, but takes `SeqCst` for
//! `AcqRel`, and so finds faults in protocols that store and then look, as these do.)

extern crate self as dirigo_ground;

#[path = "../../../host/crates/actor/src/activations.rs"]
mod activations;
mod actor;
#[path = "../../../host/crates/flow/src/barrier.rs"]
mod barrier;
mod check;
#[path = "../../../host/crates/flow/src/epochs.rs"]
mod epochs;
#[path = "../../../host/crates/flow/src/gate.rs"]
mod gate;
#[path = "../../../host/crates/actor/src/instance_quota.rs"]
mod instance_quota;
mod replica;
#[path = "../../../host/crates/ground/src/signal.rs"]
pub mod signal;
pub mod sync;
mod thread;
mod turn;
#[path = "../../../host/crates/actor/src/turn_waker.rs"]
mod turn_waker;

use std::task::Waker;

pub use activations::Activations;
pub use actor::{Actor, LastTurn, Operator, Runnable, World};
pub use barrier::{Barrier, BarrierGuard, RaisedBarrier};
pub use check::{check, check_all};
pub use epochs::{Epochs, Paused};
pub use gate::Gate;
pub use ground::{limits, lineage, quota};
pub use instance_quota::InstanceQuota;
pub use thread::join_all;
pub use turn::{Slice, Turn};

fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

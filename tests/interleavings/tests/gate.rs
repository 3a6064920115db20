//! Who waits at a gate, and what makes room.

use std::array;
use std::sync::Arc;

use dirigo_interleavings::signal::Signal;
use dirigo_interleavings::{Gate, check, join_all};
use shuttle::thread;

/// A bound of a gate, and more than half of it.
const EVENTS_MAX: usize = 64 << 10;
const MOST_EVENTS: usize = EVENTS_MAX / 8 * 5;
const MOST_BYTES: usize = (32 << 20) / 8 * 5;

/// Waits until there is room.
fn wait_for_room(gate: &Gate<Arc<Signal>>) {
    let signal = Arc::<Signal>::default();
    loop {
        let heard = signal.seen();
        if !gate.is_full() || !gate.wait(signal.clone()) {
            return;
        }
        signal.wait_past(heard, None);
    }
}

fn leave(gate: &Gate<Arc<Signal>>, events: usize, bytes: usize) {
    gate.leave(events, bytes).iter().for_each(|waiting| waiting.notify());
}

#[test]
fn who_waits_at_a_full_gate_is_woken_when_there_is_room() {
    check(|| {
        let gate = Arc::new(Gate::new(Arc::default()));
        gate.enter(EVENTS_MAX, 0);
        let waiting: [_; 2] = array::from_fn(|_| {
            let gate = gate.clone();
            thread::spawn(move || wait_for_room(&gate))
        });
        let leaving: [_; 2] = array::from_fn(|_| {
            let gate = gate.clone();
            thread::spawn(move || leave(&gate, EVENTS_MAX / 4, 0))
        });
        join_all(waiting);
        join_all(leaving);
    });
}

#[test]
fn who_waits_while_a_gate_fills_again_is_woken_too() {
    check(|| {
        let gate = Arc::new(Gate::new(Arc::default()));
        gate.enter(EVENTS_MAX, 0);
        let adding: [_; 2] = array::from_fn(|_| {
            let gate = gate.clone();
            thread::spawn(move || {
                wait_for_room(&gate);
                gate.enter(EVENTS_MAX / 2, 0);
            })
        });
        leave(&gate, EVENTS_MAX / 2, 0);
        leave(&gate, EVENTS_MAX / 2, 0);
        join_all(adding);
    });
}

#[test]
fn two_who_leave_together_wake_who_waits_if_one_of_them_would_have() {
    check(|| {
        let gate = Arc::new(Gate::new(Arc::default()));
        gate.enter(2 * MOST_EVENTS, 2 * MOST_BYTES);
        let waiting = {
            let gate = gate.clone();
            thread::spawn(move || wait_for_room(&gate))
        };
        let leaving: [_; 2] = array::from_fn(|_| {
            let gate = gate.clone();
            thread::spawn(move || leave(&gate, MOST_EVENTS, MOST_BYTES))
        });
        waiting.join().unwrap();
        join_all(leaving);
    });
}

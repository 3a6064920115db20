//! A ring that comes between a poll and the parking.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use dirigo_interleavings::LastTurn::ComesToRest;
use dirigo_interleavings::sync::Mutex;
use dirigo_interleavings::sync::atomic::{AtomicBool, Ordering};
use dirigo_interleavings::{Slice, Turn, World, check, check_all, join_all};
use shuttle::thread;

/// Something that a turn waits for.
#[derive(Default)]
struct Service {
    is_done: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Service {
    fn poll(&self, waker: &Waker) -> Poll<()> {
        *self.waker.lock() = Some(waker.clone());
        if self.is_done.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn finish(&self) {
        self.is_done.store(true, Ordering::SeqCst);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Runs a turn to its end, and gives how often it waited.
fn run(world: &World, turn: impl Future<Output = ()>) -> u32 {
    let mut turn = Turn::new(world.actor(0), turn);
    let mut waits = 0;
    loop {
        match turn.poll() {
            Slice::Ended => return waits,
            Slice::Preempted => {}
            Slice::Waiting => {
                waits += 1;
                world.wait_for_ready();
            }
        }
    }
}

fn world() -> World {
    let mut world = World::new(1);
    world.add_tenant(None, &[0], ComesToRest);
    world
}

#[test]
fn a_turn_that_waits_is_scheduled_once_by_whoever_rings_and_never_forgotten() {
    let interleavings = check_all(|| {
        let world = world();
        let service = Arc::<Service>::default();
        let serving = {
            let service = service.clone();
            thread::spawn(move || service.finish())
        };
        let waits = run(&world, poll_fn(|context| service.poll(context.waker())));
        serving.join().unwrap();
        assert_eq!(world.scheduled(), waits);
    });
    assert!(interleavings > 10, "only {interleavings} were tried");
}

#[test]
fn two_who_ring_schedule_a_turn_once() {
    check(|| {
        let world = world();
        let services = [Arc::<Service>::default(), Arc::default()];
        let serving = services.clone().map(|service| thread::spawn(move || service.finish()));
        let both = poll_fn(|context| {
            let polled = services.each_ref().map(|service| service.poll(context.waker()));
            if polled.iter().all(Poll::is_ready) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        let waits = run(&world, both);
        join_all(serving);
        assert_eq!(world.scheduled(), waits);
    });
}

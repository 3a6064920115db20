//! Who is inside of a barrier when it is raised, and who waits for it to fall.

use std::array;
use std::sync::Arc;
use std::task::Waker;

use dirigo_interleavings::signal::Signal;
use dirigo_interleavings::sync::atomic::{AtomicU32, Ordering};
use dirigo_interleavings::{Barrier, Epochs, check, join_all};
use shuttle::thread;

/// What is taken in two steps.
#[derive(Default)]
struct Effects(AtomicU32);

impl Effects {
    fn take(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn steps(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Takes an effect behind a barrier, and waits for it to fall where it must.
fn take_behind(barrier: &Barrier, effects: &Effects) {
    let signal = Arc::<Signal>::default();
    loop {
        let heard = signal.seen();
        if let Some(_inside) = barrier.enter(|| Waker::from(signal.clone())) {
            effects.take();
            return;
        }
        signal.wait_past(heard, None);
    }
}

/// Raises a barrier, and finds everything between two effects.
fn raise(barrier: &Barrier, effects: &Effects) {
    let _raised = barrier.raise();
    let steps = effects.steps();
    assert_eq!(steps % 2, 0, "half an effect was seen");
    thread::yield_now();
    assert_eq!(effects.steps(), steps, "an effect was taken behind a raised barrier");
}

#[test]
fn nobody_is_inside_of_a_raised_barrier_and_raising_it_comes_to_its_end() {
    check(|| {
        let (barrier, effects) = (Arc::<Barrier>::default(), Arc::<Effects>::default());
        let working: [_; 2] = array::from_fn(|_| {
            let (barrier, effects) = (barrier.clone(), effects.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(_inside) = barrier.try_enter() {
                        effects.take();
                    }
                }
            })
        });
        raise(&barrier, &effects);
        join_all(working);
    });
}

#[test]
fn who_waits_for_a_barrier_to_fall_is_woken_when_it_does() {
    check(|| {
        let (barrier, effects) = (Arc::<Barrier>::default(), Arc::<Effects>::default());
        let working: [_; 2] = array::from_fn(|_| {
            let (barrier, effects) = (barrier.clone(), effects.clone());
            thread::spawn(move || take_behind(&barrier, &effects))
        });
        for _ in 0..2 {
            raise(&barrier, &effects);
        }
        join_all(working);
        assert_eq!(effects.steps(), 4);
    });
}

#[test]
fn a_cut_falls_between_two_effects() {
    check(|| {
        let (epochs, effects) = (Arc::<Epochs>::default(), Arc::<[Effects; 2]>::default());
        let barriers: [fn(&Epochs) -> &Barrier; 2] = [Epochs::sources, Epochs::turns];
        let working = barriers.map(|barrier| {
            let (epochs, effects) = (epochs.clone(), effects.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    if let Some(_inside) = barrier(&epochs).try_enter() {
                        let epoch = epochs.current();
                        effects[epoch as usize - 1].take();
                        assert_eq!(epochs.current(), epoch, "a cut fell into an effect");
                    }
                }
            })
        });
        let before = {
            let paused = epochs.pause();
            assert_eq!(paused.cut(), 1);
            effects[0].steps()
        };
        join_all(working);
        assert_eq!(effects[0].steps(), before, "an epoch got an effect after its end");
        assert_eq!(before % 2, 0);
    });
}

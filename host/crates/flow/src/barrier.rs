//! A pause between effects.
//!
//! A thread that is about to take an effect enters; raised, the barrier lets no thread in, and waits for those inside.
//! So the thread that raised it finds everything as it is between two effects. Knows nothing of what an effect is.

use std::task::Waker;

use super::wake_all;
use dirigo_ground::signal::Signal;
use dirigo_ground::sync::Mutex;
use dirigo_ground::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use dirigo_ground::thread;

/// Counters of those inside, each on a cache line of its own: workers that enter don't take turns at one.
const COUNTERS: usize = 16;

/// Lets effects through, or holds them up.
#[derive(Debug, Default)]
pub struct Barrier {
    is_raised: AtomicBool,
    /// Whether somebody left it in a panic: an effect was taken by half.
    is_broken: AtomicBool,
    inside: [Counter; COUNTERS],
    /// Rings when somebody leaves a raised one.
    left: Signal,
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

/// The right to take effects, until it is dropped.
#[derive(Debug)]
pub struct BarrierGuard<'a> {
    barrier: &'a Barrier,
    counter: &'a Counter,
}

impl Barrier {
    /// Enters, unless it is raised; never waits.
    pub fn try_enter(&self) -> Option<BarrierGuard<'_>> {
        let counter = &self.inside[thread::number() % COUNTERS];
        counter.0.fetch_add(1, Ordering::SeqCst);
        let inside = BarrierGuard { barrier: self, counter };
        // Counted before the look: the thread that raises it either sees the count or is seen here.
        (!self.is_raised.load(Ordering::SeqCst)).then_some(inside)
    }

    /// Enters; or, where it is raised, keeps the waker, which is woken once it falls.
    pub fn enter(&self, waker: impl FnOnce() -> Waker) -> Option<BarrierGuard<'_>> {
        if let Some(inside) = self.try_enter() {
            return Some(inside);
        }
        let mut waiting = self.waiting.lock();
        // It falls under this lock: one that has fallen meanwhile is seen, one that has not will find the waker.
        if !self.is_raised.load(Ordering::SeqCst) {
            drop(waiting);
            return self.enter(waker);
        }
        waiting.push(waker());
        None
    }

    /// Whether it is raised, or about to be.
    pub fn is_raised(&self) -> bool {
        self.is_raised.load(Ordering::Relaxed)
    }

    /// Whether what is behind it is as whole effects left it.
    pub fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Raises it, and waits until nobody is inside. It falls when the result is dropped.
    #[must_use]
    pub fn raise(&self) -> RaisedBarrier<'_> {
        self.is_raised.store(true, Ordering::SeqCst);
        let raised = RaisedBarrier(self);
        let is_empty = |counter: &Counter| counter.0.load(Ordering::SeqCst) == 0;
        loop {
            let seen = self.left.seen();
            if self.inside.iter().all(is_empty) {
                return raised;
            }
            self.left.wait_past(seen, None);
        }
    }
}

/// A barrier that is raised.
#[derive(Debug)]
pub struct RaisedBarrier<'a>(&'a Barrier);

impl Drop for RaisedBarrier<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut waiting = self.0.waiting.lock();
            self.0.is_raised.store(false, Ordering::SeqCst);
            std::mem::take(&mut *waiting)
        };
        wake_all(waiting);
    }
}

impl Drop for BarrierGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.barrier.is_broken.store(true, Ordering::SeqCst);
        }
        self.counter.0.fetch_sub(1, Ordering::SeqCst);
        // Looked at after it was counted: a thread that raised it before that look is notified, one that does after it
        // sees the count.
        if self.barrier.is_raised.load(Ordering::SeqCst) {
            self.barrier.left.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_enters_a_raised_barrier_and_who_waits_is_woken_when_it_falls() {
        let barrier = Arc::<Barrier>::default();
        let signal = Arc::<Signal>::default();
        drop(barrier.try_enter().expect("it is not raised"));
        let raised = barrier.raise();
        assert!(barrier.enter(|| Waker::from(signal.clone())).is_none());
        assert_eq!(signal.seen(), 0);
        drop(raised);
        assert_eq!(signal.seen(), 1);
        assert!(barrier.try_enter().is_some());
    }

    #[test]
    fn a_panic_inside_is_remembered() {
        let barrier = Arc::<Barrier>::default();
        let panicking = barrier.clone();
        let thread = std::thread::spawn(move || {
            let _inside = panicking.try_enter();
            panic!("in the middle of an effect");
        });
        assert!(thread.join().is_err() && barrier.is_broken());
    }

    #[test]
    fn raising_it_waits_for_those_inside() {
        let barrier = Arc::<Barrier>::default();
        let effects = Arc::<AtomicUsize>::default();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (barrier, effects) = (barrier.clone(), effects.clone());
                std::thread::spawn(move || {
                    for _ in 0..10_000 {
                        let Some(_inside) = barrier.try_enter() else { continue };
                        // Two halves of one effect: a pause never falls between them.
                        effects.fetch_add(1, Ordering::SeqCst);
                        effects.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for _ in 0..1_000 {
            let _raised = barrier.raise();
            let before = effects.load(Ordering::SeqCst);
            std::thread::yield_now();
            assert_eq!(before % 2, 0, "half an effect was seen");
            assert_eq!(effects.load(Ordering::SeqCst), before);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

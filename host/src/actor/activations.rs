//! Who may hold an instance.
//!
//! The machine bounds how many instances live at once. An actor that needs one when there is no room takes the place of the
//! one that has been idle longest; where none is idle it waits its turn.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::{Cell, Operator};

/// The places for instances, shared by all pipelines of a host.
#[derive(Debug)]
pub struct Activations {
    max: usize,
    live: AtomicUsize,
    peak: AtomicUsize,
    waiting: Mutex<VecDeque<Cell>>,
    operators: RwLock<Vec<Weak<Operator>>>,
}

impl Activations {
    /// At most `max` instances at once.
    ///
    /// # Panics
    /// When `max` is 0.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        assert!(max > 0, "without a place for an instance nothing can run");
        Arc::new(Self {
            max,
            live: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waiting: Mutex::default(),
            operators: RwLock::default(),
        })
    }

    /// The most instances that were alive at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Lets the idle actors of `operator` be found when room is needed.
    pub(super) fn register(&self, operator: &Arc<Operator>) {
        let mut operators = self.operators.write();
        operators.retain(|known| known.strong_count() > 0);
        operators.push(Arc::downgrade(operator));
    }

    /// Takes a place for `cell`. Where there is none it is kept, and scheduled again once there is.
    #[must_use]
    pub(super) fn acquire(&self, cell: &Cell) -> bool {
        loop {
            if self.take_free() {
                return true;
            }
            if self.evict_longest_idle() {
                continue;
            }
            let mut waiting = self.waiting.lock();
            // Whoever releases looks for waiters after it counted down: look once more before waiting.
            if self.take_free() {
                return true;
            }
            waiting.push_back(cell.clone());
            drop(waiting);
            // An actor that became idle since the look for one did not know yet that somebody waits.
            self.evict_longest_idle();
            return false;
        }
    }

    fn take_free(&self) -> bool {
        let taken = self.live.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |live| {
            (live < self.max).then_some(live + 1)
        });
        if let Ok(before) = taken {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Gives a place back.
    pub(super) fn release(&self) {
        self.live.fetch_sub(1, Ordering::SeqCst);
        self.wake_next();
    }

    /// Has whoever waits longest look for a place again. One that was woken and has no use for it any more passes it on.
    pub(super) fn wake_next(&self) {
        let next = self.waiting.lock().pop_front();
        if let Some(cell) = next {
            cell.schedule();
        }
    }

    /// Whether somebody waits for a place.
    pub(super) fn is_short(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    fn evict_longest_idle(&self) -> bool {
        let operators = self.operators.read();
        let alive = operators.iter().filter_map(Weak::upgrade);
        let oldest = alive.filter_map(|operator| Some((operator.longest_idle_since_ns()?, operator)));
        let mut candidates: Vec<(u64, Arc<Operator>)> = oldest.collect();
        drop(operators);
        candidates.sort_by_key(|(since_ns, _)| *since_ns);
        candidates.iter().any(|(_, operator)| operator.evict_longest_idle())
    }

    /// Deactivates every actor that has been idle for longer than its operator allows, and the longest idle while others
    /// wait for a place: one that was just coming to rest escapes both its own look and that of who waits.
    pub fn sweep(&self, now_ns: u64) {
        let free = self.max.saturating_sub(self.live.load(Ordering::SeqCst));
        (0..free).take_while(|_| self.is_short()).for_each(|_| self.wake_next());
        while self.is_short() && self.evict_longest_idle() {}
        let operators: Vec<Arc<Operator>> = self.operators.read().iter().filter_map(Weak::upgrade).collect();
        for operator in operators {
            operator.deactivate_idle(now_ns);
        }
    }
}

//! Locks that block at once.
//!
//! A lock that calls `sched_yield` while it spins, as `parking_lot`'s does, costs a source or a sink more than a
//! millisecond next to busy workers: the kernel takes a yield as giving up the slice, whatever the niceness, and lets
//! the worker on that processor run for one of its own (Linux 6.18, EEVDF). Those of the standard library spin shortly
//! and then sleep until they are woken, and who wakes at a higher priority runs at once. A holder that panicked leaves
//! what it guarded as it was: turns catch the panics of operators, and the pipeline that they belong to fails.
//!
//! Protocols without locks take their atomics from here too, so that `tests/interleavings` can put its own in their place.

use std::fmt;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

pub use std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};

/// [`std::sync::Mutex`] without poisoning.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An unlocked one.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock, if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What it guards, for a caller that owns it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// [`std::sync::RwLock`] without poisoning, whose writer can let waiting readers in.
///
/// A writer that unlocks it and locks it again at once would be back before any reader has woken.
#[derive(Default)]
pub struct RwLock<T> {
    lock: std::sync::RwLock<T>,
    /// How many readers found it locked, and have not got in yet.
    waiting: Mutex<usize>,
    /// Rings when none is left.
    admitted: Condvar,
}

impl<T> RwLock<T> {
    /// An unlocked one.
    pub const fn new(value: T) -> Self {
        Self {
            lock: std::sync::RwLock::new(value),
            waiting: Mutex::new(0),
            admitted: Condvar::new(),
        }
    }

    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.lock.try_read() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => self.wait_to_read(),
        }
    }

    fn wait_to_read(&self) -> RwLockReadGuard<'_, T> {
        *self.waiting.lock() += 1;
        let guard = self.lock.read().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.waiting.lock();
        *waiting -= 1;
        if *waiting == 0 {
            self.admitted.notify_all();
        }
        guard
    }

    /// Waits until nobody else has the lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.lock.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no reader waits for the lock, for a writer that will be back for it. The caller must not hold it.
    pub fn admit_readers(&self) {
        let mut waiting = self.waiting.lock();
        while *waiting > 0 {
            waiting = self.admitted.wait(waiting);
        }
    }
}

/// [`std::sync::Condvar`] for [`Mutex`].
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// One that nobody waits for.
    #[must_use]
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Gives up the lock until notified, or without a reason.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the lock until notified, for `at_most`, or without a reason; whether the time has passed.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, at_most: Duration) -> (MutexGuard<'a, T>, bool) {
        let waited = self.0.wait_timeout(guard, at_most);
        let (guard, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        (guard, timed_out.timed_out())
    }

    /// Wakes one that waits.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all that wait.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_writer_that_admits_readers_comes_after_those_that_wait() {
        let lock = RwLock::new(0);
        thread::scope(|scope| {
            let mut written = lock.write();
            let reader = scope.spawn(|| *lock.read());
            while *lock.waiting.lock() == 0 {
                thread::yield_now();
            }
            *written = 1;
            drop(written);
            lock.admit_readers();
            *lock.write() = 2;
            assert_eq!(reader.join().unwrap(), 1);
        });
    }
}

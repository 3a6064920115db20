//! Cooperative yields of guests in the middle of what the host does for them.
//!
//! They yield as they do when a slice of fuel is burnt; but it is not, so the time that has passed says nothing of their fuel.
//! Who polled them finds out here.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use dirigo_ground::clock::Clock;

/// How long the host does something for a guest before others may run, in ns: half of a slice.
pub(crate) const SERVED_NS_MAX: u64 = 50_000;

thread_local! {
    static YIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Lets others run.
pub(crate) async fn yield_now() {
    let mut must_yield = true;
    poll_fn(|context| {
        if std::mem::take(&mut must_yield) {
            YIELDED.set(true);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Whether the last poll on this thread, since this was last asked, ended so.
#[must_use]
pub fn take_yielded() -> bool {
    YIELDED.take()
}

/// Yields in the middle of long work that the host does for a guest, whenever it has taken long enough.
pub struct Yielder {
    clock: Arc<dyn Clock>,
    since_ns: u64,
}

impl Yielder {
    /// One that begins now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            since_ns: clock.now_ns(),
            clock,
        }
    }

    /// Another one, that begins now.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.clock.clone())
    }

    /// Begins anew.
    pub(crate) fn restart(&mut self) {
        self.since_ns = self.clock.now_ns();
    }

    /// Lets others run, if it has taken long since they last could.
    pub async fn yield_if_due(&mut self) {
        if self.clock.now_ns().saturating_sub(self.since_ns) >= SERVED_NS_MAX {
            self.yield_now().await;
        }
    }

    /// Lets others run.
    pub(crate) async fn yield_now(&mut self) {
        yield_now().await;
        self.restart();
    }
}

/// Polls a future to its end; gives what it comes to, and how often it yielded before. For tests of what yields.
pub fn done<T>(future: impl Future<Output = T>) -> (T, usize) {
    let mut future = std::pin::pin!(future);
    let mut yields = 0;
    loop {
        match future
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        {
            Poll::Ready(value) => return (value, yields),
            Poll::Pending => yields += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use dirigo_ground::clock::ManualClock;

    #[test]
    fn a_yielder_yields_when_it_has_taken_long_and_then_begins_anew() {
        let clock = Arc::new(ManualClock::default());
        let mut yielder = Yielder::new(clock.clone());
        let mut yields_after = |ns| {
            clock.advance(Duration::from_nanos(ns));
            done(yielder.yield_if_due()).1
        };
        assert_eq!(yields_after(SERVED_NS_MAX - 1), 0);
        assert_eq!(yields_after(1), 1);
        assert_eq!(yields_after(SERVED_NS_MAX - 1), 0, "it began anew");
        assert_eq!(yields_after(1), 1);
    }

    #[test]
    fn who_polled_a_guest_that_yielded_finds_out_once() {
        assert!(!take_yielded());
        assert_eq!(done(yield_now()).1, 1);
        assert!(take_yielded() && !take_yielded());
    }
}

//! Guests that give way in the middle of what the host does for them.
//!
//! They yield as they do when a slice of fuel is burnt; but it is not, so their pace says nothing then. Whoever polled them
//! asks here.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;

thread_local! {
    static GAVE_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Lets others run.
pub(super) async fn give() {
    let mut must_yield = true;
    poll_fn(|context| {
        if std::mem::take(&mut must_yield) {
            GAVE_WAY.set(true);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Whether the last poll on this thread, since this was last asked, ended so.
#[must_use]
pub fn was_given() -> bool {
    GAVE_WAY.take()
}

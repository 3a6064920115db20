//! A ring that comes between a look and the wait.

use std::sync::Arc;

use dirigo_interleavings::check_all;
use dirigo_interleavings::signal::Signal;
use dirigo_interleavings::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

#[test]
fn whoever_waits_hears_of_what_happened_since_the_look() {
    let interleavings = check_all(|| {
        let (signal, happened) = (Arc::<Signal>::default(), Arc::new(AtomicBool::new(false)));
        let waiting = {
            let (signal, happened) = (signal.clone(), happened.clone());
            thread::spawn(move || {
                loop {
                    let heard = signal.seen();
                    if happened.load(Ordering::SeqCst) {
                        return;
                    }
                    signal.wait_past(heard, None);
                }
            })
        };
        happened.store(true, Ordering::SeqCst);
        signal.notify();
        waiting.join().unwrap();
    });
    assert!(interleavings > 10, "only {interleavings} were tried");
}

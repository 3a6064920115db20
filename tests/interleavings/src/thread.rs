//! Threads; their numbers in place of those of `dirigo_ground::thread`.

use shuttle::thread::JoinHandle;

/// The number of this thread.
pub(crate) fn number() -> usize {
    shuttle::current::me().into()
}

/// Waits for threads to end.
///
/// # Panics
/// When one of them did.
pub fn join_all(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}

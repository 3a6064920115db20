//! What the machine does to a thread, whoever's it is.
//!
//! On a virtual machine the hypervisor may have to find a page when it is first touched, which takes milliseconds now and then
//! and counts as processor time of the thread. A native thread that does the same tells it from what a guest does.

use std::sync::Once;

use rustix::time::{ClockId, clock_gettime};

/// As much as the hostile guests that touch most.
const BYTES: usize = 256 << 20;
/// Of a page of the system, at the least.
const PAGE_BYTES: usize = 4 << 10;

/// The longest that the first touch of one page takes now, of many, in µs of processor time.
pub(crate) fn longest_touch_us() -> u64 {
    static SMALL_PAGES: Once = Once::new();
    SMALL_PAGES.call_once(|| rustix::thread::disable_transparent_huge_pages(true).unwrap());
    let mut memory: Vec<u8> = Vec::with_capacity(BYTES);
    let mut before = spent_us();
    let touches = memory.spare_capacity_mut().iter_mut().step_by(PAGE_BYTES).map(|byte| {
        std::hint::black_box(byte.write(1));
        let after = spent_us();
        after - std::mem::replace(&mut before, after)
    });
    touches.max().unwrap()
}

/// Processor time of this thread.
fn spent_us() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(spent.tv_sec * 1_000_000 + spent.tv_nsec / 1_000).unwrap()
}

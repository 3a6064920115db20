//! Our threads: their numbers, and what the kernel is told of them.
//!
//! Guests may keep every processor busy, so who waits for whom is decided here as much as in the scheduler: workers
//! give way to sources and sinks ([`set_niceness`]), and those run as soon as they wake ([`raise_priority`]); what they
//! may then take of a busy machine is for the scheduler to say. What the kernel refuses is logged, and done without.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much the workers give way to sources and sinks where guests fill every core: next to guests that never pause, a
/// source-to-sink p99 of 1.3 ms at equal niceness falls to 0.14 ms (docs/design/001-engine.md).
pub const WORKER_NICENESS: i32 = 10;
/// The niceness of what may wait for everything else.
pub const LAST_NICENESS: i32 = 19;
/// The shortest slice that Linux gives. Nothing runs for less because of it: what is left of a slice when a thread sleeps is
/// nobody's.
const SHORT_SLICE_NS: u64 = 100_000;

/// How much later than it should a wait may end.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::new(1_000).expect("it is not 0");

/// `struct sched_attr` of linux/sched/types.h, as of its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// The number of this thread, from 0 on in the order in which they first asked.
#[inline]
#[must_use]
pub fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    OWN.with(|own| *own)
}

/// Lets threads of less niceness run before this one.
pub fn set_niceness(niceness: i32) {
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// Has the waits of this thread end when they should. Linux lets them last for 50 µs longer, so as to wake several threads
/// at once (`PR_SET_TIMERSLACK`): half of a slice, each time that a worker stands back for I/O or a source waits for an
/// event's time.
pub fn wake_on_time() {
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NS)) {
        tracing::debug!(%error, "a thread wakes later than it should");
    }
}

/// Has this thread run as soon as it wakes, and wake on time, for short times.
///
/// The kernel lets a running thread finish its slice, 1.4 ms on two processors, before one that wakes, however nice it is,
/// unless the latter asks for shorter slices (`PREEMPT_SHORT` of EEVDF, Linux 6.12; earlier ones take no notice).
#[allow(unsafe_code, reason = "no wrapper of sched_setattr knows slices")]
pub fn raise_priority() {
    wake_on_time();
    let niceness = rustix::process::getpriority_process(None).unwrap_or(0);
    let attributes = Attributes {
        size: u32::try_from(size_of::<Attributes>()).expect("it has 48 bytes"),
        policy: libc::SCHED_OTHER.cast_unsigned(),
        flags: 0,
        nice: niceness,
        priority: 0,
        runtime_ns: SHORT_SLICE_NS,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the kernel reads `size` bytes at the address, which is valid for as long as the call takes; 0 is this thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "a thread keeps its usual slices");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_with_short_slices_keeps_its_niceness() {
        let thread = std::thread::spawn(|| {
            set_niceness(LAST_NICENESS);
            raise_priority();
            rustix::process::getpriority_process(None)
        });
        assert_eq!(thread.join().unwrap(), Ok(LAST_NICENESS));
    }

    #[test]
    fn the_waits_of_a_thread_that_wakes_on_time_have_no_slack_to_speak_of() {
        let thread = std::thread::spawn(|| {
            wake_on_time();
            rustix::thread::current_timer_slack()
        });
        assert_eq!(thread.join().unwrap(), Ok(TIMER_SLACK_NS.get()));
    }
}

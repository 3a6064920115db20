//! What else the machine does while something is measured.
//!
//! Another process takes the processors that a victim's events wait for: how much of them, the kernel counts. Owns when that is
//! too much for a verdict.

use std::time::Duration;

/// What other processes may take of all processors before latencies say more of them than of a neighbour. A machine at rest takes
/// 1 to 3 % for itself; a single other process that never pauses takes 50 % of two processors, and 6 % of sixteen.
const SHARE_MAX: f64 = 0.05;
/// Of a second: what the kernel counts in, on every architecture that Linux reports to user space.
const TICKS_PER_S: f64 = 100.0;

/// The kernel's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct MachineLoad {
    /// Ticks in which a processor worked, for whomever.
    busy: u64,
    /// Ticks in which one worked for this process.
    own: u64,
}

impl MachineLoad {
    /// As it is now; all zero where the kernel does not say.
    pub(super) fn read() -> Self {
        let busy = std::fs::read_to_string("/proc/stat").ok();
        let own = std::fs::read_to_string("/proc/self/stat").ok();
        Self {
            busy: busy.as_deref().and_then(busy_ticks).unwrap_or(0),
            own: own.as_deref().and_then(own_ticks).unwrap_or(0),
        }
    }

    /// How many processors others kept busy since `before`, over this time.
    #[allow(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^52")]
    pub(super) fn others_since(self, before: Self, time: Duration) -> f64 {
        let busy = self.busy.saturating_sub(before.busy);
        let own = self.own.saturating_sub(before.own);
        busy.saturating_sub(own) as f64 / TICKS_PER_S / time.as_secs_f64().max(0.01)
    }
}

/// Whether others that keep so many processors busy leave room for a verdict.
pub(super) fn is_busy(others: f64, processors: usize) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "machines have fewer than 2^52 processors")]
    let processors = processors as f64;
    others > SHARE_MAX * processors
}

/// The processors of this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How many tasks run or want to, over the last minute.
pub(super) fn load_average() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// From `/proc/stat`: all but idle time, and time in which a virtual machine did not run.
fn busy_ticks(stat: &str) -> Option<u64> {
    let mut ticks = stat
        .lines()
        .next()?
        .strip_prefix("cpu")?
        .split_whitespace()
        .map(str::parse);
    let mut next = || ticks.next()?.ok();
    let (user, nice, system, _idle, _waiting): (u64, u64, u64, u64, u64) =
        (next()?, next()?, next()?, next()?, next()?);
    let (interrupts, soft, stolen): (u64, u64, u64) = (next()?, next()?, next()?);
    Some(user + nice + system + interrupts + soft + stolen)
}

/// From `/proc/self/stat`, behind the name, which may have spaces in it.
fn own_ticks(stat: &str) -> Option<u64> {
    /// `utime`, counted from the state, which follows the name.
    const USER: usize = 11;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(USER);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_what_was_busy_without_this_process() {
        let stat = "cpu  100 10 50 5000 7 3 2 1 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(166));
        let own = "42 (a name) x) R 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0";
        assert_eq!(own_ticks(own), Some(42));
        let before = MachineLoad { busy: 166, own: 42 };
        let after = MachineLoad { busy: 466, own: 142 };
        assert!((after.others_since(before, Duration::from_secs(2)) - 1.0).abs() < 1e-9);
        assert!(is_busy(1.0, 16) && is_busy(0.2, 2) && !is_busy(0.1, 2));
    }

    #[test]
    fn the_kernel_says_what_is_asked_of_it() {
        let now = MachineLoad::read();
        assert!(now.busy > 0 && now.busy >= now.own, "{now:?}");
        assert!(load_average().is_some());
    }
}

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
///
/// What a processor did is counted by when it was idle, which the kernel clocks. What it tells apart of the rest (user, system and
/// so on) it usually only samples, 100 to 1,000 times a second: a victim whose events are due on the millisecond works at each
/// of those moments or at none of them, so that a quarter of a processor is counted as none of it, or as a whole one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MachineLoad {
    machine: Ticks,
    /// Ticks in which a processor worked for this process.
    own: u64,
}

/// What the kernel counts of all processors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    /// How many processors there are.
    processors: u32,
    /// In which a processor had nothing to do.
    idle: u64,
    /// In which a virtual machine was kept from running.
    stolen: u64,
}

impl MachineLoad {
    /// As it is now, where the kernel says it.
    pub(super) fn read() -> Option<Self> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        Some(Self {
            machine: Ticks::read(&machine)?,
            own: own_ticks(&own)?,
        })
    }

    /// How many processors others kept busy since `before`, over this time.
    #[allow(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^52")]
    pub(super) fn others_since(self, before: Self, time: Duration) -> f64 {
        let since = |now: u64, before: u64| now.saturating_sub(before) as f64 / TICKS_PER_S;
        let time_s = time.as_secs_f64().max(0.01);
        let idle_s = since(self.machine.idle, before.machine.idle);
        let busy_s = f64::from(self.machine.processors) * time_s - idle_s;
        // What was stolen while this process ran is counted as its own by some kernels, and not by others.
        let stolen_s = since(self.machine.stolen, before.machine.stolen);
        (busy_s - since(self.own, before.own)).max(stolen_s).max(0.0) / time_s
    }
}

impl Ticks {
    /// From `/proc/stat`: a line for all processors, and one for each. All is zero where a sandbox keeps it to itself.
    fn read(stat: &str) -> Option<Self> {
        let processors = stat
            .lines()
            .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
        let all = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = all.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let &[_user, _nice, _system, idle, waiting, _interrupts, _soft, stolen, ..] = ticks.as_slice() else {
            return None;
        };
        ticks.iter().any(|&ticks| ticks > 0).then_some(Self {
            processors: u32::try_from(processors.count()).ok()?,
            idle: idle + waiting,
            stolen,
        })
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

    /// Two processors with so many idle ticks, and so many in which this process worked.
    fn load(idle: u64, own: u64) -> MachineLoad {
        MachineLoad {
            machine: Ticks {
                processors: 2,
                idle,
                stolen: 0,
            },
            own,
        }
    }

    /// What others took in two seconds.
    fn others(before: MachineLoad, after: MachineLoad) -> f64 {
        after.others_since(before, Duration::from_secs(2))
    }

    #[test]
    fn what_others_took_is_what_was_neither_idle_nor_of_this_process() {
        let before = load(5_000, 42);
        for (after, took) in [
            (load(5_100, 142), 1.0),
            (load(5_400, 42), 0.0),
            // The kernel rounds each of them.
            (load(5_301, 142), 0.0),
        ] {
            let found = others(before, after);
            assert!((found - took).abs() < 1e-9, "{found} of {after:?}");
        }
        assert!(is_busy(1.0, 16) && is_busy(0.2, 2) && !is_busy(0.1, 2));
    }

    #[test]
    fn what_was_stolen_is_taken_by_others_whoever_it_was_stolen_from() {
        let before = load(5_000, 42);
        let after_own_ran = |idle, own| {
            let mut after = load(idle, own);
            after.machine.stolen = 100;
            after
        };
        for after in [after_own_ran(5_000, 442), after_own_ran(5_000, 342)] {
            assert!((others(before, after) - 0.5).abs() < 1e-9, "{after:?}");
        }
    }

    #[test]
    fn a_process_that_works_whenever_the_kernel_looks_is_not_taken_for_others() {
        // Two seconds in which it worked for half of one, on a kernel that met it at work whenever it sampled.
        let before = "cpu  0 100 0 5000 0 0 0 0 0 0\ncpu0 0 50 0 2500 0 0 0 0 0 0\ncpu1 0 50 0 2500 0 0 0 0 0 0\n";
        let after = "cpu  0 300 0 5350 0 0 0 0 0 0\ncpu0 0 250 0 2650 0 0 0 0 0 0\ncpu1 0 50 0 2700 0 0 0 0 0 0\n";
        let [before, after] = [(before, 100), (after, 150)].map(|(stat, own)| MachineLoad {
            machine: Ticks::read(stat).unwrap(),
            own,
        });
        assert!(others(before, after) < 1e-9);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let stat = "cpu  100 10 50 5000 7 3 2 1 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 7\n";
        let ticks = Ticks {
            processors: 2,
            idle: 5_007,
            stolen: 1,
        };
        assert_eq!(Ticks::read(stat), Some(ticks));
        assert_eq!(
            Ticks::read("cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"),
            None
        );
        let own = "42 (a name) x) R 1 1 1 0 -1 0 0 0 0 0 30 12 0 0 20 0";
        assert_eq!(own_ticks(own), Some(42));
        assert!(MachineLoad::read().is_none_or(|now| now.machine.processors > 0));
        assert!(load_average().is_some());
    }
}

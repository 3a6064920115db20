//! The log lines and counters of an operator.
//!
//! One per operator, shared by its instances. Owns the bounds: a guest that floods the log costs its neighbours nothing, and
//! what was left out is reported.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use dirigo_ground::sync::Mutex;

use dirigo_ground::clock::Clock;
use dirigo_ground::quota::Quota;

/// Lines that an operator may log in a burst, and per second after it: a person cannot read more.
const LINES_PER_SECOND: u64 = 100;
/// A longer line is cut here.
const LINE_BYTES_MAX: usize = 4096;
/// The latest lines, which are kept for those who ask: as many, and at most these bytes.
const RECENT_LINES_MAX: usize = 500;
const RECENT_BYTES_MAX: usize = 32 << 10;
/// An operator may keep this many counters; more names are a mistake, such as a key used as a name.
const METRICS_MAX: usize = 64;
/// A longer counter name is cut here.
const METRIC_NAME_BYTES_MAX: usize = 128;

/// How much a log line matters; the order of `host.level` in `wit/host.wit`.
#[derive(wasmtime::component::ComponentType, wasmtime::component::Lift, Clone, Copy, Debug, PartialEq, Eq)]
#[component(enum)]
#[repr(u8)]
pub enum Level {
    /// Of use to those who debug the operator.
    #[component(name = "trace")]
    Trace,
    /// Likewise, less often.
    #[component(name = "debug")]
    Debug,
    /// Of use to those who run it.
    #[component(name = "info")]
    Info,
    /// Something looks wrong.
    #[component(name = "warn")]
    Warn,
    /// Something is wrong.
    #[component(name = "error")]
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// A line that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in ms since the epoch.
    pub at_ms: i64,
    /// How much it matters.
    pub level: Level,
    /// What was said.
    pub message: String,
}

/// The latest lines, in their order.
#[derive(Default)]
struct Recent {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, line: Line) {
        self.bytes += line.message.len();
        self.lines.push_back(line);
        while self.lines.len() > RECENT_LINES_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.message.len();
        }
    }
}

/// The log and the counters of one operator.
pub struct GuestLog {
    operator: String,
    clock: Arc<dyn Clock>,
    quota: Arc<Quota>,
    log: Mutex<Log>,
    metrics: Mutex<Counted>,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Log {
    second: u64,
    lines: u64,
    left_out: u64,
    /// What was printed without a line end so far.
    printed: Vec<u8>,
}

impl GuestLog {
    /// The log of operator `operator` of pipeline `pipeline`.
    #[must_use]
    pub fn new(pipeline: &str, operator: &str, clock: Arc<dyn Clock>, quota: Arc<Quota>) -> Self {
        Self {
            operator: format!("{pipeline}/{operator}"),
            clock,
            quota,
            log: Mutex::default(),
            metrics: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The same log, whose lines are charged to this quota.
    #[must_use]
    pub fn with_quota(&self, quota: Arc<Quota>) -> Self {
        Self {
            operator: self.operator.clone(),
            clock: self.clock.clone(),
            quota,
            log: Mutex::default(),
            metrics: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The latest lines, in their order; those that the log of the process does not show, too.
    #[must_use]
    pub fn recent(&self) -> Vec<Line> {
        self.recent.lock().lines.iter().cloned().collect()
    }

    /// Logs a line, unless the operator or its tenant has said too much this second.
    pub fn write(&self, level: Level, message: &str) {
        let now_ns = self.clock.now_ns();
        let message = cut(message, LINE_BYTES_MAX);
        let is_admitted = || self.quota.admits_line(message.len(), now_ns);
        let admitted = self.log.lock().admit(now_ns, is_admitted);
        match admitted {
            Some(left_out) => self.emit(level, message, left_out),
            None => self.quota.count_dropped_lines(1),
        }
    }

    /// Takes printed bytes up to the end of a line that is logged, or all of them. Gives how many it took.
    ///
    /// The first line that is left out is not the last: those behind it in `bytes` are counted, and not looked at.
    pub(crate) fn print(&self, level: Level, bytes: &[u8]) -> usize {
        let mut log = self.log.lock();
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            log.keep(bytes);
            return bytes.len();
        };
        log.keep(&bytes[..end]);
        let line = std::mem::take(&mut log.printed);
        let line = String::from_utf8_lossy(&line);
        let now_ns = self.clock.now_ns();
        let admitted = log.admit(now_ns, || self.quota.admits_line(line.len(), now_ns));
        if let Some(left_out) = admitted {
            drop(log);
            self.emit(level, &line, left_out);
            return end + 1;
        }
        let rest = &bytes[end + 1..];
        let (lines, last) = match rest.iter().rposition(|&byte| byte == b'\n') {
            Some(last) => (rest[..last].split(|&byte| byte == b'\n').count(), last + 1),
            None => (0, 0),
        };
        log.left_out += lines as u64;
        log.keep(&rest[last..]);
        drop(log);
        self.quota.count_dropped_lines(1 + lines as u64);
        bytes.len()
    }

    fn emit(&self, level: Level, message: &str, left_out: u64) {
        let operator = self.operator.as_str();
        self.report_left_out(left_out);
        self.recent.lock().push(Line {
            at_ms: self.clock.wall_ms(),
            level,
            message: message.to_owned(),
        });
        match level {
            Level::Trace => tracing::trace!(target: "guest", operator, "{message}"),
            Level::Debug => tracing::debug!(target: "guest", operator, "{message}"),
            Level::Info => tracing::info!(target: "guest", operator, "{message}"),
            Level::Warn => tracing::warn!(target: "guest", operator, "{message}"),
            Level::Error => tracing::error!(target: "guest", operator, "{message}"),
        }
    }

    /// Reports how many lines were left out, if any were.
    fn report_left_out(&self, left_out: u64) {
        if left_out > 0 {
            let operator = self.operator.as_str();
            tracing::warn!(target: "guest", operator, left_out, "too many log lines; some were left out");
        }
    }

    /// Adds to a counter; a new name past the bound is left out, with a log line.
    pub fn count(&self, name: &str, value: f64) {
        let is_counted = self.metrics.lock().add(name, value);
        if !is_counted {
            self.report_uncounted(name);
        }
    }

    /// Reports that a counter has no place.
    pub(crate) fn report_uncounted(&self, name: &str) {
        let name = cut(name, METRIC_NAME_BYTES_MAX);
        self.write(
            Level::Warn,
            &format!("counter `{name}` left out: an operator keeps {METRICS_MAX} at most"),
        );
    }

    /// The counters as they stand.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        self.metrics.lock().0.clone()
    }
}

/// Counters by name, as many as an operator may keep.
#[derive(Debug, Default)]
pub(crate) struct Counted(BTreeMap<String, f64>);

impl Counted {
    /// Adds to a counter; `false` where there are too many for another.
    pub(crate) fn add(&mut self, name: &str, value: f64) -> bool {
        let name = cut(name, METRIC_NAME_BYTES_MAX);
        if let Some(total) = self.0.get_mut(name) {
            *total += value;
            return true;
        }
        let has_room = self.0.len() < METRICS_MAX;
        if has_room {
            self.0.insert(name.into(), value);
        }
        has_room
    }

    /// All of them; none is left.
    pub(crate) fn take(&mut self) -> BTreeMap<String, f64> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for GuestLog {
    /// Says what was left out since the last line, after which none may have come.
    fn drop(&mut self) {
        let left_out = self.log.get_mut().left_out;
        self.report_left_out(left_out);
    }
}

impl Log {
    /// Adds to the line that is being printed, as far as it is not too long.
    fn keep(&mut self, printed: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.printed.len());
        self.printed.extend_from_slice(&printed[..printed.len().min(room)]);
    }

    /// Whether another line fits this second; says how many did not since the last that did.
    fn admit(&mut self, now_ns: u64, tenant_admits: impl FnOnce() -> bool) -> Option<u64> {
        let second = now_ns / 1_000_000_000;
        if second != self.second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND || !tenant_admits() {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl fmt::Debug for GuestLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GuestLog")
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::clock::ManualClock;

    #[test]
    fn a_flood_is_cut_and_what_was_left_out_is_counted() {
        let mut log = Log::default();
        let admitted = (0..LINES_PER_SECOND + 50)
            .filter(|_| log.admit(5, || true).is_some())
            .count() as u64;
        assert_eq!(admitted, LINES_PER_SECOND);
        assert_eq!(log.admit(1_000_000_005, || false), None, "its tenant says too much");
        assert_eq!(log.admit(1_000_000_005, || true), Some(51));
    }

    #[test]
    fn the_latest_lines_are_kept_within_their_bounds() {
        let clock = Arc::new(ManualClock::default());
        let log = GuestLog::new("p", "o", clock.clone(), Arc::default());
        for second in 0..20_u64 {
            clock.advance(std::time::Duration::from_secs(1));
            (0..LINES_PER_SECOND).for_each(|line| log.write(Level::Info, &format!("{second} {line}")));
        }
        let recent = log.recent();
        assert_eq!(recent.len(), RECENT_LINES_MAX);
        assert_eq!(
            (recent[0].message.as_str(), recent[499].message.as_str()),
            ("15 0", "19 99")
        );
        clock.advance(std::time::Duration::from_secs(1));
        (0..LINES_PER_SECOND).for_each(|_| log.write(Level::Warn, &"x".repeat(LINE_BYTES_MAX)));
        let recent = log.recent();
        assert_eq!(recent.len(), RECENT_BYTES_MAX / LINE_BYTES_MAX);
        assert!(recent.iter().all(|line| line.level == Level::Warn));
    }

    #[test]
    fn printed_lines_are_taken_one_by_one_until_one_is_left_out_and_then_all_at_once() {
        let log = GuestLog::new("p", "o", Arc::new(ManualClock::default()), Arc::default());
        let lines = "a\n".repeat(2 * usize::try_from(LINES_PER_SECOND).unwrap()) + "rest";
        let mut bytes = lines.as_bytes();
        let mut taken = Vec::new();
        while !bytes.is_empty() {
            taken.push(log.print(Level::Info, bytes));
            bytes = &bytes[taken[taken.len() - 1]..];
        }
        let mut expected = vec![2; 100];
        expected.push(204);
        assert_eq!(taken, expected);
        let log = log.log.lock();
        assert_eq!((log.left_out, log.printed.as_slice()), (100, b"rest".as_slice()));
    }

    #[test]
    fn counters_are_bounded_in_number() {
        let log = GuestLog::new("p", "o", Arc::new(ManualClock::default()), Arc::default());
        for name in 0..2 * METRICS_MAX {
            log.count(&format!("key-{name}"), 1.0);
        }
        assert_eq!(log.metrics().len(), METRICS_MAX);
    }
}

//! What the process has resident, as time goes by.

use serde::Serialize;

/// Parts of the time, each with its maximum: a leak is a row of maxima that rise to the last.
pub(super) const PARTS: usize = 10;

/// Bytes resident; all absent where the system does not tell.
#[derive(Debug, Default, Serialize)]
pub(super) struct Resident {
    /// Before any pipeline started.
    pub(super) before: Option<u64>,
    /// The most in each tenth of the time.
    pub(super) tenths: [Option<u64>; PARTS],
    /// When all pipelines had ended.
    pub(super) after: Option<u64>,
}

impl Resident {
    pub(super) fn before() -> Self {
        Self {
            before: resident(),
            ..Self::default()
        }
    }

    /// Looks, when this part of the time has passed.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "parts are few, and their number is cut to those that there are"
    )]
    pub(super) fn look(&mut self, passed: f64) {
        let tenth = &mut self.tenths[((passed * PARTS as f64) as usize).min(PARTS - 1)];
        *tenth = (*tenth).max(resident());
    }

    pub(super) fn end(&mut self) {
        self.after = resident();
    }
}

/// What this process has resident, where the system tells as Linux does (`proc_pid_statm(5)`).
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

//! The progress bar of a run, where standard error is a terminal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dirigo::flow::SourceHandle;
use dirigo::runtime::Job;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::grouped;

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(100);

/// What is said past the bar does not break it.
#[derive(Clone)]
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn say(&self, line: &str) {
        self.0.suspend(|| eprintln!("{line}"));
    }
}

/// A bar that follows the sources of all jobs; drawn only on a terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
    follower: tokio::task::JoinHandle<()>,
}

impl Progress {
    pub(crate) fn start(jobs: &[Job]) -> Self {
        let source_handles: Vec<Arc<SourceHandle>> = jobs
            .iter()
            .flat_map(|job| job.source_handles().iter().cloned())
            .collect();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let follower = tokio::spawn(follow(bar.clone(), source_handles));
        Self { bar, follower }
    }

    pub(crate) fn bar(&self) -> Bar {
        Bar(self.bar.clone())
    }

    pub(crate) fn finish(self) {
        self.follower.abort();
        self.bar.finish_and_clear();
    }
}

async fn follow(bar: ProgressBar, source_handles: Vec<Arc<SourceHandle>>) {
    if bar.is_hidden() {
        return;
    }
    let style = |template| ProgressStyle::with_template(template).expect("the template is a constant");
    let known = style("{bar:40} {percent:>3} %  {msg}  {eta} left");
    let unknown = style("{spinner} {msg}  {elapsed}");
    loop {
        tokio::time::sleep(INTERVAL).await;
        let counts: Vec<Counts> = source_handles
            .iter()
            .map(|source_handle| Counts::of(source_handle))
            .collect();
        let sum = |count: fn(&Counts) -> u64| counts.iter().map(count).sum::<u64>();
        let is_known = counts.iter().all(|counts| counts.units_total > 0);
        bar.set_style(if is_known { known.clone() } else { unknown.clone() });
        if is_known {
            bar.set_length(sum(|counts| counts.units_total));
            bar.set_position(sum(Counts::units_finished));
        }
        bar.set_message(message(sum(|counts| counts.read), sum(|counts| counts.finished)));
        bar.tick();
    }
}

fn message(read: u64, finished: u64) -> String {
    format!("{} events read, {} finished", grouped(read), grouped(finished))
}

/// How far a source is.
#[derive(Clone, Copy, Debug)]
struct Counts {
    read: u64,
    finished: u64,
    units_read: u64,
    units_total: u64,
}

impl Counts {
    fn of(source_handle: &SourceHandle) -> Self {
        // Before what is read: else events could be finished that are not read yet.
        let finished = source_handle.finished();
        Self {
            finished,
            read: source_handle.events_in.load(Ordering::Relaxed),
            units_read: source_handle.done.load(Ordering::Relaxed),
            units_total: source_handle.total.load(Ordering::Relaxed),
        }
    }

    /// The part of what was read whose events are finished: a source at its end is not a run at its end while operators
    /// are at work, or one backs off.
    fn units_finished(&self) -> u64 {
        if self.read == 0 {
            return self.units_read;
        }
        let finished = u128::from(self.units_read) * u128::from(self.finished) / u128::from(self.read);
        u64::try_from(finished).unwrap_or(self.units_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_was_read_up_is_done_when_its_events_are() {
        let counts = |finished| Counts {
            read: 3_000,
            finished,
            units_read: 90_000,
            units_total: 90_000,
        };
        assert_eq!(
            [0, 600, 3_000].map(|finished| counts(finished).units_finished()),
            [0, 18_000, 90_000]
        );
        assert_eq!(message(3_000, 600), "3,000 events read, 600 finished");
    }

    #[test]
    fn a_source_whose_records_are_no_events_is_as_far_as_it_was_read() {
        let counts = Counts {
            read: 0,
            finished: 0,
            units_read: 7,
            units_total: 9,
        };
        assert_eq!(counts.units_finished(), 7);
    }
}

//! The progress bar of a run, where standard error is a terminal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dirigo::flow::Inlet;
use dirigo::runtime::Job;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
        let inlets: Vec<Arc<Inlet>> = jobs.iter().flat_map(|job| job.inlets().iter().cloned()).collect();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let follower = tokio::spawn(follow(bar.clone(), inlets));
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

async fn follow(bar: ProgressBar, inlets: Vec<Arc<Inlet>>) {
    if bar.is_hidden() {
        return;
    }
    let style = |template| ProgressStyle::with_template(template).expect("the template is a constant");
    let known = style("{bar:40} {percent:>3} %  {msg}  {eta} left");
    let unknown = style("{spinner} {msg}  {elapsed}");
    loop {
        tokio::time::sleep(INTERVAL).await;
        let sum = |field: fn(&Inlet) -> u64| inlets.iter().map(|inlet| field(inlet)).sum::<u64>();
        let total = sum(|inlet| inlet.total.load(Ordering::Relaxed));
        let is_known = inlets.iter().all(|inlet| inlet.total.load(Ordering::Relaxed) > 0);
        bar.set_style(if is_known { known.clone() } else { unknown.clone() });
        if is_known {
            bar.set_length(total);
            bar.set_position(sum(|inlet| inlet.done.load(Ordering::Relaxed)));
        }
        bar.set_message(format!(
            "{} events",
            sum(|inlet| inlet.events_in.load(Ordering::Relaxed))
        ));
        bar.tick();
    }
}

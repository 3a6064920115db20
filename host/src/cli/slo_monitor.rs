//! Warns when a pipeline cannot meet its latency target next to what else runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dirigo::clock::Clock;
use dirigo::runtime::{Demand, DemandMeter, Host, Job, shortfalls};

use super::Log;

/// How long pipelines are measured before they are judged. Two such verdicts in a row count: one may be of a start or a pause.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches over the jobs that have a target, until it is dropped.
pub(crate) struct SloMonitor(Option<tokio::task::JoinHandle<()>>);

impl SloMonitor {
    pub(crate) fn start(host: &Host, jobs: &[Job], log: Log, clock: Arc<dyn Clock>) -> Self {
        let has_target = jobs.iter().any(|job| job.pipeline().slo.is_some());
        let meters: Vec<DemandMeter> = jobs.iter().map(|job| host.meter(job)).collect();
        let workers = host.workers();
        Self(has_target.then(|| tokio::spawn(watch(meters, workers, log, clock))))
    }
}

impl Drop for SloMonitor {
    fn drop(&mut self) {
        if let Some(watching) = &self.0 {
            watching.abort();
        }
    }
}

async fn watch(mut meters: Vec<DemandMeter>, workers: u32, log: Log, clock: Arc<dyn Clock>) {
    let mut read_ns = clock.now_ns();
    let (mut suspects, mut reported) = (BTreeSet::new(), BTreeSet::new());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now_ns = clock.now_ns();
        let interval = Duration::from_nanos(now_ns - read_ns);
        read_ns = now_ns;
        let demands: Vec<Demand> = meters.iter_mut().map(|meter| meter.read(interval)).collect();
        let mut short = BTreeSet::new();
        for shortfall in shortfalls(&demands, workers) {
            let name = shortfall.pipeline().to_owned();
            if suspects.contains(&name) && reported.insert(name.clone()) {
                log.say(&format!("warning: {shortfall}"));
            }
            short.insert(name);
        }
        suspects = short;
    }
}

//! Options that all benchmarks share.

use std::path::PathBuf;
use std::time::Duration;

/// On how many threads to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Workers {
    /// Threads that run operators; by default as many as there are processors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,
}

impl Workers {
    pub(super) fn count(&self) -> u32 {
        let available =
            || std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        self.workers.unwrap_or_else(available)
    }
}

/// Where and how long to measure a table.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    workers: Workers,
    /// How long each cell of the table is measured
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(super) duration: Duration,
    /// Write the table as a plot (SVG) into this directory
    #[arg(long, value_name = "DIR")]
    pub(super) plot: Option<PathBuf>,
}

impl Common {
    pub(super) fn workers(&self) -> u32 {
        self.workers.count()
    }
}

/// A time to measure for.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    /// In shorter ones it is measured how things start.
    const MIN: Duration = Duration::from_millis(100);
    /// Longer cells bring nothing, and every event of a cell is planned beforehand.
    const MAX: Duration = Duration::from_hours(1);
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if !(MIN..=MAX).contains(&duration) {
        return Err("it is at least 100ms and at most an hour".into());
    }
    Ok(duration)
}

/// Events per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    /// Every event of a cell is planned beforehand, and looked for after it.
    const MAX: f64 = 1e6;
    let rate: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if rate > 0.0 && rate <= MAX {
        Ok(rate)
    } else {
        Err("it is above 0 and at most a million".into())
    }
}

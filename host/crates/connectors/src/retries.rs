//! When a failed connection is tried again, and when the log says why.

use std::fmt;
use std::time::Duration;

/// The first pause after an attempt that failed; each one is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A failure that lasts is logged again after pauses of this length together.
const SILENCE: Duration = Duration::from_mins(1);

/// Who is connected, as the log names it: the source or the sink, and its servers.
#[derive(Clone, Debug)]
pub struct Party {
    /// "source" or "sink".
    pub kind: &'static str,
    /// Its id in the pipeline.
    pub id: String,
    /// Where it connects.
    pub servers: String,
}

impl fmt::Display for Party {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`", self.kind, self.id)
    }
}

/// Pauses between attempts; logs the reason of the first failure, and again once a minute while it lasts.
#[derive(Debug)]
pub struct Retries {
    party: Party,
    pause: Duration,
    /// How long it has paused since it last logged why.
    silent: Option<Duration>,
}

impl Retries {
    /// For a party that has not tried yet.
    #[must_use]
    pub fn new(party: Party) -> Self {
        Self {
            party,
            pause: PAUSE_MIN,
            silent: None,
        }
    }

    /// Waits before the next attempt.
    pub async fn pause(&mut self, reason: &str) {
        if self.silent.is_none_or(|silent| silent >= SILENCE) {
            let (party, servers) = (&self.party, &self.party.servers);
            tracing::warn!("{party} does not reach {servers}: {reason}; it tries again");
            self.silent = Some(Duration::ZERO);
        } else {
            tracing::debug!("{}: {reason}", self.party);
        }
        tokio::time::sleep(self.pause).await;
        self.silent = self.silent.map(|silent| silent + self.pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Notes that a connection was made: the reason of its end is logged again.
    pub fn connected(&mut self) {
        self.silent = None;
    }

    /// Notes that an attempt has succeeded: the next pause is the shortest again.
    pub fn succeeded(&mut self) {
        if self.silent.take().is_some() {
            tracing::info!("{} uses {} again", self.party, self.party.servers);
        }
        self.pause = PAUSE_MIN;
    }
}

//! How many replicas or shards an operator is to have.
//!
//! A replica is added where events wait for too long, the ones that there are have no time left, and one more would find a worker and room
//! for what it puts out. One is taken away where those that are left would have had time to spare for a while. Both are judged by
//! what was measured, tick by tick. Knows neither operators nor threads: [`watch`] reads the ones and acts on the others.

mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) use watch::watch;

/// Ticks in a row in which one more must be asked for. One may be of a pause.
const TICKS_BEFORE_MORE: u32 = 2;
/// For how long fewer must suffice.
const CALM_NS: u64 = 2_000_000_000;
/// Ticks in a row in which one shard must have had most to do. Sources bring some keys now and others then.
const TICKS_BEFORE_REBALANCE: u32 = 20;
/// A shard that is busy for this part of its time is what others wait for.
const SATURATED: f64 = 0.8;
/// How much more the busiest shard must have to do than all have on average for the load to be rebalanced.
const UNEVEN: f64 = 1.5;
/// After how long it is looked at whether the last change upwards has helped.
const EFFECT_NS: u64 = 150_000_000;
/// How much more must be done then, in percent, for it to have helped.
const GAIN_MIN: f64 = 1.05;
/// For how long none is added where the last one has not helped; twice as long every time, up to the longest.
const PAUSE_NS: u64 = 2_000_000_000;
/// The longest of these pauses.
const PAUSE_NS_MAX: u64 = 60_000_000_000;
/// Without a latency target, events wait for too long if that many ns of work wait for each replica.
const BACKLOG_NS: u64 = 20_000_000;
/// With one, events may wait for this part of it at one operator: the rest is for others and for its turns.
const PART_OF_SLO: u64 = 4;
/// The part of their time that replicas work if they are what others wait for. The rest goes to hand-overs, and to threads next to the workers.
const BUSY: f64 = 0.6;
/// The part of a worker that one more must be able to have.
const FREE_WORKER: f64 = 0.3;
/// The part of their time that the ones which stay may be busy when one goes.
const CALM: f64 = 0.5;
/// A new measurement counts for one part in this many.
const SMOOTHING: f64 = 4.0;

/// What an operator did since the last tick, and what it has to do.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When.
    pub(super) now_ns: u64,
    /// How many replicas or shards it has.
    pub(super) executors: u32,
    /// By first partition: worker time that the turns of a shard took so far, in ns.
    pub(super) busy_ns: BTreeMap<u32, u64>,
    /// Events that it is done with so far.
    pub(super) done: u64,
    /// Events that wait.
    pub(super) waiting: u64,
    /// Whether what comes behind it is full.
    pub(super) is_held_back: bool,
    /// How many more workers its tenant could have, or less than none.
    pub(super) free_workers: f64,
    /// Whether its tenant may have no more actors, or no more memory.
    pub(super) is_short: bool,
}

/// Why a number changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reason {
    /// Events wait for too long.
    Waits {
        /// How long, as far as can be told from how long one takes.
        wait: Duration,
        /// The latency target of the pipeline.
        slo: Option<Duration>,
        /// How many events wait.
        events: u64,
    },
    /// One of its shards has most to do, and there are as many as there may be: there is one fewer for a moment, so that the busiest can be relieved.
    Uneven {
        /// The part of its time that the busiest was busy.
        busiest: f64,
        /// And all on average.
        average: f64,
    },
    /// Fewer suffice.
    Calm {
        /// The workers that it kept busy.
        busy: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waits {
                wait,
                slo: Some(slo),
                events,
            } => write!(
                formatter,
                "{events} events wait for {} ms, with a latency target of {}",
                wait.as_millis(),
                humantime::format_duration(*slo)
            ),
            Self::Waits {
                wait,
                slo: None,
                events,
            } => {
                write!(
                    formatter,
                    "{events} events wait, {} ms of work for each",
                    wait.as_millis()
                )
            }
            Self::Uneven { busiest, average } => write!(
                formatter,
                "the busiest one was busy for {:.0} % of the time, the average one for {:.0} %; the load is rebalanced",
                busiest * 100.0,
                average * 100.0
            ),
            Self::Calm { busy } => write!(formatter, "they were busy for {:.0} % of one worker", busy * 100.0),
        }
    }
}

/// What is to change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// How many replicas or shards there are to be.
    pub(super) to: u32,
    pub(super) reason: Reason,
}

/// Judges one operator.
#[derive(Debug)]
pub(super) struct Judge {
    bounds: RangeInclusive<u32>,
    slo_ns: Option<u64>,
    last: Option<Sample>,
    /// How long an event takes, in ns of a worker.
    event_ns: Option<f64>,
    /// The workers that it keeps busy, by first partition of its shards; smoothed.
    busy: BTreeMap<u32, f64>,
    /// Events that it does in a second; smoothed.
    rate: f64,
    /// Ticks in a row in which it needed more.
    needy_ticks: u32,
    /// Since when fewer suffice.
    calm_since_ns: Option<u64>,
    /// The last change upwards: when, and the rate before it.
    raised: Option<(u64, f64)>,
    /// Until when none is added, and how long the next such pause is.
    paused_until_ns: u64,
    next_pause_ns: u64,
}

impl Judge {
    /// One of an operator that may have so many replicas or shards.
    pub(super) fn new(bounds: RangeInclusive<u32>, slo_ns: Option<u64>) -> Self {
        Self {
            bounds,
            slo_ns,
            last: None,
            event_ns: None,
            busy: BTreeMap::new(),
            rate: 0.0,
            needy_ticks: 0,
            calm_since_ns: None,
            raised: None,
            paused_until_ns: 0,
            next_pause_ns: PAUSE_NS,
        }
    }

    /// The workers that it keeps busy.
    pub(super) fn busy_workers(&self) -> f64 {
        self.busy.values().sum()
    }

    /// The first partitions of its shards, the busiest first.
    pub(super) fn busiest(&self) -> Vec<u32> {
        let mut shards: Vec<(u32, f64)> = self.busy.iter().map(|(first, busy)| (*first, *busy)).collect();
        shards.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        shards.into_iter().map(|(first, _)| first).collect()
    }

    /// The first partition of the shard that has, with the next one, least to do.
    pub(super) fn calmest_pair(&self) -> Option<u32> {
        let shards: Vec<(u32, f64)> = self.busy.iter().map(|(first, busy)| (*first, *busy)).collect();
        let pairs = shards.windows(2).map(|pair| (pair[0].0, pair[0].1 + pair[1].1));
        let calmest = pairs.min_by(|(_, one), (_, other)| one.total_cmp(other));
        calmest.map(|(first, _)| first)
    }

    /// Looks at what an operator did since the last tick. Gives what is to change.
    pub(super) fn look(&mut self, sample: Sample) -> Option<Verdict> {
        let now_ns = sample.now_ns;
        self.measure(&sample);
        let wait_ns = self.wait_ns(&sample);
        let busy = self.busy_workers();
        let executors = f64::from(sample.executors);
        let limit_ns = self.slo_ns.map_or(BACKLOG_NS, |slo_ns| slo_ns / PART_OF_SLO);
        let is_needy = wait_ns > limit_ns && !sample.is_held_back && busy >= BUSY * executors;
        let is_uneven = wait_ns > limit_ns && !sample.is_held_back && self.is_uneven(&sample);
        let is_calm = wait_ns <= limit_ns / 2 && busy <= CALM * (executors - 1.0);
        let verdict = if is_needy || is_uneven {
            self.calm_since_ns = None;
            self.needy_ticks += 1;
            if is_uneven {
                self.rebalance(&sample)
            } else {
                self.more(&sample, wait_ns, limit_ns)
            }
        } else {
            self.needy_ticks = 0;
            if !is_calm {
                self.calm_since_ns = None;
            }
            self.fewer(now_ns, sample.executors, is_calm, busy)
        };
        if let Some((raised_ns, rate)) = self.raised
            && now_ns >= raised_ns + EFFECT_NS
        {
            if (is_needy || is_uneven) && self.rate < rate * GAIN_MIN {
                self.note_in_vain(now_ns);
            } else {
                self.raised = None;
                self.next_pause_ns = PAUSE_NS;
            }
        }
        self.last = Some(sample);
        verdict
    }

    /// What was asked for just now could not be done.
    pub(super) fn note_undone(&mut self, now_ns: u64) {
        self.raised = self.raised.filter(|(raised_ns, _)| *raised_ns != now_ns);
    }

    /// The last change upwards was of no use.
    pub(super) fn note_in_vain(&mut self, now_ns: u64) {
        self.raised = None;
        self.paused_until_ns = now_ns + self.next_pause_ns;
        self.next_pause_ns = (self.next_pause_ns * 2).min(PAUSE_NS_MAX);
    }

    /// Learns from what was done since the last tick.
    #[allow(clippy::cast_precision_loss, reason = "counts of one tick are far below 2^52")]
    fn measure(&mut self, sample: &Sample) {
        let Some(last) = &self.last else { return };
        let ns = sample.now_ns.saturating_sub(last.now_ns).max(1) as f64;
        let mut all_ns = 0;
        let mut busy = BTreeMap::new();
        for (first, busy_ns) in &sample.busy_ns {
            // A shard that has just come has done nothing before.
            let before_ns = last
                .busy_ns
                .get(first)
                .copied()
                .filter(|before_ns| before_ns <= busy_ns);
            let own_ns = busy_ns - before_ns.unwrap_or(0);
            all_ns += own_ns;
            let now = own_ns as f64 / ns;
            let smoothed = self
                .busy
                .get(first)
                .map_or(now, |known| known + (now - known) / SMOOTHING);
            busy.insert(*first, smoothed);
        }
        self.busy = busy;
        let done = sample.done.saturating_sub(last.done) as f64;
        self.rate += (done / ns * 1e9 - self.rate) / SMOOTHING;
        if done > 0.0 {
            let now = all_ns as f64 / done;
            self.event_ns = Some(self.event_ns.map_or(now, |known| known + (now - known) / SMOOTHING));
        }
    }

    /// How long the last of the events that wait will have waited, in ns.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate, which is no less than 0"
    )]
    fn wait_ns(&self, sample: &Sample) -> u64 {
        let event_ns = self.event_ns.unwrap_or(0.0);
        (sample.waiting as f64 * event_ns / f64::from(sample.executors.max(1))) as u64
    }

    /// Whether there are as many shards and helpers as there may be, and one shard has much more to do than others.
    fn is_uneven(&self, sample: &Sample) -> bool {
        let busiest = self.busy.values().copied().fold(0.0, f64::max);
        let executors = f64::from(sample.executors);
        // A shard with helpers is busier than one executor could be.
        let has_helpers = sample.executors as usize > self.busy.len();
        self.busy.len() > 1
            && !has_helpers
            && sample.executors >= *self.bounds.end()
            && sample.executors > *self.bounds.start()
            && busiest >= SATURATED
            && busiest * executors >= UNEVEN * self.busy_workers()
    }

    fn rebalance(&mut self, sample: &Sample) -> Option<Verdict> {
        if self.needy_ticks < TICKS_BEFORE_REBALANCE || sample.now_ns < self.paused_until_ns {
            return None;
        }
        self.needy_ticks = 0;
        self.raised.get_or_insert((sample.now_ns, self.rate));
        Some(Verdict {
            to: sample.executors - 1,
            reason: Reason::Uneven {
                busiest: self.busy.values().copied().fold(0.0, f64::max),
                average: self.busy_workers() / f64::from(sample.executors),
            },
        })
    }

    fn more(&mut self, sample: &Sample, wait_ns: u64, limit_ns: u64) -> Option<Verdict> {
        let max = *self.bounds.end();
        let is_soon = self.needy_ticks < TICKS_BEFORE_MORE || sample.now_ns < self.paused_until_ns;
        let may_have = sample.executors < max && sample.free_workers >= FREE_WORKER && !sample.is_short;
        if is_soon || !may_have {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "there are fewer than 2^32 workers"
        )]
        let free = (sample.free_workers.ceil() as u32).max(1);
        let missing = u64::from(sample.executors) * wait_ns / limit_ns.max(1);
        let wanted = u32::try_from(missing).unwrap_or(u32::MAX).max(sample.executors + 1);
        let to = wanted
            .min(sample.executors.saturating_add(free))
            .min(sample.executors.saturating_mul(2))
            .min(max);
        self.needy_ticks = 0;
        self.raised.get_or_insert((sample.now_ns, self.rate));
        Some(Verdict {
            to,
            reason: Reason::Waits {
                wait: Duration::from_nanos(wait_ns),
                slo: self.slo_ns.map(Duration::from_nanos),
                events: sample.waiting,
            },
        })
    }

    fn fewer(&mut self, now_ns: u64, executors: u32, is_calm: bool, busy: f64) -> Option<Verdict> {
        if !is_calm || executors <= *self.bounds.start() {
            return None;
        }
        let since_ns = *self.calm_since_ns.get_or_insert(now_ns);
        if now_ns < since_ns + CALM_NS {
            return None;
        }
        self.calm_since_ns = None;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an operator keeps fewer than 2^32 workers busy"
        )]
        let suffice = ((busy / CALM).ceil() as u32).max(1);
        Some(Verdict {
            to: suffice.clamp(*self.bounds.start(), executors - 1),
            reason: Reason::Calm { busy },
        })
    }
}

#[cfg(test)]
mod tests;

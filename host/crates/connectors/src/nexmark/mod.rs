//! The events of the Nexmark benchmark as a source: people who join an auction house, auctions and bids.
//!
//! Of 50 events one is a person, three are auctions and 46 are bids, as the crate `nexmark` makes them with its own settings. Owns the keys
//! of the pipeline file and what they mean together; `events` has the events, `document` how they are written.

mod document;
mod events;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{At, Diagnostic, Lapse, Moment, Rate, Validation, Whole};
use dirigo_pipeline::{SourceConnector, section};
use serde_json::json;

use crate::records::Extract;

const START: &str = "2024-01-01T00:00:00Z";
/// 10,000 events in a second of event time, as the benchmark has them.
const STEP: &str = "100us";

section! {
    /// The keys of Nexmark.
    pub struct Keys = "[[source]]" {
        /// For nexmark: how many events. Without it, they never end.
        events: Whole<0, { i64::MAX }>,
        /// For nexmark: events per second. Without it, as many as are taken.
        rate: Rate,
        /// For nexmark: the event time of the first event, in RFC 3339 or ms since the epoch.
        #[schemars(extend("default" = START))]
        start: Moment,
        /// For nexmark: the event time between two events, in whole us.
        #[schemars(extend("default" = STEP))]
        step: Lapse,
    }
}

/// `kind = "nexmark"`.
#[derive(Clone, Copy, Debug)]
pub struct NexmarkSource;

impl SourceConnector for NexmarkSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "nexmark"
    }

    fn format(&self, _: &Keys) -> Option<Format> {
        Some(Format::Jsonl)
    }

    fn validate(&self, keys: &Keys, _: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let step_us = match keys.step.given() {
            Some(at) => step_us(at, validation),
            None => Some(default_step_us()),
        };
        let spec = NexmarkSpec {
            events: keys.events.map(|events| events.to_u64()),
            rate: keys.rate.map(|Rate(rate)| *rate),
            start_ms: keys.start.map(|Moment(start)| *start).unwrap_or_else(default_start_ms),
            step_us: step_us?,
        };
        refuse_times_beyond_64_bits(&spec, keys, validation);
        Some(Arc::new(spec))
    }
}

fn default_step_us() -> u64 {
    let step = humantime::parse_duration(STEP).expect("the default step is a duration");
    u64::try_from(step.as_micros()).expect("the default step is short")
}

fn default_start_ms() -> i64 {
    START
        .parse::<jiff::Timestamp>()
        .expect("the default start is an RFC 3339 time")
        .as_millisecond()
}

fn step_us(at: &At<Lapse>, validation: &mut Validation<'_>) -> Option<u64> {
    let Lapse(step) = at.value;
    if !step.is_zero() && step.as_nanos().is_multiple_of(Duration::from_micros(1).as_nanos()) {
        return u64::try_from(step.as_micros()).ok();
    }
    validation.problems.push(
        Diagnostic::error("`step` is not a whole number of us")
            .at(at.place, "Nexmark counts it in us")
            .help("write at least \"1us\""),
    );
    None
}

fn refuse_times_beyond_64_bits(spec: &NexmarkSpec, keys: &Keys, validation: &mut Validation<'_>) {
    let Some(events) = spec.events else {
        return;
    };
    let span_ms = u128::from(events) * u128::from(spec.step_us) / 1_000;
    // The time at which an auction ends is up to 3,334 events behind that of its event.
    let remaining_ms = u128::from(i64::MAX.abs_diff(spec.start_ms) / 2);
    if let Some(at) = keys.events.given().filter(|_| span_ms > remaining_ms) {
        validation.problems.push(
            Diagnostic::error("the events outlive event time")
                .at(at.place, "this many steps exceed 64 bits of ms")
                .help("make `events` or `step` smaller"),
        );
    }
}

/// The events of a Nexmark source: the same options, the same events.
#[derive(Clone, Debug, PartialEq)]
pub struct NexmarkSpec {
    /// How many events; `None` for no end.
    pub events: Option<u64>,
    /// Events per second of wall time; `None` for as fast as they are taken.
    pub rate: Option<f64>,
    /// The event time of the first event, ms since the epoch.
    pub start_ms: i64,
    /// The event time between two events, in us.
    pub step_us: u64,
}

impl SourceSpec for NexmarkSpec {
    fn format(&self) -> Format {
        Format::Jsonl
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let extract = Extract::new(opening.key, opening.time);
        let nexmark = events::Nexmark::new(self.clone(), extract, opening.clock, opening.from)?;
        Ok(Box::new(nexmark))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    /// More of the same events may come, and at another rate.
    fn facets(&self, _: &Path) -> Facets {
        facets([
            ("kind", json!("nexmark")),
            ("start", json!(self.start_ms)),
            ("step", json!(self.step_us)),
        ])
    }

    fn rate(&self) -> Option<f64> {
        self.rate
    }
}

//! Seeded sensor readings as a source, `{"sensor":"s-17","ts":…,"value":…}`.

mod readings;

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

const SENSORS: u32 = 100;
const SEED: u64 = 1;
const START: &str = "2024-01-01T00:00:00Z";
const STEP: &str = "1s";

section! {
    /// The keys of a generator.
    pub struct Keys = "[[source]]" {
        /// For a generator: how many readings. Without it, they never end.
        count: Whole<0, { i64::MAX }>,
        /// For a generator: readings per second. Without it, as many as are taken.
        rate: Rate,
        /// For a generator: how many sensors take turns.
        #[schemars(extend("default" = SENSORS))]
        sensors: Whole<1, { u32::MAX as i64 }>,
        /// For a generator: the seed of everything random in it.
        #[schemars(extend("default" = SEED))]
        seed: Whole<0, { i64::MAX }>,
        /// For a generator: the event time of the first reading, in RFC 3339 or ms since the epoch.
        #[schemars(extend("default" = START))]
        start: Moment,
        /// For a generator: the event time between two readings, in whole ms.
        #[schemars(extend("default" = STEP))]
        step: Lapse,
    }
}

/// `kind = "generator"`.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorSource;

impl SourceConnector for GeneratorSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "generator"
    }

    fn format(&self, _: &Keys) -> Option<Format> {
        Some(Format::Jsonl)
    }

    fn validate(&self, keys: &Keys, _: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let step_ms = match keys.step.given() {
            Some(at) => step_ms(at, validation),
            None => Some(default_step_ms()),
        };
        let spec = GeneratorSpec {
            count: keys.count.map(|count| count.to_u64()),
            rate: keys.rate.map(|Rate(rate)| *rate),
            sensors: keys.sensors.map(|sensors| Whole::to_u32(*sensors)).unwrap_or(SENSORS),
            seed: keys.seed.map(|seed| seed.to_u64()).unwrap_or(SEED),
            start_ms: keys.start.map(|Moment(start)| *start).unwrap_or_else(default_start_ms),
            step_ms: step_ms?,
        };
        refuse_times_beyond_64_bits(&spec, keys, validation);
        Some(Arc::new(spec))
    }
}

fn default_step_ms() -> u64 {
    let step = humantime::parse_duration(STEP).expect("the default step is a duration");
    u64::try_from(step.as_millis()).expect("the default step is short")
}

fn default_start_ms() -> i64 {
    START
        .parse::<jiff::Timestamp>()
        .expect("the default start is an RFC 3339 time")
        .as_millisecond()
}

fn step_ms(at: &At<Lapse>, validation: &mut Validation<'_>) -> Option<u64> {
    let Lapse(step) = at.value;
    if !step.is_zero() && step.as_nanos().is_multiple_of(Duration::from_millis(1).as_nanos()) {
        return u64::try_from(step.as_millis()).ok();
    }
    validation.problems.push(
        Diagnostic::error("`step` is not a whole number of ms")
            .at(at.place, "event time is counted in ms")
            .help("write at least \"1ms\""),
    );
    None
}

fn refuse_times_beyond_64_bits(spec: &GeneratorSpec, keys: &Keys, validation: &mut Validation<'_>) {
    let Some(count) = spec.count else {
        return;
    };
    let span = u128::from(count) * u128::from(spec.step_ms);
    let remaining = u128::from(i64::MAX.abs_diff(spec.start_ms));
    if let Some(at) = keys.count.given().filter(|_| span > remaining) {
        validation.problems.push(
            Diagnostic::error("the generator outlives event time")
                .at(at.place, "this many steps exceed 64 bits of ms")
                .help("make `count` or `step` smaller"),
        );
    }
}

/// The readings of a generator: the same options, the same readings.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorSpec {
    /// How many readings; `None` for no end.
    pub count: Option<u64>,
    /// Readings per second of wall time; `None` for as fast as they are taken.
    pub rate: Option<f64>,
    /// How many sensors take turns at random.
    pub sensors: u32,
    /// The seed of everything random in it.
    pub seed: u64,
    /// The event time of the first reading, ms since the epoch.
    pub start_ms: i64,
    /// The event time between two readings, in ms.
    pub step_ms: u64,
}

impl SourceSpec for GeneratorSpec {
    fn format(&self) -> Format {
        Format::Jsonl
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let extract = Extract::new(opening.key, opening.time);
        let generator = readings::Generator::new(self.clone(), extract, opening.clock, opening.from)?;
        Ok(Box::new(generator))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    /// More of the same readings may come, and at another rate.
    fn facets(&self, _: &Path) -> Facets {
        facets([
            ("kind", json!("generator")),
            ("sensors", json!(self.sensors)),
            ("seed", json!(self.seed)),
            ("start", json!(self.start_ms)),
            ("step", json!(self.step_ms)),
        ])
    }

    fn rate(&self) -> Option<f64> {
        self.rate
    }
}

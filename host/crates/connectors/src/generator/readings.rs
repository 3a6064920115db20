//! Seeded sensor readings, `{"sensor":"s-17","ts":1700000000000,"value":21.37}`.
//!
//! Reading `n` depends on the options and on `n` alone, so a run that goes on needs no state but `n`. The sensor is
//! drawn uniformly; values lie around 20 with a triangular spread of 15 to both sides. Knows nothing of sleeping: a
//! reading that is not due yet is the runtime's to wait for, and one that is overdue comes at once.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::GeneratorSpec;
use crate::pace::Pace;
use crate::records::{Error, Extract, Extracted};
use dirigo_connect::Pointer;
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::clock::Clock;

/// No reading is longer: the names and punctuation (36), a sensor (10), a time (20) and a value (5).
const READING_BYTES_MAX: usize = 80;

/// A stream of readings.
pub(super) struct Generator {
    options: GeneratorSpec,
    keys: KeySource,
    extract: Extract,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// How many readings were taken.
    taken: u64,
}

/// How key and time are found.
#[derive(Clone, Copy)]
enum KeySource {
    /// They are among the fields that are being written.
    Known { has_key: bool, has_time: bool },
    /// By looking at what was written.
    Extracted,
}

#[derive(Serialize, Deserialize)]
struct GeneratorOffset {
    taken: u64,
    seed: u64,
}

impl Generator {
    pub(super) fn new(
        options: GeneratorSpec,
        extract: Extract,
        clock: Arc<dyn Clock>,
        from: Option<&Offset>,
    ) -> Result<Self, Error> {
        let taken = from.map_or(Ok(0), |offset| taken_before(&options, offset))?;
        Ok(Self {
            keys: keys(&extract),
            pace: Pace::new(options.rate, clock.clone()),
            options,
            extract,
            clock,
            taken,
        })
    }

    fn push_next(&mut self, intake: &mut Intake, arrival: i64) -> usize {
        let reading = SensorReading::new(&self.options, self.taken);
        self.taken += 1;
        let mut text = ReadingText::default();
        reading.write(&mut text);
        let value = text.as_bytes();
        let found = match self.keys {
            KeySource::Known { has_key, has_time } => Extracted {
                key: Cow::Borrowed(if has_key { text.sensor() } else { b"" }),
                time: has_time.then_some(reading.ts),
            },
            KeySource::Extracted => match self.extract.find(value) {
                Ok(found) => found,
                Err(reason) => {
                    intake.refuse(self.taken, value, reason);
                    return value.len();
                }
            },
        };
        intake.values.push(value);
        intake.keys.push(&found.key);
        intake.times.push(found.time.unwrap_or(arrival));
        intake.positions.push(self.taken);
        value.len()
    }
}

impl Source for Generator {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        let arrival = if self.extract.has_time() {
            0
        } else {
            self.clock.wall_ms()
        };
        let (due, wait) = self.pace.due(self.taken);
        let (mut taken, mut bytes) = (0, 0);
        while taken < limit.events && bytes < limit.bytes {
            if self.options.count.is_some_and(|count| self.taken >= count) {
                return Ok(Read::End);
            }
            if self.taken >= due {
                return Ok(if taken == 0 { Read::Wait(wait) } else { Read::More });
            }
            bytes += self.push_next(intake, arrival);
            taken += 1;
        }
        Ok(Read::More)
    }

    fn offset(&self) -> Option<Offset> {
        let place = GeneratorOffset {
            taken: self.taken,
            seed: self.options.seed,
        };
        Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail"))
    }

    fn progress(&self) -> Option<ReadProgress> {
        self.options.count.map(|total| ReadProgress {
            done: self.taken,
            total: total.max(self.taken),
        })
    }
}

fn keys(extract: &Extract) -> KeySource {
    let is_known = |pointer: Option<&Pointer>, field: &str| {
        pointer.is_none_or(|pointer| pointer.tokens.as_slice() == [field.to_owned()])
    };
    // Another unit makes another time of the number.
    let is_in_ms = extract.time_field().is_none_or(|time| time.unit.is_none());
    let time = extract.time_field().map(|time| &time.pointer);
    if is_known(extract.key_pointer(), "sensor") && is_known(time, "ts") && is_in_ms {
        return KeySource::Known {
            has_key: extract.key_pointer().is_some(),
            has_time: extract.has_time(),
        };
    }
    KeySource::Extracted
}

fn taken_before(options: &GeneratorSpec, offset: &Offset) -> Result<u64, Error> {
    let problem = |problem: String| Error::Offset {
        from: "the generator".to_owned(),
        problem,
    };
    let place: GeneratorOffset = serde_json::from_value(offset.clone()).map_err(|error| problem(error.to_string()))?;
    if place.seed != options.seed {
        return Err(problem(format!(
            "its seed was {} and is {} now",
            place.seed, options.seed
        )));
    }
    Ok(place.taken)
}

/// What a reading says.
struct SensorReading {
    sensor: u32,
    ts: i64,
    /// In hundredths.
    value: u32,
}

impl SensorReading {
    #[inline]
    fn new(options: &GeneratorSpec, number: u64) -> Self {
        let random = scramble(options.seed, number);
        let upper = random >> 32;
        // The sum of two uniform draws, which is triangular, scaled from 0..=131,070 to 5.00..=34.99.
        let spread = (random & 0xffff) + (random >> 16 & 0xffff);
        Self {
            // Multiply and shift maps evenly (Lemire, "Fast random integer generation in an interval", 2019); the bias
            // without his rejection step is below sensors / 2^32.
            sensor: u32::try_from((upper * u64::from(options.sensors)) >> 32).expect("it is less than `sensors`"),
            ts: options
                .start_ms
                .wrapping_add_unsigned(number.wrapping_mul(options.step_ms)),
            value: u32::try_from(500 + ((spread * 3000) >> 17)).expect("it is below 3,500"),
        }
    }

    #[inline]
    fn write(&self, text: &mut ReadingText) {
        let mut digits = itoa::Buffer::new();
        text.push(ReadingText::PREFIX);
        text.push(digits.format(self.sensor).as_bytes());
        text.sensor_end = text.length;
        text.push(b"\",\"ts\":");
        text.push(digits.format(self.ts).as_bytes());
        text.push(b",\"value\":");
        text.push(digits.format(self.value / 100).as_bytes());
        let [tens, ones] = [self.value / 10 % 10, self.value % 10].map(|digit| b'0' + digit.to_le_bytes()[0]);
        text.push(&[b'.', tens, ones, b'}']);
    }
}

/// Number `number` of the sequence that `seed` starts: `SplitMix64` (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014), whose state after `n` steps is known without taking them.
#[inline]
fn scramble(seed: u64, number: u64) -> u64 {
    let state = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A reading being written, on the stack.
struct ReadingText {
    bytes: [u8; READING_BYTES_MAX],
    length: usize,
    sensor_end: usize,
}

impl Default for ReadingText {
    fn default() -> Self {
        Self {
            bytes: [0; READING_BYTES_MAX],
            length: 0,
            sensor_end: 0,
        }
    }
}

impl ReadingText {
    const PREFIX: &[u8] = b"{\"sensor\":\"s-";
    const SENSOR_START: usize = Self::PREFIX.len() - b"s-".len();

    #[inline]
    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.length..self.length + piece.len()].copy_from_slice(piece);
        self.length += piece.len();
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    #[inline]
    fn sensor(&self) -> &[u8] {
        &self.bytes[Self::SENSOR_START..self.sensor_end]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use dirigo_ground::clock::ManualClock;

    const LIMIT: ReadLimit = ReadLimit {
        events: 100,
        bytes: 1 << 20,
    };

    fn options() -> GeneratorSpec {
        GeneratorSpec {
            count: Some(250),
            rate: None,
            sensors: 20,
            seed: 1,
            start_ms: 1_000,
            step_ms: 10,
        }
    }

    fn pointer(name: &str) -> Pointer {
        Pointer {
            text: format!("/{name}"),
            tokens: vec![name.to_owned()],
        }
    }

    fn generator(options: GeneratorSpec, extract: Extract, from: Option<&Offset>) -> Generator {
        Generator::new(options, extract, Arc::new(ManualClock::new(7)), from).unwrap()
    }

    fn drain(generator: &mut Generator) -> Intake {
        let mut intake = Intake::default();
        while generator.read(&mut intake, LIMIT).unwrap() != Read::End {}
        intake
    }

    #[test]
    fn the_same_options_make_the_same_readings() {
        let sensor_and_ts = Extract::new(Some(&pointer("sensor")), Some(&pointer("ts").into()));
        let first = drain(&mut generator(options(), sensor_and_ts.clone(), None));
        let again = drain(&mut generator(options(), sensor_and_ts.clone(), None));
        assert_eq!((&first.values, &first.keys), (&again.values, &again.keys));
        let other = drain(&mut generator(
            GeneratorSpec { seed: 2, ..options() },
            sensor_and_ts,
            None,
        ));
        assert_ne!(first.values, other.values);
    }

    #[test]
    fn readings_never_change_between_releases() {
        let intake = drain(&mut generator(options(), Extract::default(), None));
        assert_eq!(
            str::from_utf8(intake.values.get(0)).unwrap(),
            r#"{"sensor":"s-11","ts":1000,"value":18.46}"#
        );
        assert_eq!(
            str::from_utf8(intake.values.get(249)).unwrap(),
            r#"{"sensor":"s-4","ts":3490,"value":17.15}"#
        );
    }

    #[test]
    fn readings_are_json_with_sensors_and_values_in_range() {
        let intake = drain(&mut generator(options(), Extract::default(), None));
        let mut sensors = std::collections::BTreeSet::new();
        for value in intake.values.iter() {
            let reading: serde_json::Value = serde_json::from_slice(value).unwrap();
            sensors.insert(reading["sensor"].as_str().unwrap().to_owned());
            let value = reading["value"].as_f64().unwrap();
            assert!((5.0..35.0).contains(&value));
        }
        assert_eq!(sensors, (0..20).map(|sensor| format!("s-{sensor}")).collect());
        assert_eq!(intake.positions, (1..=250).collect::<Vec<_>>());
    }

    #[test]
    fn the_longest_reading_fits() {
        let extremes = SensorReading {
            sensor: u32::MAX,
            ts: i64::MIN,
            value: 3_499,
        };
        let mut text = ReadingText::default();
        extremes.write(&mut text);
        let expected = r#"{"sensor":"s-4294967295","ts":-9223372036854775808,"value":34.99}"#;
        assert_eq!(str::from_utf8(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn known_and_extracted_keys_and_times_agree() {
        let known = Extract::new(Some(&pointer("sensor")), Some(&pointer("ts").into()));
        let extracted = Extract::new(Some(&pointer("ts")), Some(&pointer("ts").into()));
        let known = drain(&mut generator(options(), known, None));
        let extracted = drain(&mut generator(options(), extracted, None));
        assert_eq!(known.times, extracted.times);
        assert_eq!(known.times[..3], [1_000, 1_010, 1_020]);
        assert_eq!(extracted.keys.get(2), b"1020");
        assert!(known.values.get(0).starts_with(br#"{"sensor":"s-11""#));
        assert_eq!(known.keys.get(0), b"s-11");
    }

    #[test]
    fn without_pointers_the_time_is_the_arrival_and_the_key_empty() {
        let intake = drain(&mut generator(options(), Extract::default(), None));
        assert_eq!((intake.times[0], intake.keys.get(0)), (7, b"".as_slice()));
    }

    #[test]
    fn a_pointer_that_readings_lack_refuses_them() {
        let intake = drain(&mut generator(
            options(),
            Extract::new(Some(&pointer("nope")), None),
            None,
        ));
        assert_eq!((intake.values.len(), intake.refused.len()), (0, 250));
        assert_eq!(intake.refused[0].reason, "`/nope` finds nothing");
    }

    #[test]
    fn it_goes_on_where_its_offset_says() {
        let whole = drain(&mut generator(options(), Extract::default(), None));
        let mut first = generator(options(), Extract::default(), None);
        let mut parts = Intake::default();
        assert_eq!(
            first.read(&mut parts, ReadLimit { events: 33, ..LIMIT }).unwrap(),
            Read::More
        );
        let mut second = generator(options(), Extract::default(), first.offset().as_ref());
        while second.read(&mut parts, LIMIT).unwrap() != Read::End {}
        assert_eq!((whole.values, whole.positions), (parts.values, parts.positions));
    }

    #[test]
    fn it_does_not_go_on_with_another_seed() {
        let offset = generator(options(), Extract::default(), None).offset();
        let other = GeneratorSpec { seed: 5, ..options() };
        let opened = Generator::new(
            other,
            Extract::default(),
            Arc::new(ManualClock::new(0)),
            offset.as_ref(),
        );
        let error = opened.err().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot resume reading the generator: its seed was 1 and is 5 now"
        );
    }

    #[test]
    fn a_rate_makes_it_wait_and_catch_up() {
        let clock = Arc::new(ManualClock::new(0));
        let options = GeneratorSpec {
            rate: Some(100.0),
            ..options()
        };
        let mut generator = Generator::new(options, Extract::default(), clock.clone(), None).unwrap();
        let mut intake = Intake::default();
        assert_eq!(generator.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!(intake.values.len(), 1);
        let wait = Read::Wait(Duration::from_millis(10));
        assert_eq!(generator.read(&mut intake, LIMIT).unwrap(), wait);
        clock.advance(Duration::from_millis(10));
        assert_eq!(generator.read(&mut intake, LIMIT).unwrap(), Read::More);
        assert_eq!(generator.read(&mut intake, LIMIT).unwrap(), wait);
        clock.advance(Duration::from_secs(1));
        generator.read(&mut intake, LIMIT).unwrap();
        assert_eq!(intake.values.len(), 102);
    }

    #[test]
    fn quotas_of_events_and_bytes_bound_a_read() {
        let mut generator = generator(options(), Extract::default(), None);
        let mut intake = Intake::default();
        generator.read(&mut intake, ReadLimit { events: 3, ..LIMIT }).unwrap();
        assert_eq!(intake.values.len(), 3);
        generator.read(&mut intake, ReadLimit { bytes: 1, ..LIMIT }).unwrap();
        assert_eq!(intake.values.len(), 4);
        assert_eq!(generator.progress(), Some(ReadProgress { done: 4, total: 250 }));
    }
}

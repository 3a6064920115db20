//! The events of Nexmark, one after the other.
//!
//! Event `n` depends on the options and on `n` alone, so a run that goes on needs no state but `n`. Knows nothing of sleeping, as
//! [`Pace`] does not.

use std::borrow::Cow;
use std::sync::Arc;

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use serde::{Deserialize, Serialize};

use super::NexmarkSpec;
use super::document::{Bound, Document};
use crate::pace::Pace;
use crate::records::{Error, Extract, Extracted};
use dirigo_connect::source::{Intake, Offset, Read, ReadLimit, ReadProgress, Source};
use dirigo_ground::clock::Clock;

/// A stream of events.
pub(super) struct Nexmark {
    options: NexmarkSpec,
    generator: EventGenerator,
    extract: Extract,
    /// Whether each event has what is looked for: its time alone, or nothing.
    is_known: bool,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// How many events were taken.
    taken: u64,
    document: Document,
    /// Where the fields are that are wanted in a read.
    bound: Vec<Bound>,
}

#[derive(Serialize, Deserialize)]
struct NexmarkOffset {
    taken: u64,
}

impl Nexmark {
    pub(super) fn new(
        options: NexmarkSpec,
        extract: Extract,
        clock: Arc<dyn Clock>,
        from: Option<&Offset>,
    ) -> Result<Self, Error> {
        let taken = from.map_or(Ok(0), taken_before)?;
        Ok(Self {
            generator: EventGenerator::new(config(&options)).with_offset(taken),
            is_known: is_known(&extract),
            pace: Pace::new(options.rate, clock.clone()),
            options,
            extract,
            clock,
            taken,
            document: Document::default(),
            bound: Vec::new(),
        })
    }

    /// The event time of event `number`, counted from 0, as the crate has it where its 32-bit floats are exact.
    fn date_time(&self, number: u64) -> i64 {
        let us = number.wrapping_mul(self.options.step_us);
        self.options
            .start_ms
            .wrapping_add_unsigned(us.wrapping_add(500) / 1_000)
    }

    fn push_next(&mut self, intake: &mut Intake, arrival: i64) -> usize {
        let event = self.generator.next().expect("the generator has no end");
        let date_time = self.date_time(self.taken);
        self.taken += 1;
        self.document.write(&event, date_time);
        let value = self.document.as_bytes();
        let found = if self.is_known {
            Extracted {
                key: Cow::Borrowed(b"".as_slice()),
                time: self.extract.has_time().then_some(date_time),
            }
        } else {
            match self.extract.find(value) {
                Ok(found) => found,
                Err(reason) => {
                    intake.refuse(self.taken, value, reason);
                    return value.len();
                }
            }
        };
        intake.values.push(value);
        intake.keys.push(&found.key);
        intake.times.push(found.time.unwrap_or(arrival));
        intake.positions.push(self.taken);
        intake
            .fields
            .push_cells(|number| self.document.cell(self.bound[number]));
        value.len()
    }
}

impl Source for Nexmark {
    fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, dirigo_connect::Error> {
        let arrival = if self.extract.has_time() {
            0
        } else {
            self.clock.wall_ms()
        };
        self.bound.clear();
        self.bound.extend(intake.fields.fields().map(|field| Bound::of(field)));
        let (due, wait) = self.pace.due(self.taken);
        let (mut taken, mut bytes) = (0, 0);
        while taken < limit.events && bytes < limit.bytes {
            if self.options.events.is_some_and(|events| self.taken >= events) {
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
        let place = NexmarkOffset { taken: self.taken };
        Some(serde_json::to_value(place).expect("an offset has no maps, whose keys could fail"))
    }

    fn progress(&self) -> Option<ReadProgress> {
        self.options.events.map(|total| ReadProgress {
            done: self.taken,
            total: total.max(self.taken),
        })
    }
}

/// The crate's own settings, but for time: it begins at 0, and one event comes each step.
fn config(options: &NexmarkSpec) -> NexmarkConfig {
    NexmarkConfig {
        base_time: 0,
        first_rate: 1,
        next_rate: 1,
        us_per_unit: usize::try_from(options.step_us).unwrap_or(usize::MAX),
        ..NexmarkConfig::default()
    }
}

/// Whether the time is looked for in `date_time` as it is, and no key is.
fn is_known(extract: &Extract) -> bool {
    let is_time = extract.time_field().is_none_or(|time| {
        // Another unit makes another time of the number.
        time.pointer.tokens.as_slice() == ["date_time".to_owned()] && time.unit.is_none()
    });
    extract.key_pointer().is_none() && is_time
}

fn taken_before(offset: &Offset) -> Result<u64, Error> {
    let place: NexmarkOffset = serde_json::from_value(offset.clone()).map_err(|error| Error::Offset {
        from: "the events of Nexmark".to_owned(),
        problem: error.to_string(),
    })?;
    Ok(place.taken)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use dirigo_connect::Pointer;
    use dirigo_fields::Extraction;
    use dirigo_ground::clock::ManualClock;
    use dirigo_ground::fields::FieldType;
    use dirigo_json::Field;
    use serde_json::json;
    use sha2::{Digest as _, Sha256};

    const LIMIT: ReadLimit = ReadLimit {
        events: 100,
        bytes: 1 << 20,
    };

    fn options() -> NexmarkSpec {
        NexmarkSpec {
            events: Some(250),
            rate: None,
            start_ms: 1_000,
            step_us: 100,
        }
    }

    fn pointer(name: &str) -> Pointer {
        Pointer {
            text: format!("/{name}"),
            tokens: vec![name.to_owned()],
        }
    }

    fn by_time() -> Extract {
        Extract::new(None, Some(&pointer("date_time").into()))
    }

    fn opened(options: NexmarkSpec, extract: Extract, from: Option<&Offset>) -> Nexmark {
        Nexmark::new(options, extract, Arc::new(ManualClock::new(7)), from).unwrap()
    }

    fn drain_to(nexmark: &mut Nexmark, mut intake: Intake) -> Intake {
        while nexmark.read(&mut intake, LIMIT).unwrap() != Read::End {}
        intake
    }

    fn drain(options: NexmarkSpec, extract: Extract) -> Intake {
        drain_to(&mut opened(options, extract, None), Intake::default())
    }

    #[test]
    fn events_never_change_between_releases() {
        let intake = drain(options(), by_time());
        let last = r#"{"kind":"bid","auction":1000,"bidder":1001,"price":"#;
        let found = str::from_utf8(intake.values.get(249)).unwrap();
        assert_eq!(&found[..last.len()], last);
        let digest = BASE64_STANDARD.encode(Sha256::digest(intake.values.bytes()));
        assert_eq!(digest, "N7l4QeBBd80E4zhoiZkLzRDxTldakDMurzhqVrvYvNM=");
        assert_eq!([0, 1, 249].map(|index| intake.times[index]), [1_000, 1_000, 1_025]);
    }

    #[test]
    fn of_fifty_events_one_is_a_person_three_are_auctions_and_the_others_bids() {
        let intake = drain(options(), by_time());
        let count = |kind: &str| {
            let start = format!("{{\"kind\":\"{kind}\",");
            intake
                .values
                .iter()
                .filter(|value| value.starts_with(start.as_bytes()))
                .count()
        };
        assert_eq!(["person", "auction", "bid"].map(count), [5, 15, 230]);
        assert_eq!(intake.positions, (1..=250).collect::<Vec<_>>());
    }

    #[test]
    fn times_are_those_of_the_crate_while_its_floats_are_exact_and_go_on_evenly_then() {
        let nexmark = opened(
            NexmarkSpec {
                start_ms: 0,
                ..options()
            },
            by_time(),
            None,
        );
        let of_crate = EventGenerator::new(config(&options()));
        for (number, event) in (0..20_000).zip(of_crate) {
            assert_eq!(
                nexmark.date_time(number).cast_unsigned(),
                event.timestamp(),
                "of event {number}"
            );
        }
        let late = 1 << 40;
        assert_eq!(nexmark.date_time(late + 10), nexmark.date_time(late) + 1);
    }

    #[test]
    fn known_and_extracted_times_agree() {
        let extract = Extract::new(Some(&pointer("date_time")), Some(&pointer("date_time").into()));
        let (known, extracted) = (drain(options(), by_time()), drain(options(), extract));
        assert_eq!((&known.values, &known.times), (&extracted.values, &extracted.times));
        assert_eq!((known.keys.get(20), extracted.keys.get(20)), (&b""[..], &b"1002"[..]));
    }

    #[test]
    fn without_a_time_it_is_the_arrival() {
        assert_eq!(drain(options(), Extract::default()).times, [7; 250]);
    }

    #[test]
    fn a_key_that_only_bids_have_refuses_the_others() {
        let intake = drain(options(), Extract::new(Some(&pointer("auction")), None));
        assert_eq!((intake.values.len(), intake.refused.len()), (230, 20));
        assert_eq!(intake.refused[0].reason, "`/auction` finds nothing");
    }

    #[test]
    fn columns_hold_what_documents_say() {
        let fields = ["kind", "price", "url", "date_time", "city", "/url/0"];
        let types = [
            FieldType::Text,
            FieldType::F64,
            FieldType::Text,
            FieldType::S64,
            FieldType::Json,
            FieldType::Text,
        ];
        let field = |name: &str| Arc::new(Field::new(name).unwrap());
        let wanted = || fields.map(field).into_iter().zip(types).collect::<Vec<_>>();
        let mut direct = drain_to(&mut opened(options(), by_time(), None), Intake::wanting(&wanted()));
        let mut scanned = Extraction::of(wanted());
        scanned.extend(&direct.values, 0..250);
        for (direct, scanned) in std::mem::take(&mut direct.fields).finish().iter().zip(scanned.finish()) {
            assert_eq!(direct.column, scanned.column, "{}", scanned.field);
        }
    }

    #[test]
    fn it_goes_on_where_its_offset_says() {
        let whole = drain(options(), by_time());
        let mut first = opened(options(), by_time(), None);
        let mut parts = Intake::default();
        let read = first.read(&mut parts, ReadLimit { events: 33, ..LIMIT }).unwrap();
        assert_eq!((read, first.offset()), (Read::More, Some(json!({"taken": 33}))));
        let parts = drain_to(&mut opened(options(), by_time(), first.offset().as_ref()), parts);
        assert_eq!((whole.values, whole.positions), (parts.values, parts.positions));
        assert_eq!(whole.times, parts.times);
    }

    #[test]
    fn an_offset_of_another_source_is_refused() {
        let clock = Arc::new(ManualClock::new(0));
        let error = Nexmark::new(options(), by_time(), clock, Some(&json!({"line": 3})))
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "cannot resume reading the events of Nexmark: missing field `taken`"
        );
    }

    #[test]
    fn a_rate_makes_it_wait_and_catch_up() {
        let clock = Arc::new(ManualClock::new(0));
        let options = NexmarkSpec {
            rate: Some(100.0),
            ..options()
        };
        let mut nexmark = Nexmark::new(options, by_time(), clock.clone(), None).unwrap();
        let mut intake = Intake::default();
        assert_eq!(nexmark.read(&mut intake, LIMIT).unwrap(), Read::More);
        let wait = Read::Wait(Duration::from_millis(10));
        assert_eq!(nexmark.read(&mut intake, LIMIT).unwrap(), wait);
        clock.advance(Duration::from_secs(1));
        nexmark.read(&mut intake, LIMIT).unwrap();
        assert_eq!(intake.values.len(), 101);
    }

    #[test]
    fn quotas_of_events_and_bytes_bound_a_read() {
        let mut nexmark = opened(options(), by_time(), None);
        let mut intake = Intake::default();
        nexmark.read(&mut intake, ReadLimit { events: 3, ..LIMIT }).unwrap();
        assert_eq!(intake.values.len(), 3);
        nexmark.read(&mut intake, ReadLimit { bytes: 1, ..LIMIT }).unwrap();
        assert_eq!(intake.values.len(), 4);
        assert_eq!(nexmark.progress(), Some(ReadProgress { done: 4, total: 250 }));
    }
}

//! How far event time has come in what a source has read.

use std::cell::Cell;
use std::time::Duration;

use dirigo_ground::batch::Batch;
use dirigo_ground::behind::Behind;
use dirigo_ground::fields::{FieldType, FieldValues};
use dirigo_ground::lineage::{BEFORE_ALL, Watermark};
use dirigo_ground::windowing::bounded;
use dirigo_json::Field;

/// What events say of the watermark in a field: of each the time in ms, or why what is there is none. `None` where it says nothing.
pub(super) type Said = Vec<Option<Result<i64, String>>>;

/// What the events of a batch say of the watermark in `field`.
pub(super) fn said(batch: &Batch, field: &Field) -> Said {
    let Some(column) = batch.fields.get(field, FieldType::Json) else {
        return vec![None; batch.len()];
    };
    let FieldValues::Json(values) = &column.values else {
        return vec![None; batch.len()];
    };
    let of_event = |(event, json): (usize, &[u8])| {
        let json = Some(json).filter(|json| column.is_valid(event) && *json != b"null")?;
        let refusal = || {
            let shown = String::from_utf8_lossy(&json[..json.len().min(SHOWN_BYTES_MAX)]);
            format!("its `{field}` is {shown}, and a watermark is ms since 1970, or an RFC 3339 time")
        };
        Some(moment(json).ok_or_else(refusal))
    };
    values.iter().enumerate().map(of_event).collect()
}

/// What a message shows of a value.
const SHOWN_BYTES_MAX: usize = 64;

/// The time that a JSON value is, in ms since the epoch.
fn moment(json: &[u8]) -> Option<i64> {
    if json.first() != Some(&b'"') {
        return std::str::from_utf8(json).ok()?.parse().ok();
    }
    let text: String = serde_json::from_slice(json).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

/// The event that moved the watermark of a source furthest: where its time is wrong, the right ones after it are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// Which event it is, counted from 1 over those that the source sent on in this run.
    pub event: u64,
    /// What the watermark was before it, in ms since the epoch.
    pub from_ms: i64,
    /// What the watermark is after it, in ms since the epoch.
    pub to_ms: i64,
    /// How many events after it came behind the watermark.
    pub late: u64,
}

impl Leap {
    /// By how much it moved the watermark, in ms.
    #[must_use]
    pub fn by_ms(&self) -> i64 {
        self.to_ms.saturating_sub(self.from_ms)
    }
}

/// The watermark of a source: its newest event time less its lateness, or what its events say of it; and never less than before.
#[derive(Debug)]
pub(super) struct SourceTime {
    lateness_ms: i64,
    watermark: Cell<Watermark>,
    /// How many events it has gone past.
    events: Cell<u64>,
    /// The longest leap so far. The first event makes none: there is no time before it.
    leap: Cell<Option<Leap>>,
}

/// A duration in ms, as event times are.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl SourceTime {
    /// Of a source whose events may come so late, and that has come to `watermark` before.
    pub(super) fn new(lateness: Duration, watermark: Watermark) -> Self {
        Self {
            lateness_ms: milliseconds(lateness),
            watermark: Cell::new(watermark),
            events: Cell::new(0),
            leap: Cell::new(None),
        }
    }

    pub(super) fn watermark(&self) -> Watermark {
        self.watermark.get()
    }

    /// The longest leap that has made events late, if one has.
    pub(super) fn leap(&self) -> Option<Leap> {
        self.leap.get().filter(|leap| leap.late > 0)
    }

    /// Goes on to `watermark`, if that is further.
    pub(super) fn pass_to(&self, watermark: Watermark) {
        self.watermark.set(self.watermark.get().max(bounded(watermark)));
    }

    /// Goes on past events with these times, in order; by what they say of the watermark, where that is what counts. Gives those that came
    /// behind the watermark.
    pub(super) fn pass(&self, times: &[i64], said: Option<&Said>) -> Behind {
        let mut watermark = self.watermark.get();
        let mut behind = Vec::new();
        let mut leap = self.leap.get();
        let mut leap_ms = leap.map_or(0, |leap| leap.by_ms());
        let before = self.events.get();
        for (event, &time) in times.iter().enumerate() {
            let time = bounded(time);
            if time < watermark {
                let event = u32::try_from(event).expect("a batch has fewer than 2^32 events");
                behind.push((event, watermark));
                if let Some(leap) = &mut leap {
                    leap.late += 1;
                }
            }
            let reached = match said {
                None => time.saturating_sub(self.lateness_ms),
                Some(said) => match said[event] {
                    Some(Ok(time)) => bounded(time),
                    Some(Err(_)) | None => continue,
                },
            };
            if reached > watermark {
                if reached.saturating_sub(watermark) > leap_ms && watermark != BEFORE_ALL {
                    leap = Some(Leap {
                        event: before + event as u64 + 1,
                        from_ms: watermark,
                        to_ms: reached,
                        late: 0,
                    });
                    leap_ms = reached.saturating_sub(watermark);
                }
                watermark = reached;
            }
        }
        self.watermark.set(watermark);
        self.events.set(before + times.len() as u64);
        self.leap.set(leap);
        Behind::new(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::lineage::AFTER_ALL;

    #[test]
    fn events_come_behind_what_was_read_before_them_less_the_lateness() {
        let event_time = SourceTime::new(Duration::from_millis(5), BEFORE_ALL);
        let behind = event_time.pass(&[100, 95, 94, 110, 104, 105], None);
        assert_eq!(behind.events(), [(2, 95), (4, 105)]);
        assert_eq!(event_time.watermark(), 105);
        assert_eq!(
            event_time.pass(&[104], None).events(),
            [(0, 105)],
            "batches make no difference"
        );
        event_time.pass_to(50);
        assert_eq!(event_time.watermark(), 105);
        event_time.pass_to(200);
        assert_eq!(event_time.pass(&[150], None).events(), [(0, 200)]);
    }

    #[test]
    fn the_event_that_makes_others_late_is_known_by_its_number() {
        let event_time = SourceTime::new(Duration::from_millis(5), BEFORE_ALL);
        event_time.pass(&[100, 150, 149], None);
        assert_eq!(event_time.leap(), None, "nothing is late");
        event_time.pass(&[160, 9_000, 170], None);
        event_time.pass(&[171, 9_010, 172], None);
        let expected = Leap {
            event: 5,
            from_ms: 155,
            to_ms: 8_995,
            late: 3,
        };
        assert_eq!(event_time.leap(), Some(expected));
        assert_eq!(expected.by_ms(), 8_840);
    }

    #[test]
    fn what_events_say_of_the_watermark_counts_behind_them() {
        let event_time = SourceTime::new(Duration::ZERO, BEFORE_ALL);
        let said = vec![None, Some(Ok(100)), None, Some(Ok(50)), Some(Ok(1_000)), None];
        let behind = event_time.pass(&[500, 20, 99, 100, 90, 999], Some(&said));
        assert_eq!(behind.events(), [(2, 100), (4, 100), (5, 1_000)]);
        assert_eq!(event_time.watermark(), 1_000);
    }

    #[test]
    fn a_watermark_is_ms_or_an_rfc_3339_time() {
        let known = [("1000", 1_000), ("-5", -5), ("\"1970-01-01T00:00:02Z\"", 2_000)];
        for (json, ms) in known {
            assert_eq!(moment(json.as_bytes()), Some(ms), "{json}");
        }
        for json in [
            "1.5",
            "true",
            "{}",
            "\"soon\"",
            "\"2024-01-01\"",
            "99999999999999999999",
        ] {
            assert_eq!(moment(json.as_bytes()), None, "{json}");
        }
    }

    #[test]
    fn times_at_the_ends_of_what_there_is_overflow_nothing() {
        let century = Duration::from_hours(876_000);
        let event_time = SourceTime::new(century, BEFORE_ALL);
        assert!(event_time.pass(&[i64::MIN, i64::MIN], None).is_empty());
        assert!(event_time.watermark() > BEFORE_ALL);
        let event_time = SourceTime::new(Duration::ZERO, BEFORE_ALL);
        let far = bounded(i64::MAX);
        assert_eq!(
            event_time.pass(&[i64::MAX, i64::MAX, 1 << 61, 0], None).events(),
            [(3, far)]
        );
        assert!(
            event_time.watermark() < AFTER_ALL,
            "a wrong time is not the end of a source"
        );
    }
}

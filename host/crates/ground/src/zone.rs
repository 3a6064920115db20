//! Time zones: UTC, fixed offsets, and those of the IANA time zone database, which is part of the host. So a zone is the same on every machine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::sync::Mutex;

/// A time zone. There is one of each name, which lives as long as the process: there are some 600 names, and a few thousand offsets.
#[derive(Clone, Copy)]
pub struct Zone(&'static Named);

struct Named {
    name: String,
    rules: TimeZone,
}

static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();

/// Of each zone that was asked for.
static ZONES: Mutex<BTreeMap<String, Zone>> = Mutex::new(BTreeMap::new());

impl Zone {
    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        static UTC: OnceLock<Zone> = OnceLock::new();
        *UTC.get_or_init(|| Self::kept("UTC".to_owned(), TimeZone::UTC))
    }

    /// The zone of a name: `UTC`, an offset such as `+02:00` or `-0530`, or a name of the database such as `Europe/Berlin`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if matches!(name, "UTC" | "Z") {
            return Some(Self::utc());
        }
        if name.starts_with(['+', '-']) {
            let rules = fixed(name)?;
            return Some(Self::kept(name.to_owned(), rules));
        }
        let rules = DATABASE.get_or_init(TimeZoneDatabase::bundled).get(name).ok()?;
        let name = rules.iana_name()?.to_owned();
        Some(Self::kept(name, rules))
    }

    /// The names of the database.
    #[must_use]
    pub fn names() -> Vec<String> {
        let database = DATABASE.get_or_init(TimeZoneDatabase::bundled);
        database.available().map(|name| name.as_str().to_owned()).collect()
    }

    fn kept(name: String, rules: TimeZone) -> Self {
        let mut zones = ZONES.lock();
        let make = |name: &String| {
            let name = name.clone();
            Self(Box::leak(Box::new(Named { name, rules })))
        };
        *zones.entry(name).or_insert_with_key(make)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// Its offsets.
    #[must_use]
    pub fn rules(self) -> &'static TimeZone {
        &self.0.rules
    }

    /// Whether it is UTC.
    #[must_use]
    pub fn is_utc(self) -> bool {
        self == Self::utc()
    }

    /// What its clocks show at a time, as ms from 1970-01-01T00:00 on those clocks. Times that are further away than 11,000 years are in UTC.
    #[must_use]
    pub fn shown(self, time: i64) -> i64 {
        match Timestamp::from_millisecond(time) {
            Ok(timestamp) => time + i64::from(self.rules().to_offset(timestamp).seconds()) * 1_000,
            Err(_) => time,
        }
    }

    /// The first time at which clocks in this zone show `shown`, in ms from 1970-01-01T00:00 on those clocks. If daylight-saving time skips that reading, the
    /// result is the same distance behind the skip as the reading is behind its start.
    #[must_use]
    pub fn first_shown(self, shown: i64) -> i64 {
        let first = |timestamp| {
            let civil = Offset::UTC.to_datetime(timestamp);
            self.rules().to_ambiguous_timestamp(civil).compatible().ok()
        };
        let found = Timestamp::from_millisecond(shown).ok().and_then(first);
        found.map_or(shown, |found: Timestamp| found.as_millisecond())
    }
}

/// `+02:00` or `-0530`.
fn fixed(name: &str) -> Option<TimeZone> {
    let (sign, digits) = match name.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        (_, digits) => (-1, digits),
    };
    let (hours, minutes) = match digits.len() {
        4 => digits.split_at_checked(2)?,
        _ => digits.split_once(':')?,
    };
    let number = |text: &str, max: i32| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|&number| is_number && number <= max)
    };
    let seconds = sign * (number(hours, 23)? * 3_600 + number(minutes, 59)? * 60);
    Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Zone {}

impl Default for Zone {
    /// UTC.
    fn default() -> Self {
        Self::utc()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no time zone `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_utc_an_offset_or_in_the_database() {
        let seconds = |name: &str| Zone::named(name)?.rules().to_fixed_offset().ok().map(Offset::seconds);
        assert_eq!(seconds("UTC"), Some(0));
        assert_eq!(seconds("+02:00"), Some(7_200));
        assert_eq!(seconds("-0530"), Some(-19_800));
        for name in [
            "",
            "+24:00",
            "+2:00",
            "+02",
            "02:00",
            "+02:60",
            "+0x:00",
            "utc!",
            "../../../etc/passwd",
            "/etc/passwd",
            "Europe/Berlim",
        ] {
            assert!(Zone::named(name).is_none(), "{name}");
        }
        assert_eq!(Zone::named("europe/berlin"), Zone::named("Europe/Berlin"));
        assert_eq!(Zone::named("Europe/Berlin").unwrap().name(), "Europe/Berlin");
    }

    #[test]
    fn clocks_show_the_offset_of_the_time() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        // 2024-01-01T00:00:00Z and 2024-07-01T00:00:00Z.
        for (time, hours) in [(1_704_067_200_000, 1), (1_719_792_000_000, 2)] {
            assert_eq!(berlin.shown(time), time + hours * 3_600_000);
            assert_eq!(berlin.first_shown(time + hours * 3_600_000), time);
        }
        // On 2024-03-31 clocks go from 2:00 to 3:00, at 1:00 UTC.
        let gap = 1_711_846_800_000;
        assert_eq!(berlin.first_shown(gap + 3_600_000 + 1_800_000), gap + 1_800_000);
        // On 2024-10-27 they go from 3:00 to 2:00, at 1:00 UTC: 2:30 comes twice.
        let fold = 1_729_990_800_000;
        assert_eq!(berlin.first_shown(fold + 5_400_000), fold - 1_800_000);
        for far in [i64::MIN, i64::MAX] {
            assert_eq!((berlin.shown(far), berlin.first_shown(far)), (far, far));
        }
    }
}

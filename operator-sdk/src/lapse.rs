//! Durations in settings.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// A duration in a configuration, as pipeline files write them: `"500ms"`, `"10s"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lapse(Duration);

impl Lapse {
    /// The duration in ms, as event times are; rounded down.
    #[must_use]
    pub fn ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl From<Duration> for Lapse {
    fn from(duration: Duration) -> Lapse {
        Lapse(duration)
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

impl Serialize for Lapse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lapse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Lapse, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Reads a duration from its text.
struct Text;

impl Visitor<'_> for Text {
    type Value = Lapse;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a duration such as \"500ms\", \"10s\" or \"1h 30m\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Lapse, E> {
        humantime::parse_duration(text).map(Lapse).map_err(|error| {
            de::Error::custom(format!(
                "`{text}` is no duration such as \"500ms\", \"10s\" or \"1h 30m\": {error}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_as_in_pipeline_files() {
        let lapse: Lapse = serde_json::from_str("\"1m 30s\"").unwrap();
        assert_eq!(
            (lapse.ms(), serde_json::to_string(&lapse).unwrap().as_str()),
            (90_000, "\"1m 30s\"")
        );
        let refused = serde_json::from_str::<Lapse>("\"soon\"").unwrap_err().to_string();
        assert!(refused.contains("`soon` is no duration such as \"500ms\""), "{refused}");
        let refused = serde_json::from_str::<Lapse>("3600").unwrap_err().to_string();
        assert!(
            refused.contains("`3600`, expected a duration such as \"500ms\""),
            "{refused}"
        );
    }
}

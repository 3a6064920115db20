//! Numbers that are exact where they are integers of 64 bits.

use std::{cmp::Ordering, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// An `f64`, or an integer of 64 bits that an `f64` does not hold. Numbers compare by their exact values.
///
/// It serializes as an integer, or as an `f64`; where the format is no text, as a pair of `f64`s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    nearest: f64,
    rest: f64,
}

impl Number {
    /// The nearest `f64`.
    #[must_use]
    #[inline]
    pub fn nearest(self) -> f64 {
        self.nearest
    }

    /// What it has more than [`nearest`](Number::nearest), an `f64` too: 0 unless it is an integer that an `f64` does not hold.
    #[must_use]
    #[inline]
    pub fn rest(self) -> f64 {
        self.rest
    }

    /// The integer, if it is one that an `f64` does not hold.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "both are integers of some 64 bits")]
    pub fn long_integer(self) -> Option<i64> {
        if self.rest == 0.0 {
            return None;
        }
        i64::try_from(self.nearest as i128 + self.rest as i128).ok()
    }
}

/// Written out, since what is derived takes three times as long in a component.
impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        (self.nearest, self.rest).partial_cmp(&(other.nearest, other.rest))
    }

    #[inline]
    #[allow(clippy::float_cmp, reason = "what is missing to equal numbers decides")]
    fn lt(&self, other: &Number) -> bool {
        self.nearest < other.nearest || (self.nearest == other.nearest && self.rest < other.rest)
    }

    #[inline]
    #[allow(clippy::float_cmp, reason = "what is missing to equal numbers decides")]
    fn le(&self, other: &Number) -> bool {
        self.nearest < other.nearest || (self.nearest == other.nearest && self.rest <= other.rest)
    }

    #[inline]
    fn gt(&self, other: &Number) -> bool {
        other < self
    }

    #[inline]
    fn ge(&self, other: &Number) -> bool {
        other <= self
    }
}

impl From<f64> for Number {
    #[inline]
    fn from(number: f64) -> Number {
        Number {
            nearest: number,
            rest: 0.0,
        }
    }
}

impl From<i64> for Number {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "what the nearest f64 loses has 10 bits, and both are integers of some 64 bits"
    )]
    fn from(integer: i64) -> Number {
        let nearest = integer as f64;
        Number {
            nearest,
            rest: (i128::from(integer) - nearest as i128) as f64,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.long_integer() {
            Some(integer) => integer.fmt(formatter),
            None => self.nearest.fmt(formatter),
        }
    }
}

impl Serialize for Number {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.nearest, self.rest).serialize(serializer);
        }
        match self.long_integer() {
            Some(integer) => serializer.serialize_i64(integer),
            None => serializer.serialize_f64(self.nearest),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        if !deserializer.is_human_readable() {
            let (nearest, rest) = Deserialize::deserialize(deserializer)?;
            return Ok(Number { nearest, rest });
        }
        deserializer.deserialize_f64(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Number, E> {
        Ok(number.into())
    }

    fn visit_i64<E: de::Error>(self, integer: i64) -> Result<Number, E> {
        Ok(integer.into())
    }

    fn visit_u64<E: de::Error>(self, integer: u64) -> Result<Number, E> {
        let integer = i64::try_from(integer);
        integer
            .map(Number::from)
            .map_err(|_| E::custom("an integer has at most 64 bits with its sign"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: i64 = 9_007_199_254_740_993;

    #[test]
    fn an_integer_is_what_it_was() {
        for integer in [LONG, -LONG, i64::MAX, i64::MIN + 1, i64::MAX - 511, i64::MAX - 512] {
            let number = Number::from(integer);
            assert_eq!(number.long_integer(), Some(integer));
            assert_eq!(number.to_string(), integer.to_string());
            assert_eq!(serde_json::to_string(&number).unwrap(), integer.to_string());
            assert_eq!(serde_json::from_str::<Number>(&integer.to_string()).unwrap(), number);
        }
        for held in [0, -7, LONG - 1, i64::MIN] {
            assert_eq!(Number::from(held).long_integer(), None, "an f64 holds {held}");
        }
    }

    #[test]
    fn numbers_compare_by_their_exact_values() {
        let ordered = [
            Number::from(-1e300),
            Number::from(i64::MIN + 1),
            Number::from(-0.5),
            Number::from(9_007_199_254_740_992.0),
            Number::from(LONG),
            Number::from(LONG + 1),
            Number::from(i64::MAX - 1),
            Number::from(i64::MAX),
            Number::from(9_223_372_036_854_775_808.0),
            Number::from(f64::INFINITY),
        ];
        for (at, one) in ordered.iter().enumerate() {
            for (other_at, other) in ordered.iter().enumerate() {
                assert_eq!(one.partial_cmp(other), Some(at.cmp(&other_at)));
                assert_eq!((one < other, one > other), (at < other_at, at > other_at));
                assert_eq!((one <= other, one >= other), (at <= other_at, at >= other_at));
            }
        }
        assert_eq!(Number::from(12), Number::from(12.0));
    }

    #[test]
    fn other_numbers_are_written_and_read_as_f64() {
        for (text, number) in [("0.1", 0.1), ("1.0", 1.0), ("1e300", 1e300)] {
            assert_eq!(serde_json::from_str::<Number>(text).unwrap(), Number::from(number));
            assert_eq!(serde_json::to_value(Number::from(number)).unwrap(), number);
        }
        assert!(serde_json::from_str::<Number>("18446744073709551615").is_err());
        let refused = serde_json::from_str::<Number>("\"1\"").unwrap_err().to_string();
        assert!(refused.contains("expected a number"), "{refused}");
    }

    #[test]
    fn a_number_in_an_accumulator_has_one_layout() {
        assert_eq!(crate::layout::of::<Number>().unwrap(), "postcard:(f64; 2)");
        for number in [Number::from(LONG), Number::from(0.1)] {
            let bytes = postcard::to_allocvec(&number).unwrap();
            assert_eq!(postcard::from_bytes::<Number>(&bytes).unwrap(), number);
        }
    }
}

//! One value of a JSON document: text that the scanner has checked.

use std::{borrow::Cow, fmt};

/// What a JSON value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// An integer that an `f64` does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongInteger {
    /// One that 64 bits hold.
    S64(i64),
    /// One that they do not hold either.
    Longer,
}

/// A value in a JSON document, as it is written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'j> {
    text: &'j [u8],
}

impl<'j> Value<'j> {
    /// The value that this text is, which is one whole value that a scanner has accepted. Of any other text nothing is right that is said of it.
    #[must_use]
    #[inline]
    pub fn new(text: &'j [u8]) -> Value<'j> {
        Value { text }
    }

    /// What it is. In valid JSON the first byte tells.
    #[must_use]
    #[inline]
    pub fn kind(self) -> Kind {
        match self.text[0] {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// The number, if it is one; infinite if it is too large for an `f64`.
    #[must_use]
    #[inline]
    pub fn as_number(self) -> Option<f64> {
        match self.text[0] {
            // What JSON calls a number, Rust parses to the nearest `f64`.
            b'-' | b'0'..=b'9' => short_number(self.text).or_else(|| std::str::from_utf8(self.text).ok()?.parse().ok()),
            _ => None,
        }
    }

    /// The integer, if it is one that 64 bits hold: a number whose fraction is zero, however it is written.
    #[must_use]
    #[inline]
    pub fn as_integer(self) -> Option<i64> {
        match self.text[0] {
            b'-' | b'0'..=b'9' => short_integer(self.text).or_else(|| any_integer(self.text)),
            _ => None,
        }
    }

    /// The integer, if it is one that an `f64` does not hold. An integer is a number that is written without exponent, and without
    /// fraction or with one of zeros. `nearest` is what [`as_number`](Value::as_number) gives for it.
    #[must_use]
    #[inline]
    pub fn as_long_integer(self, nearest: f64) -> Option<LongInteger> {
        /// An `f64` holds each integer below 2^53.
        const ROUNDED_MIN: f64 = 9_007_199_254_740_992.0;
        if nearest.abs() < ROUNDED_MIN {
            return None;
        }
        long_integer(self.text, nearest)
    }

    /// The string, if it is one; borrowed unless it has escapes.
    #[must_use]
    #[inline]
    pub fn as_text(self) -> Option<Cow<'j, str>> {
        let content = self.text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        if content.contains(&b'\\') {
            serde_json::from_slice(self.text).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(content).ok().map(Cow::Borrowed)
        }
    }

    /// The truth value, if it is one.
    #[must_use]
    #[inline]
    pub fn as_bool(self) -> Option<bool> {
        match self.text {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// The value as a document of its own.
    #[must_use]
    pub fn as_bytes(self) -> &'j [u8] {
        self.text
    }

    /// What it is, for a sentence: short values as they are written, others by their kind.
    #[must_use]
    pub fn description(self) -> String {
        /// Longer strings would bury what the message has to say.
        const STRING_BYTES_MAX: usize = 64;

        match self.kind() {
            Kind::Null | Kind::Bool => self.to_string(),
            Kind::Number => format!("the number {self}"),
            Kind::String if self.text.len() <= STRING_BYTES_MAX => format!("the string {self}"),
            Kind::String => "a long string".to_owned(),
            Kind::Array => "an array".to_owned(),
            Kind::Object => "an object".to_owned(),
        }
    }
}

/// That of a number of which the nearest `f64` is `nearest`.
#[cold]
fn long_integer(text: &[u8], nearest: f64) -> Option<LongInteger> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if text.contains(['e', 'E']) || !fraction.bytes().all(|digit| digit == b'0') {
        return None;
    }
    // Rust prints all digits of an `f64`.
    let is_held = format!("{nearest:.0}") == whole;
    (!is_held).then(|| whole.parse().map_or(LongInteger::Longer, LongInteger::S64))
}

/// Parses an integer of up to 18 digits, which fits for sure.
#[inline]
fn short_integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 18 {
        return None;
    }
    let mut integer = 0;
    for byte in digits {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => integer = integer * 10 + i64::from(digit),
            _ => return None,
        }
    }
    Some(if is_negative { -integer } else { integer })
}

/// Parses any integer: with many digits, a fraction of zeros, an exponent.
#[cold]
fn any_integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()),
        None => (text, Some(0)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => ("-", whole),
        None => ("", whole),
    };
    // As an integer and a power of ten, without the zeros on either side.
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let power = exponent?
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(zeros)?;
    let power = usize::try_from(power).ok().filter(|power| *power < 19)?;
    format!("{sign}{significant}{}", "0".repeat(power)).parse().ok()
}

/// Parses a number of few digits and no exponent, which are most of those in events, in a fraction of the time.
///
/// Its digits are an integer below 2^53 and the power of ten is at most 10^15: an `f64` holds both exactly, so that the
/// one division rounds to the nearest, as IEEE 754 has it.
#[allow(clippy::cast_precision_loss, reason = "fifteen digits are less than 2^53")]
#[inline]
fn short_number(text: &[u8]) -> Option<f64> {
    const POWERS: [f64; 16] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ];
    const DIGITS_MAX: usize = POWERS.len() - 1;

    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if let Some((integer, power)) = decimal_in_a_word(digits) {
        let number = f64::from(integer) / POWERS[power];
        return Some(if is_negative { -number } else { number });
    }
    if digits.len() > DIGITS_MAX {
        return None;
    }
    let (mut integer, mut point) = (0_i64, digits.len() - 1);
    for (at, byte) in digits.iter().enumerate() {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => integer = integer * 10 + i64::from(digit),
            POINT => point = at,
            _ => return None,
        }
    }
    let number = integer as f64 / POWERS[digits.len() - 1 - point];
    Some(if is_negative { -number } else { number })
}

/// Parses four to eight bytes at once: the digits as an integer, and how many of them are behind the point.
///
/// Neighbours are added up to pairs, pairs to fours, fours to the whole, each with one multiplication.
#[inline]
fn decimal_in_a_word(text: &[u8]) -> Option<(u32, usize)> {
    if text.len() > 8 {
        return None;
    }
    let (first, last) = (text.first_chunk::<4>()?, text.last_chunk::<4>()?);
    // The last byte comes highest; where both halves overlap they are the same.
    let (first, last) = (
        u64::from(u32::from_le_bytes(*first)),
        u64::from(u32::from_le_bytes(*last)),
    );
    let mut word = last << 32 | first << (64 - 8 * text.len());
    // Only letters have this bit: that of an exponent.
    if word & 0x4040_4040_4040_4040 != 0 {
        return None;
    }
    // A point (0x2e) is the one byte here with a 0x20 and no 0x10: digits have both, the room in front has neither.
    let points = !word & word >> 1 & 0x1010_1010_1010_1010;
    let mut power = 0;
    if points != 0 {
        let at = points.trailing_zeros() / 8;
        power = 7 - at as usize;
        let before = (1 << (8 * at)) - 1;
        word = (word & before) << 8 | word & !(before << 8 | 0xff);
    }
    word = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(10 << 8 | 1) >> 8;
    word = (word & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    word = (word & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32;
    Some((u32::try_from(word).ok()?, power))
}

/// The decimal point, as far behind `0` as it is.
const POINT: u8 = b'.'.wrapping_sub(b'0');

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::new(text.as_bytes())
    }

    #[test]
    fn a_string_is_copied_only_for_its_escapes() {
        assert!(matches!(value(r#""grün""#).as_text(), Some(Cow::Borrowed("grün"))));
        assert_eq!(value(r#""a\n\u00e9""#).as_text().as_deref(), Some("a\né"));
        assert_eq!(value("12").as_text(), None);
    }

    #[test]
    fn a_number_is_the_nearest_to_what_is_written() {
        assert_eq!(value("0.1").as_number(), Some(0.1));
        assert_eq!(value("-17").as_number(), Some(-17.0));
        assert_eq!(value("9007199254740993").as_number(), Some(9_007_199_254_740_992.0));
        assert_eq!(
            value("2.2250738585072011e-308").as_number(),
            Some(2.225_073_858_507_201e-308)
        );
        assert_eq!(value("true").as_number(), None);
    }

    #[test]
    fn an_integer_is_exact_however_it_is_written() {
        for (text, integer) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("-0.0e7", Some(0)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("12.0", Some(12)),
            ("12.50", None),
            ("1.25e2", Some(125)),
            ("1.25E+1", None),
            ("1200e-2", Some(12)),
            ("922337203685477580700e-2", Some(i64::MAX)),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("1e99999999999999999999", None),
            ("true", None),
            ("\"1\"", None),
        ] {
            assert_eq!(value(text).as_integer(), integer, "{text}");
        }
    }

    #[test]
    fn an_integer_is_long_where_the_nearest_number_is_another() {
        use LongInteger::{Longer, S64};
        for (text, expected) in [
            ("9007199254740991", None),
            ("9007199254740992", None),
            ("9007199254740993", Some(S64(9_007_199_254_740_993))),
            ("-9007199254740993.000", Some(S64(-9_007_199_254_740_993))),
            ("9007199254740993.5", None),
            ("9007199254740993e0", None),
            ("900719925474099300E-2", None),
            ("9223372036854775807", Some(S64(i64::MAX))),
            ("-9223372036854775808", None),
            ("9223372036854775808", None),
            ("9223372036854775809", Some(Longer)),
            ("18446744073709551615", Some(Longer)),
            ("18446744073709551616", None),
            ("100000000000000000000000", Some(Longer)),
            ("1e23", None),
            ("-123456789012345678901234567890", Some(Longer)),
            ("0.1", None),
        ] {
            let nearest = value(text).as_number().unwrap();
            assert_eq!(value(text).as_long_integer(nearest), expected, "{text}");
        }
    }

    #[test]
    fn short_numbers_are_parsed_as_long_ones_are() {
        for integer in (0..20_000_u64).map(|i| i * 7_919 % 99_999_989) {
            for text in [
                format!("{integer}"),
                format!("-{integer}.{:03}", integer % 1000),
                format!("0.{integer:09}"),
            ] {
                let expected: f64 = text.parse().unwrap();
                assert_eq!(
                    value(&text).as_number().map(f64::to_bits),
                    Some(expected.to_bits()),
                    "{text}"
                );
            }
        }
    }
}

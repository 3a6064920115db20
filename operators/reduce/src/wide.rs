//! Integers as wide as all `f64`s together, for sums that a few of them do not hold.

use dirigo_operator::Number;
use serde::{Deserialize, Serialize};

/// Words of 64 bits: enough for 2^64 times the greatest `f64`, twice, and its sign.
const WORDS: usize = 34;
/// In which of the bits one is.
const UNIT_BIT: usize = 1074;
/// The bits of a significand, with the one that is not stored.
const SIGNIFICAND_BITS: usize = 53;

/// A sum of `f64`s, exactly: an integer in two's complement, in units of 2^-1074, of which every `f64` is a multiple.
///
/// Only the words between the zeros below it and the sign above it are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wide {
    lowest: u32,
    words: Vec<u64>,
}

/// A number as precisely as the types of the output can hold it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rounded {
    /// The nearest `f64`, of two that are as near the even one; infinite beyond all of them.
    pub(crate) nearest: f64,
    /// Whether that is it exactly.
    pub(crate) is_exact: bool,
    /// The number, if it is an integer of 64 bits that an `f64` does not hold.
    pub(crate) integer: Option<i64>,
}

type Words = [u64; WORDS];

impl Wide {
    /// Adds numbers, all of them finite.
    pub(crate) fn add(&mut self, numbers: &[f64]) {
        let mut words = self.words();
        for &number in numbers {
            add(&mut words, number);
        }
        *self = Wide::of(&words);
    }

    pub(crate) fn merge(&mut self, other: &Wide) {
        let mut words = self.words();
        let mut carry = 0;
        for (word, other) in words.iter_mut().zip(other.words()) {
            let sum = u128::from(*word) + u128::from(other) + carry;
            (*word, carry) = (low(sum), sum >> 64);
        }
        *self = Wide::of(&words);
    }

    /// The sum divided by `divisor`, rounded once.
    pub(crate) fn divided_by(&self, divisor: u64) -> Rounded {
        let mut words = self.words();
        let is_negative = is_negative(&words);
        if is_negative {
            negate(&mut words);
        }
        // Twice the quotient has the half of a unit, too, which rounding has to know.
        double(&mut words);
        let has_remainder = divide(&mut words, divisor);
        let rounded = round(&words, has_remainder);
        if is_negative { rounded.negated() } else { rounded }
    }

    fn words(&self) -> Words {
        let is_negative = self.words.last().is_some_and(|word| word >> 63 == 1);
        let mut words = [0; WORDS];
        let (start, end) = (self.lowest as usize, self.lowest as usize + self.words.len());
        words[start..end].copy_from_slice(&self.words);
        words[end..].fill(if is_negative { u64::MAX } else { 0 });
        words
    }

    fn of(words: &Words) -> Wide {
        let sign = if is_negative(words) { u64::MAX } else { 0 };
        let end = words.iter().rposition(|&word| word != sign).map_or(0, |at| at + 1);
        // The highest word that is kept has the sign.
        let top_bit = end.checked_sub(1).map_or(0, |at| words[at] >> 63);
        let end = if top_bit == sign & 1 { end } else { end + 1 };
        let start = words.iter().position(|&word| word != 0).unwrap_or(end);
        Wide {
            lowest: u32::try_from(start).expect("there are few words"),
            words: words[start..end].to_vec(),
        }
    }
}

impl Rounded {
    pub(crate) fn number(self) -> Number {
        self.integer.map_or(self.nearest.into(), Number::from)
    }

    fn negated(self) -> Rounded {
        Rounded {
            nearest: -self.nearest,
            integer: self.integer.map(|integer| -integer),
            ..self
        }
    }
}

fn is_negative(words: &Words) -> bool {
    words[WORDS - 1] >> 63 == 1
}

#[allow(clippy::cast_possible_truncation, reason = "it is the lower half that is wanted")]
fn low(word: u128) -> u64 {
    word as u64
}

fn add(words: &mut Words, number: f64) {
    let bits = number.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as usize, bits & ((1 << 52) - 1));
    let significand = if exponent == 0 { fraction } else { fraction | 1 << 52 };
    let shift = exponent.saturating_sub(1);
    let mut rest = u128::from(significand) << (shift % 64);
    for word in &mut words[shift / 64..] {
        let (part, carried) = if bits >> 63 == 0 {
            word.overflowing_add(low(rest))
        } else {
            word.overflowing_sub(low(rest))
        };
        *word = part;
        rest = (rest >> 64) + u128::from(carried);
        if rest == 0 {
            break;
        }
    }
}

fn negate(words: &mut Words) {
    let mut carry = true;
    for word in words {
        (*word, carry) = (!*word).overflowing_add(u64::from(carry));
    }
}

fn double(words: &mut Words) {
    for at in (1..WORDS).rev() {
        words[at] = words[at] << 1 | words[at - 1] >> 63;
    }
    words[0] <<= 1;
}

/// Divides, and says whether something remains.
fn divide(words: &mut Words, divisor: u64) -> bool {
    let mut remainder = 0;
    for word in words.iter_mut().rev() {
        let dividend = u128::from(remainder) << 64 | u128::from(*word);
        if dividend != 0 {
            *word = low(dividend / u128::from(divisor));
            remainder = low(dividend % u128::from(divisor));
        }
    }
    remainder != 0
}

/// Rounds half of a number, which has more behind it or not.
fn round(doubled: &Words, has_more: bool) -> Rounded {
    let length = (0..WORDS)
        .rev()
        .find(|&at| doubled[at] != 0)
        .map_or(0, |at| at * 64 + 64 - doubled[at].leading_zeros() as usize);
    // The bits that no significand has; the half at the least.
    let dropped = length.saturating_sub(SIGNIFICAND_BITS).max(1);
    let significand = bits_from(doubled, dropped);
    let is_half_up = bit(doubled, dropped - 1);
    let is_more = has_more || are_any_set(doubled, dropped - 1);
    let is_up = is_half_up && (is_more || significand & 1 == 1);
    // An f64 in bits is its significand behind its exponent: so one up carries into the exponent as it should.
    let exponent = dropped as u64 - 1;
    let bits = (exponent << 52) + significand + u64::from(is_up);
    let is_exact = !is_half_up && !is_more;
    let is_integer = !has_more && !are_any_set(doubled, UNIT_BIT + 1);
    let is_short = length <= UNIT_BIT + 1 + 63;
    let integer = || i64::try_from(bits_from(doubled, UNIT_BIT + 1)).expect("it has 63 bits");
    Rounded {
        nearest: f64::from_bits(bits.min(f64::INFINITY.to_bits())),
        is_exact,
        integer: (is_integer && is_short && !is_exact).then(integer),
    }
}

fn bit(words: &Words, at: usize) -> bool {
    words[at / 64] >> (at % 64) & 1 == 1
}

/// The lowest 64 bits from bit `at` on.
fn bits_from(words: &Words, at: usize) -> u64 {
    let next = words.get(at / 64 + 1).copied().unwrap_or(0);
    low((u128::from(next) << 64 | u128::from(words[at / 64])) >> (at % 64))
}

/// Whether any bit below `at` is set.
fn are_any_set(words: &Words, at: usize) -> bool {
    words[..at / 64].iter().any(|&word| word != 0) || words[at / 64] & ((1 << (at % 64)) - 1) != 0
}

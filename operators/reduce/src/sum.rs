//! Sums of numbers, exactly: the order in which they are added, and what is merged with what, change nothing.
//!
//! A sum is two `f64`s as long as those hold it, which in most windows they do; each addition tells, by the error-free transformation
//! of Knuth and Shewchuk, whether they still do. What they do not hold goes to an integer of some two thousand bits ([`Wide`]).

use dirigo_operator::Number;
use serde::{Deserialize, Serialize};

use crate::wide::{Rounded, Wide};

/// Numbers added up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The `f64` nearest to `high + low`.
    high: f64,
    low: f64,
    /// What few sums have.
    more: Option<Box<More>>,
}

/// What two `f64`s do not hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct More {
    /// What was added besides.
    wide: Wide,
    /// Whether an integer was added that an `f64` does not hold.
    has_long_integers: bool,
}

/// An `f64` holds each integer up to here.
const INTEGERS_MAX: f64 = 9_007_199_254_740_992.0;
/// 64 bits with a sign hold each integer below.
const S64_END: f64 = 9_223_372_036_854_775_808.0;

impl Sum {
    /// The sum of nothing.
    pub(crate) const ZERO: Sum = Sum {
        high: 0.0,
        low: 0.0,
        more: None,
    };

    #[inline]
    pub(crate) fn add(&mut self, number: Number) {
        self.add_float(number.nearest());
        if number.rest() != 0.0 {
            self.add_float(number.rest());
            self.more.get_or_insert_default().has_long_integers = true;
        }
    }

    #[inline]
    fn add_float(&mut self, number: f64) {
        let (high, rest) = two_sum(self.high, number);
        let (rest, lost) = two_sum(self.low, rest);
        let (high, low) = two_sum(high, rest);
        // Where something overflows, `lost` or `low` is no number.
        if lost == 0.0 && low.is_finite() {
            (self.high, self.low) = (high, low);
        } else {
            self.add_wide(number);
        }
    }

    #[cold]
    fn add_wide(&mut self, number: f64) {
        // A sum that overflowed comes from state of version 1: what it was is lost.
        if self.high.is_finite() && number.is_finite() {
            let more = self.more.get_or_insert_default();
            more.wide.add(&[self.high, self.low, number]);
            (self.high, self.low) = (0.0, 0.0);
        } else {
            (self.high, self.low) = (self.high + number, 0.0);
        }
    }

    pub(crate) fn merge(&mut self, other: &Sum) {
        self.add_float(other.high);
        self.add_float(other.low);
        if let Some(other) = &other.more {
            let more = self.more.get_or_insert_default();
            more.wide.merge(&other.wide);
            more.has_long_integers |= other.has_long_integers;
        }
    }

    /// The sum: the nearest `f64`, or the integer itself.
    ///
    /// # Errors
    /// When integers that an `f64` does not hold were added, and their sum is too long for 64 bits: the nearest `f64`.
    pub(crate) fn total(&self) -> Result<Number, f64> {
        let is_rounded_to_high = self.low == 0.0 || self.high.abs() < INTEGERS_MAX;
        if self.more.is_none() && is_rounded_to_high {
            return Ok(self.high.into());
        }
        let total = self.divided_by(1);
        let is_beyond = !total.is_exact && total.nearest.abs() >= S64_END;
        if is_beyond && self.more.as_ref().is_some_and(|more| more.has_long_integers) {
            return Err(total.nearest);
        }
        Ok(total.number())
    }

    /// The sum divided by how many numbers it is of: the nearest `f64`, or the integer itself.
    pub(crate) fn average(&self, count: u64) -> Number {
        match self.short_average(count) {
            Some(average) => average.into(),
            None => self.divided_by(count).number(),
        }
    }

    /// The average where two `f64`s tell how it is rounded, and it is too short for an integer that an `f64` does not hold.
    #[allow(clippy::float_cmp, reason = "whether two ways of rounding differ is the question")]
    fn short_average(&self, count: u64) -> Option<f64> {
        /// Far above what underflows.
        const SMALL: f64 = 1e-200;
        /// Some times the error of what is computed below, which is rounded four times.
        const ERROR_MAX: f64 = 8.0 * f64::EPSILON;

        let divisor = exact(count).filter(|_| self.more.is_none())?;
        let quotient = self.high / divisor;
        if quotient.abs() >= INTEGERS_MAX {
            return None;
        }
        if self.low == 0.0 {
            return Some(quotient);
        }
        let (product, error) = two_product(quotient, divisor);
        let (remainder, lost) = two_sum((self.high - product) - error, self.low);
        let correction = remainder / divisor;
        if self.high.abs() < SMALL || (remainder != 0.0 && correction.abs() < SMALL) {
            return None;
        }
        // Halfway between two neighbours only what is exact tells the even one.
        if lost == 0.0 && two_product(correction, divisor) == (remainder, 0.0) {
            return Some(quotient + correction);
        }
        let margin = correction.abs() * ERROR_MAX;
        let average = quotient + (correction - margin);
        (average == quotient + (correction + margin)).then_some(average)
    }

    fn divided_by(&self, divisor: u64) -> Rounded {
        if !self.high.is_finite() {
            return Rounded {
                nearest: self.high,
                is_exact: false,
                integer: None,
            };
        }
        let mut wide = self.more.as_ref().map(|more| more.wide.clone()).unwrap_or_default();
        wide.add(&[self.high, self.low]);
        wide.divided_by(divisor)
    }
}

/// What version 1 had.
impl From<f64> for Sum {
    fn from(sum: f64) -> Sum {
        Sum { high: sum, ..Sum::ZERO }
    }
}

/// The integer as an `f64`, if that holds it for sure.
#[allow(clippy::cast_precision_loss, reason = "it is below 2^53")]
fn exact(integer: u64) -> Option<f64> {
    (integer < 1 << 53).then_some(integer as f64)
}

/// The sum as an `f64`, and what that loses (Knuth). Exact unless it overflows.
#[inline]
fn two_sum(one: f64, other: f64) -> (f64, f64) {
    let sum = one + other;
    let other_part = sum - one;
    let one_part = sum - other_part;
    (sum, (one - one_part) + (other - other_part))
}

/// The product as an `f64`, and what that loses (Dekker). Exact where nothing overflows or underflows.
fn two_product(one: f64, other: f64) -> (f64, f64) {
    /// Splits a significand into halves (Veltkamp).
    fn halves(number: f64) -> (f64, f64) {
        const SPLITTER: f64 = 134_217_729.0;
        let scaled = SPLITTER * number;
        let upper = scaled - (scaled - number);
        (upper, number - upper)
    }
    let product = one * other;
    let ((one_upper, one_lower), (other_upper, other_lower)) = (halves(one), halves(other));
    let rest = one_upper * other_upper - product + one_upper * other_lower + one_lower * other_upper;
    (product, rest + one_lower * other_lower)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        reason = "random numbers may be any"
    )]

    use num_bigint::BigInt;

    use super::*;

    /// The sign of an `f64`, and the greatest bits of those that have less than 53 bits.
    const SIGN: u64 = 1 << 63;
    const SUBNORMALS_MAX: u64 = (1 << 52) - 1;

    /// Pseudo-random numbers (xorshift).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % end
        }

        fn number(&mut self, earlier: &[Number]) -> Number {
            let bits = self.below(u64::MAX);
            match self.below(8) {
                // Decimals, as sensors send them.
                0 | 1 => Number::from((self.below(2_000_000) as f64 - 1e6) / 1000.0),
                2 => Number::from(f64::from_bits(bits)),
                // Around one, where sums are halfway between two neighbours.
                3 => Number::from(f64::from_bits((1023 - self.below(60)) << 52 | bits & 7 | bits & SIGN)),
                // Subnormal.
                4 => Number::from(f64::from_bits(bits & (SIGN | SUBNORMALS_MAX))),
                5 => Number::from(bits as i64 >> self.below(12)),
                // Cancels what is there.
                6 if !earlier.is_empty() => {
                    let other = earlier[self.below(earlier.len() as u64) as usize];
                    other
                        .long_integer()
                        .map_or((-other.nearest()).into(), |integer| (-integer).into())
                }
                _ => Number::from(f64::MAX * if bits & 1 == 0 { 1.0 } else { -0.75 }),
            }
        }

        fn numbers(&mut self) -> Vec<Number> {
            let mut numbers = Vec::new();
            let kinds = self.below(3);
            for _ in 0..self.below(12) {
                let number = match kinds {
                    0 => Number::from((self.below(2_000_000) as f64 - 1e6) / 1000.0 * 1.8 + 32.0),
                    1 => Number::from(self.below(u64::MAX) as i64 >> 10),
                    _ => self.number(&numbers),
                };
                if number.nearest().is_finite() {
                    numbers.push(number);
                }
            }
            numbers
        }

        fn shuffle(&mut self, numbers: &mut [Number]) {
            for at in (1..numbers.len()).rev() {
                numbers.swap(at, self.below(at as u64 + 1) as usize);
            }
        }
    }

    /// The number in units of 2^-1074.
    fn units(number: f64) -> BigInt {
        let bits = number.abs().to_bits();
        let (exponent, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
        let significand = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let units = BigInt::from(significand) << exponent.saturating_sub(1);
        if number < 0.0 { -units } else { units }
    }

    fn exact_units(number: Number) -> BigInt {
        units(number.nearest()) + units(number.rest())
    }

    /// Whether no other `f64` is nearer to `sum / count`, and none that is as near is even where this is odd.
    fn is_nearest(number: f64, sum: &BigInt, count: u64) -> bool {
        let beyond = units(f64::MAX) + (BigInt::from(1) << 2044);
        if number.is_infinite() {
            return BigInt::from(sum.magnitude().clone()) >= beyond * count && (number < 0.0) == (*sum < BigInt::ZERO);
        }
        let distance = |number: f64| {
            let units = match number {
                f64::INFINITY => units(f64::MAX) + (BigInt::from(1) << 2045),
                f64::NEG_INFINITY => units(f64::MIN) - (BigInt::from(1) << 2045),
                _ => units(number),
            };
            (sum - units * count).magnitude().clone()
        };
        let is_even = number.to_bits() & 1 == 0;
        [number.next_down(), number.next_up()]
            .into_iter()
            .all(|other| distance(number) < distance(other) || (is_even && distance(number) == distance(other)))
    }

    /// Checks a result against `sum / count`.
    fn check(result: Number, sum: &BigInt, count: u64, shown: &str) {
        let is_exact = exact_units(result) * count == *sum;
        if result.long_integer().is_some() {
            assert!(is_exact, "{result} of {shown}");
            return;
        }
        assert!(is_nearest(result.nearest(), sum, count), "{result} of {shown}");
        let unit = BigInt::from(count) << 1074;
        let is_integer = (sum % &unit) == BigInt::ZERO && i64::try_from(sum / &unit).is_ok();
        assert!(is_exact || !is_integer, "{result} of {shown} is an integer of 64 bits");
    }

    fn sum_of(numbers: &[Number]) -> Sum {
        let mut sum = Sum::ZERO;
        numbers.iter().for_each(|&number| sum.add(number));
        sum
    }

    #[test]
    fn sums_and_averages_are_exact_and_rounded_once_in_any_order_and_any_parts() {
        let mut random = Random(0x5eed);
        let (mut wide, mut beyond) = (0, 0);
        for _ in 0..4_000 {
            let mut numbers = random.numbers();
            let count = numbers.len() as u64;
            let exact: BigInt = numbers.iter().map(|&number| exact_units(number)).sum();
            let sum = sum_of(&numbers);
            let shown = format!("{numbers:?}");
            match sum.total() {
                Ok(total) => check(total, &exact, 1, &shown),
                Err(nearest) => {
                    beyond += 1;
                    assert!(sum.more.is_some() && is_nearest(nearest, &exact, 1), "{shown}");
                    assert!(units(nearest) != exact && nearest.abs() >= S64_END, "{shown}");
                }
            }
            if count > 0 {
                check(sum.average(count), &exact, count, &shown);
            }
            wide += u32::from(sum.more.as_ref().is_some_and(|more| more.wide != Wide::default()));
            random.shuffle(&mut numbers);
            let (left, right) = numbers.split_at(random.below(count + 1) as usize);
            let mut merged = sum_of(left);
            merged.merge(&sum_of(right));
            assert_eq!(merged.total(), sum.total(), "{shown}");
            if count > 0 {
                assert_eq!(merged.average(count), sum.average(count), "{shown}");
            }
        }
        assert!(wide > 500 && beyond > 50, "{wide} wide, {beyond} beyond 64 bits");
    }

    #[test]
    fn an_average_of_decimals_needs_two_numbers_only() {
        let mut random = Random(1);
        for _ in 0..1_000 {
            let numbers: Vec<Number> = (0..5).map(|_| (random.below(5_000) as f64 / 100.0).into()).collect();
            let sum = sum_of(&numbers);
            assert!(sum.more.is_none() && sum.short_average(5).is_some(), "{numbers:?}");
        }
    }

    #[test]
    fn a_sum_that_overflowed_before_stays_so() {
        let mut sum = Sum::from(f64::INFINITY);
        sum.add(1.0.into());
        sum.merge(&sum_of(&[f64::MAX.into(); 3]));
        assert_eq!(sum.total(), Ok(f64::INFINITY.into()));
        let mut merged = sum_of(&[1.0.into()]);
        merged.merge(&sum);
        assert_eq!(merged.average(2), f64::INFINITY.into());
    }

    #[test]
    fn what_is_kept_is_what_was_there() {
        for numbers in [
            &[][..],
            &[1.0],
            &[1e300, 1e-300, 5e-324],
            &[-1e308, -1e308],
            &[-f64::MAX, -5e-324, 1.0],
        ] {
            let sum = sum_of(&numbers.iter().map(|&number| number.into()).collect::<Vec<_>>());
            let text = serde_json::to_string(&sum).unwrap();
            assert_eq!(serde_json::from_str::<Sum>(&text).unwrap(), sum);
        }
        let wide = sum_of(&[1e300, 1.0, 1e-300].map(Number::from)).more.unwrap().wide;
        assert!(serde_json::to_string(&wide).unwrap().len() < 800, "{wide:?}");
    }
}

//! Text of JSON eight bytes at a time: where a string's plain text ends, how many digits there are, and what integer they say.

/// How many bytes of a string's text come before a quote, a backslash or a control character.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some((word, _)) = text[at..].split_first_chunk::<8>() {
        let marks = special_bytes(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + text[at..].iter().position(is_special).unwrap_or(text.len() - at)
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Marks, with the high bit of its byte, the lowest byte that is a quote, a backslash or a control character; bytes
/// above it may be marked wrongly. (Bit Twiddling Hacks, "Determine if a word has a byte less than n".)
#[inline]
fn special_bytes(word: u64) -> u64 {
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
    below(word, 0x20) | below(word ^ (ONES * u64::from(b'"')), 1) | below(word ^ (ONES * u64::from(b'\\')), 1)
}

/// How many digits the text starts with.
#[inline]
pub(super) fn digit_count(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some((word, _)) = text[at..].split_first_chunk::<8>() {
        // A digit becomes 0 to 9, and only what is above that reaches the high bit by adding 0x76.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'0'));
        let marks = (((word & !HIGH) + ONES * 0x76) | word) & HIGH;
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + text[at..]
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len() - at)
}

/// The integer that the text of a number says; `None` for a fraction, an exponent, or more than 64 bits.
#[inline]
pub(super) fn integer(number: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match number {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.len() > 18 {
        return str::from_utf8(number).ok()?.parse().ok();
    }
    if digit_count(digits) < digits.len() {
        return None;
    }
    let mut sum = 0;
    let mut rest = digits;
    while let Some((eight, after)) = rest.split_first_chunk() {
        sum = sum * 100_000_000 + eight_digits(*eight);
        rest = after;
    }
    for digit in rest {
        sum = sum * 10 + i64::from(digit - b'0');
    }
    Some(if is_negative { -sum } else { sum })
}

/// The number that eight digits say: neighbours are joined into pairs, pairs into fours, fours into eight. (Mula, "SIMD
/// parsing of decimal numbers"; Lemire, "Quickly parsing eight digits".)
#[inline]
#[allow(clippy::cast_possible_wrap, reason = "eight digits are below 2^63")]
fn eight_digits(digits: [u8; 8]) -> i64 {
    let word = u64::from_le_bytes(digits) - ONES * u64::from(b'0');
    let pairs = (word * 10 + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    ((fours * 10_000 + (fours >> 32)) & 0xffff_ffff) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_integer_is_what_the_standard_library_parses(number: i64, digits: u8) {
            let shortened = number / 10_i64.pow(u32::from(digits % 19));
            for number in [number, shortened] {
                prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
                prop_assert_eq!(integer(format!("{number}.").as_bytes()), None);
            }
        }

        #[test]
        fn digits_are_counted_up_to_the_first_other_byte(
            text in prop::collection::vec(prop_oneof![0x2f_u8..0x3b, any::<u8>()], 0..40),
        ) {
            let naive = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
            prop_assert_eq!(digit_count(&text), naive);
        }

        #[test]
        fn plain_length_is_where_the_first_special_byte_is(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let naive = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(text.len());
            prop_assert_eq!(plain_length(&text), naive);
        }
    }
}

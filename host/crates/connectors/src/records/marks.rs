//! Sixteen bytes of a CSV at a time: which of them end a cell or a record, or may open a quote.
//!
//! On x86-64 one instruction of SSE2, which every such processor has, compares all of them. Elsewhere the comparisons are written out.

/// How many bytes are compared at once.
pub(super) const WIDTH: usize = 16;

/// One bit for each byte of a word, the lowest for the first.
pub(super) type Marks = u32;

pub(super) type Word = [u8; WIDTH];

/// Marks commas, line feeds, carriage returns and quotes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code, reason = "what every processor of this kind has is named all the same")]
pub(super) fn separators(word: &Word) -> Marks {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { sse2::separators(word) }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};

    use super::{Marks, Word};

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn separators(word: &Word) -> Marks {
        let half = |half: Option<&[u8; 8]>| i64::from_le_bytes(*half.expect("a word has two halves"));
        let bytes = _mm_set_epi64x(half(word.last_chunk()), half(word.first_chunk()));
        let commas = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b','.cast_signed()));
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
        let feeds = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\n'.cast_signed()));
        let returns = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\r'.cast_signed()));
        let all = _mm_or_si128(_mm_or_si128(commas, quotes), _mm_or_si128(feeds, returns));
        _mm_movemask_epi8(all).cast_unsigned()
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn separators(word: &Word) -> Marks {
    written_out(word)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn written_out(word: &Word) -> Marks {
    let is_marked = |byte| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    (0..)
        .zip(word)
        .map(|(at, &byte)| Marks::from(is_marked(byte)) << at)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_marked_or_not_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..WIDTH {
                let mut word = [b'x'; WIDTH];
                word[at] = byte;
                assert_eq!(separators(&word), written_out(&word), "{byte} at {at}");
            }
        }
    }
}

//! Sixteen bytes of a document at a time: which of them end what is being read.
//!
//! In a component one vector instruction compares all of them. Every host of components has those, so the functions
//! that use them say so themselves: an operator needs no flags to be built with. So it is in the host on x86-64, of which every
//! processor has them. Elsewhere the comparisons are written out.

/// How many bytes are compared at once.
pub(super) const WIDTH: usize = 16;

/// One bit for each byte of a word, the lowest for the first.
pub(super) type Marks = u32;

pub(super) type Word = [u8; WIDTH];

/// Marks what does not simply continue a string: quotes, backslashes, control characters, and what is not ASCII.
#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
#[inline]
pub(super) fn not_plain(word: &Word) -> Marks {
    use std::arch::wasm32::{i8x16_bitmask, i8x16_eq, i8x16_lt, i8x16_splat, v128_or};

    let bytes = vector(word);
    let quotes = i8x16_eq(bytes, i8x16_splat(b'"'.cast_signed()));
    let backslashes = i8x16_eq(bytes, i8x16_splat(b'\\'.cast_signed()));
    // As signed numbers the bytes beyond ASCII are negative, below the control characters.
    let others = i8x16_lt(bytes, i8x16_splat(0x20));
    Marks::from(i8x16_bitmask(v128_or(v128_or(quotes, backslashes), others)))
}

/// Marks what is no digit.
#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
#[inline]
pub(super) fn no_digits(word: &Word) -> Marks {
    use std::arch::wasm32::{i8x16_bitmask, i8x16_sub, u8x16_gt, u8x16_splat};

    let offsets = i8x16_sub(vector(word), u8x16_splat(b'0'));
    Marks::from(i8x16_bitmask(u8x16_gt(offsets, u8x16_splat(9))))
}

#[cfg(target_arch = "wasm32")]
#[target_feature(enable = "simd128")]
#[inline]
#[allow(
    unsafe_code,
    reason = "put together from integers it would not be one load, once per string"
)]
fn vector(word: &Word) -> std::arch::wasm32::v128 {
    // SAFETY: the reference is to sixteen bytes that may be read, and the load asks for no alignment.
    unsafe { std::arch::wasm32::v128_load(std::ptr::from_ref(word).cast()) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code, reason = "what every processor of this kind has is named all the same")]
pub(super) fn not_plain(word: &Word) -> Marks {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { sse2::not_plain(word) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[allow(unsafe_code, reason = "what every processor of this kind has is named all the same")]
pub(super) fn no_digits(word: &Word) -> Marks {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { sse2::no_digits(word) }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8, _mm_sub_epi8,
    };

    use super::{Marks, Word};

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn not_plain(word: &Word) -> Marks {
        let bytes = vector(word);
        let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"'.cast_signed()));
        let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\'.cast_signed()));
        // As signed numbers the bytes beyond ASCII are negative, below the control characters.
        let others = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), others)).cast_unsigned()
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn no_digits(word: &Word) -> Marks {
        // Moved so that the digits are the ten least of the signed numbers.
        let offsets = _mm_sub_epi8(vector(word), _mm_set1_epi8((b'0' + 0x80).cast_signed()));
        _mm_movemask_epi8(_mm_cmpgt_epi8(offsets, _mm_set1_epi8(i8::MIN + 9))).cast_unsigned()
    }

    #[target_feature(enable = "sse2")]
    #[inline]
    fn vector(word: &Word) -> __m128i {
        let half = |half: Option<&[u8; 8]>| i64::from_le_bytes(*half.expect("a word has two halves"));
        _mm_set_epi64x(half(word.last_chunk()), half(word.first_chunk()))
    }
}

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
pub(super) fn not_plain(word: &Word) -> Marks {
    marks(word, |byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..))
}

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
pub(super) fn no_digits(word: &Word) -> Marks {
    marks(word, |byte| !byte.is_ascii_digit())
}

#[cfg(not(any(target_arch = "wasm32", target_arch = "x86_64")))]
fn marks(word: &Word, is_marked: impl Fn(u8) -> bool) -> Marks {
    (0..)
        .zip(word)
        .map(|(i, &byte)| Marks::from(is_marked(byte)) << i)
        .sum()
}

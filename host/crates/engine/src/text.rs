//! `string` of a guest, of which the host wants the start only.
//!
//! With `list`, the only file that uses wasmtime's `__internal`: its own `String` is copied, checked and, from UTF-16, transcoded at
//! once, however long it is. Where a guest says 2 MiB of UTF-16 that takes milliseconds, and no other guest can run on that worker meanwhile. So a text is
//! cut before it is read.

use std::cell::Cell;

use wasmtime::component::__internal::wasmtime_environ::component::StringEncoding;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmStr};
use wasmtime::{Result, ValRaw};

/// How much of a text is read: a person reads no more of a log line or a reason.
pub(crate) const BYTES_MAX: usize = 4096;
/// How much of all the texts of one list is read, where a byte of a text that is transcoded counts four times: 0.2 ms.
const ALL_BYTES_MAX: usize = 1 << 20;
/// In the encoding that is Latin-1 or UTF-16, the bit of the length that says which.
const UTF16_TAG: u32 = 1 << 31;
/// What stands for the rest of a text.
const CUT: &str = " …";

/// A text, up to [`BYTES_MAX`] bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    text: String,
    /// What it took to read it, in bytes that are copied in the same time.
    cost: usize,
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What it took to read it, in bytes that are copied in the same time.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    fn lift(context: &mut LiftContext<'_>, start: u32, length: u32) -> Result<Self> {
        let (kind, units) = match context.options().string_encoding {
            StringEncoding::Utf8 => (Units::Utf8, length),
            StringEncoding::Utf16 => (Units::Utf16, length),
            StringEncoding::CompactUtf16 if length & UTF16_TAG == 0 => (Units::Latin1, length),
            StringEncoding::CompactUtf16 => (Units::Utf16, length ^ UTF16_TAG),
        };
        let (start, bytes) = (start as usize, units as usize * kind.bytes());
        wasmtime::ensure!(start.is_multiple_of(kind.alignment()), "string pointer not aligned");
        let memory = context.memory();
        let all = start.checked_add(bytes).and_then(|end| memory.get(start..end));
        let all = all.ok_or_else(|| wasmtime::Error::msg("string pointer/length out of bounds of memory"))?;
        // As much as a call may hand over is a bound on what it refers to, too.
        context.consume_fuel(bytes)?;
        let is_cut = all.len() > BYTES_MAX;
        let read = &all[..all.len().min(BYTES_MAX)];
        let cost = read.len() * kind.cost();
        count(cost)?;
        let mut text = kind.decode(read, is_cut)?;
        text.truncate(text.floor_char_boundary(BYTES_MAX));
        if is_cut {
            text.push_str(CUT);
        }
        Ok(Self { text, cost })
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.text
    }
}

thread_local! {
    /// What the texts of the list took so far that is being read on this thread, if one is.
    static OF_LIST: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Has `lift` read a list, whose texts are not to take too long together.
pub(crate) fn in_list<T>(lift: impl FnOnce() -> T) -> T {
    OF_LIST.set(Some(0));
    let lifted = lift();
    OF_LIST.set(None);
    lifted
}

/// Counts a text that is about to be read.
fn count(cost: usize) -> Result<()> {
    let Some(before) = OF_LIST.get() else {
        return Ok(());
    };
    OF_LIST.set(Some(before + cost));
    wasmtime::ensure!(
        before + cost <= ALL_BYTES_MAX,
        "the messages of its failures are too long together: the host reads {ALL_BYTES_MAX} bytes of UTF-8, or a quarter of that in \
         another encoding"
    );
    Ok(())
}

/// How a text is encoded.
#[derive(Clone, Copy)]
enum Units {
    Utf8,
    Latin1,
    Utf16,
}

impl Units {
    fn bytes(self) -> usize {
        match self {
            Self::Utf8 | Self::Latin1 => 1,
            Self::Utf16 => 2,
        }
    }

    fn alignment(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Latin1 | Self::Utf16 => 2,
        }
    }

    fn cost(self) -> usize {
        match self {
            Self::Utf8 => 1,
            Self::Latin1 | Self::Utf16 => 4,
        }
    }

    /// The text of these bytes, whose last character may be incomplete if it is cut there.
    fn decode(self, bytes: &[u8], is_cut: bool) -> Result<String> {
        match self {
            Self::Utf8 => match str::from_utf8(bytes) {
                Ok(text) => Ok(text.to_owned()),
                Err(error) if is_cut && error.error_len().is_none() => {
                    Ok(String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned())
                }
                Err(error) => Err(error.into()),
            },
            Self::Latin1 => Ok(bytes.iter().map(|&byte| char::from(byte)).collect()),
            Self::Utf16 => {
                let (pairs, _) = bytes.as_chunks::<2>();
                let mut units = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect::<Vec<_>>();
                let is_half = |unit: &u16| (0xd800..0xdc00).contains(unit);
                if is_cut && units.last().is_some_and(is_half) {
                    units.pop();
                }
                Ok(String::from_utf16(&units)?)
            }
        }
    }
}

#[allow(unsafe_code, reason = "wasmtime has no safe trait for what lifts itself")]
// SAFETY: it has the type, the layout and the size of the string that it stands for.
unsafe impl ComponentType for Text {
    type Lower = <WasmStr as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = WasmStr::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        WasmStr::typecheck(ty, types)
    }
}

#[allow(unsafe_code, reason = "wasmtime has no safe trait for what lifts itself")]
// SAFETY: what it reads is checked to lie within the guest's memory.
unsafe impl Lift for Text {
    fn linear_lift_from_flat(context: &mut LiftContext<'_>, _: InterfaceType, flat: &Self::Lower) -> Result<Self> {
        let [start, length]: &[ValRaw; 2] = flat;
        Self::lift(context, start.get_u32(), length.get_u32())
    }

    fn linear_lift_from_memory(context: &mut LiftContext<'_>, _: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let (words, _) = bytes.as_chunks::<4>();
        let [start, length] = [0, 1].map(|word| u32::from_le_bytes(words[word]));
        Self::lift(context, start, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(units: Units, bytes: &[u8]) -> String {
        units.decode(bytes, true).unwrap()
    }

    #[test]
    fn a_character_that_is_cut_apart_is_left_out() {
        assert_eq!(cut(Units::Utf8, &"aß€".as_bytes()[..5]), "aß");
        let utf16: Vec<u8> = "a😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(cut(Units::Utf16, &utf16), "a😀");
        assert_eq!(cut(Units::Utf16, &utf16[..4]), "a");
        assert_eq!(cut(Units::Latin1, b"\xe9t\xe9"), "été");
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(Units::Utf8.decode(b"a\xff", true).is_err());
        assert!(
            Units::Utf8.decode(b"a\xe2\x82", false).is_err(),
            "it is whole, and ends so"
        );
        assert!(Units::Utf16.decode(&[0, 0xd8], false).is_err());
    }

    #[test]
    fn the_texts_of_a_list_are_bounded_together_and_others_are_not() {
        let many = || (0..=256).map(|_| count(BYTES_MAX)).collect::<Result<Vec<()>>>();
        assert!(in_list(many).is_err());
        assert!(in_list(|| count(ALL_BYTES_MAX)).is_ok());
        assert!(many().is_ok());
    }
}

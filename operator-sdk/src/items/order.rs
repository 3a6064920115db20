//! Keys of maps as bytes that are in the order of the keys.

use serde::de::DeserializeOwned;

/// What can look for a key of a map: its bytes are in the order of its values, and none begins with another's.
pub trait OrderedBytes {
    /// Appends the bytes.
    fn write(&self, bytes: &mut Vec<u8>);
}

/// What a key of a [`MapState`](crate::MapState) can be: integers, `bool`, `String`, `Vec<u8>`, and tuples of these. Entries are in the
/// order of their keys.
pub trait MapKey: OrderedBytes + DeserializeOwned {
    /// Takes a key from the front of `bytes`; `None` where none is there.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

macro_rules! integers {
    ($($unsigned:ident $signed:ident),*) => {$(
        impl OrderedBytes for $unsigned {
            fn write(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_be_bytes());
            }
        }

        impl MapKey for $unsigned {
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                take(bytes).map(Self::from_be_bytes)
            }
        }

        impl OrderedBytes for $signed {
            fn write(&self, bytes: &mut Vec<u8>) {
                // Negative ones come first.
                (self.cast_unsigned() ^ (1 << ($unsigned::BITS - 1))).write(bytes);
            }
        }

        impl MapKey for $signed {
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let shifted = $unsigned::read(bytes)?;
                Some((shifted ^ (1 << ($unsigned::BITS - 1))).cast_signed())
            }
        }
    )*};
}

integers!(u8 i8, u16 i16, u32 i32, u64 i64, u128 i128);

impl OrderedBytes for bool {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl MapKey for bool {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        match u8::read(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Bytes end with a 0 and a 1; a 0 among them has a 255 behind it.
const ZERO: u8 = 0;
const IS_END: u8 = 1;
const IS_BYTE: u8 = 255;

impl OrderedBytes for [u8] {
    fn write(&self, bytes: &mut Vec<u8>) {
        for &byte in self {
            bytes.push(byte);
            if byte == ZERO {
                bytes.push(IS_BYTE);
            }
        }
        bytes.extend([ZERO, IS_END]);
    }
}

impl OrderedBytes for Vec<u8> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.as_slice().write(bytes);
    }
}

impl MapKey for Vec<u8> {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut read = Vec::new();
        loop {
            let [byte] = take(bytes)?;
            if byte == ZERO {
                match take(bytes)? {
                    [IS_BYTE] => {}
                    [IS_END] => return Some(read),
                    _ => return None,
                }
            }
            read.push(byte);
        }
    }
}

impl OrderedBytes for str {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.as_bytes().write(bytes);
    }
}

impl OrderedBytes for String {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.as_bytes().write(bytes);
    }
}

impl MapKey for String {
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        String::from_utf8(Vec::read(bytes)?).ok()
    }
}

macro_rules! tuples {
    ($($($part:ident $place:tt),+;)*) => {$(
        impl<$($part: OrderedBytes),+> OrderedBytes for ($($part,)+) {
            fn write(&self, bytes: &mut Vec<u8>) {
                $(self.$place.write(bytes);)+
            }
        }

        impl<$($part: MapKey),+> MapKey for ($($part,)+) {
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($part::read(bytes)?,)+))
            }
        }
    )*};
}

tuples! {
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn are_in_order<K: MapKey + Ord + Debug + Clone>(mut keys: Vec<K>) {
        keys.sort();
        let encoded = keys.iter().map(|key| {
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            bytes
        });
        let encoded: Vec<Vec<u8>> = encoded.collect();
        assert!(encoded.is_sorted(), "{keys:?}");
        for (key, bytes) in keys.iter().zip(&encoded) {
            let mut rest = &[bytes.as_slice(), b"more"].concat()[..];
            assert_eq!((K::read(&mut rest).as_ref(), rest), (Some(key), &b"more"[..]));
            let mut cut = &bytes[..bytes.len() - 1];
            assert_eq!(K::read(&mut cut), None, "{key:?}");
        }
    }

    #[test]
    fn bytes_are_in_the_order_of_keys_and_give_them_back() {
        are_in_order(vec![0_u8, 1, 127, 128, 255]);
        are_in_order(vec![i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX]);
        are_in_order(vec![false, true]);
        let texts = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "ab", "b", "ß"];
        are_in_order(texts.map(str::to_owned).to_vec());
        are_in_order(vec![vec![], vec![0], vec![0, 255], vec![0, 0], vec![255], vec![255, 0]]);
        let pairs = texts
            .iter()
            .flat_map(|text| [(text.to_string(), -1_i32), (text.to_string(), 1)]);
        are_in_order(pairs.collect());
        let before_bytes = texts
            .iter()
            .flat_map(|text| [0, 1, 255_u8].map(|byte| (text.to_string(), byte)));
        are_in_order(before_bytes.collect());
        let triples = texts.iter().map(|text| (true, text.to_string(), 3_u16));
        are_in_order(triples.collect());
    }
}

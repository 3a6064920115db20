//! Keys of maps, in an encoding whose bytes are in the order of the keys (`wit/state.wit`).

use serde_json::Value;

use super::{Type, hexadecimal, signed, whole};

/// The key in `bytes`, if these are laid out so.
pub(super) fn decode(laid_out: &Type, bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let key = read(laid_out, &mut rest)?;
    rest.is_empty().then_some(key)
}

fn read(laid_out: &Type, rest: &mut &[u8]) -> Option<Value> {
    Some(match laid_out {
        Type::Bool => match number(8, rest)? {
            0 => false.into(),
            1 => true.into(),
            _ => return None,
        },
        Type::Unsigned { bits } => whole(number(*bits, rest)?),
        Type::Signed { bits } => {
            let shifted = number(*bits, rest)? ^ (1 << (bits - 1));
            let unused = u128::BITS - bits;
            signed((shifted << unused).cast_signed() >> unused)
        }
        Type::Text => String::from_utf8(bytes(rest)?).ok()?.into(),
        Type::Bytes => hexadecimal(&bytes(rest)?).into(),
        Type::List(item) if **item == (Type::Unsigned { bits: 8 }) => hexadecimal(&bytes(rest)?).into(),
        Type::Tuple(parts) => parts.iter().map(|part| read(part, rest)).collect::<Option<_>>()?,
        Type::Array(part, length) => (0..*length).map(|_| read(part, rest)).collect::<Option<_>>()?,
        _ => return None,
    })
}

/// An unsigned integer of `bits` bits, in big-endian order.
fn number(bits: u32, rest: &mut &[u8]) -> Option<u128> {
    let (number, behind) = rest.split_at_checked(usize::try_from(bits / 8).ok()?)?;
    *rest = behind;
    Some(number.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// Bytes up to 0 1; 0 255 among them is a 0.
fn bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    loop {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        if *byte == 0 {
            let (next, behind) = rest.split_first()?;
            *rest = behind;
            match next {
                1 => return Some(read),
                255 => {}
                _ => return None,
            }
        }
        read.push(*byte);
    }
}

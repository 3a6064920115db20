//! Digests, as they name components and files.

use sha2::{Digest as _, Sha256};

pub(crate) const BYTES: usize = 32;

pub(crate) fn sha256(bytes: &[u8]) -> [u8; BYTES] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(digest: &[u8; BYTES]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::with_capacity(2 * BYTES), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written");
        text
    })
}

//! The components that the binary carries.
//!
//! `build.rs` compiles them from `operators/`, so an edit there is in the next build.

/// The built-in operators, by name.
pub const ALL: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The component of the built-in operator `name`.
#[must_use]
pub fn get(name: &str) -> Option<&'static [u8]> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, wasm)| *wasm)
}

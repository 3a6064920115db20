//! What rotations of logs make of the names of files: `app.log` becomes `app.log.1`, `app.log.1.gz` or `app.log-20240301`.
//!
//! Owns what a name says. Knows nothing of what files hold.

use std::cmp::Reverse;

/// From so many digits on a number is a date: 20240301, or seconds since 1970.
const DATE_DIGITS: usize = 6;

/// The number that a rotation has given a file, and the name in front of it.
pub(super) fn number_of(name: &str) -> Option<(&str, u64)> {
    let (base, number) = uncompressed_name(name).unwrap_or(name).rsplit_once('.')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((base, number.parse().ok()?))
}

/// By how much the numbers of files have moved on where the file `before` bears this `name` now: 0 where that is its name with a
/// date.
pub(super) fn rotation_of(before: &str, name: &str) -> Option<u64> {
    if let Some((base, number)) = number_of(name) {
        return match number_of(before) {
            _ if base == before => Some(number),
            Some((before, from)) if before == base => number.checked_sub(from).filter(|&by| by > 0),
            _ => None,
        };
    }
    let date = uncompressed_name(name)
        .unwrap_or(name)
        .strip_prefix(before)?
        .strip_prefix('-')?;
    (!date.is_empty() && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')).then_some(0)
}

/// The name that a file had before it was compressed, if it is named as one that was.
pub(super) fn uncompressed_name(name: &str) -> Option<&str> {
    let (inner, extension) = name.rsplit_once('.')?;
    let is_compressed = ["gz", "zst"].iter().any(|known| extension.eq_ignore_ascii_case(known));
    is_compressed.then_some(inner)
}

/// What says how old a file is that a rotation has put aside. The oldest is the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aside {
    /// When it was put aside, as its name has it, the year first.
    Dated(String),
    /// How many were put aside since.
    Numbered(Reverse<u64>),
}

impl Aside {
    /// What `name` says, if it is that of a file which was `base`: the number or date stands behind that, or in front of its extension.
    /// Compressed or not.
    pub(super) fn of(base: &str, name: &str) -> Option<Self> {
        let name = uncompressed_name(name).unwrap_or(name);
        let behind = name.strip_prefix(base);
        let between = || {
            let (stem, extension) = base.rsplit_once('.')?;
            name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
        };
        let rest = behind.or_else(between)?;
        let stamp = rest.strip_prefix(['.', '-'])?;
        let digits = stamp.bytes().filter(u8::is_ascii_digit).count();
        let is_stamp = stamp
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"-_T:".contains(&byte));
        if !is_stamp || digits == 0 {
            return None;
        }
        if digits == stamp.len() && digits < DATE_DIGITS {
            return Some(Self::Numbered(Reverse(stamp.parse().ok()?)));
        }
        Some(Self::Dated(stamp.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_put_aside_are_in_the_order_of_their_age() {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for [oldest_first, others] in [
            [
                named(&["app.log.10", "app.log.2.gz", "app.log.1"]),
                named(&["app.log", "app.log.bak", "app.log.1.old"]),
            ],
            [
                named(&["app.log-20231231", "app.log-20240101-1.zst", "app.log.20240102"]),
                named(&["app.log-", "app.log.", "apps.log.1"]),
            ],
            [
                named(&["app-2024-01-01.log", "app.2024-01-02_00.log.gz"]),
                named(&["app-x.log", "app.log2"]),
            ],
            [named(&["app.3.log", "app-2.log"]), named(&["app2.log", "app..log"])],
        ] {
            let mut found = [&oldest_first[..], &others[..]].concat();
            found.reverse();
            found.retain(|name| Aside::of("app.log", name).is_some());
            found.sort_by_key(|name| Aside::of("app.log", name));
            assert_eq!(found, oldest_first);
        }
        assert_eq!(Aside::of("app", "app.1"), Some(Aside::Numbered(Reverse(1))));
    }
}

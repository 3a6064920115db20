//! What rotations of logs make of the names of files: `app.log` becomes `app.log.1`, `app.log.1.gz` or `app.log-20240301`.
//!
//! Owns what a name says. Knows nothing of what files hold.

use std::cmp::Reverse;

/// A date in a name has at least this many digits; a shorter number counts rotations.
const DATE_DIGITS: usize = 6;
/// Digits of a time in seconds since 1970, from 2001 to 2286.
const SECONDS_DIGITS: usize = 10;
/// Years with which dates begin.
const YEARS: std::ops::Range<u32> = 1970..2200;

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

/// The age of a rotated file, by its name. The oldest is the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rotated {
    /// The time of its rotation: the numbers in its name, which begin with a year or are seconds since 1970.
    Dated(Vec<u64>),
    /// The number of later rotations.
    Numbered(Reverse<u64>),
}

impl Rotated {
    /// The age of the file `name`, if it was rotated from `base`: the number or date comes after `base`, or before its extension. The file may be
    /// compressed.
    pub(super) fn of(base: &str, name: &str) -> Option<Self> {
        let name = uncompressed_name(name).unwrap_or(name);
        let behind = name.strip_prefix(base);
        let between = || {
            let (stem, extension) = base.rsplit_once('.')?;
            name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
        };
        let rest = behind.or_else(between)?;
        if let Some(number) = rest.strip_prefix('.').filter(|number| number.len() < DATE_DIGITS)
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Some(Self::Numbered(Reverse(number.parse().ok()?)));
        }
        let date = rest.strip_prefix(['.', '-', '_'])?;
        let numbers = date.split(['.', '-', '_', 'T', ':']).map(|number| {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse().ok().filter(|_| is_number)
        });
        let numbers = numbers.collect::<Option<Vec<u64>>>()?;
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        let year: u32 = date.get(..4)?.parse().ok()?;
        let is_date =
            digits >= DATE_DIGITS && (YEARS.contains(&year) || (numbers.len() == 1 && digits == SECONDS_DIGITS));
        is_date.then_some(Self::Dated(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_in_the_order_of_their_age() {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for [oldest_first, others] in [
            [
                named(&["app.log.10", "app.log.2.gz", "app.log.1"]),
                named(&["app.log", "app.log.bak", "app.log.1.old", "app.log-1", "app-1.log"]),
            ],
            [
                named(&["app.log-20231231", "app.log-20240101-1.zst", "app.log.20240102"]),
                named(&["app.log-", "app.log.", "apps.log.1", "app.log-01032024", "app.log-2024"]),
            ],
            [
                named(&[
                    "app-2024-01-01-2.log",
                    "app-2024-01-01-10.log",
                    "app.2024-01-02_00.log.gz",
                    "app.2024-01-02.1.log",
                    "app.2024-01-02T12:00:00.log",
                    "app.log_2024-01-03",
                ]),
                named(&["app-x.log", "app.log2", "app-2024-01-0x.log"]),
            ],
            [
                named(&["app.log.1699999999", "app.log.1700000000"]),
                named(&["app.log.17000000001"]),
            ],
            [
                named(&["app.3.log", "app.2.log"]),
                named(&["app2.log", "app..log", "app.log.1.1"]),
            ],
        ] {
            let mut found = [&oldest_first[..], &others[..]].concat();
            found.reverse();
            found.retain(|name| Rotated::of("app.log", name).is_some());
            found.sort_by_key(|name| Rotated::of("app.log", name));
            assert_eq!(found, oldest_first);
        }
        assert_eq!(Rotated::of("app", "app.1"), Some(Rotated::Numbered(Reverse(1))));
    }
}

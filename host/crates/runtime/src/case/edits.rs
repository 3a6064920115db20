//! Two lists side by side: what stays, what is missing and what is too much, so that as much as possible stays.

use std::collections::HashMap;

use serde_json::Value;

use super::compare::canonical;

/// Pairs of values up to which the longest common part is looked for: a table of 4 bytes for each. Beyond it, all of what
/// differs is shown as exchanged.
const PAIRS_MAX: usize = 1 << 20;

/// A line of the comparison. Places in the lists are from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The same value is in both lists: there it is in the list of what is expected.
    Same(usize),
    /// A value that is expected is missing.
    Missing(usize),
    /// A value is there that is not expected.
    Extra(usize),
}

/// What makes `actual` of `expected`, in order. Values are compared as JSON.
#[must_use]
pub fn edits(expected: &[Value], actual: &[Value]) -> Vec<Edit> {
    let mut numbers = HashMap::new();
    let mut number = |value: &Value| {
        let next = numbers.len();
        *numbers.entry(canonical(value)).or_insert(next)
    };
    let expected: Vec<usize> = expected.iter().map(&mut number).collect();
    let actual: Vec<usize> = actual.iter().map(&mut number).collect();

    let is_same = |(left, right): &(&usize, &usize)| left == right;
    let before = expected.iter().zip(&actual).take_while(is_same).count();
    let (expected_rest, actual_rest) = (&expected[before..], &actual[before..]);
    let behind = expected_rest.iter().rev().zip(actual_rest.iter().rev());
    let behind = behind.take_while(is_same).count();
    let expected_part = &expected_rest[..expected_rest.len() - behind];
    let actual_part = &actual_rest[..actual_rest.len() - behind];

    let mut edits: Vec<Edit> = (0..before).map(Edit::Same).collect();
    push_part(expected_part, actual_part, before, &mut edits);
    edits.extend((expected.len() - behind..expected.len()).map(Edit::Same));
    edits
}

/// The edits between parts that both start at `before`.
fn push_part(expected: &[usize], actual: &[usize], before: usize, edits: &mut Vec<Edit>) {
    let lengths = common_lengths(expected, actual);
    let (mut left, mut right) = (0, 0);
    while left < expected.len() || right < actual.len() {
        let is_same = lengths.is_some() && expected.get(left) == actual.get(right);
        // What is missing stands in front of what came instead.
        let drops_expected = left < expected.len()
            && (right == actual.len()
                || lengths
                    .as_ref()
                    .is_none_or(|lengths| lengths.at(left + 1, right) >= lengths.at(left, right + 1)));
        if is_same {
            edits.push(Edit::Same(before + left));
            (left, right) = (left + 1, right + 1);
        } else if drops_expected {
            edits.push(Edit::Missing(before + left));
            left += 1;
        } else {
            edits.push(Edit::Extra(before + right));
            right += 1;
        }
    }
}

/// How long the longest common parts are of what is left of two lists, from each pair of places on.
struct CommonLengths {
    lengths: Vec<u32>,
    width: usize,
}

impl CommonLengths {
    fn at(&self, left: usize, right: usize) -> u32 {
        self.lengths[left * self.width + right]
    }
}

/// `None` where the lists are too long for a table.
fn common_lengths(expected: &[usize], actual: &[usize]) -> Option<CommonLengths> {
    let width = actual.len() + 1;
    let pairs = (expected.len() + 1).checked_mul(width)?;
    if pairs > PAIRS_MAX {
        return None;
    }
    let mut table = CommonLengths {
        lengths: vec![0; pairs],
        width,
    };
    for left in (0..expected.len()).rev() {
        for right in (0..actual.len()).rev() {
            table.lengths[left * width + right] = if expected[left] == actual[right] {
                table.at(left + 1, right + 1) + 1
            } else {
                table.at(left + 1, right).max(table.at(left, right + 1))
            };
        }
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The edits as text: ` a`, `-a` or `+a`.
    fn shown(expected: &str, actual: &str) -> String {
        let values =
            |text: &str| -> Vec<Value> { text.chars().map(|character| json!(character.to_string())).collect() };
        let (left, right): (Vec<char>, Vec<char>) = (expected.chars().collect(), actual.chars().collect());
        let line = |edit: Edit| match edit {
            Edit::Same(place) => format!(" {}", left[place]),
            Edit::Missing(place) => format!("-{}", left[place]),
            Edit::Extra(place) => format!("+{}", right[place]),
        };
        edits(&values(expected), &values(actual))
            .into_iter()
            .map(line)
            .collect()
    }

    #[test]
    fn as_much_as_possible_stays() {
        assert_eq!(shown("abc", "abc"), " a b c");
        assert_eq!(shown("abc", "axc"), " a-b+x c");
        assert_eq!(shown("abcd", "bcde"), "-a b c d+e");
        assert_eq!(shown("abxcy", "zbcyb"), "-a+z b-x c y+b");
        assert_eq!(shown("", "ab"), "+a+b");
        assert_eq!(shown("ab", ""), "-a-b");
        assert_eq!(shown("aa", "a"), " a-a");
    }

    #[test]
    fn values_are_compared_as_json() {
        let edits = edits(&[json!({"a": 1, "b": 2})], &[json!({"b": 2.0, "a": 1.0})]);
        assert_eq!(edits, [Edit::Same(0)]);
    }

    #[test]
    fn lists_that_are_too_long_are_exchanged_where_they_differ() {
        let numbers = |first: u64| -> Vec<Value> { (first..first + 2_000).map(|number| json!(number)).collect() };
        let mut expected = numbers(0);
        let mut actual = numbers(1);
        expected.insert(0, json!("same"));
        actual.insert(0, json!("same"));
        let edits = edits(&expected, &actual);
        assert_eq!(edits[..2], [Edit::Same(0), Edit::Missing(1)]);
        assert_eq!((edits[2_000], edits[2_001]), (Edit::Missing(2_000), Edit::Extra(1)));
        assert_eq!(edits.len(), 4_001);
    }
}

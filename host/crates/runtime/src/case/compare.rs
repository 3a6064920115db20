//! Whether events are what was expected, and if not, where they differ.
//!
//! Values are compared as JSON: the order of members and the spelling of numbers mean nothing.

use std::collections::HashMap;
use std::fmt::Write as _;

use dirigo_pipeline::OutputOrder;
use serde::Serialize;
use serde_json::{Number, Value};

/// How what left differs from what should have.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Difference {
    /// In a list.
    Listed(FirstDifference),
    /// In any order.
    Unordered(UnorderedDifference),
}

/// Where two lists of values differ first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FirstDifference {
    /// The place in the lists, from 0.
    pub index: usize,
    /// Where in the value: a JSON pointer, empty for the value as a whole.
    pub pointer: String,
    /// What should be there; `None` for nothing.
    pub expected: Option<Value>,
    /// What is there; `None` for nothing.
    pub actual: Option<Value>,
}

/// What is in one of two lists alone, in whatever order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnorderedDifference {
    /// What should be there and is not.
    pub missing: Vec<Value>,
    /// What is there and should not be.
    pub extra: Vec<Value>,
}

impl Difference {
    /// How two lists differ, where the order of what left counts as `order` says.
    #[must_use]
    pub fn of(expected: &[Value], actual: &[Value], order: OutputOrder) -> Option<Self> {
        match order {
            OutputOrder::Listed => FirstDifference::of(expected, actual).map(Self::Listed),
            OutputOrder::Any => UnorderedDifference::of(expected, actual).map(Self::Unordered),
        }
    }
}

impl UnorderedDifference {
    fn of(expected: &[Value], actual: &[Value]) -> Option<Self> {
        let mut left: HashMap<String, usize> = HashMap::new();
        for value in actual {
            *left.entry(canonical(value)).or_default() += 1;
        }
        let mut take = |value: &&Value| match left.get_mut(&canonical(value)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        };
        let missing: Vec<Value> = expected.iter().filter(&mut take).cloned().collect();
        // What is left is the end of what there is of it.
        let is_extra = |value: &&Value| {
            let count = left.get_mut(&canonical(value)).expect("all that left was counted");
            let is_extra = *count > 0;
            *count -= usize::from(is_extra);
            is_extra
        };
        let mut extra: Vec<Value> = actual.iter().rev().filter(is_extra).cloned().collect();
        extra.reverse();
        (!missing.is_empty() || !extra.is_empty()).then_some(Self { missing, extra })
    }
}

impl FirstDifference {
    /// The first difference of two lists.
    fn of(expected: &[Value], actual: &[Value]) -> Option<Self> {
        let longest = expected.len().max(actual.len());
        (0..longest).find_map(|index| {
            let mut pointer = String::new();
            let (expected, actual) = descend(expected.get(index), actual.get(index), &mut pointer)?;
            Some(Self {
                index,
                pointer,
                expected: expected.cloned(),
                actual: actual.cloned(),
            })
        })
    }
}

/// A text that two values share if they are the same as JSON, and only then.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Number(number) => {
            let written = match integer(number) {
                Some(integer) => write!(text, "{integer}"),
                // Bits as `is_same_number` compares them; no integer begins with an `f`.
                None => write!(text, "f{:x?}", number.as_f64().map(f64::to_bits)),
            };
            written.expect("a string takes what is written");
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            text.push('{');
            for (key, value) in members {
                write_canonical(&Value::String(key.clone()), text);
                write_canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::String(_) | Value::Bool(_) | Value::Null => {
            write!(text, "{value}").expect("a string takes what is written");
        }
    }
}

type Pair<'a> = (Option<&'a Value>, Option<&'a Value>);

/// The innermost values that differ, with the way to them appended to `pointer`.
fn descend<'a>(expected: Option<&'a Value>, actual: Option<&'a Value>, pointer: &mut String) -> Option<Pair<'a>> {
    match (expected, actual) {
        (Some(Value::Number(left)), Some(Value::Number(right))) if is_same_number(left, right) => None,
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            let longest = left.len().max(right.len());
            (0..longest).find_map(|index| step(left.get(index), right.get(index), &index.to_string(), pointer))
        }
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let only_right = right.keys().filter(|key| !left.contains_key(*key));
            left.keys()
                .chain(only_right)
                .find_map(|key| step(left.get(key), right.get(key), key, pointer))
        }
        _ => (expected != actual).then_some((expected, actual)),
    }
}

fn step<'a>(
    expected: Option<&'a Value>,
    actual: Option<&'a Value>,
    token: &str,
    pointer: &mut String,
) -> Option<Pair<'a>> {
    let length = pointer.len();
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    let found = descend(expected, actual, pointer);
    if found.is_none() {
        pointer.truncate(length);
    }
    found
}

/// Whether two numbers are the same number: `1` is `1.0`, but `9007199254740993` is not `9007199254740992.0`.
fn is_same_number(left: &Number, right: &Number) -> bool {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left == right,
        (None, None) => left.as_f64().map(f64::to_bits) == right.as_f64().map(f64::to_bits),
        _ => false,
    }
}

/// The number, if it is an integer of a size that anybody writes out.
fn integer(number: &Number) -> Option<i128> {
    /// 2^100, far within an `i128`.
    const MAGNITUDE_MAX: f64 = 1_267_650_600_228_229_401_496_703_205_376.0;
    if let Some(integer) = number.as_i64() {
        return Some(integer.into());
    }
    if let Some(integer) = number.as_u64() {
        return Some(integer.into());
    }
    let float = number.as_f64()?;
    let is_integer = float.fract() == 0.0 && float.abs() <= MAGNITUDE_MAX;
    #[allow(clippy::cast_possible_truncation, reason = "it is an integer, and not too large")]
    is_integer.then_some(float as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first difference of two lists of one value. That in whatever order there is one, too, or none.
    #[track_caller]
    fn difference(expected: Value, actual: Value) -> Option<FirstDifference> {
        let (expected, actual) = ([expected], [actual]);
        let first = FirstDifference::of(&expected, &actual);
        assert_eq!(first.is_some(), UnorderedDifference::of(&expected, &actual).is_some());
        first
    }

    #[test]
    fn the_spelling_of_numbers_and_the_order_of_members_mean_nothing() {
        let actual = serde_json::from_str(r#"{"b":[1.0,-0.0,2e2],"a":1e0}"#).unwrap();
        assert_eq!(difference(json!({"a": 1, "b": [1, 0, 200]}), actual), None);
    }

    #[test]
    fn numbers_are_compared_exactly() {
        assert!(difference(json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992.0)).is_some());
        assert!(difference(json!(0.1), serde_json::from_str("0.10000000000000001").unwrap()).is_none());
        assert!(difference(json!(0.1), serde_json::from_str("0.10000000000000002").unwrap()).is_some());
        assert!(difference(json!(u64::MAX), json!(-1)).is_some());
    }

    #[test]
    fn the_first_difference_is_found_with_the_way_to_it() {
        let found = difference(
            json!({"a": 1, "b/c": [1, {"d": 2}]}),
            json!({"a": 1, "b/c": [1, {"d": 3}]}),
        )
        .unwrap();
        assert_eq!(found.pointer, "/b~1c/1/d");
        assert_eq!((found.expected, found.actual), (Some(json!(2)), Some(json!(3))));
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_differ() {
        let missing = difference(json!({"a": 1}), json!({})).unwrap();
        assert_eq!((missing.pointer.as_str(), missing.actual), ("/a", None));
        let extra = difference(json!([]), json!([null])).unwrap();
        assert_eq!((extra.pointer.as_str(), extra.expected), ("/0", None));
        let last = FirstDifference::of(&[json!(1)], &[json!(1), json!(2)]).unwrap();
        assert_eq!((last.index, last.expected, last.actual), (1, None, Some(json!(2))));
    }

    #[test]
    fn in_any_order_values_count_as_often_as_they_are_there() {
        let listed = |text: &str| -> Vec<Value> { serde_json::from_str(text).unwrap() };
        let unordered = |expected: &str, actual: &str| {
            let difference = Difference::of(&listed(expected), &listed(actual), OutputOrder::Any);
            difference.map(|difference| match difference {
                Difference::Unordered(UnorderedDifference { missing, extra }) => (missing, extra),
                Difference::Listed(listed) => panic!("{listed:?}"),
            })
        };
        assert_eq!(
            unordered(r#"[1, {"a": 1, "b": 2}]"#, r#"[{"b": 2.0, "a": 1}, 1.0]"#),
            None
        );
        assert_eq!(
            unordered("[1, 1, 2]", "[2, 1]"),
            Some((listed("[1]"), listed("[]"))),
            "one of two is missing"
        );
        assert_eq!(
            unordered("[1, 3]", r#"[1, "f", 1, 2]"#),
            Some((listed("[3]"), listed(r#"["f", 1, 2]"#))),
            "what is too much is in the order in which it came"
        );
        assert!(unordered(r#"["1"]"#, "[1]").is_some(), "a string is no number");
        assert!(unordered(r#"[{"a": "x,"}]"#, r#"[{"a": "x"}]"#).is_some());
        assert!(unordered("[[1], 2]", "[[1, 2]]").is_some());
    }
}

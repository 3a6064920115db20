//! What a case may say of a run besides what leaves: which dead letters come, how many events are late, what an event may burn.

use dirigo_flow::DeadLetter;
use dirigo_pipeline::{ExpectedDeadLetter, Test};
use serde::Serialize;
use serde_json::Value;

use super::compare::canonical;
use crate::OperatorSummary;

/// How the dead letters differ from those that should have come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetterDifference {
    /// Those that should have come and did not.
    pub missing: Vec<ExpectedDeadLetter>,
    /// Those that should not have come: their places among the dead letters, from 0.
    pub extra: Vec<usize>,
}

/// Other events were late than should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LateDifference {
    /// How many should have been.
    pub expected: u64,
    /// How many were, over all operators.
    pub actual: u64,
}

/// An operator burnt more than its case allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FuelExcess {
    /// The operator.
    pub operator: String,
    /// Fuel that it burnt.
    pub fuel: u64,
    /// The events that it got.
    pub events: u64,
    /// Fuel that it burnt per event, rounded up.
    pub fuel_per_event: u64,
    /// What the case allows.
    pub fuel_per_event_max: u64,
}

impl DeadLetterDifference {
    /// Pairs those that should come with those that came, so that as many as possible have a partner.
    pub(super) fn of(expected: &[ExpectedDeadLetter], actual: &[DeadLetter]) -> Option<Self> {
        let actual: Vec<Comparable<'_>> = actual.iter().map(Comparable::of).collect();
        let partners: Vec<Vec<usize>> = expected
            .iter()
            .map(|expected| {
                let value = expected.value.as_ref().map(canonical);
                let fits = |&place: &usize| actual[place].is(expected, value.as_deref());
                (0..actual.len()).filter(fits).collect()
            })
            .collect();
        let mut pairing = Pairing {
            partners,
            taken_by: vec![None; actual.len()],
        };
        let has_partner =
            |(number, _): &(usize, &ExpectedDeadLetter)| pairing.find(*number, &mut vec![false; actual.len()]);
        let (_, missing): (Vec<_>, Vec<_>) = expected.iter().enumerate().partition(has_partner);
        let missing: Vec<_> = missing.into_iter().map(|(_, expected)| expected.clone()).collect();
        let is_extra = |place: &usize| pairing.taken_by[*place].is_none();
        let extra: Vec<usize> = (0..actual.len()).filter(is_extra).collect();
        (!missing.is_empty() || !extra.is_empty()).then_some(Self { missing, extra })
    }
}

/// What is compared of a dead letter.
struct Comparable<'a> {
    operator: &'a str,
    reason: &'a str,
    /// As canonical JSON.
    value: String,
}

impl<'a> Comparable<'a> {
    fn of(dead_letter: &'a DeadLetter) -> Self {
        Self {
            operator: &dead_letter.operator,
            reason: &dead_letter.reason,
            value: canonical(&value_of(dead_letter)),
        }
    }

    fn is(&self, expected: &ExpectedDeadLetter, value: Option<&str>) -> bool {
        self.operator == expected.operator
            && expected
                .reason
                .as_ref()
                .is_none_or(|part| self.reason.contains(&**part))
            && value.is_none_or(|value| self.value == value)
    }
}

/// The value of the event of a dead letter; one that is not JSON stands as a string.
#[must_use]
pub fn value_of(dead_letter: &DeadLetter) -> Value {
    let bytes = dead_letter.event.value_bytes().unwrap_or_default();
    super::value(&bytes)
}

/// Who is whose partner, found by augmenting paths: one that has a partner gives it up where it finds another.
struct Pairing {
    /// Who fits whom.
    partners: Vec<Vec<usize>>,
    taken_by: Vec<Option<usize>>,
}

impl Pairing {
    /// Finds a partner for `number` among those that were not looked at. The recursion is as deep as the case expects dead letters.
    fn find(&mut self, number: usize, seen: &mut [bool]) -> bool {
        for next in 0..self.partners[number].len() {
            let place = self.partners[number][next];
            if std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let is_free = match self.taken_by[place] {
                None => true,
                Some(other) => self.find(other, seen),
            };
            if is_free {
                self.taken_by[place] = Some(number);
                return true;
            }
        }
        false
    }
}

/// What operators burnt beyond what a case allows.
pub(super) fn fuel_excesses(test: &Test, operators: &[OperatorSummary]) -> Vec<FuelExcess> {
    let Some(fuel_per_event_max) = test.fuel_per_event_max else {
        return Vec::new();
    };
    let excess = |operator: &OperatorSummary| {
        let (fuel, events) = (operator.counts.fuel, operator.counts.events_in);
        let is_exceeded = u128::from(fuel) > u128::from(fuel_per_event_max) * u128::from(events);
        is_exceeded.then(|| FuelExcess {
            operator: operator.id.clone(),
            fuel,
            events,
            fuel_per_event: fuel.div_ceil(events.max(1)),
            fuel_per_event_max,
        })
    };
    operators.iter().filter_map(excess).collect()
}

/// How many events were late, where a case says how many should have been and that differs.
pub(super) fn late_difference(test: &Test, operators: &[OperatorSummary]) -> Option<LateDifference> {
    let expected = test.late?;
    let actual = operators.iter().map(|operator| operator.counts.late).sum();
    (actual != expected).then_some(LateDifference { expected, actual })
}

#[cfg(test)]
mod tests {
    use dirigo_actor::Counts;
    use dirigo_flow::FailedEvent;
    use serde_json::json;

    use super::*;

    fn dead_letter(operator: &str, reason: &str, value: &str) -> DeadLetter {
        DeadLetter {
            id: 0,
            pipeline: "p".into(),
            operator: operator.into(),
            component: None,
            kind: "rejected".into(),
            reason: reason.into(),
            backtrace: None,
            event: FailedEvent::new("s", 1, None, b"", value.as_bytes()),
            window: None,
            input: None,
            timers: None,
            state: None,
            accumulator: None,
            fuel: 0,
            attempt: 1,
            setup: None,
        }
    }

    fn expected(operator: &str, reason: Option<&str>, value: Option<Value>) -> ExpectedDeadLetter {
        ExpectedDeadLetter {
            operator: operator.into(),
            reason: reason.map(str::to_owned),
            value,
        }
    }

    #[test]
    fn dead_letters_are_told_by_operator_a_part_of_the_reason_and_value() {
        let came = [dead_letter("map", "field `n` is null", r#"{"n": null, "m": 1.0}"#)];
        let is_expected = |expected: ExpectedDeadLetter| DeadLetterDifference::of(&[expected], &came).is_none();
        assert!(is_expected(expected("map", None, None)));
        assert!(is_expected(expected(
            "map",
            Some("is null"),
            Some(json!({"m": 1, "n": null}))
        )));
        assert!(!is_expected(expected("other", None, None)));
        assert!(!is_expected(expected("map", Some("is Null"), None)));
        assert!(!is_expected(expected("map", None, Some(json!({"m": 1})))));
    }

    #[test]
    fn dead_letters_are_paired_so_that_as_many_as_possible_were_expected() {
        // The first would do for both.
        let came = [dead_letter("map", "ab", "1"), dead_letter("map", "a", "not JSON")];
        let wanted = [expected("map", Some("a"), None), expected("map", Some("ab"), None)];
        assert_eq!(DeadLetterDifference::of(&wanted, &came), None);
        let wanted = [
            expected("map", Some("a"), Some(json!("not JSON"))),
            expected("map", Some("c"), None),
            expected("map", Some("a"), Some(json!("not JSON"))),
        ];
        let difference = DeadLetterDifference::of(&wanted, &came).unwrap();
        assert_eq!(difference.missing, wanted[1..]);
        assert_eq!(difference.extra, [0]);
        assert_eq!(
            DeadLetterDifference::of(&[], &came).unwrap().extra,
            [0, 1],
            "none should have come"
        );
    }

    fn burnt(fuel: u64, events_in: u64, late: u64) -> OperatorSummary {
        OperatorSummary {
            pipeline: "p".into(),
            id: format!("op-{fuel}"),
            counts: Counts {
                fuel,
                events_in,
                late,
                ..Counts::default()
            },
            slice_us: None,
            queued: 0,
            open_windows: None,
            keyed: None,
            event_time: None,
            scaling: None,
            metrics: std::collections::BTreeMap::new(),
        }
    }

    fn test(late: Option<u64>, fuel_per_event_max: Option<u64>) -> Test {
        Test {
            name: "t".into(),
            input: Vec::new(),
            output: Vec::new(),
            order: dirigo_pipeline::OutputOrder::Listed,
            dead_letters: None,
            late,
            fuel_per_event_max,
            line: 1,
        }
    }

    #[test]
    fn fuel_is_compared_on_the_average_of_an_operators_events() {
        let operators = [burnt(30, 3, 0), burnt(31, 3, 0), burnt(0, 0, 0)];
        assert_eq!(fuel_excesses(&test(None, None), &operators), []);
        let excess = FuelExcess {
            operator: "op-31".into(),
            fuel: 31,
            events: 3,
            fuel_per_event: 11,
            fuel_per_event_max: 10,
        };
        assert_eq!(fuel_excesses(&test(None, Some(10)), &operators), [excess]);
        assert_eq!(fuel_excesses(&test(None, Some(u64::MAX)), &operators), []);
    }

    #[test]
    fn late_events_are_counted_over_all_operators() {
        let operators = [burnt(0, 3, 1), burnt(1, 3, 2)];
        assert_eq!(late_difference(&test(None, None), &operators), None);
        assert_eq!(late_difference(&test(Some(3), None), &operators), None);
        let difference = LateDifference { expected: 2, actual: 3 };
        assert_eq!(late_difference(&test(Some(2), None), &operators), Some(difference));
    }
}

//! Whether the order matters in which an operator merges accumulators, looked at with events that came to it.
//!
//! An operator says that the order does not matter. Before the host relies on it, random cases are tried: some events of one key, folded one after
//! the other, and the same events folded in parts that are merged in some order, of which one may be empty. What `finish` makes of both must be the
//! same. A case that fails is shrunk until nothing can be left out of it. Many cases make one call, so all of them take a few dozen
//! calls, which are turns of a helper like any other.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::Value;

use super::driver::mismatched;
use dirigo_engine::Trap;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Answer, Finish, Finished, Fold, Folded, Outputs, Request, Windows};
use dirigo_ground::lineage::Ticket;
use dirigo_ground::printable;

/// How many random cases are tried.
const CASES: usize = 1_000;
/// How many of them make a call at most, and about how many bytes of events: these are copied in about 0.1 ms.
const CASES_AT_ONCE: usize = 64;
const CALL_BYTES: usize = 1 << 20;
/// Larger events are left out.
const EVENT_BYTES_MAX: usize = 16 << 10;
/// Larger results are compared byte by byte only.
const PARSED_BYTES_MAX: usize = 16 << 10;
/// How many events a case has at most, and how many parts.
const EVENTS_MAX: usize = 8;
const PARTS_MAX: usize = 4;
/// How many events the cases are made of.
const SAMPLE: usize = 256;
/// With fewer events of one key nothing is tried.
const SAMPLE_MIN: usize = 2;
/// More of an event, or of what became of a window, is not shown: a person reads it.
const SHOWN_BYTES_MAX: usize = 400;
/// By how much two numbers may differ that are the same approximately, in relation to the greater one.
const NEARLY: f64 = 1e-9;

/// What came of an answer.
#[derive(Debug)]
pub(super) enum Progress {
    /// There is more to ask.
    Goes(Box<Trial>),
    /// The order did not matter in any case.
    Holds,
    /// In a case it does.
    Breaks(Broken),
    /// It cannot be told with these events.
    Unclear,
}

/// How it shows that the order matters.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The smallest case in which it does, and what becomes of it.
    pub(super) shown: String,
    /// Whether results differ in the last digits of numbers only.
    pub(super) is_near: bool,
}

/// Cases under trial.
#[derive(Debug)]
pub(super) struct Trial {
    /// Events of one key.
    events: Batch,
    /// How many cases make a call.
    at_once: usize,
    is_approximate: bool,
    random: Random,
    /// How many random cases are still to be tried.
    left: usize,
    /// Those that are being tried.
    cases: Vec<Case>,
    /// Accumulators of these: of each case that of all events, then those of its parts.
    folded: Option<Column>,
    /// The smallest case so far in which the order matters, and how it shows.
    broken: Option<(Case, Broken)>,
}

/// Some events in parts, in the order in which these are merged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    parts: Vec<Vec<u32>>,
}

impl Case {
    /// The events, one after the other.
    fn events(&self) -> Vec<u32> {
        let mut events: Vec<u32> = self.parts.concat();
        events.sort_unstable();
        events
    }

    fn random(random: &mut Random, sample: usize) -> Self {
        let count = 2 + random.below(EVENTS_MAX.min(sample) - 1);
        let mut events: Vec<u32> = (0..u32::try_from(sample).expect("a sample is small")).collect();
        for place in 0..count {
            let other = place + random.below(sample - place);
            events.swap(place, other);
        }
        let mut parts = vec![Vec::new(); 2 + random.below(PARTS_MAX - 1)];
        for event in &events[..count] {
            let part = random.below(parts.len());
            parts[part].push(*event);
        }
        // Parts without events are not merged with each other.
        let mut empty = 0;
        parts.retain(|part| {
            empty += usize::from(part.is_empty());
            !part.is_empty() || empty == 1
        });
        // A helper folds events in the order in which they came.
        parts.iter_mut().for_each(|part| part.sort_unstable());
        Self { parts }
    }

    /// Smaller ones: without one of the events, without a part, with two parts as one.
    fn shrunk(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for (place, part) in self.parts.iter().enumerate() {
            if part.is_empty() && self.parts.len() > 2 {
                let mut parts = self.parts.clone();
                parts.remove(place);
                smaller.push(Self { parts });
            }
            for event in 0..part.len() {
                let mut parts = self.parts.clone();
                parts[place].remove(event);
                smaller.push(Self { parts });
            }
            if place + 1 < self.parts.len() && self.parts.len() > 2 {
                let mut parts = self.parts.clone();
                let next = parts.remove(place + 1);
                parts[place].extend(next);
                parts[place].sort_unstable();
                smaller.push(Self { parts });
            }
        }
        let empty = |case: &Self| case.parts.iter().filter(|part| part.is_empty()).count();
        smaller.retain(|case| empty(case) <= 1 && case.parts.len() > 1);
        smaller
    }

    /// Its events as text, in parts.
    fn shown(&self, events: &Batch) -> String {
        let mut shown = String::new();
        for (place, part) in self.parts.iter().enumerate() {
            let mark = if place == 0 { "" } else { " + " };
            let values = part.iter().map(|event| {
                let value = events.values.get(*event as usize);
                let shown = String::from_utf8_lossy(&value[..value.len().min(SHOWN_BYTES_MAX)]);
                printable::line(&shown).into_owned()
            });
            let values: Vec<String> = values.collect();
            write!(shown, "{mark}[{}]", values.join(", ")).expect("a string takes what is written");
        }
        shown
    }
}

/// Random numbers, the same for the same seed: `SplitMix64` (Steele et al., "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (mixed ^ (mixed >> 31)) % (bound as u64);
        usize::try_from(number).expect("it is less than the bound")
    }
}

impl Trial {
    /// One with those of the events of a batch that have its most frequent key; `None` where these are too few. Where results are `approximate`, numbers
    /// may differ in their last digits.
    pub(super) fn of(batch: &Batch, is_approximate: bool) -> Option<Self> {
        let mut by_key: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (event, key) in (0..).zip(batch.keys.iter()) {
            by_key.entry(key).or_default().push(event);
        }
        let mut events = by_key.into_values().max_by_key(Vec::len)?;
        let bytes = |event: u32| batch.values.slice_bytes(event as usize..event as usize + 1);
        events.retain(|event| bytes(*event) <= EVENT_BYTES_MAX);
        events.truncate(SAMPLE);
        let sample_bytes: usize = events.iter().map(|event| bytes(*event)).sum();
        let of_case = 2 * EVENTS_MAX * (sample_bytes / events.len().max(1) + 1);
        let mut events = batch.gather(&events);
        // Nothing waits for the end of a check.
        events.origin = Ticket::detached().into();
        let mut trial = Self {
            events,
            at_once: (CALL_BYTES / of_case).clamp(1, CASES_AT_ONCE),
            is_approximate,
            random: Random(1),
            left: CASES,
            cases: Vec::new(),
            folded: None,
            broken: None,
        };
        trial.refill().then_some(trial)
    }

    /// Has random cases tried next. `false` where there are too few events for any.
    fn refill(&mut self) -> bool {
        let sample = self.events.len();
        if sample < SAMPLE_MIN {
            return false;
        }
        let next = self.left.min(self.at_once);
        self.left -= next;
        self.cases = (0..next).map(|_| Case::random(&mut self.random, sample)).collect();
        self.folded = None;
        true
    }

    /// What is to be asked next.
    pub(super) fn request(&self) -> Request {
        match &self.folded {
            None => Request::Fold(self.fold()),
            Some(folded) => Request::Finish(self.finish(folded)),
        }
    }

    /// The events of each group: of each case all of them, and then its parts, those without events left out.
    fn groups(&self) -> Vec<Vec<u32>> {
        let of_case = |case: &Case| {
            let parts = case.parts.iter().filter(|part| !part.is_empty()).cloned();
            std::iter::once(case.events()).chain(parts).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }

    fn fold(&self) -> Fold {
        let groups = self.groups();
        let numbers = (0_u32..).zip(&groups);
        let numbers: Vec<u32> = numbers
            .flat_map(|(number, events)| std::iter::repeat_n(number, events.len()))
            .collect();
        Fold {
            batch: self.events.gather(&groups.concat()),
            groups: Arc::new(numbers),
            accumulators: Arc::new(Column::of_empty(groups.len())),
            merged: None,
            closing: None,
            early: None,
            stale: Vec::new(),
        }
    }

    fn finish(&self, folded: &Column) -> Finish {
        let mut windows = Windows::default();
        let mut accumulators = Column::default();
        let mut merged = Vec::new();
        let mut rest = folded.iter();
        let key = self.events.keys.get(0);
        let (start, end) = (self.events.times[0], self.events.times[0].saturating_add(1));
        for case in &self.cases {
            accumulators.push(rest.next().unwrap_or_default());
            for part in &case.parts {
                let of_part = if part.is_empty() { None } else { rest.next() };
                accumulators.push(of_part.unwrap_or_default());
            }
            merged.extend([1, u32::try_from(case.parts.len()).expect("a case has few parts")]);
            for _ in 0..2 {
                windows.keys.push(key);
                windows.starts.push(start);
                windows.ends.push(end);
                windows.counts.push(case.events().len() as u64);
                windows.panes.push(0);
            }
        }
        Finish {
            batch: self.events.gather(&vec![0; windows.len()]),
            windows: Arc::new(windows),
            accumulators: Arc::new(accumulators),
            merged: Some(Arc::new(vec![merged])),
            stale: Vec::new(),
        }
    }

    /// Goes on with the answer to what was asked.
    ///
    /// # Errors
    /// When it is not to what was asked.
    pub(super) fn take(mut self, answer: Answer) -> Result<Progress, Trap> {
        match answer {
            Answer::Folded(Folded::Done { accumulators, .. }) if self.folded.is_none() => {
                self.folded = Some(accumulators);
                Ok(Progress::Goes(Box::new(self)))
            }
            Answer::Folded(Folded::Rejected(failures)) | Answer::Unread(failures) if self.folded.is_none() => {
                Ok(self.without(failures.iter().map(|failure| failure.index)))
            }
            Answer::Finished(Finished::Done(outputs)) if self.folded.is_some() => Ok(self.compare(&outputs)),
            _ => Err(mismatched()),
        }
    }

    /// Goes on where the call failed: without the event that is to blame, or with fewer. Where accumulators were merged, the order matters.
    pub(super) fn take_trap(self, trap: &Trap) -> Progress {
        if self.folded.is_some() {
            let case = self
                .cases
                .first()
                .map_or_else(String::new, |case| case.shown(&self.events));
            let reason = &trap.reason;
            return Progress::Breaks(Broken {
                shown: format!("merging parts such as {case} fails: {reason}"),
                is_near: false,
            });
        }
        if let Some(event) = trap.event {
            return self.without(std::iter::once(event));
        }
        let half = u32::try_from(self.events.len() / 2).expect("a sample is small");
        self.with_only(&(0..half).collect::<Vec<u32>>())
    }

    /// Starts anew without events that the operator refuses, which are places of the last fold.
    fn without(self, failed: impl Iterator<Item = u32>) -> Progress {
        let events = self.groups().concat();
        let mut failed: Vec<u32> = failed.filter_map(|place| events.get(place as usize).copied()).collect();
        failed.sort_unstable();
        let all = 0..u32::try_from(self.events.len()).expect("a sample is small");
        let kept: Vec<u32> = all.filter(|event| failed.binary_search(event).is_err()).collect();
        self.with_only(&kept)
    }

    /// Starts anew with these of the events, if they are fewer.
    fn with_only(mut self, kept: &[u32]) -> Progress {
        let are_fewer = kept.len() < self.events.len();
        self.events = self.events.gather(kept);
        self.left = CASES;
        self.broken = None;
        if are_fewer && self.refill() {
            return Progress::Goes(Box::new(self));
        }
        Progress::Unclear
    }

    /// Looks at what became of the cases.
    fn compare(mut self, outputs: &Outputs) -> Progress {
        let differing = self.cases.iter().enumerate().find_map(|(place, case)| {
            let window = u32::try_from(2 * place).expect("there are few cases");
            let (whole, parts) = (Output::of(outputs, window), Output::of(outputs, window + 1));
            let is_same = whole.is_same(&parts, self.is_approximate);
            let broken = || Broken {
                shown: format!("{whole}, and merging these parts makes {parts}"),
                is_near: whole.is_same(&parts, true),
            };
            (!is_same).then(|| (case.clone(), broken()))
        });
        let smaller = match differing {
            Some((case, shown)) => {
                let smaller = case.shrunk();
                self.broken = Some((case, shown));
                smaller
            }
            None => Vec::new(),
        };
        if smaller.is_empty()
            && let Some((case, Broken { shown, is_near })) = &self.broken
        {
            return Progress::Breaks(Broken {
                shown: format!("one fold of {} makes {shown}", case.shown(&self.events)),
                is_near: *is_near,
            });
        }
        if self.broken.is_some() {
            self.cases = smaller;
            self.folded = None;
            return Progress::Goes(Box::new(self));
        }
        if self.left > 0 && self.refill() {
            return Progress::Goes(Box::new(self));
        }
        Progress::Holds
    }
}

/// What became of a window.
struct Output {
    values: Vec<Vec<u8>>,
    keys: Option<Column>,
    times: Option<Vec<i64>>,
    failure: Option<String>,
}

impl Output {
    fn of(outputs: &Outputs, window: u32) -> Self {
        // Origins never descend.
        let first = outputs.origins.partition_point(|origin| *origin < window);
        let end = outputs.origins.partition_point(|origin| *origin <= window);
        let failure = outputs.failures.iter().find(|failure| failure.index == window);
        Self {
            values: (first..end)
                .map(|place| outputs.values.get(place).into_owned())
                .collect(),
            keys: outputs.keys.as_ref().map(|keys| keys.slice(first..end)),
            times: outputs.times.as_ref().map(|times| times[first..end].to_vec()),
            failure: failure.map(|failure| failure.message.clone()),
        }
    }

    fn is_same(&self, other: &Self, is_approximate: bool) -> bool {
        if self.failure.is_some() || other.failure.is_some() {
            return self.failure.is_some() == other.failure.is_some();
        }
        if (&self.keys, &self.times) != (&other.keys, &other.times) {
            return false;
        }
        if self.values == other.values {
            return true;
        }
        let bytes = |output: &Self| output.values.iter().map(Vec::len).sum::<usize>();
        if !is_approximate || bytes(self).max(bytes(other)) > PARSED_BYTES_MAX {
            return false;
        }
        let parsed = |values: &[Vec<u8>]| -> Option<Vec<Value>> {
            let each = values.iter().map(|value| serde_json::from_slice(value).ok());
            each.collect()
        };
        match (parsed(&self.values), parsed(&other.values)) {
            (Some(own), Some(others)) => are_near(&own, &others),
            _ => false,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.failure {
            return write!(formatter, "a failure ({})", printable::line(failure));
        }
        let values = self.values.iter().flat_map(|value| value.iter().copied().chain([b' ']));
        let values: Vec<u8> = values.take(SHOWN_BYTES_MAX).collect();
        formatter.write_str(printable::line(String::from_utf8_lossy(&values).trim_end()).as_ref())
    }
}

fn are_near(own: &[Value], others: &[Value]) -> bool {
    own.len() == others.len() && own.iter().zip(others).all(|(own, other)| is_near(own, other))
}

/// Whether two values are the same but for the last digits of numbers.
fn is_near(own: &Value, other: &Value) -> bool {
    match (own, other) {
        (Value::Number(own), Value::Number(other)) => {
            let (Some(left), Some(right)) = (own.as_f64(), other.as_f64()) else {
                return own == other;
            };
            (left - right).abs() <= NEARLY * left.abs().max(right.abs())
        }
        (Value::Array(own), Value::Array(others)) => are_near(own, others),
        (Value::Object(own), Value::Object(others)) => {
            let is_near_in_others = |(name, value): (&String, &Value)| {
                let other = others.get(name);
                other.is_some_and(|other| is_near(value, other))
            };
            own.len() == others.len() && own.iter().all(is_near_in_others)
        }
        _ => own == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::fields::Fields;

    /// A reduce over numbers, whose accumulators are numbers too.
    struct Reduce {
        merge: fn(i64, i64) -> i64,
        finish: fn(i64) -> String,
    }

    impl Reduce {
        /// Answers as the host has it done: an event is merged as an accumulator of its own, from nothing on.
        fn answer(&self, request: &Request) -> Answer {
            let parsed = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<i64>().ok();
            let merge = |left: Option<i64>, right: Option<i64>| match (left, right) {
                (Some(left), Some(right)) => Some((self.merge)(left, right)),
                (left, right) => left.or(right),
            };
            match request {
                Request::Fold(fold) => {
                    let mut folded = vec![None; fold.accumulators.len()];
                    for (event, group) in fold.groups.iter().enumerate() {
                        let group = &mut folded[*group as usize];
                        *group = merge(*group, parsed(&fold.batch.values.get(event)));
                    }
                    let mut accumulators = Column::default();
                    folded
                        .iter()
                        .for_each(|folded| accumulators.push(folded.unwrap().to_string().as_bytes()));
                    let outputs = Outputs::default();
                    Answer::Folded(Folded::Done { accumulators, outputs })
                }
                Request::Finish(finish) => {
                    let mut rest = finish.accumulators.iter();
                    let (mut values, mut origins) = (Column::default(), Vec::new());
                    let counts = finish.merged.as_ref().unwrap();
                    for (window, count) in (0..).zip(&counts[0]) {
                        // Neighbours are merged in pairs, as long as there are several.
                        let mut parts: Vec<Option<i64>> = rest.by_ref().take(*count as usize).map(parsed).collect();
                        while parts.len() > 1 {
                            let pair = |pair: &[Option<i64>]| pair.iter().copied().reduce(merge).unwrap();
                            parts = parts.chunks(2).map(pair).collect();
                        }
                        values.push((self.finish)(parts[0].unwrap()).as_bytes());
                        origins.push(window);
                    }
                    let values = values.into();
                    Answer::Finished(Finished::Done(Outputs {
                        origins,
                        values,
                        ..Outputs::default()
                    }))
                }
                _ => panic!("it is asked to fold and to finish"),
            }
        }

        /// The case in which the order matters, if one is found; and after how many random ones that was.
        fn broken_law(&self, is_approximate: bool) -> (Option<String>, usize) {
            let mut trial = Trial::of(&batch(40), is_approximate).unwrap();
            loop {
                let tried = CASES - trial.left;
                let answer = self.answer(&trial.request());
                match trial.take(answer).unwrap() {
                    Progress::Goes(next) => trial = *next,
                    Progress::Holds => return (None, tried),
                    Progress::Breaks(broken) => return (Some(broken.shown), tried),
                    Progress::Unclear => panic!("all events are folded"),
                }
            }
        }
    }

    /// The numbers from 1 on, with one key.
    fn batch(events: usize) -> Batch {
        let mut values = Column::default();
        (1..=events).for_each(|number| values.push(number.to_string().as_bytes()));
        Batch {
            times: Arc::new(vec![0; events]),
            keys: Arc::new(Column::of_empty(events)),
            values: values.into(),
            fields: Fields::default(),
            positions: Arc::new((0..events as u64).collect()),
            origin: Ticket::detached().into(),
        }
    }

    #[test]
    fn a_sum_does_not_depend_on_the_order() {
        let sum = Reduce {
            merge: |left, right| left + right,
            finish: |sum| sum.to_string(),
        };
        assert_eq!(sum.broken_law(false), (None, CASES));
    }

    #[test]
    fn a_failing_case_is_shrunk_until_nothing_can_be_left_out() {
        let first = Reduce {
            merge: |left, _| left,
            finish: |first| first.to_string(),
        };
        let (shown, _) = first.broken_law(false);
        let shown = shown.expect("the order matters");
        let case = shown
            .strip_prefix("one fold of ")
            .unwrap()
            .split_once(" makes ")
            .unwrap()
            .0;
        let (left, right) = case.split_once(" + ").unwrap();
        let number = |part: &str| {
            part.trim_matches(['[', ']'])
                .parse::<i64>()
                .expect("a part is one event")
        };
        assert!(number(left) > number(right), "{shown}");
    }

    #[test]
    fn merging_that_is_commutative_and_not_associative_is_found() {
        let halves = Reduce {
            merge: i64::midpoint,
            finish: |half| half.to_string(),
        };
        assert!(halves.broken_law(false).0.is_some());
    }

    #[test]
    fn numbers_may_differ_in_their_last_digits_where_results_are_approximate() {
        let parity = |finish| Reduce {
            merge: |left, right| (left + right) | 1,
            finish,
        };
        let large = |sum: i64| format!("{{\"sum\":{}}}", 1_000_000_000_000_000 + sum);
        let small = |sum: i64| format!("{{\"sum\":{}}}", 100_000 + sum);
        assert!(parity(large).broken_law(false).0.is_some());
        assert_eq!(parity(large).broken_law(true).0, None);
        assert!(
            parity(small).broken_law(true).0.is_some(),
            "these are not the last digits"
        );
    }

    #[test]
    fn with_events_of_many_keys_nothing_is_tried() {
        let mut keys = Column::default();
        (0..9_u8).for_each(|key| keys.push(&[key]));
        let batch = Batch {
            keys: Arc::new(keys),
            ..batch(9)
        };
        assert!(Trial::of(&batch, false).is_none());
    }
}

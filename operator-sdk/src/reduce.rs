//! The kind that folds the events of a key and window into one value.
//!
//! Owns how a batch of events in many windows becomes a fold of each. Which event belongs to which window, and where
//! accumulators are kept, is the host's business.

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Result,
    codec::{Decode, Encode, for_each_event},
    columns::{Batch, Column, Failure, Folded, Migrated, Outputs, Windows, Writing, position},
    fields::Schema,
    layout, progress,
    stored::{self, Stored, migrate_all},
};

/// An operator that folds events into an accumulator per key and window, and emits a value when the window closes.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Reading { value: f64 }
///
/// struct Mean;
///
/// #[operator]
/// impl Reduce for Mean {
///     type Config = NoConfig;
///     type Event = Reading;
///     type Accumulator = (f64, u64);
///     type Output = f64;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Mean)
///     }
///
///     fn zero(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///
///     fn add(&mut self, (sum, count): &mut (f64, u64), event: &Reading) -> Result<()> {
///         *sum += event.value;
///         *count += 1;
///         Ok(())
///     }
///
///     fn merge(&mut self, left: (f64, u64), right: (f64, u64)) -> (f64, u64) {
///         (left.0 + right.0, left.1 + right.1)
///     }
///
///     fn finish(&mut self, _: &Window<'_>, (sum, count): (f64, u64)) -> Result<f64> {
///         Ok(sum / count as f64)
///     }
/// }
/// # fn main() {}
/// ```
///
/// # What the host calls
/// The host closes a count window with the batch that completes it: [`add`](Reduce::add) for each event, then
/// [`finish`](Reduce::finish) once. A window that is incomplete when the input ends is finished where the pipeline file says
/// `partial = "emit"`, by any instance of the operator, with fewer events in [`Window::count`] than the file says; else it emits
/// nothing, and waits for the next run if the state is kept.
///
/// Windows in event time close once a watermark has passed their end: then the host calls [`finish`](Reduce::finish). Before that it joins
/// accumulators with [`merge`](Reduce::merge): those of the stretches of time that a sliding window is made of, and those of sessions that
/// an event has joined.
///
/// # When the accumulator changes
/// State outlives the component that wrote it. A change of [`Accumulator`](Reduce::Accumulator), of the name, type or place of a
/// field, raises [`STATE_VERSION`](Reduce::STATE_VERSION); the host refuses a component that forgot to, and shows both
/// [layouts](Reduce::state_layout). [`migrate`](Reduce::migrate) makes new accumulators of old ones, when the first event comes that
/// touches them:
///
/// ```
/// # use dirigo_operator::prelude::*;
/// # #[derive(Deserialize)]
/// # struct Reading { value: f64 }
/// # struct Mean;
/// /// Version 1 had a sum and a count only.
/// type Old = (f64, u64);
///
/// #[derive(Serialize, Deserialize)]
/// struct Sum { sum: f64, count: u64, largest: Option<f64> }
///
/// #[operator]
/// impl Reduce for Mean {
///     const STATE_VERSION: u32 = 2;
///     const OLDEST_STATE_VERSION: u32 = 1;
///
///     fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Sum> {
///         match from {
///             1 => {
///                 let (sum, count): Old = stored.read()?;
///                 Ok(Sum { sum, count, largest: None })
///             }
///             _ => Err(stored.unknown()),
///         }
///     }
///     // and the rest as before
/// #   type Config = NoConfig;
/// #   type Event = Reading;
/// #   type Accumulator = Sum;
/// #   type Output = f64;
/// #   fn open(_: NoConfig) -> Result<Self> { Ok(Mean) }
/// #   fn zero(&self) -> Sum { Sum { sum: 0.0, count: 0, largest: None } }
/// #   fn add(&mut self, sum: &mut Sum, event: &Reading) -> Result<()> { Ok(()) }
/// #   fn merge(&mut self, left: Sum, right: Sum) -> Sum { left }
/// #   fn finish(&mut self, _: &Window<'_>, sum: Sum) -> Result<f64> { Ok(sum.sum) }
/// }
/// # fn main() {}
/// ```
pub trait Reduce: Sized {
    /// The version of the accumulators that this operator writes: one more with every change that reads old ones otherwise.
    const STATE_VERSION: u32 = 1;
    /// The oldest version that [`migrate`](Reduce::migrate) reads. A pipeline whose state is older, or newer than
    /// [`STATE_VERSION`](Reduce::STATE_VERSION), is refused before it starts.
    const OLDEST_STATE_VERSION: u32 = Self::STATE_VERSION;
    /// Whether the accumulators of a window may be merged in any order and in any pairs: `merge` is associative and commutative, and
    /// [`zero`](Reduce::zero) changes nothing. If so, several instances may fold the events of one hot key; nothing else spreads its load.
    ///
    /// The host checks it with real events before it relies on it. The last digits of sums of `f64` depend on the order: the pipeline file then has
    /// to say `approximate = true` as well.
    const ASSOCIATIVE: bool = false;

    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;
    /// What is known of a window so far. The host keeps it between two batches.
    type Accumulator: Serialize + DeserializeOwned;
    /// What a window becomes.
    type Output: Encode;

    /// How the accumulator is laid out in bytes: names, types, order. The host keeps it with the state, and refuses a component that has
    /// another at the same [`STATE_VERSION`](Reduce::STATE_VERSION).
    ///
    /// It is found out from how the accumulator deserializes. `None` where that cannot be told, as of a type that lies in itself; then
    /// nothing is checked, and accumulators are shown as bytes.
    #[must_use]
    fn state_layout() -> Option<String> {
        layout::of::<Self::Accumulator>()
    }

    /// Prepares the operator, once per activation.
    ///
    /// # Errors
    /// When the configuration makes no sense; the pipeline doesn't start.
    fn open(config: Self::Config) -> Result<Self>;

    /// What it reads and writes: the fields of its event type and of its output type. An operator whose configuration names fields says
    /// so here.
    fn schema(&self) -> Schema {
        Schema::of::<Self::Event, Self::Output>()
    }

    /// The accumulator of a window that has seen nothing: merged with another it changes nothing.
    fn zero(&self) -> Self::Accumulator;

    /// Makes an accumulator of one that an operator of the version `from` wrote, which is older than this one's.
    ///
    /// # Errors
    /// When it cannot be read. It stays as it is, and the event that touched it becomes a dead letter.
    fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Self::Accumulator> {
        let _ = from;
        Err(stored.unknown())
    }

    /// Adds an event.
    ///
    /// # Errors
    /// Rejects the event. The accumulator is thrown away then, whatever became of it, and the window's other events are
    /// added anew.
    fn add(&mut self, accumulator: &mut Self::Accumulator, event: &Self::Event) -> Result<()>;

    /// Merges two accumulators: those of two stretches of time, the earlier one on the left, or of two sessions that have become one; or, if the
    /// operator is [`ASSOCIATIVE`](Reduce::ASSOCIATIVE), those of any events of one window, in either order.
    ///
    /// How often and in which pairs neighbours are merged is up to the host, so the result must not depend on it:
    /// [`Tester::reduce_parts`](crate::testing::Tester::reduce_parts) checks that.
    fn merge(&mut self, left: Self::Accumulator, right: Self::Accumulator) -> Self::Accumulator;

    /// What the window emits once it closes.
    ///
    /// # Errors
    /// Rejects the window: it becomes a dead letter.
    fn finish(&mut self, window: &Window<'_>, accumulator: Self::Accumulator) -> Result<Self::Output>;
}

/// A window that closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window<'a> {
    /// The key that its events share.
    pub key: &'a [u8],
    /// Where it begins, in ms since the epoch; for a count window, the least time of its events.
    pub start: i64,
    /// Where it ends, itself not in the window; for a count window, the greatest time of its events.
    pub end: i64,
    /// How many events it holds.
    pub count: u64,
    /// The number of the result, from 0: 0, but for windows that take late events in, or have results before their end. Later results have
    /// greater numbers.
    pub pane: u32,
}

impl Window<'_> {
    /// The key as text; what is not UTF-8 in it turns into `\u{FFFD}`.
    #[must_use]
    pub fn key_str(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.key)
    }
}

/// What a sum or an average takes; the column of others grows.
const USUAL_BYTES: usize = 16;

/// Runs a [`Reduce`] over a batch. Public for the generated glue, for tests, and to measure against.
#[doc(hidden)]
pub fn accumulate_batch<O: Reduce>(
    operator: &mut O,
    batch: &Batch,
    groups: &[u32],
    accumulators: &Column,
    closing: &Windows,
) -> Folded {
    let mut folds = decoded(operator, accumulators);
    let rejected = add_all(operator, batch, groups, &mut folds);
    if !rejected.is_empty() {
        return Folded {
            rejected,
            ..Folded::default()
        };
    }
    let mut folds = folds.into_iter();
    let outputs = finish_all(operator, closing, folds.by_ref().take(closing.len()));
    let mut open = Column::with_capacity(folds.len(), accumulators.bytes.len().max(USUAL_BYTES * folds.len()));
    for fold in folds {
        stored::encode(&fold, &mut open);
    }
    Folded {
        accumulators: open,
        outputs,
        rejected,
    }
}

fn decoded<O: Reduce>(operator: &O, accumulators: &Column) -> Vec<O::Accumulator> {
    let each = accumulators.iter();
    each.map(|bytes| stored::decode_or(bytes, || operator.zero())).collect()
}

fn add_all<O: Reduce>(operator: &mut O, batch: &Batch, groups: &[u32], folds: &mut [O::Accumulator]) -> Vec<Failure> {
    let mut rejected = Vec::new();
    for_each_event::<O::Event>(batch, |place, event| {
        progress::at_event(place);
        let added = O::Event::decode(event)
            .and_then(|event| operator.add(&mut folds[groups[place as usize] as usize], event.borrow()));
        if let Err(error) = added {
            rejected.push(Failure {
                index: place,
                message: error.into_message(),
            });
        }
    });
    progress::at_no_event();
    rejected
}

/// Brings accumulators of an older version to the one that the operator writes.
#[doc(hidden)]
pub fn migrate_batch<O: Reduce>(operator: &mut O, from: u32, accumulators: &Column) -> Migrated {
    migrate_all(from, O::STATE_VERSION, accumulators, |stored| {
        operator.migrate(from, stored)
    })
}

/// Merges accumulators pairwise.
#[doc(hidden)]
pub fn merge_batch<O: Reduce>(operator: &mut O, left: &Column, right: &Column) -> Column {
    let mut merged = Column::with_capacity(left.len(), left.bytes.len().max(right.bytes.len()));
    for (left, right) in left.iter().zip(right.iter()) {
        match (left, right) {
            (one, b"") | (b"", one) => merged.push(one),
            _ => {
                let accumulator = operator.merge(stored::decode(left), stored::decode(right));
                stored::encode(&accumulator, &mut merged);
            }
        }
    }
    merged
}

/// Finishes windows.
#[doc(hidden)]
pub fn finish_batch<O: Reduce>(operator: &mut O, windows: &Windows, accumulators: &Column) -> Outputs {
    let folds = decoded(operator, accumulators);
    finish_all(operator, windows, folds.into_iter())
}

fn finish_all<O: Reduce>(operator: &mut O, windows: &Windows, folds: impl Iterator<Item = O::Accumulator>) -> Outputs {
    let mut outputs = Outputs::default();
    let mut writing = Writing::of::<O::Output>(windows.len(), 0);
    for (index, (key, accumulator)) in windows.keys.iter().zip(folds).enumerate() {
        let window = Window {
            key,
            start: windows.starts[index],
            end: windows.ends[index],
            count: windows.counts[index],
            pane: windows.panes[index],
        };
        let finished = operator
            .finish(&window, accumulator)
            .and_then(|output| writing.push(&output));
        match finished {
            Ok(()) => outputs.origins.push(position(index)),
            Err(error) => outputs.failures.push(Failure {
                index: position(index),
                message: error.into_message(),
            }),
        }
    }
    (outputs.fields, outputs.values) = writing.finish();
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NoConfig, reject, testing::batch};

    /// Joins words, and counts how often an accumulator was made anew.
    struct Join {
        zeros: std::cell::Cell<u32>,
    }

    impl Reduce for Join {
        type Config = NoConfig;
        type Event = String;
        type Accumulator = Vec<String>;
        type Output = String;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Join { zeros: 0.into() })
        }

        fn zero(&self) -> Vec<String> {
            self.zeros.set(self.zeros.get() + 1);
            Vec::new()
        }

        fn add(&mut self, words: &mut Vec<String>, word: &String) -> Result<()> {
            if word == "no" {
                reject!("no");
            }
            words.push(word.clone());
            Ok(())
        }

        fn merge(&mut self, left: Vec<String>, right: Vec<String>) -> Vec<String> {
            [left, right].concat()
        }

        fn finish(&mut self, window: &Window<'_>, words: Vec<String>) -> Result<String> {
            if words.is_empty() {
                reject!("{} is empty", window.key_str());
            }
            Ok(format!(
                "{}[{}..{}]={} of {}",
                window.key_str(),
                window.start,
                window.end,
                words.join("+"),
                window.count
            ))
        }
    }

    fn join() -> Join {
        Join::open(NoConfig {}).unwrap()
    }

    fn words(words: &[&str]) -> Batch {
        batch(words.iter().map(|word| serde_json::json!(word)))
    }

    fn windows(keys: &[&str]) -> Windows {
        let n = keys.len();
        Windows {
            keys: keys.iter().collect(),
            starts: vec![10; n],
            ends: vec![20; n],
            counts: vec![2; n],
            panes: vec![0; n],
        }
    }

    fn empty(n: usize) -> Column {
        vec![""; n].into_iter().collect()
    }

    /// Accumulators of groups, each with these words.
    fn accumulators(groups: &[&[&str]]) -> Column {
        let mut column = Column::default();
        for group in groups {
            if group.is_empty() {
                column.push(b"");
                continue;
            }
            let one = accumulate_batch(
                &mut join(),
                &words(group),
                &vec![0; group.len()],
                &empty(1),
                &Windows::default(),
            );
            column.push(&one.accumulators.bytes);
        }
        column
    }

    #[test]
    fn open_groups_give_their_accumulators_back_in_order() {
        let before = accumulators(&[&["a"], &[], &["c"]]);
        let mut operator = join();
        let folded = accumulate_batch(
            &mut operator,
            &words(&["x", "y", "z"]),
            &[2, 1, 2],
            &before,
            &Windows::default(),
        );
        assert_eq!(folded.accumulators, accumulators(&[&["a"], &["y"], &["c", "x", "z"]]));
        assert_eq!(operator.zeros.get(), 1, "only the new window begins with a zero");
    }

    #[test]
    fn the_first_groups_close_with_their_last_events() {
        let folded = accumulate_batch(
            &mut join(),
            &words(&["x", "y"]),
            &[2, 0],
            &accumulators(&[&["a"], &["b"], &["c"]]),
            &windows(&["k", "l"]),
        );
        assert_eq!(
            folded.outputs.values,
            Some(
                [r#""k[10..20]=a+y of 2""#, r#""l[10..20]=b of 2""#]
                    .into_iter()
                    .collect()
            )
        );
        assert_eq!(folded.outputs.origins, [0, 1]);
        assert_eq!(folded.accumulators, accumulators(&[&["c", "x"]]));
    }

    #[test]
    fn rejected_events_are_all_that_comes_back() {
        let before = accumulators(&[&["a"]]);
        let folded = accumulate_batch(
            &mut join(),
            &words(&["x", "no", "y", "no"]),
            &[0; 4],
            &before,
            &windows(&["k"]),
        );
        let rejected: Vec<_> = folded.rejected.iter().map(|failure| failure.index).collect();
        assert_eq!(rejected, [1, 3]);
        assert_eq!(
            (folded.accumulators, folded.outputs),
            (Column::default(), Outputs::default())
        );
    }

    #[test]
    fn a_rejected_window_leaves_the_others_alone() {
        let outputs = finish_batch(
            &mut join(),
            &windows(&["k", "l", "m"]),
            &accumulators(&[&["a"], &[], &["c"]]),
        );
        assert_eq!(outputs.origins, [0, 2]);
        assert_eq!(
            outputs.failures,
            [Failure {
                index: 1,
                message: "l is empty".to_owned()
            }]
        );
    }

    #[test]
    fn merging_keeps_the_order_and_takes_either_side_empty() {
        let left = accumulators(&[&["a"], &[], &["c"], &[]]);
        let right = accumulators(&[&["x", "y"], &["b"], &[], &[]]);
        let merged = merge_batch(&mut join(), &left, &right);
        assert_eq!(merged, accumulators(&[&["a", "x", "y"], &["b"], &["c"], &[]]));
    }

    #[test]
    fn an_accumulator_is_never_empty_bytes() {
        struct Nothing;
        impl Reduce for Nothing {
            type Config = NoConfig;
            type Event = [u8];
            type Accumulator = ();
            type Output = ();
            fn open(_: NoConfig) -> Result<Self> {
                Ok(Nothing)
            }
            fn zero(&self) {}
            fn add(&mut self, (): &mut (), _: &[u8]) -> Result<()> {
                Ok(())
            }
            fn merge(&mut self, (): (), (): ()) {}
            fn finish(&mut self, _: &Window<'_>, (): ()) -> Result<()> {
                Ok(())
            }
        }
        let folded = accumulate_batch(&mut Nothing, &batch(["x"]), &[0], &empty(1), &Windows::default());
        assert_eq!(folded.accumulators.get(0), [0]);
    }

    /// [`Join`] as it is now: it joins lengths, which it can tell from the words of version 1.
    struct Lengths;

    impl Reduce for Lengths {
        type Config = NoConfig;
        type Event = String;
        type Accumulator = Vec<u8>;
        type Output = String;

        const STATE_VERSION: u32 = 3;
        const OLDEST_STATE_VERSION: u32 = 1;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Lengths)
        }

        fn zero(&self) -> Vec<u8> {
            Vec::new()
        }

        fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Vec<u8>> {
            match from {
                1 => {
                    let words: Vec<String> = stored.read()?;
                    words.iter().map(|word| Ok(u8::try_from(word.len())?)).collect()
                }
                _ => Err(stored.unknown()),
            }
        }

        fn add(&mut self, lengths: &mut Vec<u8>, word: &String) -> Result<()> {
            lengths.push(u8::try_from(word.len())?);
            Ok(())
        }

        fn merge(&mut self, left: Vec<u8>, right: Vec<u8>) -> Vec<u8> {
            [left, right].concat()
        }

        fn finish(&mut self, _: &Window<'_>, lengths: Vec<u8>) -> Result<String> {
            Ok(format!("{lengths:?}"))
        }
    }

    #[test]
    fn old_accumulators_become_new_ones_in_their_order() {
        let migrated = migrate_batch(&mut Lengths, 1, &accumulators(&[&["a", "bcd"], &["ef"]]));
        assert_eq!(migrated.failures, []);
        let outputs = finish_batch(&mut Lengths, &windows(&["k", "l"]), &migrated.accumulators);
        assert_eq!(outputs.values, Some([r#""[1, 3]""#, r#""[2]""#].into_iter().collect()));
    }

    #[test]
    fn accumulators_that_cannot_be_migrated_are_all_named() {
        let long = "long".repeat(100);
        let migrated = migrate_batch(&mut Lengths, 1, &accumulators(&[&["a"], &[&long], &["b"], &[&long]]));
        let places: Vec<_> = migrated.failures.iter().map(|failure| failure.index).collect();
        assert_eq!((places, migrated.accumulators), (vec![1, 3], Column::default()));
    }

    #[test]
    fn an_operator_without_a_migration_names_the_version_that_it_does_not_know() {
        assert_eq!((Join::STATE_VERSION, Join::OLDEST_STATE_VERSION), (1, 1));
        let migrated = migrate_batch(&mut join(), 0, &accumulators(&[&["a"]]));
        assert_eq!(
            migrated.failures[0].message,
            "state of version 0 is unknown to the operator, which writes version 1"
        );
    }

    #[test]
    fn an_old_accumulator_that_is_longer_than_its_type_is_not_taken_for_one() {
        let stored = Stored {
            from: 1,
            to: 2,
            bytes: &accumulators(&[&["a", "b"]]).bytes,
        };
        let error = stored.read::<u8>().unwrap_err();
        assert!(error.message().ends_with("4 bytes are left over"), "{error}");
    }

    #[test]
    #[should_panic(expected = "encoding 7")]
    fn an_accumulator_of_another_encoding_is_refused() {
        finish_batch(&mut join(), &windows(&["k"]), &[[7_u8]].into_iter().collect());
    }

    #[test]
    #[should_panic(expected = "does not decode")]
    fn a_damaged_accumulator_is_refused() {
        finish_batch(&mut join(), &windows(&["k"]), &[[0_u8, 200]].into_iter().collect());
    }
}

//! The kind that folds the events of a key and window into one value.
//!
//! Owns how a batch of events in many windows becomes a fold of each. Which event belongs to which window, and where
//! accumulators are kept, is the host's business.

mod accumulator;

use std::borrow::Borrow;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Result,
    codec::{Decode, Encode, Encoded},
    columns::{Batch, Column, Failure, Folded, Outputs, Windows, position},
    progress,
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
pub trait Reduce: Sized {
    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;
    /// What is known of a window so far. The host keeps it between two batches.
    type Accumulator: Serialize + DeserializeOwned;
    /// What a window becomes.
    type Output: Encode;

    /// Prepares the operator, once per activation.
    ///
    /// # Errors
    /// When the configuration makes no sense; the pipeline doesn't start.
    fn open(config: Self::Config) -> Result<Self>;

    /// The accumulator of a window that has seen nothing: merged with another it changes nothing.
    fn zero(&self) -> Self::Accumulator;

    /// Adds an event.
    ///
    /// # Errors
    /// Rejects the event. The accumulator is thrown away then, whatever became of it, and the window's other events are
    /// added anew.
    fn add(&mut self, accumulator: &mut Self::Accumulator, event: &Self::Event) -> Result<()>;

    /// Merges two accumulators; the events of `left` came before those of `right`.
    fn merge(&mut self, left: Self::Accumulator, right: Self::Accumulator) -> Self::Accumulator;

    /// What the window emits.
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
    /// Where it begins, in ms since the epoch; for a count window, the time of its first event.
    pub start: i64,
    /// Where it ends, itself not in the window; for a count window, the time of its last event.
    pub end: i64,
    /// How many events it holds.
    pub count: u64,
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
        accumulator::encode(&fold, &mut open);
    }
    Folded {
        accumulators: open,
        outputs,
        rejected,
    }
}

fn decoded<O: Reduce>(operator: &O, accumulators: &Column) -> Vec<O::Accumulator> {
    let each = accumulators.iter();
    each.map(|bytes| accumulator::decode_or(bytes, || operator.zero()))
        .collect()
}

fn add_all<O: Reduce>(operator: &mut O, batch: &Batch, groups: &[u32], folds: &mut [O::Accumulator]) -> Vec<Failure> {
    let mut rejected = Vec::new();
    for (index, value) in batch.values.iter().enumerate() {
        let place = position(index);
        progress::at_event(place);
        let added = O::Event::decode(Encoded::new(batch, index, value))
            .and_then(|event| operator.add(&mut folds[groups[index] as usize], event.borrow()));
        if let Err(error) = added {
            rejected.push(Failure {
                index: place,
                message: error.into_message(),
            });
        }
    }
    progress::at_no_event();
    rejected
}

/// Merges accumulators pairwise.
#[doc(hidden)]
pub fn merge_batch<O: Reduce>(operator: &mut O, left: &Column, right: &Column) -> Column {
    let mut merged = Column::with_capacity(left.len(), left.bytes.len().max(right.bytes.len()));
    for (left, right) in left.iter().zip(right.iter()) {
        match (left, right) {
            (one, b"") | (b"", one) => merged.push(one),
            _ => {
                let accumulator = operator.merge(accumulator::decode(left), accumulator::decode(right));
                accumulator::encode(&accumulator, &mut merged);
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
    for (index, (key, accumulator)) in windows.keys.iter().zip(folds).enumerate() {
        let window = Window {
            key,
            start: windows.starts[index],
            end: windows.ends[index],
            count: windows.counts[index],
        };
        let finished = operator
            .finish(&window, accumulator)
            .and_then(|output| output.encode(&mut outputs.values.bytes));
        match finished {
            Ok(()) => {
                outputs.values.close();
                outputs.origins.push(position(index));
            }
            Err(error) => {
                outputs.values.truncate(outputs.origins.len());
                outputs.failures.push(Failure {
                    index: position(index),
                    message: error.into_message(),
                });
            }
        }
    }
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
            [r#""k[10..20]=a+y of 2""#, r#""l[10..20]=b of 2""#]
                .into_iter()
                .collect()
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

    #[test]
    #[should_panic(expected = "version 7")]
    fn an_accumulator_of_another_version_is_refused() {
        finish_batch(&mut join(), &windows(&["k"]), &[[7_u8]].into_iter().collect());
    }

    #[test]
    #[should_panic(expected = "does not decode")]
    fn a_damaged_accumulator_is_refused() {
        finish_batch(&mut join(), &windows(&["k"]), &[[0_u8, 200]].into_iter().collect());
    }
}

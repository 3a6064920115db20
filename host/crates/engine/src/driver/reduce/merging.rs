//! Several accumulators of a group or window become one before it is folded or finished.
//!
//! Sessions that an event joins have one each, and so have the segments of a sliding window. Neighbours are merged pair by pair, those of all
//! groups in one call, then what that made, and so on: as many calls as the most accumulators of a group can be halved.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, Instance};

use crate::abi::RawColumn;
use crate::call::call;
use crate::failure::Failure;
use crate::guest::Guest;
use dirigo_ground::batch::Column;
use dirigo_ground::call::Rejection;

pub(super) type Args = (Arc<Column>, Arc<Column>);

/// What it takes to merge in an instance. The function is looked up when it is first wanted.
pub(super) struct Merging {
    pub(super) instance: Instance,
    pub(super) merge: ComponentExportIndex,
}

impl Merging {
    /// Merges the accumulators of each group into one. Group `i` has the next `counts[i]` of `accumulators`.
    pub(super) async fn merged(
        &self,
        store: &mut Store<Guest>,
        accumulators: Arc<Column>,
        counts: &[u32],
    ) -> Result<Arc<Column>, Failure> {
        let merge = self
            .instance
            .get_typed_func::<Args, (RawColumn,)>(&mut *store, self.merge)?;
        let (mut accumulators, mut counts) = (accumulators, counts.to_vec());
        while counts.iter().any(|count| *count > 1) {
            let (left, right) = pairs(&accumulators, &counts);
            let items = left.len();
            let merged = call(store, &merge, (Arc::new(left), Arc::new(right)), items).await?;
            let merged = merged.validate_states("accumulators", items)?;
            accumulators = Arc::new(halved(&accumulators, &mut counts, &merged));
        }
        Ok(accumulators)
    }
}

/// The neighbours of each group, pair by pair.
fn pairs(accumulators: &Column, counts: &[u32]) -> (Column, Column) {
    let (mut left, mut right) = (Column::default(), Column::default());
    let mut rest = accumulators.iter();
    for count in counts {
        let mut of_group = rest.by_ref().take(*count as usize);
        for _ in 0..count / 2 {
            left.push(of_group.next().unwrap_or_default());
            right.push(of_group.next().unwrap_or_default());
        }
        of_group.for_each(drop);
    }
    (left, right)
}

/// What each group has once its pairs are merged, and how many that are.
fn halved(accumulators: &Column, counts: &mut [u32], merged: &Column) -> Column {
    let mut column = Column::default();
    let (mut rest, mut merged) = (accumulators.iter(), merged.iter());
    for count in counts {
        let pairs = *count / 2;
        merged.by_ref().take(pairs as usize).for_each(|one| column.push(one));
        let last = rest.by_ref().take(*count as usize).last();
        if *count % 2 == 1 {
            column.push(last.unwrap_or_default());
        }
        *count = pairs + *count % 2;
    }
    column
}

/// How many accumulators each group of the last round has before the first.
pub(super) fn of_rounds(rounds: &[Vec<u32>]) -> Vec<u32> {
    let (first, others) = rounds.split_first().expect("there is a round");
    others.iter().fold(first.clone(), |sizes, round| {
        let mut rest = sizes.into_iter();
        round
            .iter()
            .map(|count| rest.by_ref().take(*count as usize).sum())
            .collect()
    })
}

/// Failures of accumulators as those of the groups that they belong to: of each group the first.
pub(super) fn of_groups(counts: &[u32], failures: Vec<Rejection>) -> Vec<Rejection> {
    let mut behind = 0;
    let ends: Vec<u32> = counts
        .iter()
        .map(|count| {
            behind += count;
            behind
        })
        .collect();
    let mut failures: Vec<Rejection> = failures
        .into_iter()
        .map(|failure| Rejection {
            index: u32::try_from(ends.partition_point(|end| *end <= failure.index))
                .expect("groups have numbers of 32 bits"),
            ..failure
        })
        .collect();
    failures.sort_by_key(|failure| failure.index);
    failures.dedup_by_key(|failure| failure.index);
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(items: &[&str]) -> Column {
        let mut column = Column::default();
        items.iter().for_each(|item| column.push(item.as_bytes()));
        column
    }

    fn texts(column: &Column) -> Vec<String> {
        let text = |item: &[u8]| String::from_utf8(item.to_vec()).expect("it is text");
        column.iter().map(text).collect()
    }

    #[test]
    fn neighbours_are_merged_in_their_order_until_each_group_has_one() {
        let mut accumulators = column(&["a", "b", "c", "d", "e", "", "f", "g"]);
        let mut counts = vec![5, 1, 2];
        let mut calls = 0;
        while counts.iter().any(|count| *count > 1) {
            let (left, right) = pairs(&accumulators, &counts);
            let joined: Vec<String> = texts(&left)
                .into_iter()
                .zip(texts(&right))
                .map(|(one, other)| one + &other)
                .collect();
            let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
            accumulators = halved(&accumulators, &mut counts, &column(&joined));
            calls += 1;
        }
        assert_eq!(
            (texts(&accumulators), calls),
            (vec!["abcde".into(), String::new(), "fg".into()], 3)
        );
    }

    #[test]
    fn accumulators_belong_to_what_rounds_make_of_them() {
        assert_eq!(of_rounds(&[vec![2, 1, 3]]), [2, 1, 3]);
        assert_eq!(of_rounds(&[vec![2, 1, 1, 2], vec![1, 2, 1], vec![2, 1]]), [4, 2]);
    }

    #[test]
    fn what_cannot_be_read_of_a_group_fails_it_once() {
        let failed = |index: u32| Rejection {
            index,
            message: index.to_string(),
        };
        let failures = of_groups(&[2, 1, 3], vec![failed(5), failed(0), failed(3), failed(1)]);
        let told: Vec<_> = failures
            .iter()
            .map(|failure| (failure.index, failure.message.as_str()))
            .collect();
        assert_eq!(told, [(0, "0"), (2, "5")]);
    }
}

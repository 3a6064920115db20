//! Which events fold into which window.
//!
//! Before a turn, [`assign`] sorts the events of a batch into groups, one for each window that they touch, and says which
//! windows close. After it, [`Plan::commit`] writes the accumulators back, or [`Plan::abandon`] leaves everything as it was:
//! a turn's effects happen together or not at all.

use std::sync::Arc;

use smallvec::SmallVec;

use super::table::{Entry, Table};
use crate::batch::{Batch, Column};
use crate::engine::{Fold, Windows};

/// What a turn will do to a table, once it succeeded.
#[derive(Debug)]
pub struct Plan {
    /// By group: which slot it belongs to. The closing ones first.
    groups: Vec<Group>,
    closing: usize,
    /// For each closing group the event that completed it.
    closed_by: Vec<u32>,
    /// Slots that were reserved for keys that were not there before.
    reserved: Vec<u32>,
    turn: u32,
}

#[derive(Clone, Debug)]
struct Group {
    slot: u32,
    count: u64,
    start: i64,
    end: i64,
    /// Whether it goes on from what the slot holds.
    resumes: bool,
    closed_by: Option<u32>,
}

/// Sorts `batch` into count windows of `size` events per key. `turn` is not 0 and differs from that
/// of the turn before.
pub fn assign(table: &mut Table, batch: &Batch, size: u64, turn: u32) -> (Fold, Plan) {
    let mut groups: Vec<Group> = Vec::with_capacity(batch.len());
    let mut joined = Vec::with_capacity(batch.len());
    let mut closers = Vec::new();
    let mut reserved = Vec::new();
    for (event, key) in batch.keys.iter().enumerate() {
        let time = batch.times[event];
        let number = table.slot_of(key);
        let slot = table.slot_mut(number);
        if slot.turn != turn {
            slot.turn = turn;
            slot.group = None;
            match &slot.entry {
                Some(open) => {
                    slot.group = Some(group_number(groups.len()));
                    groups.push(Group::resuming(number, open));
                }
                None => reserved.push(number),
            }
        }
        let joins = *slot.group.get_or_insert_with(|| {
            groups.push(Group::new(number, time));
            group_number(groups.len() - 1)
        });
        let group = &mut groups[joins as usize];
        group.count += 1;
        group.end = time;
        if group.count == size {
            group.closed_by = Some(group_number(event));
            closers.push(joins);
            slot.group = None;
        }
        joined.push(joins);
    }
    let (fold, groups) = number_groups(table, batch, groups, joined, &closers);
    let closed_by = groups[..closers.len()]
        .iter()
        .filter_map(|group| group.closed_by)
        .collect();
    (
        fold,
        Plan {
            groups,
            closing: closers.len(),
            closed_by,
            reserved,
            turn,
        },
    )
}

fn group_number(index: usize) -> u32 {
    u32::try_from(index).expect("a batch has fewer than 2^32 events")
}

impl Group {
    fn new(slot: u32, time: i64) -> Self {
        Self {
            slot,
            count: 0,
            start: time,
            end: time,
            resumes: false,
            closed_by: None,
        }
    }

    fn resuming(slot: u32, open: &Entry) -> Self {
        Self {
            slot,
            count: open.count,
            start: open.start,
            end: open.end,
            resumes: true,
            closed_by: None,
        }
    }
}

/// Puts the closing groups first, in the order in which they close, and makes the arguments of the call.
fn number_groups(
    table: &Table,
    batch: &Batch,
    groups: Vec<Group>,
    mut joined: Vec<u32>,
    closers: &[u32],
) -> (Fold, Vec<Group>) {
    let mut numbers = vec![u32::MAX; groups.len()];
    for (number, &closer) in closers.iter().enumerate() {
        numbers[closer as usize] = group_number(number);
    }
    let mut next = group_number(closers.len());
    for number in &mut numbers {
        if *number == u32::MAX {
            *number = next;
            next += 1;
        }
    }
    joined.iter_mut().for_each(|group| *group = numbers[*group as usize]);

    let mut ordered = groups.clone();
    for (group, &number) in groups.into_iter().zip(&numbers) {
        ordered[number as usize] = group;
    }
    let closing = &ordered[..closers.len()];
    let fold = Fold {
        batch: batch.clone(),
        groups: Arc::new(joined),
        accumulators: Arc::new(accumulators(table, &ordered)),
        closing: Arc::new(windows(table, closing)),
    };
    (fold, ordered)
}

fn accumulators(table: &Table, groups: &[Group]) -> Column {
    let mut column = Column::with_capacity(groups.len(), 16 * groups.len());
    for group in groups {
        match &table.slot(group.slot).entry {
            Some(open) if group.resumes => column.push(&open.accumulator),
            _ => column.push(&[]),
        }
    }
    column
}

fn windows(table: &Table, closing: &[Group]) -> Windows {
    let mut windows = Windows::default();
    for group in closing {
        windows.keys.push(&table.slot(group.slot).key);
        windows.starts.push(group.start);
        windows.ends.push(group.end);
        windows.counts.push(group.count);
    }
    windows
}

impl Plan {
    /// For each window that closes, the place in the batch of the event that completed it; rises.
    #[must_use]
    pub fn closed_by(&self) -> &[u32] {
        &self.closed_by
    }

    /// Takes effect: `accumulators` are those of the groups that stay open, in order.
    pub fn commit(self, table: &mut Table, accumulators: &Column) {
        // Closing groups first: a key may close one window and open the next in the same turn.
        let (closed, open) = self.groups.split_at(self.closing);
        for group in closed {
            table.slot_mut(group.slot).entry = None;
        }
        for (group, accumulator) in open.iter().zip(accumulators.iter()) {
            let accumulator = SmallVec::from_slice(accumulator);
            let entry = Entry {
                accumulator,
                count: group.count,
                start: group.start,
                end: group.end,
            };
            table.slot_mut(group.slot).entry = Some(entry);
        }
        for group in closed {
            // One slot may stand for several closed windows of its key; the first removal frees it.
            let slot = table.slot(group.slot);
            if slot.entry.is_none() && slot.turn == self.turn {
                table.remove(group.slot);
            }
        }
    }

    /// Leaves the table as it was before [`assign`].
    pub fn abandon(self, table: &mut Table) {
        for slot in self.reserved {
            table.remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Ticket;

    fn batch(keys: &[&str]) -> Batch {
        let mut column = Column::default();
        keys.iter().for_each(|key| column.push(key.as_bytes()));
        let positions: Vec<u64> = (1..=keys.len() as u64).collect();
        Batch {
            times: Arc::new(positions.iter().map(|&position| position.cast_signed() * 10).collect()),
            keys: Arc::new(column),
            values: Arc::new(Column::of_empty(keys.len())),
            positions: Arc::new(positions),
            origin: Ticket::detached().into(),
        }
    }

    fn filled(items: usize) -> Column {
        let mut column = Column::default();
        (0..items).for_each(|item| column.push(format!("acc-{item}").as_bytes()));
        column
    }

    #[test]
    fn a_window_closes_with_its_last_event_and_the_next_opens_behind_it() {
        let mut table = Table::default();
        let (fold, plan) = assign(&mut table, &batch(&["a", "b", "a", "a"]), 2, 1);
        assert_eq!(*fold.groups, [0, 1, 0, 2], "the closing window of `a` comes first");
        assert_eq!(fold.closing.keys.iter().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(
            (
                &fold.closing.starts[..],
                &fold.closing.ends[..],
                &fold.closing.counts[..]
            ),
            (&[10][..], &[30][..], &[2][..])
        );
        assert_eq!(plan.closed_by(), [2]);
        plan.commit(&mut table, &filled(2));

        let (fold, plan) = assign(&mut table, &batch(&["a", "b", "c"]), 2, 2);
        assert_eq!(*fold.groups, [0, 1, 2]);
        assert_eq!(
            fold.accumulators.iter().collect::<Vec<_>>(),
            [b"acc-1".as_slice(), b"acc-0", b""]
        );
        assert_eq!(fold.closing.starts, [40, 20]);
        plan.commit(&mut table, &filled(1));
        assert_eq!(table.len(), 1, "only `c` has an open window");
    }

    #[test]
    fn one_batch_closes_several_windows_of_a_key() {
        let mut table = Table::default();
        let (fold, plan) = assign(&mut table, &batch(&["a"; 7]), 3, 1);
        assert_eq!(*fold.groups, [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(plan.closed_by(), [2, 5]);
        plan.commit(&mut table, &filled(1));
        let (fold, plan) = assign(&mut table, &batch(&["a"; 2]), 3, 2);
        assert_eq!(fold.closing.counts, [3]);
        plan.commit(&mut table, &filled(0));
        assert!(table.is_empty());
    }

    #[test]
    fn an_abandoned_turn_leaves_no_trace() {
        let mut table = Table::default();
        let (_, plan) = assign(&mut table, &batch(&["a", "a"]), 3, 1);
        plan.commit(&mut table, &filled(1));
        let (before, plan) = assign(&mut table, &batch(&["a", "new"]), 3, 2);
        plan.abandon(&mut table);
        assert_eq!(table.len(), 1);
        let (again, plan) = assign(&mut table, &batch(&["a", "new"]), 3, 3);
        plan.abandon(&mut table);
        assert_eq!((before.groups, before.accumulators), (again.groups, again.accumulators));
    }
}

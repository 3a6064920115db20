//! Which events fold into which window.
//!
//! Before a turn, [`assign`] sorts the events of a batch into groups, one for each window that they touch, and says which
//! windows close. After it, [`Plan::commit`] writes the accumulators back, or [`Plan::abandon`] leaves everything as it was:
//! a turn's effects happen together or not at all.
//!
//! Windows that no batch completes leave their table as [`PartialWindows`], and are finished from what those say of them
//! ([`finish`]), whatever is in the table by then.

mod merging;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::Entry;
use super::segments::ClosedWindow;
use super::table::Table;
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{EarlyResults, Finish, Fold, StaleGroups, Windows};
use dirigo_ground::windowing::EarlyEvents;

pub use merging::merge;

/// Count windows: each holds `size` events of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountWindows {
    /// How many events one has.
    pub size: u64,
    /// After how many events each has a result before its end.
    pub early_events: EarlyEvents,
}

impl CountWindows {
    /// Windows of `size` events, each with one result.
    #[must_use]
    pub fn of(size: u64) -> Self {
        Self {
            size,
            early_events: EarlyEvents::NONE,
        }
    }

    /// Windows of all events of a key, which the end of the input closes.
    #[must_use]
    pub fn global(early_events: EarlyEvents) -> Self {
        Self {
            size: u64::MAX,
            early_events,
        }
    }
}

/// What a turn will do to a table, once it succeeded.
#[derive(Debug)]
pub struct Plan {
    groups: Vec<Group>,
    /// The groups by the numbers that the guest knows them by: the closing ones first, in the order in which they close.
    order: Vec<u32>,
    /// For each closing group the event that completed it.
    closed_by: Arc<Vec<u32>>,
    /// The groups whose windows have an early result, each with the event that brings it.
    early: Vec<(u32, u32)>,
    early_events: EarlyEvents,
    /// The state version of the operator that folds.
    state_version: u32,
}

/// Events of a batch that belong to one window.
#[derive(Debug)]
struct Group {
    slot: u32,
    /// Whether it goes on from what the slot holds.
    resumes: bool,
    count: u64,
    start: i64,
    end: i64,
    /// Whether its window has an early result in this turn: then no event follows in it.
    has_result: bool,
}

/// The group of a slot whose window this turn has closed.
const CLOSED: u32 = u32::MAX;

/// How much state one turn is handed, beyond that of its first event: to copy it takes 0.1 ms there and as long back, and
/// twice that for pages that are new.
pub const HANDED_BYTES_MAX: usize = 1 << 20;

/// Sorts `batch` into count windows, for an operator that writes accumulators of `state_version`: as many of its events as one turn
/// can be handed the state of, which the fold has. Behind an event that brings an early result, the fold ends before the next one of
/// that window: the result is made of what the fold leaves. `turn` is not 0 and differs from that of the turn before.
pub fn assign(table: &mut Table, batch: &Batch, windows: CountWindows, turn: u32, state_version: u32) -> (Fold, Plan) {
    let CountWindows { size, early_events } = windows;
    let mut groups: Vec<Group> = Vec::with_capacity(batch.len());
    let mut joined = Vec::with_capacity(batch.len());
    // The closing groups in the order in which they close; the open ones follow.
    let mut order = Vec::with_capacity(batch.len());
    let (mut closed_by, mut early) = (Vec::new(), Vec::new());
    let mut is_uniform = true;
    let mut handed_bytes = 0;
    let mut slots = Slots::new(batch, early_events);
    for (event, &time) in batch.times.iter().enumerate() {
        let number = slots.of(event, table);
        let slot = table.slot_mut(number);
        if slot.turn != turn {
            handed_bytes += slot.entry.bytes().len();
            if handed_bytes > HANDED_BYTES_MAX && event > 0 {
                break;
            }
            slot.turn = turn;
            slot.group = group_number(groups.len());
            let group = Group::resuming(number, &slot.entry, time);
            is_uniform &= !group.resumes || slot.entry.state_version == state_version;
            groups.push(group);
        } else if slot.group == CLOSED {
            slot.group = group_number(groups.len());
            groups.push(Group::new(number, time));
        }
        let joins = slot.group;
        let group = &mut groups[joins as usize];
        if group.has_result {
            break;
        }
        group.count += 1;
        group.start = group.start.min(time);
        group.end = group.end.max(time);
        if group.count == size {
            order.push(joins);
            closed_by.push(group_number(event));
            slot.group = CLOSED;
        } else if early_events.results(group.count) > early_events.results(group.count - 1) {
            group.has_result = true;
            early.push((joins, group_number(event)));
        }
        joined.push(joins);
    }
    order.extend(
        (0..)
            .zip(&groups)
            .filter(|(_, group)| group.count < size)
            .map(|(number, _)| number),
    );
    let plan = Plan {
        groups,
        order,
        closed_by: Arc::new(closed_by),
        early,
        early_events,
        state_version,
    };
    let is_whole = joined.len() == batch.len();
    let fold = Fold {
        batch: if is_whole {
            batch.clone()
        } else {
            batch.slice(0..joined.len())
        },
        groups: Arc::new(plan.numbered(joined)),
        accumulators: Arc::new(plan.accumulators(table, handed_bytes)),
        merged: None,
        closing: plan.windows(table).map(Arc::new),
        early: plan.early_results(table).map(Arc::new),
        stale: if is_uniform { Vec::new() } else { plan.stale(table) },
    };
    (fold, plan)
}

/// The slots of the keys of a batch, looked up before the events are sorted: look-ups don't depend on each other, so the processor overlaps their
/// cache misses, which the branches between them would keep it from.
pub(super) struct Slots<'a> {
    batch: &'a Batch,
    found: Vec<u32>,
    /// How many are looked up at once.
    at_once: usize,
}

impl<'a> Slots<'a> {
    /// Those of the keys of `batch`, none looked up so far.
    pub(super) fn new(batch: &'a Batch, early_events: EarlyEvents) -> Self {
        /// A fold that an early result ends may be of a single event, and the rest of its batch is looked up anew.
        const FEW: usize = 32;
        Self {
            batch,
            found: Vec::new(),
            at_once: if early_events.are_none() { batch.len() } else { FEW },
        }
    }

    /// That of an event; events are asked for in their order.
    pub(super) fn of(&mut self, event: usize, table: &mut Table) -> u32 {
        if event == self.found.len() {
            let next = event..self.batch.len().min(event + self.at_once);
            self.found
                .extend(next.map(|event| table.slot_of(self.batch.keys.get(event))));
        }
        self.found[event]
    }
}

pub(super) fn group_number(index: usize) -> u32 {
    u32::try_from(index).expect("a batch has fewer than 2^32 events")
}

impl Group {
    fn new(slot: u32, time: i64) -> Self {
        Self {
            slot,
            resumes: false,
            count: 0,
            start: time,
            end: time,
            has_result: false,
        }
    }

    /// Goes on with the window of a slot, or opens one where the slot is vacant.
    fn resuming(slot: u32, entry: &Entry, time: i64) -> Self {
        let resumes = entry.count > 0;
        Self {
            slot,
            resumes,
            count: entry.count,
            start: if resumes { entry.start } else { time },
            end: if resumes { entry.end } else { time },
            has_result: false,
        }
    }

    fn push_to(&self, windows: &mut Windows, table: &Table, pane: u32) {
        windows.keys.push(&table.slot(self.slot).key);
        windows.starts.push(self.start);
        windows.ends.push(self.end);
        windows.counts.push(self.count);
        windows.panes.push(pane);
    }
}

/// By how much what lies in open windows has grown, or shrunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenChange {
    /// In windows.
    pub windows: i64,
    /// In events.
    pub events: i64,
}

impl Plan {
    /// For each window that closes, the place in the batch of the event that completed it; rises.
    #[must_use]
    pub fn closed_by(&self) -> &Arc<Vec<u32>> {
        &self.closed_by
    }

    fn in_order(&self) -> impl Iterator<Item = &Group> {
        self.order.iter().map(|&group| &self.groups[group as usize])
    }

    fn closing(&self) -> impl Iterator<Item = &Group> {
        self.in_order().take(self.closed_by.len())
    }

    /// By group, the number that the guest knows.
    fn numbers(&self) -> Vec<u32> {
        let mut numbers = vec![0; self.groups.len()];
        for (number, &group) in (0..).zip(&self.order) {
            numbers[group as usize] = number;
        }
        numbers
    }

    /// The groups of the events, by the numbers that the guest knows.
    fn numbered(&self, mut joined: Vec<u32>) -> Vec<u32> {
        let numbers = self.numbers();
        joined.iter_mut().for_each(|group| *group = numbers[*group as usize]);
        joined
    }

    /// What each group starts from, of so many bytes together at most.
    fn accumulators(&self, table: &Table, bytes: usize) -> Column {
        let mut column = Column::with_capacity(self.groups.len(), bytes);
        for group in self.in_order() {
            if group.resumes {
                column.push(table.slot(group.slot).entry.bytes());
            } else {
                column.push(&[]);
            }
        }
        column
    }

    /// The groups that go on from accumulators of another state version, by version.
    fn stale(&self, table: &Table) -> Vec<StaleGroups> {
        let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (number, group) in (0..).zip(self.in_order()) {
            let version = table.slot(group.slot).entry.state_version;
            if group.resumes && version != self.state_version {
                by_version.entry(version).or_default().push(number);
            }
        }
        stale(by_version)
    }

    fn windows(&self, table: &Table) -> Option<Windows> {
        if self.closed_by.is_empty() {
            return None;
        }
        let mut windows = Windows::default();
        for group in self.closing() {
            group.push_to(&mut windows, table, 0);
        }
        Some(windows)
    }

    fn early_results(&self, table: &Table) -> Option<EarlyResults> {
        if self.early.is_empty() {
            return None;
        }
        let numbers = self.numbers();
        let mut windows = Windows::default();
        let mut results = EarlyResults::default();
        for (place, event) in &self.early {
            let group = &self.groups[*place as usize];
            group.push_to(&mut windows, table, self.early_events.results(group.count) - 1);
            results.groups.push(numbers[*place as usize]);
            results.events.push(*event);
        }
        results.windows = Arc::new(windows);
        Some(results)
    }

    /// Takes effect: `accumulators` are those of the groups that stay open, in order.
    pub fn commit(self, table: &mut Table, accumulators: &Column) -> OpenChange {
        let mut change = OpenChange::default();
        // Closing groups first: a key may close one window and open the next in the same turn.
        for group in self.closing() {
            if group.resumes {
                change.windows -= 1;
                change.events -= table.slot(group.slot).entry.count.cast_signed();
            }
            table.close(group.slot);
        }
        for (group, accumulator) in self.in_order().skip(self.closed_by.len()).zip(accumulators.iter()) {
            // What closed is vacant by now, so this is what the group went on from.
            let before = table.slot(group.slot).entry.count;
            change.windows += i64::from(before == 0);
            change.events += group.count.cast_signed() - before.cast_signed();
            let bounds = (group.count, group.start, group.end);
            table.put(group.slot, bounds, self.state_version, accumulator);
        }
        table.sweep();
        change
    }

    /// Leaves the table as it was before [`assign`].
    pub fn abandon(self, table: &mut Table) {
        table.sweep();
    }
}

/// Windows that are closed, by a watermark or since their input has ended, and have left their tables.
#[derive(Debug, Default)]
pub struct PartialWindows {
    /// The key of each.
    pub keys: Column,
    /// The time of what each puts out: ms since the epoch.
    pub times: Vec<i64>,
    /// The entry of each, as the store keeps it.
    pub entries: Column,
    /// Those whose time lies before what the operator had come to: updates of windows that were finished before.
    pub behind: Vec<(u32, i64)>,
}

impl PartialWindows {
    /// Adds one that is closed since its input has ended: its time is the greatest of its events.
    pub fn push(&mut self, key: &[u8], entry: &Entry) {
        self.keys.push(key);
        self.times.push(entry.end);
        self.entries.push(&entry.encode());
    }

    /// Adds one that a watermark has closed, when event time had come to `due`: its time is the last ms that lies in it.
    pub fn push_closed(&mut self, key: &[u8], window: &ClosedWindow, due: i64) {
        // An early result has the time that it goes up to.
        let time = window.span.end.min(due) - 1;
        if time < due - 1 {
            self.behind.push((group_number(self.len()), due - 1));
        }
        self.keys.push(key);
        self.times.push(time);
        self.entries.push(&window.encode());
    }

    /// Adds a step of a process that event time has come to.
    pub fn push_step(&mut self, key: &[u8], time: i64, step: &[u8]) {
        self.keys.push(key);
        self.times.push(time);
        self.entries.push(step);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

/// What finishes windows whose entries are the values of `batch`, for an operator that writes accumulators of `state_version`. Their early
/// results came as `early_events` says.
///
/// # Panics
/// When a value is no entry: whatever brings back such a batch looks at that.
#[must_use]
pub fn finish(batch: &Batch, early_events: EarlyEvents, state_version: u32) -> Finish {
    let mut windows = Windows::default();
    let entries = batch.values.to_column();
    let mut accumulators = Column::with_capacity(batch.len(), entries.bytes().len());
    let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (window, (key, value)) in (0..).zip(batch.keys.iter().zip(entries.iter())) {
        let entry = Entry::decode(value).expect("the values of partial windows are entries");
        windows.keys.push(key);
        windows.starts.push(entry.start);
        windows.ends.push(entry.end);
        windows.counts.push(entry.count);
        windows.panes.push(early_events.results(entry.count));
        accumulators.push(entry.bytes());
        if entry.state_version != state_version {
            by_version.entry(entry.state_version).or_default().push(window);
        }
    }
    Finish {
        batch: batch.clone(),
        windows: Arc::new(windows),
        accumulators: Arc::new(accumulators),
        merged: None,
        stale: stale(by_version),
    }
}

pub(super) fn stale(by_version: BTreeMap<u32, Vec<u32>>) -> Vec<StaleGroups> {
    by_version
        .into_iter()
        .map(|(version, groups)| StaleGroups { version, groups })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dirigo_ground::fields::Fields;
    use dirigo_ground::lineage::Ticket;

    fn batch(keys: &[&str]) -> Batch {
        let mut column = Column::default();
        keys.iter().for_each(|key| column.push(key.as_bytes()));
        let positions: Vec<u64> = (1..=keys.len() as u64).collect();
        Batch {
            times: Arc::new(positions.iter().map(|&position| position.cast_signed() * 10).collect()),
            keys: Arc::new(column),
            values: Column::of_empty(keys.len()).into(),
            fields: Fields::default(),
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
        let (fold, plan) = assign(&mut table, &batch(&["a", "b", "a", "a"]), CountWindows::of(2), 1, 1);
        assert_eq!(*fold.groups, [0, 1, 0, 2], "the closing window of `a` comes first");
        let closing = fold.closing.expect("a window closes");
        assert_eq!(closing.keys.iter().collect::<Vec<_>>(), [b"a"]);
        assert_eq!(
            (&closing.starts[..], &closing.ends[..], &closing.counts[..]),
            (&[10][..], &[30][..], &[2][..])
        );
        assert_eq!(**plan.closed_by(), [2]);
        plan.commit(&mut table, &filled(2));

        let (fold, plan) = assign(&mut table, &batch(&["a", "b", "c"]), CountWindows::of(2), 2, 1);
        assert_eq!(*fold.groups, [0, 1, 2]);
        assert_eq!(
            fold.accumulators.iter().collect::<Vec<_>>(),
            [b"acc-1".as_slice(), b"acc-0", b""]
        );
        assert_eq!(fold.closing.map(|closing| closing.starts.clone()), Some(vec![10, 20]));
        plan.commit(&mut table, &filled(1));
        assert_eq!(table.len(), 1, "only `c` has an open window");
    }

    /// The early results of a fold: key, events and pane of the window, and the event that brings it.
    fn early_of(fold: &Fold) -> Vec<(Vec<u8>, u64, u32, u32)> {
        let Some(early) = &fold.early else { return Vec::new() };
        let windows = &early.windows;
        let result = |(place, event): (usize, &u32)| {
            assert_eq!(early.groups[place], fold.groups[*event as usize]);
            let key = windows.keys.get(place).to_vec();
            (key, windows.counts[place], windows.panes[place], *event)
        };
        early.events.iter().enumerate().map(result).collect()
    }

    #[test]
    fn a_global_window_has_a_result_after_each_so_many_events_however_they_are_cut_into_batches() {
        let windows = CountWindows::global(EarlyEvents::every(3));
        let keys = ["a", "a", "b", "a", "b", "a", "a", "a", "b", "b", "a"];
        let expected =
            [("a", 3, 0), ("a", 6, 1), ("b", 3, 0)].map(|(key, count, pane)| (key.as_bytes().to_vec(), count, pane));
        for size in 1..=keys.len() {
            let mut table = Table::default();
            let (mut found, mut turn, mut rest) = (Vec::new(), 0, &keys[..]);
            while !rest.is_empty() {
                turn += 1;
                let (fold, plan) = assign(&mut table, &batch(&rest[..rest.len().min(size)]), windows, turn, 1);
                assert!(fold.closing.is_none());
                found.extend(
                    early_of(&fold)
                        .into_iter()
                        .map(|(key, count, pane, _)| (key, count, pane)),
                );
                plan.commit(&mut table, &filled(fold.accumulators.len()));
                rest = &rest[fold.batch.len()..];
            }
            assert_eq!(found, expected, "batches of {size}");
            let entry = table.get(b"a").expect("its window is open");
            let mut values = Column::default();
            values.push(&entry.encode());
            let closed = Batch {
                values: values.into(),
                ..batch(&["a"])
            };
            assert_eq!(
                finish(&closed, windows.early_events, 1).windows.panes,
                [2],
                "the final result counts on"
            );
        }
    }

    #[test]
    fn a_fold_ends_before_the_next_event_of_a_window_that_has_an_early_result() {
        let mut table = Table::default();
        let windows = CountWindows::global(EarlyEvents::every(2));
        let (fold, _) = assign(&mut table, &batch(&["a", "b", "a", "b", "c", "a", "c"]), windows, 1, 1);
        assert_eq!(fold.batch.len(), 5);
        assert_eq!(early_of(&fold), [(b"a".to_vec(), 2, 0, 2), (b"b".to_vec(), 2, 0, 3)]);
    }

    #[test]
    fn the_bounds_of_a_window_are_its_least_and_greatest_time_whatever_order_events_come_in() {
        let at = |times: &[i64]| Batch {
            times: Arc::new(times.to_vec()),
            ..batch(&vec!["a"; times.len()])
        };
        let mut table = Table::default();
        let (_, plan) = assign(&mut table, &at(&[30, 10]), CountWindows::of(4), 1, 1);
        plan.commit(&mut table, &filled(1));
        let (fold, _) = assign(&mut table, &at(&[5, 20]), CountWindows::of(4), 2, 1);
        let closing = fold.closing.expect("a window closes");
        assert_eq!((&closing.starts[..], &closing.ends[..]), (&[5][..], &[30][..]));
        let (fold, _) = assign(&mut table, &at(&[40, 20]), CountWindows::of(4), 3, 1);
        let closing = fold.closing.expect("a window closes");
        assert_eq!((&closing.starts[..], &closing.ends[..]), (&[10][..], &[40][..]));
    }

    #[test]
    fn what_lies_in_open_windows_is_counted() {
        let mut table = Table::default();
        let mut open = OpenChange::default();
        for (turn, keys) in [
            (1, &["a", "b", "a"][..]),
            (2, &["a", "c"]),
            (3, &["b", "b", "b", "b", "c"]),
        ] {
            let (fold, plan) = assign(&mut table, &batch(keys), CountWindows::of(3), turn, 1);
            let closing = fold.closing.map_or(0, |closing| closing.counts.len());
            let groups = fold.groups.iter().collect::<std::collections::BTreeSet<_>>().len();
            let change = plan.commit(&mut table, &filled(groups - closing));
            open = OpenChange {
                windows: open.windows + change.windows,
                events: open.events + change.events,
            };
        }
        // Of `b` there are 2 in its second window, of `c` 2; the one of `a` has closed.
        assert_eq!(open, OpenChange { windows: 2, events: 4 });
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn one_batch_closes_several_windows_of_a_key() {
        let mut table = Table::default();
        let (fold, plan) = assign(&mut table, &batch(&["a"; 7]), CountWindows::of(3), 1, 1);
        assert_eq!(*fold.groups, [0, 0, 0, 1, 1, 1, 2]);
        assert_eq!(**plan.closed_by(), [2, 5]);
        plan.commit(&mut table, &filled(1));
        let (fold, plan) = assign(&mut table, &batch(&["a"; 2]), CountWindows::of(3), 2, 1);
        assert_eq!(fold.closing.map(|closing| closing.counts.clone()), Some(vec![3]));
        plan.commit(&mut table, &filled(0));
        assert!(table.is_empty());
    }

    #[test]
    fn a_turn_is_handed_so_much_state_and_no_more() {
        let mut table = Table::default();
        let large = vec![7; HANDED_BYTES_MAX / 2];
        let keys = ["a", "b", "c"];
        let (_, plan) = assign(&mut table, &batch(&keys), CountWindows::of(9), 1, 1);
        let mut accumulators = Column::default();
        keys.iter().for_each(|_| accumulators.push(&large));
        plan.commit(&mut table, &accumulators);
        let (fold, plan) = assign(
            &mut table,
            &batch(&["a", "b", "a", "new", "c", "a"]),
            CountWindows::of(9),
            2,
            1,
        );
        assert_eq!(fold.batch.positions[..], [1, 2, 3, 4]);
        assert_eq!(*fold.groups, [0, 1, 0, 2]);
        plan.abandon(&mut table);
        let (fold, plan) = assign(&mut table, &batch(&["c", "a"]), CountWindows::of(9), 3, 1);
        assert_eq!(fold.batch.len(), 2);
        plan.abandon(&mut table);
    }

    #[test]
    fn an_abandoned_turn_leaves_no_trace() {
        let mut table = Table::default();
        let (_, plan) = assign(&mut table, &batch(&["a", "a"]), CountWindows::of(3), 1, 1);
        plan.commit(&mut table, &filled(1));
        let (before, plan) = assign(&mut table, &batch(&["a", "new"]), CountWindows::of(3), 2, 1);
        plan.abandon(&mut table);
        assert_eq!(table.len(), 1);
        let (again, plan) = assign(&mut table, &batch(&["a", "new"]), CountWindows::of(3), 3, 1);
        plan.abandon(&mut table);
        assert_eq!((before.groups, before.accumulators), (again.groups, again.accumulators));
    }

    #[test]
    fn accumulators_of_other_versions_are_told_apart_until_a_turn_has_rewritten_them() {
        let mut table = Table::default();
        for (turn, key, version) in [(1, "a", 1), (2, "b", 2), (3, "c", 1)] {
            let (_, plan) = assign(&mut table, &batch(&[key]), CountWindows::of(9), turn, version);
            plan.commit(&mut table, &filled(1));
        }
        let keys = ["new", "a", "b", "c", "a"];
        let (fold, plan) = assign(&mut table, &batch(&keys), CountWindows::of(9), 4, 3);
        let stale = |version, groups: &[u32]| StaleGroups {
            version,
            groups: groups.into(),
        };
        assert_eq!(fold.stale, [stale(1, &[1, 3]), stale(2, &[2])]);
        plan.commit(&mut table, &filled(4));
        let (fold, _) = assign(&mut table, &batch(&keys), CountWindows::of(9), 5, 3);
        assert_eq!(fold.stale, []);
    }

    #[test]
    fn a_window_that_has_left_its_table_is_finished_as_it_was() {
        let mut table = Table::default();
        for (turn, keys, windows, version) in [(1, &["a", "b", "a"][..], 2, 1), (2, &["c"], 1, 2)] {
            let (_, plan) = assign(&mut table, &batch(keys), CountWindows::of(9), turn, version);
            plan.commit(&mut table, &filled(windows));
        }
        let mut partial = PartialWindows::default();
        for key in [b"a", b"c", b"x"] {
            if let Some(entry) = table.take(key) {
                partial.push(key, &entry);
            }
        }
        assert_eq!((table.len(), table.take(b"a")), (1, None), "only `b` is still there");
        table.check();
        let finish = finish(
            &Batch {
                times: Arc::new(partial.times),
                keys: Arc::new(partial.keys),
                values: partial.entries.into(),
                fields: Fields::default(),
                positions: Arc::new(vec![7, 8]),
                origin: Ticket::detached().into(),
            },
            EarlyEvents::NONE,
            2,
        );
        let windows = &*finish.windows;
        assert_eq!(windows.keys.iter().collect::<Vec<_>>(), [b"a", b"c"]);
        assert_eq!(
            (&windows.starts[..], &windows.ends[..], &windows.counts[..]),
            (&[10, 10][..], &[30, 10][..], &[2, 1][..])
        );
        assert_eq!(*finish.batch.times, [30, 10], "the greatest of their events");
        assert_eq!(finish.accumulators.len(), 2);
        let stale = StaleGroups {
            version: 1,
            groups: vec![0],
        };
        assert_eq!(finish.stale, [stale]);
    }
}

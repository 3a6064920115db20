//! What a turn of a process is handed, and what it leaves.
//!
//! Before a turn, [`assign_events`] or [`assign_steps`] makes the arguments of the call from a batch of events, or of steps that event time has come to
//! ([`Step`]). After it, [`Plan::commit`] writes state and timers back, or [`Plan::abandon`] leaves everything as it was. An operator that
//! goes by event time has events wait first ([`Table::put_event`]); what is due leaves with [`Table::take_due_steps`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::Entry;
use super::hash;
use super::keyed::{DueSteps, Keyed, ReachedTime};
use super::step::{Step, WaitingEvent};
use super::table::Table;
use super::windows::{HANDED_BYTES_MAX, OpenChange, group_number, stale};
use dirigo_ground::batch::{Batch, Column};
use dirigo_ground::call::{Advances, Known, Process, StepOrigin, Timers};
use dirigo_ground::fields::Fields;
use dirigo_ground::items::Items;
use dirigo_ground::lineage::AFTER_ALL;

/// What a turn will do to a table, once it succeeded.
#[derive(Debug)]
pub struct Plan {
    /// The slots of the keys, by their numbers.
    slots: Vec<u32>,
    /// Of each key up to when its timers are to have fired, if it has advances and no event behind the last.
    until: Vec<Option<i64>>,
    state_version: u32,
}

/// Makes the arguments of a call over the first of these events, as many as one turn can be handed the state of. They came by the input at
/// this place. `turn` is not 0 and differs from that of the turn before.
pub fn assign_events(table: &mut Table, batch: &Batch, input: u32, turn: u32, state_version: u32) -> (Process, Plan) {
    let mut keys = KeysOfTurn::new(turn, state_version);
    let numbers: Vec<u32> = batch.keys.iter().map_while(|key| keys.number_of(table, key)).collect();
    let events = first(batch, numbers.len());
    let steps = Steps {
        inputs: (input > 0).then(|| Arc::new(vec![input; events.len()])),
        all: events.clone(),
        events,
        numbers,
        advances: Advances::default(),
    };
    keys.into_call(table, steps)
}

/// The same for steps that event time has come to: the values of `batch` are [`Step`]s. `operator` is the name of theirs.
///
/// # Panics
/// When a value is none: whatever brings back such a batch looks at that.
pub fn assign_steps(
    table: &mut Table,
    batch: &Batch,
    operator: &Arc<str>,
    turn: u32,
    state_version: u32,
) -> (Process, Plan) {
    let mut keys = KeysOfTurn::new(turn, state_version);
    let records = batch.values.to_column();
    let (mut numbers, mut inputs, mut places, mut positions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut values, mut advances) = (Column::default(), Advances::default());
    let mut count = 0;
    for (place, (key, record)) in (0_u32..).zip(batch.keys.iter().zip(records.iter())) {
        let Some(number) = keys.number_of(table, key) else {
            break;
        };
        count += 1;
        match step(record) {
            Step::Event(event) => {
                keys.until[number as usize] = None;
                numbers.push(number);
                inputs.push(u32::from(event.input));
                places.push(place);
                positions.push(event.position);
                values.push(event.value);
            }
            Step::Advance { until } => {
                let furthest = &mut keys.furthest[number as usize];
                *furthest = (*furthest).max(Some(until));
                keys.until[number as usize] = Some(until);
                advances.places.push(group_number(numbers.len()));
                advances.keys.push(number);
                advances.until.push(until);
            }
        }
    }
    let all = first(batch, count);
    let events = Batch {
        times: Arc::new(places.iter().map(|&place| batch.times[place as usize]).collect()),
        keys: Arc::new(batch.keys.gather(&places)),
        values: values.into(),
        fields: Fields::default(),
        positions: Arc::new(positions),
        origin: all.origin.of(|behind| behind.gather(&places)),
    };
    let steps = Steps {
        inputs: inputs.iter().any(|input| *input > 0).then(|| Arc::new(inputs)),
        all,
        events,
        numbers,
        advances,
    };
    let (mut call, plan) = keys.into_call(table, steps);
    if call.steps.len() == 1 {
        call.origin = Some(origin(step(records.get(0)), operator));
    }
    (call, plan)
}

/// Which of `batch`, whose values are [`Step`]s, is an event, and what of it: `None` for an advance.
///
/// # Panics
/// As [`assign_steps`].
#[must_use]
pub fn event_of(record: &[u8]) -> Option<WaitingEvent<'_>> {
    match step(record) {
        Step::Event(event) => Some(event),
        Step::Advance { .. } => None,
    }
}

fn step(record: &[u8]) -> Step<'_> {
    Step::decode(record).expect("what is due of a process are steps")
}

/// What the host answers a guest by at a step.
fn origin(step: Step<'_>, operator: &Arc<str>) -> StepOrigin {
    match step {
        Step::Event(event) => StepOrigin {
            source: event.source.into(),
            position: event.position,
            path: event.path,
            twin: event.twin,
        },
        Step::Advance { until } => StepOrigin {
            source: operator.clone(),
            position: until.cast_unsigned(),
            path: 0,
            twin: 0,
        },
    }
}

fn first(batch: &Batch, steps: usize) -> Batch {
    if steps == batch.len() {
        batch.clone()
    } else {
        batch.slice(0..steps)
    }
}

/// The steps of a call.
struct Steps {
    all: Batch,
    events: Batch,
    /// The number of the key of each event.
    numbers: Vec<u32>,
    inputs: Option<Arc<Vec<u32>>>,
    advances: Advances,
}

/// The keys of a turn, as they are met.
struct KeysOfTurn {
    turn: u32,
    state_version: u32,
    slots: Vec<u32>,
    until: Vec<Option<i64>>,
    /// The greatest time up to which timers of each key fire, whether or not an event comes behind.
    furthest: Vec<Option<i64>>,
    handed_bytes: usize,
    is_uniform: bool,
}

impl KeysOfTurn {
    fn new(turn: u32, state_version: u32) -> Self {
        Self {
            turn,
            state_version,
            slots: Vec::new(),
            until: Vec::new(),
            furthest: Vec::new(),
            handed_bytes: 0,
            is_uniform: true,
        }
    }

    /// The number of a key. `None` where its state is too much for one turn.
    fn number_of(&mut self, table: &mut Table, key: &[u8]) -> Option<u32> {
        let number = table.slot_of(key);
        let slot = table.slot_mut(number);
        if slot.turn != self.turn {
            self.handed_bytes += Keyed::of(&slot.entry).handed_bytes();
            if self.handed_bytes > HANDED_BYTES_MAX && !self.slots.is_empty() {
                return None;
            }
            slot.turn = self.turn;
            slot.group = group_number(self.slots.len());
            self.is_uniform &= !slot.is_open() || slot.entry.state_version == self.state_version;
            self.slots.push(number);
            self.until.push(None);
            self.furthest.push(None);
        }
        Some(slot.group)
    }

    fn into_call(self, table: &mut Table, steps: Steps) -> (Process, Plan) {
        let items = self.slots.iter().map(|&slot| table.take_items_out(slot).cloned());
        let items = items.collect();
        let entries = || self.slots.iter().map(|&slot| table.slot(slot));
        let (mut keys, mut states, mut timers) = (Column::default(), Column::default(), Timers::default());
        let mut due_timers = 0;
        for (slot, until) in entries().zip(&self.furthest) {
            let keyed = Keyed::of(&slot.entry);
            keys.push(&slot.key);
            states.push(keyed.state);
            for (time, name) in keyed.timers() {
                timers.times.push(time);
                timers.names.push(name);
                due_timers += usize::from(until.is_some_and(|until| time <= until));
            }
            timers.ends.push(group_number(timers.times.len()));
        }
        let mut by_version: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        if !self.is_uniform {
            for (number, slot) in (0..).zip(entries()) {
                let version = slot.entry.state_version;
                if version != self.state_version && !Keyed::of(&slot.entry).state.is_empty() {
                    by_version.entry(version).or_default().push(number);
                }
            }
        }
        let has_advances = !steps.advances.places.is_empty();
        let call = Process {
            work: steps.all.len() + due_timers,
            steps: steps.all,
            events: steps.events,
            keys: Arc::new(steps.numbers),
            inputs: steps.inputs,
            advances: has_advances.then(|| Arc::new(steps.advances)),
            known: Known {
                keys: Arc::new(keys),
                states: Arc::new(states),
                timers: (!timers.times.is_empty()).then(|| Arc::new(timers)),
            },
            items,
            stale: stale(by_version),
            origin: None,
        };
        let plan = Plan {
            slots: self.slots,
            until: self.until,
            state_version: self.state_version,
        };
        (call, plan)
    }
}

impl Plan {
    /// The number of a key that has a timer left which is to have fired.
    #[must_use]
    pub fn unfired(&self, timers: Option<&Timers>) -> Option<usize> {
        let timers = timers?;
        let is_left = |(key, until): (usize, &Option<i64>)| {
            let until = (*until)?;
            timers.of(key).any(|(time, _)| time <= until).then_some(key)
        };
        self.until.iter().enumerate().find_map(is_left)
    }

    /// Takes effect: `states` and `timers` are those of the keys, by their numbers, and `items` those of each whose items changed.
    pub fn commit(
        self,
        table: &mut Table,
        states: &Column,
        timers: Option<&Timers>,
        items: &[Option<Arc<Items>>],
    ) -> OpenChange {
        let mut change = OpenChange::default();
        for ((key, &slot), state) in self.slots.iter().enumerate().zip(states.iter()) {
            let timers = timers.into_iter().flat_map(|timers| timers.of(key));
            let items = items.get(key).and_then(Option::as_ref);
            if let Some(items) = items {
                table.put_items(slot, items.clone());
            }
            change.windows += table.change_keyed(slot, |entry| {
                if let Some(items) = items {
                    entry.put_items_apart(!items.is_empty());
                }
                entry.put_keyed(state, timers, self.state_version);
            });
        }
        table.sweep();
        change
    }

    /// Leaves the table as it was before the steps were assigned.
    pub fn abandon(self, table: &mut Table) {
        table.sweep();
    }
}

impl Table {
    /// Has an event wait for event time.
    pub fn put_event(&mut self, key: &[u8], time: i64, event: WaitingEvent<'_>, state_version: u32) -> OpenChange {
        let slot = self.slot_of(key);
        let windows = self.change_keyed(slot, |entry| entry.put_event(time, event, state_version));
        OpenChange { windows, events: 1 }
    }

    /// Takes out what is due of `key`, in steps of about so many bytes. `is_at_rest` is false while a turn goes on from slots of
    /// the table: none of them moves then.
    pub fn take_due_steps(
        &mut self,
        key: &[u8],
        by: ReachedTime,
        bytes_max: usize,
        is_at_rest: bool,
    ) -> Option<(DueSteps, OpenChange)> {
        let slot = self.find(hash::key(key), key)?;
        let end = self.slot(slot).entry.end;
        if end > by.watermark || end == AFTER_ALL {
            return None;
        }
        let mut taken = None;
        let windows = self.change_keyed(slot, |entry| taken = entry.take_due_steps(by, bytes_max));
        if is_at_rest {
            self.sweep();
        }
        let taken = taken?;
        let events = -taken.events.cast_signed();
        Some((taken, OpenChange { windows, events }))
    }

    /// Drops the timers of `key` that fire up to a time.
    pub fn drop_timers(&mut self, key: &[u8], until: i64) -> OpenChange {
        let Some(slot) = self.find(hash::key(key), key) else {
            return OpenChange::default();
        };
        OpenChange {
            windows: self.change_keyed(slot, |entry| entry.drop_timers(until)),
            events: 0,
        }
    }

    /// Changes the entry of a slot. Gives by how much the number of entries grows.
    fn change_keyed(&mut self, number: u32, change: impl FnOnce(&mut Entry)) -> i64 {
        self.note_change(number);
        let entry = &mut self.slots.at_mut(number).entry;
        let (outside_before, was_open) = (entry.outside(), entry.count > 0);
        change(entry);
        let (outside_after, is_open) = (entry.outside(), entry.count > 0);
        self.outside = self.outside + outside_after - outside_before;
        self.open = self.open + usize::from(is_open) - usize::from(was_open);
        self.note_keyed_due(number);
        i64::from(is_open) - i64::from(was_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FirstKeys, Keyed};
    use dirigo_ground::items::Item;
    use dirigo_ground::lineage::Ticket;

    fn batch(steps: &[(&str, i64, Vec<u8>)]) -> Batch {
        let (mut keys, mut values) = (Column::default(), Column::default());
        for (key, _, value) in steps {
            keys.push(key.as_bytes());
            values.push(value);
        }
        Batch {
            times: Arc::new(steps.iter().map(|(_, time, _)| *time).collect()),
            keys: Arc::new(keys),
            values: values.into(),
            fields: Fields::default(),
            positions: Arc::new((1..=steps.len() as u64).collect()),
            origin: Ticket::detached().into(),
        }
    }

    fn event(input: u16, value: &[u8]) -> WaitingEvent<'_> {
        WaitingEvent {
            input,
            source: "in",
            position: 40,
            path: 0,
            twin: 2,
            value,
        }
    }

    fn timers(of_keys: &[&[(i64, &str)]]) -> Timers {
        let mut all = Timers::default();
        for of_key in of_keys {
            for (time, name) in *of_key {
                all.times.push(*time);
                all.names.push(name.as_bytes());
            }
            all.ends.push(group_number(all.times.len()));
        }
        all
    }

    fn column(items: &[&[u8]]) -> Column {
        let mut column = Column::default();
        items.iter().for_each(|item| column.push(item));
        column
    }

    #[test]
    fn a_turn_over_events_goes_on_from_what_the_one_before_left() {
        let mut table = Table::keyed_in_epoch(1);
        let events = batch(&[("a", 1, vec![]), ("b", 2, vec![]), ("a", 3, vec![])]);
        let (call, plan) = assign_events(&mut table, &events, 1, 1, 1);
        assert_eq!(
            (&call.keys[..], call.inputs.as_deref()),
            (&[0, 1, 0][..], Some(&vec![1, 1, 1]))
        );
        assert_eq!(*call.known.states, column(&[b"", b""]));
        assert!(call.known.timers.is_none() && call.advances.is_none());
        let set = timers(&[&[(9, "t")], &[]]);
        let change = plan.commit(&mut table, &column(&[b"A", b""]), Some(&set), &[]);
        assert_eq!((change.windows, table.len(), table.next_due()), (1, 1, 10));
        let (call, plan) = assign_events(&mut table, &events, 0, 2, 1);
        assert_eq!(*call.known.states, column(&[b"A", b""]));
        assert_eq!(call.known.timers.as_deref(), Some(&set));
        plan.abandon(&mut table);
        let (_, plan) = assign_events(&mut table, &events, 0, 3, 1);
        let change = plan.commit(&mut table, &column(&[b"", b""]), None, &[]);
        assert_eq!((change.windows, table.len()), (-1, 0));
        table.check();
    }

    #[test]
    fn steps_are_events_and_advances_between_them() {
        let mut table = Table::keyed_in_epoch(1);
        let advance = |until| Step::Advance { until }.encode();
        let steps = batch(&[
            ("a", 5, advance(4)),
            ("a", 5, Step::Event(event(0, b"one")).encode()),
            ("b", 7, advance(9)),
            ("a", 8, Step::Event(event(1, b"two")).encode()),
        ]);
        let (call, plan) = assign_steps(&mut table, &steps, &"op".into(), 1, 1);
        assert_eq!(call.events.times[..], [5, 8]);
        assert_eq!(*call.events.values.to_column(), column(&[b"one", b"two"]));
        assert_eq!(
            (&call.keys[..], call.inputs.as_deref()),
            (&[0, 0][..], Some(&vec![0, 1]))
        );
        let advances = call.advances.as_deref().expect("there are two");
        assert_eq!(
            (&advances.places[..], &advances.keys[..], &advances.until[..]),
            (&[0, 1][..], &[0, 1][..], &[4, 9][..])
        );
        assert_eq!([call.step_of(0), call.step_of(1)], [1, 3]);
        assert_eq!(
            plan.unfired(Some(&timers(&[&[(1, "t")], &[(10, "t")]]))),
            None,
            "an event comes behind"
        );
        assert_eq!(plan.unfired(Some(&timers(&[&[], &[(9, "t")]]))), Some(1));
        plan.abandon(&mut table);
        let alone = steps.slice(3..4);
        let (call, plan) = assign_steps(&mut table, &alone, &"op".into(), 2, 1);
        let origin = call.origin.expect("it is one step");
        assert_eq!((&*origin.source, origin.position, origin.twin), ("in", 40, 2));
        plan.abandon(&mut table);
    }

    #[test]
    fn state_of_another_version_is_named_by_the_numbers_of_its_keys() {
        let mut table = Table::keyed_in_epoch(1);
        let events = batch(&[("a", 1, vec![]), ("b", 2, vec![])]);
        let (_, plan) = assign_events(&mut table, &events, 0, 1, 1);
        plan.commit(&mut table, &column(&[b"old", b""]), None, &[]);
        let (_, plan) = assign_events(&mut table, &events.slice(1..2), 0, 2, 2);
        plan.commit(&mut table, &column(&[b"new"]), None, &[]);
        let (call, plan) = assign_events(&mut table, &events, 0, 3, 2);
        assert_eq!(call.stale.len(), 1);
        assert_eq!((call.stale[0].version, &call.stale[0].groups[..]), (1, &[0][..]));
        plan.abandon(&mut table);
    }

    #[test]
    fn a_timer_that_is_set_and_cancelled_again_and_again_takes_no_memory() {
        let mut table = Table::keyed_in_epoch(1);
        let one = batch(&[("a", 1, vec![])]);
        let mut turn = 0;
        let mut commit = |table: &mut Table, set: Option<&Timers>| {
            turn += 1;
            let (_, plan) = assign_events(table, &one, 0, turn, 1);
            plan.commit(table, &column(&[b"state"]), set, &[]);
        };
        commit(&mut table, Some(&timers(&[&[(50, "t")]])));
        let bytes = table.bytes();
        for _ in 0..1_000 {
            commit(&mut table, None);
            commit(&mut table, Some(&timers(&[&[(60, "t")]])));
        }
        assert_eq!(table.bytes(), bytes);
        assert_eq!(table.next_due(), 51, "or sooner");
        commit(&mut table, Some(&timers(&[&[(20, "t")]])));
        assert_eq!(table.next_due(), 21);
        let mut first = FirstKeys::after(None);
        table.show_due(21, &mut first);
        assert_eq!(first.into_keys().0.count(), 1);
        table
            .take_due_steps(b"a", ReachedTime::at(21), 100, true)
            .expect("it is due");
        commit(&mut table, Some(&timers(&[&[(90, "t")]])));
        table.show_due(80, &mut FirstKeys::after(None));
        assert_eq!(table.next_due(), 91);
    }

    #[test]
    fn what_waits_in_a_table_is_found_when_it_is_due() {
        let mut table = Table::keyed_in_epoch(1);
        table.put_event(b"a", 20, event(0, b"x"), 1);
        table.put_event(b"a", 10, event(0, b"y"), 1);
        table.put_event(b"b", 15, event(0, b"z"), 1);
        assert_eq!(table.next_due(), 11);
        assert_eq!(table.take_due_steps(b"b", ReachedTime::at(15), 100, true), None);
        let (due, change) = table
            .take_due_steps(b"a", ReachedTime::at(16), 100, true)
            .expect("one is due");
        assert_eq!(
            (due.events, due.next, change.events, change.windows),
            (1, Some(21), -1, 0)
        );
        let (due, change) = table
            .take_due_steps(b"b", ReachedTime::at(16), 100, true)
            .expect("one is due");
        assert_eq!((due.events, due.next, change.windows), (1, None, -1));
        table.check();
    }

    fn items(all: &[(&str, &str)]) -> Arc<Items> {
        let mut items = Items::default();
        for (name, value) in all {
            items.set(Item {
                name: name.as_bytes(),
                version: 1,
                value: value.as_bytes(),
            });
        }
        Arc::new(items)
    }

    #[test]
    fn items_lie_outside_of_entries_and_leave_with_them() {
        let mut table = Table::keyed_in_epoch(1);
        let events = batch(&[("a", 1, vec![]), ("b", 2, vec![])]);
        let (call, plan) = assign_events(&mut table, &events, 0, 1, 1);
        assert_eq!(call.items, [None, None]);
        let bytes = table.bytes();
        let set = [Some(items(&[("x", "1"), ("y", "2")])), None];
        let change = plan.commit(&mut table, &column(&[b"", b""]), None, &set);
        assert_eq!((change.windows, table.len()), (1, 1), "a key with items is kept");
        assert!(table.bytes() > bytes);
        table.check();
        // What waits, and what is due, leaves them alone.
        table.put_event(b"a", 20, event(0, b"z"), 1);
        let (_, _) = table
            .take_due_steps(b"a", ReachedTime::at(30), 100, true)
            .expect("it is due");
        let (call, plan) = assign_events(&mut table, &events, 0, 2, 1);
        assert_eq!(call.items, set);
        plan.abandon(&mut table);

        let [(key, Some(stored))] = &table.captured(0, 2)[..] else {
            panic!("one key changed");
        };
        assert_eq!(Keyed::of(stored).items(), set[0].as_deref().cloned());
        assert!(Keyed::is_sound(stored));
        assert_eq!(stored.end, AFTER_ALL);
        let mut other = Table::keyed_in_epoch(1);
        other.restore(key, stored.clone());
        assert_eq!(other.whole(b"a").as_deref(), Some(stored));
        let (call, plan) = assign_events(&mut other, &events, 0, 1, 1);
        assert_eq!(call.items, set);
        assert_eq!(other.whole(b"a").as_deref(), Some(stored));
        let fewer = [Some(items(&[("y", "3")])), Some(items(&[]))];
        plan.commit(&mut other, &column(&[b"state", b""]), None, &fewer);
        other.check();
        let drained = other.drain(0);
        let [(_, Some(left))] = &drained[..] else {
            panic!("there is one key");
        };
        assert_eq!(Keyed::of(left).items(), fewer[0].as_deref().cloned());
        assert_eq!((Keyed::of(left).state, left.count), (&b"state"[..], 1));

        let (_, plan) = assign_events(&mut table, &events, 0, 3, 1);
        let before = table.bytes();
        let change = plan.commit(&mut table, &column(&[b"", b""]), None, &[Some(items(&[])), None]);
        assert_eq!((change.windows, table.len()), (-1, 0), "nothing is left of it");
        assert!(table.bytes() < before);
        table.check();
    }
}

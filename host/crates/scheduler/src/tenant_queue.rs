//! What one tenant has ready, in the order in which it runs.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use super::policy::{Ready, TenantIndex, Used};

/// Items without a moment to start by get one part in this many of their tenant's time while others never let up, so that
/// these can meet every deadline at up to 90 % of it.
const UNTIMED_PART: i64 = 10;
/// The most that items without a moment to start by are owed: they run one slice of 100 us at a time.
const OWED_NS_MAX: i64 = 100_000;
/// The most that they owe: after it they wait for 9 ms of the others' time at most, however long their slices were.
const OWED_NS_MIN: i64 = -1_000_000;

/// The items of one tenant.
pub(super) enum TenantQueue<T> {
    RoundRobin(Turns<T>),
    LeastLaxity(LeastLaxity<T>),
}

/// Items that take turns, and those that go before them, each in the order in which they came.
pub(super) struct Turns<T> {
    first: VecDeque<Ready<T>>,
    others: VecDeque<Ready<T>>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            first: VecDeque::new(),
            others: VecDeque::new(),
        }
    }
}

impl<T> Turns<T> {
    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.others.is_empty()
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        self.first.pop_front().or_else(|| self.others.pop_front())
    }

    fn remove(&mut self, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for queue in [&mut self.first, &mut self.others] {
            let (chosen, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(queue)
                .into_iter()
                .partition(|ready| is_chosen(&ready.item));
            *queue = left;
            removed.extend(chosen.into_iter().map(|ready| ready.item));
        }
        removed
    }
}

/// Least laxity first: what must start first is what has least laxity, at any moment at which they are compared.
pub(super) struct LeastLaxity<T> {
    timed: BinaryHeap<Reverse<Timed<T>>>,
    /// Wraps: it only tells apart items that must start at the same nanosecond.
    pushed: u32,
    untimed: Turns<T>,
    /// What those that are not timed may run before the others do, in ns.
    owed_ns: i64,
}

impl<T> TenantQueue<T> {
    pub(super) fn round_robin() -> Self {
        TenantQueue::RoundRobin(Turns::default())
    }

    pub(super) fn least_laxity() -> Self {
        TenantQueue::LeastLaxity(LeastLaxity {
            timed: BinaryHeap::new(),
            pushed: 0,
            untimed: Turns::default(),
            owed_ns: 0,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            TenantQueue::RoundRobin(queue) => queue.is_empty(),
            TenantQueue::LeastLaxity(queue) => queue.timed.is_empty() && queue.untimed.is_empty(),
        }
    }

    pub(super) fn push(&mut self, ready: Ready<T>) {
        match self {
            TenantQueue::RoundRobin(queue) => queue.others.push_back(ready),
            TenantQueue::LeastLaxity(queue) => queue.push(ready),
        }
    }

    /// Takes an item that runs before those that take turns; among those with a moment to start by, that decides.
    pub(super) fn push_first(&mut self, ready: Ready<T>) {
        match self {
            TenantQueue::RoundRobin(queue) => queue.first.push_back(ready),
            TenantQueue::LeastLaxity(queue) if ready.start_by_ns.is_none() => queue.untimed.first.push_back(ready),
            TenantQueue::LeastLaxity(queue) => queue.push(ready),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Ready<T>> {
        match self {
            TenantQueue::RoundRobin(queue) => queue.pop(),
            TenantQueue::LeastLaxity(queue) => queue.pop(),
        }
    }

    /// Takes the chosen items out; the others keep their order.
    pub(super) fn remove(&mut self, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T> {
        match self {
            TenantQueue::RoundRobin(queue) => queue.remove(is_chosen),
            TenantQueue::LeastLaxity(queue) => {
                let mut removed = queue.untimed.remove(is_chosen);
                let (chosen, left): (BinaryHeap<_>, BinaryHeap<_>) = std::mem::take(&mut queue.timed)
                    .into_iter()
                    .partition(|Reverse(timed)| is_chosen(&timed.item));
                queue.timed = left;
                removed.extend(chosen.into_iter().map(|Reverse(timed)| timed.item));
                removed
            }
        }
    }

    /// Notes what a slice used.
    pub(super) fn charge(&mut self, used: Used) {
        if let TenantQueue::LeastLaxity(queue) = self {
            queue.charge(used);
        }
    }
}

impl<T> LeastLaxity<T> {
    fn push(&mut self, ready: Ready<T>) {
        let Some(start_by_ns) = ready.start_by_ns else {
            self.untimed.others.push_back(ready);
            return;
        };
        self.pushed = self.pushed.wrapping_add(1);
        self.timed.push(Reverse(Timed {
            start_by_ns,
            order: self.pushed,
            tenant: ready.tenant,
            item: ready.item,
        }));
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        if self.timed.is_empty() || self.owed_ns > 0 {
            let untimed = self.untimed.pop();
            if untimed.is_some() {
                return untimed;
            }
        }
        self.timed.pop().map(|Reverse(timed)| Ready {
            tenant: timed.tenant,
            start_by_ns: Some(timed.start_by_ns),
            item: timed.item,
        })
    }

    fn charge(&mut self, used: Used) {
        let ns = i64::try_from(used.ns).unwrap_or(i64::MAX);
        let owed_ns = match used.is_timed {
            true if !self.untimed.is_empty() => self.owed_ns.saturating_add(ns / (UNTIMED_PART - 1)),
            false if !self.timed.is_empty() => self.owed_ns.saturating_sub(ns),
            _ => self.owed_ns,
        };
        self.owed_ns = owed_ns.clamp(OWED_NS_MIN, OWED_NS_MAX);
    }
}

/// An item by the moment it must start; those that share one in the order in which they came.
struct Timed<T> {
    start_by_ns: u64,
    order: u32,
    tenant: TenantIndex,
    item: T,
}

impl<T> Ord for Timed<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.start_by_ns, self.order).cmp(&(other.start_by_ns, other.order))
    }
}

impl<T> PartialOrd for Timed<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Timed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Timed<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(item: u32, start_by_ns: Option<u64>) -> Ready<u32> {
        Ready {
            tenant: 0,
            start_by_ns,
            item,
        }
    }

    #[test]
    fn items_take_turns() {
        let mut queue = TenantQueue::round_robin();
        (0..3).for_each(|item| queue.push(ready(item, None)));
        let order: Vec<u32> = (0..6)
            .map(|_| {
                let chosen = queue.pop().unwrap();
                let item = chosen.item;
                queue.push(chosen);
                item
            })
            .collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn what_is_to_go_first_waits_for_none_that_take_turns() {
        for mut queue in [TenantQueue::round_robin(), TenantQueue::least_laxity()] {
            (0..1_000).for_each(|item| queue.push(ready(item, None)));
            (1_000..1_003).for_each(|item| queue.push_first(ready(item, None)));
            let order: Vec<u32> = (0..4).map(|_| queue.pop().unwrap().item).collect();
            assert_eq!(
                order,
                [1_000, 1_001, 1_002, 0],
                "the last that came is not the first to go"
            );
        }
    }

    #[test]
    fn what_must_start_first_goes_first() {
        let mut queue = TenantQueue::least_laxity();
        for (item, start_by_ns) in [(0, None), (1, Some(30)), (2, Some(10)), (3, Some(20))] {
            queue.push(ready(item, start_by_ns));
        }
        let order: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|ready| ready.item).collect();
        assert_eq!(order, [2, 3, 1, 0]);
    }

    #[test]
    fn items_without_a_deadline_get_a_tenth_beside_others_that_never_let_up() {
        let mut queue = TenantQueue::least_laxity();
        queue.push(ready(0, None));
        (1..=2).for_each(|item| queue.push(ready(item, Some(0))));
        let (mut untimed_ns, mut all_ns) = (0.0, 0.0);
        for _ in 0..10_000 {
            let chosen = queue.pop().unwrap();
            // Short turns next to whole slices: it is time that is shared, not turns.
            let ns = if chosen.item == 0 { 100_000_u32 } else { 20_000 };
            untimed_ns += if chosen.item == 0 { f64::from(ns) } else { 0.0 };
            all_ns += f64::from(ns);
            queue.charge(chosen.used(u64::from(ns), 0));
            queue.push(chosen);
        }
        let part = untimed_ns / all_ns;
        assert!((part - 0.1).abs() < 0.005, "{part}");
    }
}

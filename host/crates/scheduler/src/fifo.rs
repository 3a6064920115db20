//! First in, first out: the baseline.
//!
//! What runs is run to its end before anything else: a slice that ended goes back to the front.

use std::collections::{BTreeSet, VecDeque};

use super::policy::{Policy, Ready, TenantIndex, Used};

/// A queue for each tenant, so that one can be held without looking at what the others have; together they are one queue.
pub(super) struct Fifo<T> {
    tenants: Vec<FifoTenant<T>>,
    /// The tenants that have something to pop, by the place of their first item.
    heads: BTreeSet<(i64, TenantIndex)>,
    /// The places that the next items get, at either end.
    front: i64,
    back: i64,
}

struct FifoTenant<T> {
    queue: VecDeque<(i64, Ready<T>)>,
    is_held: bool,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self {
            tenants: Vec::new(),
            heads: BTreeSet::new(),
            front: -1,
            back: 0,
        }
    }
}

impl<T> Fifo<T> {
    fn tenant(&mut self, index: TenantIndex) -> &mut FifoTenant<T> {
        let wanted = index as usize + 1;
        while self.tenants.len() < wanted {
            self.tenants.push(FifoTenant {
                queue: VecDeque::new(),
                is_held: false,
            });
        }
        &mut self.tenants[index as usize]
    }

    /// Notes which item of a tenant is first, where another one was, or none.
    fn replace_head(&mut self, index: TenantIndex, before: Option<i64>) {
        let head = self.head(index);
        if head != before {
            before.map(|place| self.heads.remove(&(place, index)));
            head.map(|place| self.heads.insert((place, index)));
        }
    }

    fn head(&mut self, index: TenantIndex) -> Option<i64> {
        let tenant = self.tenant(index);
        let head = tenant.queue.front().filter(|_| !tenant.is_held);
        head.map(|(place, _)| *place)
    }
}

impl<T: Send> Policy<T> for Fifo<T> {
    fn push(&mut self, ready: Ready<T>, resumed: bool) {
        let index = ready.tenant;
        let before = self.head(index);
        if resumed {
            let place = self.front;
            self.front -= 1;
            self.tenant(index).queue.push_front((place, ready));
        } else {
            let place = self.back;
            self.back += 1;
            self.tenant(index).queue.push_back((place, ready));
        }
        self.replace_head(index, before);
    }

    fn push_first(&mut self, ready: Ready<T>) {
        self.push(ready, false);
    }

    fn pop(&mut self) -> Option<Ready<T>> {
        let &(place, index) = self.heads.first()?;
        let (_, ready) = self.tenant(index).queue.pop_front().expect("it has a head");
        self.replace_head(index, Some(place));
        Some(ready)
    }

    fn has_ready(&self) -> bool {
        !self.heads.is_empty()
    }

    /// Whoever came first goes on to the end.
    fn has_ready_of_others(&self, _: TenantIndex) -> bool {
        false
    }

    fn charge(&mut self, _: Used) {}

    fn charge_outside(&mut self, _: TenantIndex, _: u64) {}

    /// Sources and sinks run next to the workers as they please: who is in line says nothing of who has had how much.
    fn is_owed(&mut self, _: TenantIndex) -> bool {
        true
    }

    fn set_weight(&mut self, _: TenantIndex, _: u32) {}

    fn hold(&mut self, index: TenantIndex, is_held: bool) {
        let before = self.head(index);
        self.tenant(index).is_held = is_held;
        self.replace_head(index, before);
    }

    fn remove(&mut self, index: TenantIndex, is_chosen: &dyn Fn(&T) -> bool) -> Vec<T> {
        let before = self.head(index);
        let queue = &mut self.tenant(index).queue;
        let (removed, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(queue)
            .into_iter()
            .partition(|(_, ready)| is_chosen(&ready.item));
        *queue = left;
        self.replace_head(index, before);
        removed.into_iter().map(|(_, ready)| ready.item).collect()
    }

    fn tenants(&self) -> TenantIndex {
        TenantIndex::try_from(self.tenants.len()).expect("an index for each")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(tenant: TenantIndex, item: u32) -> Ready<u32> {
        Ready {
            tenant,
            start_by_ns: None,
            item,
        }
    }

    fn popped(fifo: &mut Fifo<u32>) -> Vec<u32> {
        std::iter::from_fn(|| fifo.pop()).map(|ready| ready.item).collect()
    }

    #[test]
    fn what_ran_goes_on_before_what_waits() {
        let mut fifo = Fifo::default();
        for (tenant, item) in [(0, 0), (1, 1), (0, 2)] {
            fifo.push(ready(tenant, item), false);
        }
        let first = fifo.pop().unwrap();
        fifo.push(first, true);
        assert_eq!(popped(&mut fifo), [0, 1, 2]);
    }

    #[test]
    fn a_held_tenant_gets_its_place_back() {
        let mut fifo = Fifo::default();
        fifo.push(ready(0, 0), false);
        fifo.hold(0, true);
        fifo.push(ready(1, 1), false);
        fifo.push(ready(0, 2), false);
        assert_eq!(fifo.pop().map(|ready| ready.item), Some(1));
        assert!(fifo.pop().is_none() && !fifo.has_ready());
        fifo.push(ready(1, 3), false);
        fifo.hold(0, false);
        assert_eq!(popped(&mut fifo), [0, 2, 3]);
    }
}

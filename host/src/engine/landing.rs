//! Where large results of guests land.
//!
//! Wasmtime copies what a call returns in one go, into memory of the host. Where that is new, each 4 KiB of it are a page fault:
//! 2 MiB keep a worker for 0.7 ms and more, and nobody can run meanwhile. So what is large lands in memory that is warm, and
//! is copied from there piece by piece, by a turn that lets others run on the way.
//!
//! Owns the warm memory and the types that lift into it. Does not know what the lists mean.

use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;

use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmList};
use wasmtime::{Result, ensure};

use super::abi::Failure;
use super::guest::Guest;
use super::way::Service;
use crate::sync::Mutex;

/// Results up to this size, in all their lists together, are copied at once: 64 pages. That is more than most batches take.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;
/// Room for bytes, 2.5 MiB, and for numbers, 2 MiB, in one place to land: what a call may return that was handed 0.25 MiB. What
/// does not fit is copied at once.
const BYTES_MAX: usize = 5 << 19;
const NUMBERS_MAX: usize = (2 << 20) / size_of::<u32>();
/// How many places are kept: as many turns can be in the middle of copying out of one. A further one makes a new place, which
/// is cold.
const PLACES_MAX: usize = 16;
/// How much is copied between two looks at the clock: four pages.
const PIECE_BYTES: usize = 16 << 10;

static PLACES: Mutex<Vec<Landing>> = Mutex::new(Vec::new());

thread_local! {
    static CURRENT: RefCell<Arrival> = const { RefCell::new(Arrival::NONE) };
}

/// Sees to it that so many turns find a warm place for what they return. Takes a millisecond or more for each.
pub fn make_ready(places: usize) {
    let missing = places.min(PLACES_MAX).saturating_sub(PLACES.lock().len());
    let made: Vec<_> = (0..missing).map(|_| Landing::warm()).collect();
    PLACES.lock().extend(made);
}

/// A place to land. Goes back to the others when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Landing {
    bytes: Vec<u8>,
    numbers: Vec<u32>,
}

impl Landing {
    fn cold() -> Self {
        Self {
            bytes: Vec::with_capacity(BYTES_MAX),
            numbers: Vec::with_capacity(NUMBERS_MAX),
        }
    }

    fn warm() -> Self {
        let mut landing = Self::cold();
        // Whatever is not zero: zeros need not be written.
        landing.bytes.resize(BYTES_MAX, 1);
        landing.numbers.resize(NUMBERS_MAX, 1);
        landing
    }

    fn take() -> Self {
        let mut landing = PLACES.lock().pop().unwrap_or_else(Self::cold);
        landing.bytes.clear();
        landing.numbers.clear();
        landing
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if self.bytes.capacity() > 0 {
            let mut places = PLACES.lock();
            if places.len() < PLACES_MAX {
                places.push(std::mem::take(self));
            }
        }
    }
}

/// What the call under way on this thread has returned so far.
struct Arrival {
    /// How many items it was handed.
    items: usize,
    at_once_bytes: usize,
    landing: Option<Landing>,
}

impl Arrival {
    const NONE: Self = Self {
        items: usize::MAX,
        at_once_bytes: 0,
        landing: None,
    };
}

/// Runs a call that was handed so many items, and whose results may be large. Gives what it returned, and where large lists
/// of that are.
pub(super) async fn of<T>(items: usize, call: impl Future<Output = Result<T>>) -> Result<(T, Option<Landing>)> {
    let mut call = pin!(call);
    let mut landing = None;
    // What the guest does when its results are lifted may yield, and others lift on this thread before it goes on.
    let returned = poll_fn(|context| {
        CURRENT.with_borrow_mut(|current| current.items = items);
        let polled = call.as_mut().poll(context);
        let arrival = CURRENT.replace(Arrival::NONE);
        landing = landing.take().or(arrival.landing);
        polled
    })
    .await?;
    Ok((returned, landing))
}

/// Where the large results of a call are, to be copied while others run.
pub(super) struct Landed(Option<(Landing, Service)>);

impl Landed {
    pub(super) fn new(landing: Option<Landing>, guest: &Guest) -> Self {
        Self(landing.map(|landing| (landing, guest.service())))
    }

    /// What is in a list of what the call returned.
    pub(super) async fn take<T: Item>(&mut self, list: List<T>) -> Vec<T> {
        let range = match list {
            List::Here(items) => return items,
            List::Landed(range) => range,
        };
        let (landing, service) = self.0.as_mut().expect("the call that returned the list had it land");
        let mut items = Vec::with_capacity(range.len());
        let room = T::room(landing).expect("a list that landed has room");
        for piece in room[range].chunks(PIECE_BYTES / size_of::<T>()) {
            items.extend_from_slice(piece);
            service.give_way_when_due().await;
        }
        items
    }
}

/// What the lists of a result consist of.
pub(super) trait Item: Lift + Clone {
    /// The part of a landing that is for them; `None` if they are copied at once, however many.
    fn room(landing: &mut Landing) -> Option<&mut Vec<Self>>;

    /// Refuses a list that is too long for a call that was handed so many items.
    fn check(_length: usize, _handed: usize) -> Result<()> {
        Ok(())
    }
}

impl Item for u8 {
    fn room(landing: &mut Landing) -> Option<&mut Vec<Self>> {
        Some(&mut landing.bytes)
    }
}

impl Item for u32 {
    fn room(landing: &mut Landing) -> Option<&mut Vec<Self>> {
        Some(&mut landing.numbers)
    }
}

impl Item for Failure {
    fn room(_: &mut Landing) -> Option<&mut Vec<Self>> {
        None
    }

    /// Each takes a piece of memory of its own. A few too many are cheap, and it is told later what is wrong with them.
    fn check(length: usize, handed: usize) -> Result<()> {
        const FEW: usize = 1024;
        ensure!(
            length <= handed.max(FEW),
            "`failures` has {length} items, {handed} were handed over"
        );
        Ok(())
    }
}

/// `list<T>` of a result.
#[derive(Debug)]
pub(super) enum List<T> {
    /// It was copied at once.
    Here(Vec<T>),
    /// It lies there in the landing of its call.
    Landed(Range<usize>),
}

impl<T: Item> List<T> {
    fn lift(context: &mut LiftContext<'_>, list: &WasmList<T>) -> Result<Self> {
        CURRENT.with_borrow_mut(|current| {
            T::check(list.len(), current.items)?;
            let bytes = list.len() * size_of::<T>();
            if current.at_once_bytes + bytes > AT_ONCE_BYTES_MAX
                && let Some(room) = T::room(current.landing.get_or_insert_with(Landing::take))
                && room.capacity() - room.len() >= list.len()
            {
                let start = room.len();
                T::linear_lift_into_from_memory(context, list, room)?;
                return Ok(Self::Landed(start..room.len()));
            }
            current.at_once_bytes += bytes;
            T::linear_lift_list_from_memory(context, list).map(Self::Here)
        })
    }
}

#[allow(
    unsafe_code,
    reason = "the traits of what crosses the boundary are unsafe to implement"
)]
// SAFETY: it has the type, the layout and the size of the list that it stands for.
unsafe impl<T: Item> ComponentType for List<T> {
    type Lower = <WasmList<T> as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <WasmList<T> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        WasmList::<T>::typecheck(ty, types)
    }
}

#[allow(
    unsafe_code,
    reason = "the traits of what crosses the boundary are unsafe to implement"
)]
// SAFETY: what it reads is what `WasmList` checked to be a list within the guest's memory.
unsafe impl<T: Item> Lift for List<T> {
    fn linear_lift_from_flat(context: &mut LiftContext<'_>, ty: InterfaceType, flat: &Self::Lower) -> Result<Self> {
        let list = WasmList::<T>::linear_lift_from_flat(context, ty, flat)?;
        Self::lift(context, &list)
    }

    fn linear_lift_from_memory(context: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> Result<Self> {
        let list = WasmList::<T>::linear_lift_from_memory(context, ty, bytes)?;
        Self::lift(context, &list)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll, Waker};

    use wasmtime::component::{Component, Linker};
    use wasmtime::{Engine, Store};

    use super::*;
    use crate::clock::Clock;

    /// What returns a list of so many bytes or numbers, or of failures, of what is at the start of its memory.
    const GUEST: &str = r#"(component
        (core module $module
            (memory (export "memory") 80)
            (data (i32.const 4096) "\01\02\03\04\05\06\07\08")
            (func (export "list") (param i32) (result i32)
                (i32.store (i32.const 8) (i32.const 4096))
                (i32.store (i32.const 12) (local.get 0))
                (i32.const 8)))
        (core instance $instance (instantiate $module))
        (type $failure (record (field "index" u32) (field "message" string)))
        (export $named "failure" (type $failure))
        (func (export "bytes") (param "length" u32) (result (list u8))
            (canon lift (core func $instance "list") (memory $instance "memory")))
        (func (export "numbers") (param "length" u32) (result (list u32))
            (canon lift (core func $instance "list") (memory $instance "memory")))
        (func (export "failures") (param "length" u32) (result (list $named))
            (canon lift (core func $instance "list") (memory $instance "memory"))))"#;

    /// A clock by which whatever is done takes a millisecond.
    #[derive(Debug, Default)]
    struct Slow(AtomicU64);

    impl Clock for Slow {
        fn now_ns(&self) -> u64 {
            self.0.fetch_add(1_000_000, Ordering::SeqCst)
        }

        fn wall_ms(&self) -> i64 {
            0
        }
    }

    fn done<T>(future: impl Future<Output = T>) -> (T, usize) {
        let mut future = pin!(future);
        let mut yields = 0;
        loop {
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(value) => return (value, yields),
                Poll::Pending => yields += 1,
            }
        }
    }

    /// A list of this length that a guest returns which was handed 100 items, and how often taking it lets others run.
    fn returned<T: Item + Sync + 'static>(function: &str, length: u32) -> Result<(Vec<T>, usize)> {
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(GUEST)?)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
        let call = instance.get_typed_func::<(u32,), (List<T>,)>(&mut store, function)?;
        let ((list,), landing) = done(of(100, async { call.call(&mut store, (length,)) })).0?;
        let is_large = length as usize * size_of::<T>() > AT_ONCE_BYTES_MAX;
        assert_eq!(landing.is_some(), is_large);
        let service = Service::new(Arc::new(Slow::default()));
        let mut landed = Landed(landing.map(|landing| (landing, service)));
        Ok(done(landed.take(list)))
    }

    #[test]
    fn a_small_list_is_copied_at_once_and_a_large_one_piece_by_piece() {
        for (length, pieces) in [(0, 0), (8, 0), (256 << 10, 0), ((256 << 10) + 1, 17), (2 << 20, 128)] {
            let (bytes, yields) = returned::<u8>("bytes", length).unwrap();
            assert_eq!((bytes.len(), yields), (length as usize, pieces));
            let start = length.min(8) as usize;
            assert_eq!(bytes[..start], [1, 2, 3, 4, 5, 6, 7, 8][..start]);
            assert!(bytes[start..].iter().all(|&byte| byte == 0));
        }
        for (length, pieces) in [(2, 0), (64 << 10, 0), ((64 << 10) + 1, 17), (500_000, 123)] {
            let (numbers, yields) = returned::<u32>("numbers", length).unwrap();
            assert_eq!((numbers.len(), yields), (length as usize, pieces));
            assert_eq!(numbers[..2], [0x0403_0201, 0x0807_0605]);
        }
    }

    #[test]
    fn what_has_no_room_to_land_is_copied_at_once() {
        let length = u32::try_from(BYTES_MAX).unwrap() + 1;
        let (bytes, yields) = returned::<u8>("bytes", length).unwrap();
        assert_eq!((bytes.len(), yields), (BYTES_MAX + 1, 0));
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn no_more_is_rejected_than_was_handed_over() {
        let refused = returned::<Failure>("failures", 1025).unwrap_err();
        assert_eq!(refused.to_string(), "`failures` has 1025 items, 100 were handed over");
    }

    #[test]
    fn a_place_serves_again_as_if_it_were_new() {
        make_ready(1);
        let mut places: Vec<_> = (0..=PLACES_MAX).map(|_| Landing::take()).collect();
        for place in &mut places {
            place.bytes.push(1);
            place.numbers.push(1);
        }
        drop(places);
        assert!(PLACES.lock().len() <= PLACES_MAX);
        let place = Landing::take();
        assert!(place.bytes.is_empty() && place.numbers.is_empty());
    }
}

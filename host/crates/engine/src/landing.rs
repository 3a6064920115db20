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

use wasmtime::Result;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmList};

use super::guest::Guest;
use super::way::Service;
use dirigo_ground::sync::Mutex;

/// Results up to this size, in all their lists together, are copied at once: 64 pages. That is more than most batches take.
const AT_ONCE_BYTES_MAX: usize = 256 << 10;
/// Room for bytes, 4 MiB, and for numbers, 1.5 MiB, in one place to land: what a call may return that was handed 1 MiB, as turns
/// are at the most, unless they are handed as much state besides. What does not fit is copied at once.
const BYTES_MAX: usize = 4 << 20;
const NUMBERS_MAX: usize = (3 << 19) / size_of::<u32>();
/// How many places there are at the most: as many turns can be in the middle of copying out of one. Where there is none left,
/// results are copied at once, so that no more of them are held than that.
const PLACES_MAX: usize = 16;
/// How much is copied between two looks at the clock: four pages.
const PIECE_BYTES: usize = 16 << 10;

/// Shared by all hosts of a process: they are memory, and nothing else.
static PLACES: Mutex<Places> = Mutex::new(Places {
    free: Vec::new(),
    made: 0,
});

thread_local! {
    static CURRENT: RefCell<Arrival> = const { RefCell::new(Arrival::NONE) };
}

struct Places {
    free: Vec<Landing>,
    made: usize,
}

/// Sees to it that so many turns, or [`PLACES_MAX`], find a warm place for what they return. Takes some milliseconds.
pub fn make_ready(places: usize) {
    while let Some(mut landing) = Landing::made_up_to(places) {
        // Whatever is not zero: zeros need not be written.
        landing.bytes.resize(BYTES_MAX, 1);
        landing.numbers.resize(NUMBERS_MAX, 1);
    }
}

/// A place to land. Goes back to the others when it is dropped.
#[derive(Debug)]
pub(super) struct Landing {
    bytes: Vec<u8>,
    numbers: Vec<u32>,
}

impl Landing {
    /// A new one, while there are fewer than so many.
    fn made_up_to(places: usize) -> Option<Self> {
        let mut all = PLACES.lock();
        if all.made >= places.min(PLACES_MAX) {
            return None;
        }
        all.made += 1;
        drop(all);
        Some(Self {
            bytes: Vec::with_capacity(BYTES_MAX),
            numbers: Vec::with_capacity(NUMBERS_MAX),
        })
    }

    /// A place that is free, or a new one, which is cold.
    fn find() -> Option<Self> {
        let free = PLACES.lock().free.pop();
        free.or_else(|| Self::made_up_to(PLACES_MAX))
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.bytes.clear();
        self.numbers.clear();
        let place = Self {
            bytes: std::mem::take(&mut self.bytes),
            numbers: std::mem::take(&mut self.numbers),
        };
        PLACES.lock().free.push(place);
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
        CURRENT.set(Arrival { items, ..Arrival::NONE });
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
    /// Lets others run, if there is a landing: the call has lasted for as long as it took to fill that.
    pub(super) fn of(landing: Option<Landing>, guest: &Guest) -> impl Future<Output = Self> + use<> {
        let mut landed = landing.map(|landing| (landing, guest.service()));
        async move {
            if let Some((_, service)) = &mut landed {
                service.give_way().await;
            }
            Self(landed)
        }
    }

    /// What is in a list of what the call returned.
    pub(super) async fn fetch<T: Item>(&mut self, list: List<T>) -> Vec<T> {
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
    /// Whether they can land; else they are copied at once, however many.
    const CAN_LAND: bool = false;

    /// The part of a landing that is for them.
    fn room(_: &mut Landing) -> Option<&mut Vec<Self>> {
        None
    }

    /// Refuses a list that is too long for a call that was handed so many items.
    fn check(_length: usize, _handed: usize) -> Result<()> {
        Ok(())
    }
}

impl Item for u8 {
    const CAN_LAND: bool = true;

    fn room(landing: &mut Landing) -> Option<&mut Vec<Self>> {
        Some(&mut landing.bytes)
    }
}

impl Item for u32 {
    const CAN_LAND: bool = true;

    fn room(landing: &mut Landing) -> Option<&mut Vec<Self>> {
        Some(&mut landing.numbers)
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
            if T::CAN_LAND && current.at_once_bytes + bytes > AT_ONCE_BYTES_MAX {
                current.landing = current.landing.take().or_else(Landing::find);
                if let Some(room) = current.landing.as_mut().and_then(T::room)
                    && room.capacity() - room.len() >= list.len()
                {
                    let start = room.len();
                    T::linear_lift_into_from_memory(context, list, room)?;
                    return Ok(Self::Landed(start..room.len()));
                }
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

    use wasmtime::component::{Component, Linker};
    use wasmtime::{Config, Engine, Store};

    use super::super::way::done;
    use super::*;
    use dirigo_ground::call::Rejection;
    use dirigo_ground::clock::SlowClock;

    /// Held by tests that count places, or need one.
    static ALONE: Mutex<()> = Mutex::new(());

    /// What returns a list of so many bytes or numbers, or of failures, of what is at the start of its memory.
    const GUEST: &str = r#"(component
        (core module $module
            (memory (export "memory") 80)
            (data (i32.const 4096) "\01\02\03\04\05\06\07\08")
            (func (export "after") (param i32) (local i32)
                (loop (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000)))))
            (func (export "list") (param i32) (result i32)
                (i32.store (i32.const 8) (i32.const 4096))
                (i32.store (i32.const 12) (local.get 0))
                (i32.const 8)))
        (core instance $instance (instantiate $module))
        (type $failure (record (field "index" u32) (field "message" string)))
        (export $named "failure" (type $failure))
        (func (export "bytes") (param "length" u32) (result (list u8))
            (canon lift (core func $instance "list") (memory $instance "memory")
                (post-return (func $instance "after"))))
        (func (export "numbers") (param "length" u32) (result (list u32))
            (canon lift (core func $instance "list") (memory $instance "memory")))
        (func (export "failures") (param "length" u32) (result (list $named))
            (canon lift (core func $instance "list") (memory $instance "memory"))))"#;

    /// A list of this length that a guest returns which was handed 100 items, and how often taking it lets others run.
    fn returned<T: Item + Sync + 'static>(function: &str, length: u32) -> Result<(Vec<T>, usize)> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, wat::parse_str(GUEST)?)?;
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 30)?;
        store.fuel_async_yield_interval(Some(1_000))?;
        let instance = done(Linker::new(&engine).instantiate_async(&mut store, &component)).0?;
        let call = instance.get_typed_func::<(u32,), (List<T>,)>(&mut store, function)?;
        let (returned, yields) = done(of(100, call.call_async(&mut store, (length,))));
        let ((list,), landing) = returned?;
        assert_eq!(yields > 0, function == "bytes", "it yields when its results are lifted");
        let is_large = length as usize * size_of::<T>() > AT_ONCE_BYTES_MAX;
        assert_eq!(landing.is_some(), is_large);
        let service = Service::new(Arc::new(SlowClock::default()));
        let mut landed = Landed(landing.map(|landing| (landing, service)));
        Ok(done(landed.fetch(list)))
    }

    #[test]
    fn a_small_list_is_copied_at_once_and_a_large_one_piece_by_piece() {
        let _alone = ALONE.lock();
        for (length, pieces) in [(0, 0), (8, 0), (256 << 10, 0), ((256 << 10) + 1, 17), (2 << 20, 128)] {
            let (bytes, yields) = returned::<u8>("bytes", length).unwrap();
            assert_eq!((bytes.len(), yields), (length as usize, pieces));
            let start = length.min(8) as usize;
            assert_eq!(bytes[..start], [1, 2, 3, 4, 5, 6, 7, 8][..start]);
            assert!(bytes[start..].iter().all(|&byte| byte == 0));
        }
        for (length, pieces) in [(2, 0), (64 << 10, 0), ((64 << 10) + 1, 17), (300_000, 74)] {
            let (numbers, yields) = returned::<u32>("numbers", length).unwrap();
            assert_eq!((numbers.len(), yields), (length as usize, pieces));
            assert_eq!(numbers[..2], [0x0403_0201, 0x0807_0605]);
        }
    }

    #[test]
    fn what_has_no_room_to_land_is_copied_at_once() {
        let _alone = ALONE.lock();
        let length = u32::try_from(BYTES_MAX).unwrap() + 1;
        let (bytes, yields) = returned::<u8>("bytes", length).unwrap();
        assert_eq!((bytes.len(), yields), (BYTES_MAX + 1, 0));
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn no_more_is_rejected_than_was_handed_over() {
        let refused = returned::<Rejection>("failures", 1025).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a list of failures has 1025 items, 100 were handed over"
        );
    }

    #[test]
    fn a_place_serves_again_as_if_it_were_new() {
        let _alone = ALONE.lock();
        make_ready(PLACES_MAX + 1);
        let mut places: Vec<_> = std::iter::from_fn(Landing::find).collect();
        assert!(places.len() <= PLACES_MAX, "where there is none left, nothing lands");
        for place in &mut places {
            place.bytes.push(1);
            place.numbers.push(1);
        }
        drop(places);
        let place = std::iter::from_fn(Landing::find).next().unwrap();
        assert!(place.bytes.is_empty() && place.numbers.is_empty());
    }
}

//! `list<T>` of a result, which is staged if it is large.
//!
//! With `text`, the only file that uses wasmtime's `__internal`: the derived `Lift` copies a list at once, wherever that goes, and the
//! types by which one says otherwise have no public name. They may change with any version of wasmtime, which the workspace
//! therefore pins.

use std::ops::Range;

use wasmtime::Result;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext};
use wasmtime::component::{ComponentType, Lift, WasmList};

use crate::staging::{self, Buffer, Staged, Unstaging};
use crate::text;

/// What the lists of a result consist of.
pub(crate) trait Item: Lift + Clone + Send + Sync {
    /// The part of a buffer that is for them, if they can be staged; else they are copied at once, however many.
    const ROOM: Option<fn(&mut Buffer) -> &mut Vec<Self>> = None;

    /// Refuses a list that is too long for a call that was handed so many items.
    fn check(_length: usize, _handed: usize) -> Result<()> {
        Ok(())
    }
}

impl Item for u8 {
    const ROOM: Option<fn(&mut Buffer) -> &mut Vec<Self>> = Some(|buffer| &mut buffer.bytes);
}

impl Item for u32 {
    const ROOM: Option<fn(&mut Buffer) -> &mut Vec<Self>> = Some(|buffer| &mut buffer.numbers);
}

impl Item for i64 {
    const ROOM: Option<fn(&mut Buffer) -> &mut Vec<Self>> = Some(|buffer| &mut buffer.integers);
}

impl Item for f64 {
    const ROOM: Option<fn(&mut Buffer) -> &mut Vec<Self>> = Some(|buffer| &mut buffer.floats);
}

/// `list<T>` of a result.
#[derive(Clone, Debug)]
pub(crate) enum List<T> {
    /// It was copied at once.
    Here(Vec<T>),
    /// It is there in the buffer of its call.
    Staged(Range<usize>),
}

impl<T: Item> List<T> {
    fn lift(context: &mut LiftContext<'_>, list: &WasmList<T>) -> Result<Self> {
        T::check(list.len(), staging::handed_items())?;
        let bytes = list.len() * size_of::<T>();
        if let Some(room) = T::ROOM
            && !staging::are_few(bytes)
        {
            let staged = staging::with_buffer(|buffer| {
                let room = room(buffer);
                (room.capacity() - room.len() >= list.len()).then(|| {
                    let start = room.len();
                    T::linear_lift_into_from_memory(context, list, room)?;
                    Ok(Self::Staged(start..room.len()))
                })
            });
            if let Some(staged) = staged {
                return staged;
            }
        }
        staging::note_at_once(bytes);
        text::in_list(|| T::linear_lift_list_from_memory(context, list)).map(Self::Here)
    }

    /// What is in it, once it is [unstaged](Staged::unstage).
    pub(crate) fn into_items(self) -> Vec<T> {
        match self {
            Self::Here(items) => items,
            Self::Staged(_) => panic!("a result is unstaged before anybody looks at it"),
        }
    }
}

impl<T: Item> Staged for List<T> {
    async fn unstage(&mut self, from: &mut Unstaging) {
        if let (Self::Staged(range), Some(room)) = (&*self, T::ROOM) {
            let range = range.clone();
            *self = Self::Here(from.copy(|buffer| &room(buffer)[range]).await);
        }
    }
}

#[allow(unsafe_code, reason = "wasmtime has no safe trait for what lifts itself")]
// SAFETY: it has the type, the layout and the size of the list that it stands for.
unsafe impl<T: Item> ComponentType for List<T> {
    type Lower = <WasmList<T> as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <WasmList<T> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        WasmList::<T>::typecheck(ty, types)
    }
}

#[allow(unsafe_code, reason = "wasmtime has no safe trait for what lifts itself")]
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

    use super::*;
    use crate::abi::RawFailure;
    use crate::cooperative::{Yielder, done};
    use crate::staging::{ALONE, AT_ONCE_BYTES_MAX, BYTES_MAX};
    use dirigo_ground::call::Rejection;
    use dirigo_ground::clock::SlowClock;

    /// What returns a list of so many bytes or numbers, or of failures, of what is at the start of its memory.
    const GUEST: &str = r#"(component
        (core module $module
            (memory (export "memory") 80)
            (data (i32.const 4096) "\01\02\03\04\05\06\07\08")
            (func (export "after") (param i32) (local i32)
                (loop (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 1000)))))
            (func (export "spoken") (param i32) (result i32)
                (i32.store (i32.const 8) (i32.const 16))
                (i32.store (i32.const 12) (i32.const 1))
                (i32.store (i32.const 20) (i32.const 8192))
                (i32.store (i32.const 24) (local.get 0))
                (i32.const 8))
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
        (func (export "spoken") (param "length" u32) (result (list $named))
            (canon lift (core func $instance "spoken") (memory $instance "memory") string-encoding=utf16))
        (func (export "failures") (param "length" u32) (result (list $named))
            (canon lift (core func $instance "list") (memory $instance "memory"))))"#;

    /// A list of this length that a guest returns which was handed 100 items, and how often taking it lets others run.
    fn returned<T: Item + 'static>(function: &str, length: u32) -> Result<(Vec<T>, usize)> {
        let mut config = Config::new();
        config.consume_fuel(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, wat::parse_str(GUEST)?)?;
        let mut store = Store::new(&engine, ());
        store.set_fuel(1 << 30)?;
        store.fuel_async_yield_interval(Some(1_000))?;
        let instance = done(Linker::new(&engine).instantiate_async(&mut store, &component)).0?;
        let call = instance.get_typed_func::<(u32,), (List<T>,)>(&mut store, function)?;
        let (returned, yields) = done(staging::of(100, call.call_async(&mut store, (length,))));
        let ((mut list,), buffer) = returned?;
        assert_eq!(yields > 0, function == "bytes", "it yields when its results are lifted");
        let is_large = T::ROOM.is_some() && length as usize * size_of::<T>() > AT_ONCE_BYTES_MAX;
        assert_eq!(buffer.is_some(), is_large);
        let yielder = Yielder::new(Arc::new(SlowClock::default()));
        let ((), yields) = match buffer {
            Some(buffer) => done(list.unstage(&mut Unstaging::new(buffer, yielder))),
            None => ((), 0),
        };
        Ok((list.into_items(), yields))
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
    fn what_has_no_room_in_a_buffer_is_copied_at_once() {
        let _alone = ALONE.lock();
        let length = u32::try_from(BYTES_MAX).unwrap() + 1;
        let (bytes, yields) = returned::<u8>("bytes", length).unwrap();
        assert_eq!((bytes.len(), yields), (BYTES_MAX + 1, 0));
        assert_eq!(bytes[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn of_a_long_message_only_the_start_is_read() {
        let _alone = ALONE.lock();
        for (units, bytes) in [(3, 3), (2_048, 2_048), (1_000_000, 2_048 + " …".len())] {
            let (failures, _) = returned::<RawFailure>("spoken", units).unwrap();
            let message = Rejection::from(failures[0].clone()).message;
            assert_eq!(message.len(), bytes, "of {units} units of UTF-16");
            assert_eq!(message.ends_with('…'), units > 2_048);
        }
    }

    #[test]
    fn no_more_is_rejected_than_was_handed_over() {
        let refused = returned::<RawFailure>("failures", 1025).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "a list of failures has 1025 items, 100 were handed over"
        );
    }
}

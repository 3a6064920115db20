//! What components may import, and what stands behind it.

use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance};

use crate::contract::{Violation, interface};
use crate::guest::{Guest, PanicMessage};
use crate::guest_log::Level;
use crate::served::define;
use crate::text::Text;
use crate::wasi;

/// The names of what `component` imports.
///
/// # Errors
/// When it imports what is not granted.
pub(crate) fn check(component: &Component) -> Result<Vec<String>, Violation> {
    let imports = component.component_type();
    let imports: Vec<String> = imports
        .imports(component.engine())
        .map(|(name, _)| name.to_owned())
        .collect();
    let denied: Vec<String> = imports.iter().filter(|name| !is_granted(name)).cloned().collect();
    if denied.is_empty() {
        Ok(imports)
    } else {
        Err(Violation::Imports { names: denied })
    }
}

/// The interfaces of Dirigo's own that are granted.
pub(crate) const OWN: [&str; 3] = ["host", "types", "items"];

fn is_granted(import: &str) -> bool {
    let name = import.split_once('@').map_or(import, |(name, _)| name);
    OWN.map(interface).iter().any(|granted| granted == import) || wasi::GRANTED.contains(&name)
}

/// Whether what the host answers `component` depends on the event that it is at.
pub(crate) fn depends_on_event(component: &Component) -> bool {
    let engine = component.engine();
    let is_one = |(import, item): (&str, ComponentItem)| {
        let interface = import.split_once('@').map_or(import, |(interface, _)| interface);
        let ComponentItem::ComponentInstance(instance) = item else {
            return false;
        };
        instance
            .exports(engine)
            .any(|(function, _)| wasi::answers_by_event(interface, function))
    };
    component
        .component_type()
        .imports(engine)
        .any(|(name, item)| is_one((name, item.ty)))
}

/// All that is granted.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    type Store<'a, 'b> = &'a mut StoreContextMut<'b, Guest>;
    let mut linker = Linker::<Guest>::new(engine);
    wasi::link(&mut linker)?;
    let mut host = linker.instance(&interface("host"))?;
    define(
        &mut host,
        "log",
        |store: Store<'_, '_>, (level, message): (Level, Text)| {
            store.data().log.write(level, message.as_str());
            Ok(((), message.cost()))
        },
    )?;
    define(
        &mut host,
        "metric",
        |store: Store<'_, '_>, (name, value): (Text, f64)| {
            store.data_mut().count(name.as_str(), value);
            Ok(((), name.cost()))
        },
    )?;
    define(
        &mut host,
        "panicked",
        |store: Store<'_, '_>, (message, event): (Text, Option<u32>)| {
            let cost = message.cost();
            let message = message.into();
            store.data_mut().panic_message = Some(PanicMessage { message, event });
            Ok(((), cost))
        },
    )?;
    let mut items = linker.instance(&interface("items"))?;
    link_items(&mut items)?;
    Ok(linker)
}

/// `wit/items.wit`.
fn link_items(items: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    type Store<'a, 'b> = &'a mut StoreContextMut<'b, Guest>;
    type Bytes = Vec<u8>;
    define(items, "get", |store: Store<'_, '_>, (key, name): (u32, Bytes)| {
        let (found, bytes) = store.data().items.get(key, &name)?;
        Ok(((found,), bytes))
    })?;
    define(
        items,
        "set",
        |store: Store<'_, '_>, (key, name, value): (u32, Bytes, Bytes)| {
            let (was_there, bytes) = store.data_mut().items.set(key, &name, &value)?;
            Ok(((was_there,), bytes))
        },
    )?;
    define(items, "remove", |store: Store<'_, '_>, (key, name): (u32, Bytes)| {
        let is_removed = store.data_mut().items.remove(key, &name)?;
        Ok(((is_removed,), name.len()))
    })?;
    define(
        items,
        "remove-range",
        |store: Store<'_, '_>, (key, start, end): (u32, Bytes, Option<Bytes>)| {
            let bytes = store.data_mut().items.remove_range(key, &start, end.as_deref())?;
            Ok(((), bytes))
        },
    )?;
    define(
        items,
        "range",
        |store: Store<'_, '_>, (key, start, end, from_last, max): (u32, Bytes, Option<Bytes>, bool, u32)| {
            let names = (&start[..], end.as_deref());
            let (page, bytes) = store.data().items.range(key, names, from_last, max)?;
            Ok(((page,), bytes))
        },
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dirigo_ground::clock::{Clock, ManualClock};
    use dirigo_ground::limits::Limits;
    use wasmtime::Store;
    use wasmtime::component::Component;

    use super::*;
    use crate::config::config;
    use crate::cooperative::done;
    use crate::guest_log::GuestLog;
    use crate::seed::Seed;
    use crate::setup::Setup;

    /// A guest that calls a function of the host so often, with a text of so many bytes.
    const CALLER: &str = r#"(component
        (import "dirigo:operator/host@0.2.0" (instance $host
            (type $names (enum "trace" "debug" "info" "warn" "error"))
            (export "level" (type $level (eq $names)))
            (export "log" (func (param "level" $level) (param "message" string)))
            (export "metric" (func (param "name" string) (param "value" f64)))
            (export "panicked" (func (param "message" string) (param "event" (option u32))))))
        (core module $memory (memory (export "memory") 16))
        (core instance $memory (instantiate $memory))
        (core func $log (canon lower (func $host "log") (memory $memory "memory")))
        (core func $metric (canon lower (func $host "metric") (memory $memory "memory")))
        (core func $panicked (canon lower (func $host "panicked") (memory $memory "memory")))
        (core module $module
            (import "host" "log" (func $log (param i32 i32 i32)))
            (import "host" "metric" (func $metric (param i32 i32 f64)))
            (import "host" "panicked" (func $panicked (param i32 i32 i32 i32)))
            (func (export "log") (param $calls i32) (param $bytes i32)
                (loop
                    (call $log (i32.const 1) (i32.const 0) (local.get $bytes))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1))))))
            (func (export "metric") (param $calls i32) (param $bytes i32)
                (loop
                    (call $metric (i32.const 0) (local.get $bytes) (f64.const 1))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1))))))
            (func (export "panicked") (param $calls i32) (param $bytes i32)
                (loop
                    (call $panicked (i32.const 0) (local.get $bytes) (i32.const 0) (i32.const 0))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1)))))))
        (core instance $module (instantiate $module (with "host" (instance
            (export "log" (func $log)) (export "metric" (func $metric)) (export "panicked" (func $panicked))))))
        (func (export "log") (param "calls" u32) (param "bytes" u32) (canon lift (core func $module "log")))
        (func (export "metric") (param "calls" u32) (param "bytes" u32) (canon lift (core func $module "metric")))
        (func (export "panicked") (param "calls" u32) (param "bytes" u32) (canon lift (core func $module "panicked"))))"#;

    /// How often a guest yields that calls this function of the host `calls` times, and burns no slice of fuel.
    fn yields(function: &str, calls: u32, bytes: u32) -> usize {
        let engine = wasmtime::Engine::new(&config(None)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let setup = Setup {
            schema: None,
            limits: Limits::default(),
            config: "".into(),
            log: Arc::new(GuestLog::new("test", "guest", clock.clone(), Arc::default())),
            quota: Arc::default(),
            seed: Seed::new("test", "guest"),
            clock,
        };
        let mut store = Store::new(&engine, Guest::new(&setup));
        store.limiter_async(|guest| guest);
        store.set_fuel(u64::MAX).unwrap();
        let component = Component::new(&engine, wat::parse_str(CALLER).unwrap()).unwrap();
        let instance = done(linker(&engine).unwrap().instantiate_async(&mut store, &component))
            .0
            .unwrap();
        let call = instance.get_typed_func::<(u32, u32), ()>(&mut store, function).unwrap();
        let (called, yields) = done(call.call_async(&mut store, (calls, bytes)));
        called.unwrap();
        yields
    }

    #[test]
    fn a_guest_that_calls_the_host_all_the_time_lets_others_run() {
        for function in ["log", "metric", "panicked"] {
            assert_eq!(yields(function, 1_000, 0), 10, "`{function}`: one in 100 of 500 ns");
            assert_eq!(
                yields(function, 100, 64 << 10),
                3,
                "`{function}`: one in 33 of 1,524 ns, for no more than 4 KiB of a text is read"
            );
        }
    }
}

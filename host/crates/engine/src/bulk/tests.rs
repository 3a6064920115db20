//! Whether instructions in pieces do what the plain ones do, and can be left in between.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, Trap, TypedFunc};

use super::module::STRAIGHT_MAX;
use super::pieces::PIECE_BYTES;
use super::*;
use crate::digest;

const PIECE: u32 = PIECE_BYTES.cast_unsigned();
const PAGES: u32 = 32;
const MEMORY_BYTES: u32 = PAGES << 16;
const SEGMENT_BYTES: u32 = 3 * PIECE + 77;

/// Every bulk instruction with operands from outside, among locals and parameters that must stay what they are.
fn module() -> Vec<u8> {
    let segment = "\\00\\01\\02\\03\\05\\08\\0d".repeat(SEGMENT_BYTES as usize / 7 + 1);
    let segment = &segment[..3 * SEGMENT_BYTES as usize];
    wat::parse_str(format!(
        r#"(module
            (import "host" "nothing" (func $nothing))
            (memory (export "memory") {PAGES} {PAGES})
            (data $long "{segment}")
            (data $short "abc")
            (func $copy (export "copy") (param i64 i32 i32 i32) (result i64) (local i32 f64)
                (local.set 4 (i32.const 7))
                (memory.copy (local.get 1) (local.get 2) (local.get 3))
                (i64.add (local.get 0) (i64.extend_i32_u (local.get 4))))
            (func $fill (export "fill") (param i64 i32 i32 i32) (result i64)
                (memory.fill (local.get 1) (local.get 2) (local.get 3))
                (memory.fill (i32.const 0) (i32.const 9) (i32.const 5))
                (i64.add (local.get 0) (i64.const 7)))
            (func $init (export "init") (param i64 i32 i32 i32) (result i64)
                (memory.init $long (local.get 1) (local.get 2) (local.get 3))
                (memory.init $short (i32.const 0) (i32.const 0) (i32.const 3))
                (i64.add (local.get 0) (i64.const 7)))
            (func (export "drop") (call $nothing) (data.drop $long)))"#
    ))
    .unwrap()
}

struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    fn new(engine: &Engine, module: &Module) -> Self {
        let mut store = Store::new(engine, ());
        let nothing = wasmtime::Func::wrap(&mut store, || {});
        let instance = Instance::new(&mut store, module, &[nothing.into()]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let mut this = Self {
            store,
            instance,
            memory,
        };
        // No two places look alike.
        for (at, byte) in this.memory.data_mut(&mut this.store).iter_mut().enumerate() {
            *byte = u8::try_from((at ^ (at >> 8) ^ (at >> 13)) & 0xff).unwrap();
        }
        this
    }

    /// What a call comes to, and the memory after it.
    fn run(&mut self, function: &str, operands: (u32, u32, u32)) -> (Result<i64, Trap>, &[u8]) {
        let function: TypedFunc<(i64, u32, u32, u32), i64> =
            self.instance.get_typed_func(&mut self.store, function).unwrap();
        let (to, from, length) = operands;
        let result = function
            .call(&mut self.store, (35, to, from, length))
            .map_err(|error| *error.downcast_ref::<Trap>().unwrap());
        (result, self.memory.data(&self.store))
    }
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        PIECE - 2..PIECE + 3,
        2 * PIECE - 2..2 * PIECE + 3,
        0..MEMORY_BYTES + 2,
        Just(u32::MAX),
    ]
}

fn place() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..PIECE * 2,
        0..MEMORY_BYTES + 2,
        MEMORY_BYTES - 2..MEMORY_BYTES + 3,
        SEGMENT_BYTES - PIECE - 2..SEGMENT_BYTES + 2,
        u32::MAX - 2..=u32::MAX,
    ]
}

#[test]
fn instructions_in_pieces_do_what_the_plain_ones_do() {
    let engine = Engine::default();
    let plain = module();
    let pieces = rewrite_module(&plain, &mut Seen::default()).unwrap();
    assert!(matches!(pieces, Cow::Owned(_)));
    let plain = Module::new(&engine, &plain).unwrap();
    let pieces = Module::new(&engine, &pieces).unwrap();
    let function = prop_oneof![Just("copy"), Just("fill"), Just("init")];
    let mut runner = TestRunner::new(Cases {
        cases: 400,
        ..Cases::default()
    });
    let cases = (function, place(), place(), length(), proptest::bool::weighted(0.1));
    let checked = runner.run(&cases, |(function, to, from, length, is_dropped)| {
        let operands = (to, from, length);
        let (mut left, mut right) = (Guest::new(&engine, &plain), Guest::new(&engine, &pieces));
        if is_dropped {
            for guest in [&mut left, &mut right] {
                let drop: TypedFunc<(), ()> = guest.instance.get_typed_func(&mut guest.store, "drop").unwrap();
                drop.call(&mut guest.store, ()).unwrap();
            }
        }
        let (expected, before) = left.run(function, operands);
        let (found, after) = right.run(function, operands);
        prop_assert_eq!(expected, found, "{} of {:?}", function, operands);
        prop_assert!(before == after, "{} of {:?} leaves another memory", function, operands);
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn a_fill_of_64_mib_yields_between_its_pieces() {
    let mut config = Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config).unwrap();
    let module = wat::parse_str(
        r#"(module (memory 1024) (func (export "run") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0))))"#,
    )
    .unwrap();
    let yields = |module: &[u8]| yields(&engine, module, 64 << 20, PIECE);
    assert!(yields(&module) <= 2, "the plain one runs to its end");
    let pieces = rewrite_module(&module, &mut Seen::default()).unwrap();
    assert!(yields(&pieces) >= 250, "{}", yields(&pieces));
}

/// How often a call of `run` yields, at every `slice` units of fuel.
fn yields(engine: &Engine, module: &[u8], operand: u32, slice: u32) -> usize {
    let module = Module::new(engine, module).unwrap();
    let mut store = Store::new(engine, ());
    store.set_fuel(1 << 40).unwrap();
    store.fuel_async_yield_interval(Some(u64::from(slice))).unwrap();
    let mut waker = Context::from_waker(Waker::noop());
    let mut call = pin!(async {
        let instance = Instance::new_async(&mut store, &module, &[]).await.unwrap();
        let run: TypedFunc<u32, ()> = instance.get_typed_func(&mut store, "run").unwrap();
        run.call_async(&mut store, operand).await.unwrap();
    });
    let mut yields = 0;
    while call.as_mut().poll(&mut waker).is_pending() {
        yields += 1;
    }
    yields
}

#[test]
fn a_straight_line_yields_on_its_way() {
    let mut config = Config::new();
    config.consume_fuel(true);
    let engine = Engine::new(&config).unwrap();
    let line = "(local.set 0 (i32.mul (local.get 0) (local.get 0)))".repeat(10_000);
    let module = wat::parse_str(format!("(module (func (export \"run\") (param i32) {line}))")).unwrap();
    assert!(yields(&engine, &module, 3, 1_000) <= 2, "the plain one runs to its end");
    let marked = rewrite_module(&module, &mut Seen::default()).unwrap();
    assert!(yields(&engine, &marked, 3, 1_000) >= 35);
}

/// Counts what a module asks for, and grants what is possible.
#[derive(Default)]
struct Asked {
    growths: u32,
    ways: u32,
}

impl wasmtime::ResourceLimiter for Asked {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let asks_for_way = (desired - current) as u64 == LET_OTHERS_RUN_BYTES;
        *if asks_for_way {
            &mut self.ways
        } else {
            &mut self.growths
        } += 1;
        Ok(!asks_for_way)
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
}

fn asking(engine: &Engine, module: &str) -> (Store<Asked>, Instance) {
    let module = wat::parse_str(module).unwrap();
    let module = Module::new(engine, rewrite_module(&module, &mut Seen::default()).unwrap()).unwrap();
    let mut store = Store::new(engine, Asked::default());
    store.limiter(|asked| asked);
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    (store, instance)
}

#[test]
fn a_growth_lets_others_run_after_each_page_and_comes_to_what_it_came_to() {
    let module = r#"(module
        (memory (export "memory") 1 60)
        (data (i32.const 65530) "abcdef")
        (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"#;
    let (mut store, instance) = asking(&Engine::default(), module);
    let grow: TypedFunc<u32, i32> = instance.get_typed_func(&mut store, "grow").unwrap();
    let mut ways = Vec::new();
    let mut results = Vec::new();
    for pages in [0, 4, 57, 1, 42, u32::MAX - 1, 0] {
        results.push(grow.call(&mut store, pages).unwrap());
        ways.push(std::mem::take(&mut store.data_mut().ways));
    }
    assert_eq!(results, [1, 1, -1, 5, 6, -1, 48]);
    assert_eq!(
        ways,
        [0, 0, 0, 1, 42, 0, 0].map(|pages| 16 * pages),
        "the first four more are not touched"
    );
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    assert_eq!(&memory.data(&store)[65_530..65_536], b"abcdef");
    assert!(memory.data(&store)[65_536..].iter().all(|byte| *byte == 0));
}

#[test]
fn memory_that_a_module_begins_with_is_touched_before_it_starts() {
    let module = |pages: u32| {
        format!(
            r#"(module
                (memory (export "memory") {pages})
                (global $started (export "started") (mut i32) (i32.const 0))
                (table funcref (elem $start))
                (data (i32.const 70000) "abc")
                (func $start (global.set $started (i32.load8_u (i32.const 70001))))
                (start $start))"#
        )
    };
    for (pages, ways) in [(20, 0), (21, 16 * 21), (200, 16 * 200)] {
        let (mut store, instance) = asking(&Engine::default(), &module(pages));
        assert_eq!(store.data().ways, ways, "of {pages} pages");
        let started = instance.get_global(&mut store, "started").unwrap().get(&mut store);
        assert_eq!(
            started.unwrap_i32(),
            i32::from(b'b'),
            "its own start function ran, over its data"
        );
    }
}

#[test]
fn memory_that_a_module_is_lent_is_touched_before_it_starts() {
    let engine = Engine::default();
    for (pages, ways) in [(20, 0), (21, 16 * 21)] {
        let lender = wat::parse_str(format!(r#"(module (memory (export "memory") {pages}))"#)).unwrap();
        let lender = rewrite_module(&lender, &mut Seen::default()).unwrap();
        let borrower = r#"(module (import "lender" "memory" (memory 0)) (func (export "run")))"#;
        let borrower = wat::parse_str(borrower).unwrap();
        let mut seen = Seen {
            lends_memory: true,
            ..Seen::default()
        };
        let borrower = rewrite_module(&borrower, &mut seen).unwrap();
        let mut store = Store::new(&engine, Asked::default());
        store.limiter(|asked| asked);
        let lender = Instance::new(&mut store, &Module::new(&engine, &lender).unwrap(), &[]).unwrap();
        assert_eq!(store.data().ways, 0, "it has no code");
        let memory = lender.get_memory(&mut store, "memory").unwrap();
        Instance::new(&mut store, &Module::new(&engine, &borrower).unwrap(), &[memory.into()]).unwrap();
        assert_eq!(store.data().ways, ways, "of {pages} pages");
    }
}

#[test]
fn a_component_lends_memory_where_a_module_has_one_and_no_functions() {
    let borrower = r#"(core module (import "a" "memory" (memory 0)) (func (export "run")))"#;
    for (lender, lends) in [
        (r#"(core module (memory (export "memory") 30))"#, true),
        (r#"(core module (memory (export "memory") 30) (func))"#, false),
        (r#"(component (core module (memory (export "memory") 30)))"#, true),
    ] {
        let component = wat::parse_str(format!("(component {lender} {borrower})")).unwrap();
        assert_eq!(lends_memory(&component, 0).unwrap(), lends, "{lender}");
        let pieces = in_pieces(&component).unwrap();
        assert!(matches!(pieces, Cow::Owned(_)), "the first that can touches it");
        wasmtime::component::Component::new(&Engine::default(), pieces).unwrap();
    }
}

#[test]
fn others_may_run_after_each_piece() {
    let module = r#"(module
        (memory 20)
        (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 1) (local.get 0)))
        (func (export "copy") (param i32) (memory.copy (i32.const 0) (i32.const 1) (local.get 0)))
        (func (export "copy back") (param i32) (memory.copy (i32.const 1) (i32.const 0) (local.get 0))))"#;
    let (mut store, instance) = asking(&Engine::default(), module);
    for name in ["fill", "copy", "copy back"] {
        let run: TypedFunc<u32, ()> = instance.get_typed_func(&mut store, name).unwrap();
        let mut ways = Vec::new();
        for length in [PIECE, 2 * PIECE, 4 * PIECE + 1] {
            run.call(&mut store, length).unwrap();
            ways.push(std::mem::take(&mut store.data_mut().ways));
        }
        assert_eq!(ways, [0, 1, 4], "{name}");
    }
}

#[test]
fn what_is_short_for_certain_stays_as_it_is() {
    let module = wat::parse_str(
        r#"(module (memory 1) (data $d "abc")
            (func (param i32)
                (memory.init $d (i32.const 0) (i32.const 0) (local.get 0))
                (memory.fill (local.get 0) (i32.const 0) (i32.const 262144))
                (memory.copy (local.get 0) (i32.const 9) (i32.const 64))))"#,
    )
    .unwrap();
    let rewritten = rewrite_module(&module, &mut Seen::default()).unwrap();
    assert!(matches!(rewritten, Cow::Borrowed(_)));
}

#[test]
fn what_is_written_has_its_version() {
    let slow = "(local.set 0 (i32.add (local.get 0) (i32.const 1)))".repeat(STRAIGHT_MAX as usize);
    let all = wat::parse_str(format!(
        r#"(module (memory 40) (data $d "abc")
            (func (param i32)
                {slow}
                (memory.init $d (local.get 0) (i32.const 0) (local.get 0))
                (memory.fill (local.get 0) (i32.const 0) (local.get 0))
                (memory.copy (local.get 0) (i32.const 9) (local.get 0))
                (drop (memory.grow (local.get 0)))))"#
    ));
    let written = rewrite_module(&all.unwrap(), &mut Seen::default())
        .unwrap()
        .into_owned();
    assert_eq!(
        (VERSION, digest::hex(&digest::sha256(&written))),
        (
            6,
            "3fb351a2d43bbb39116c9837536369b3ae42b19fbc47ff09c696cfad08808bd5".into()
        ),
        "other code is written: count `VERSION` up, or caches go on with the old"
    );
}

#[test]
fn a_backtrace_keeps_its_names() {
    let pieces = rewrite_module(&module(), &mut Seen::default()).unwrap().into_owned();
    let engine = Engine::default();
    let module = Module::new(&engine, &pieces).unwrap();
    let mut guest = Guest::new(&engine, &module);
    let copy: TypedFunc<(i64, u32, u32, u32), i64> = guest.instance.get_typed_func(&mut guest.store, "copy").unwrap();
    let error = copy.call(&mut guest.store, (0, 0, 0, u32::MAX)).unwrap_err();
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>().unwrap().to_string();
    assert!(
        backtrace.contains("memory.copy in pieces") && backtrace.contains("!copy"),
        "{backtrace}"
    );
}

#[test]
fn modules_within_nested_components_are_found() {
    let component = wat::parse_str(
        "(component (component (core module (memory 1)
            (func (param i32) (memory.copy (i32.const 0) (i32.const 9) (local.get 0))))))",
    )
    .unwrap();
    assert!(matches!(in_pieces(&component).unwrap(), Cow::Owned(_)));
    wasmtime::component::Component::new(&Engine::default(), in_pieces(&component).unwrap()).unwrap();
}

#[test]
fn what_would_keep_the_compiler_for_long_is_refused() {
    let nops = "nop ".repeat(FUNCTION_BYTES_MAX + 1);
    let giant = wat::parse_str(format!("(component (core module (func {nops})))")).unwrap();
    assert!(matches!(in_pieces(&giant), Err(Refused::TooLarge { .. })));
    let many = "(func)".repeat(FUNCTIONS_MAX + 1);
    let many = wat::parse_str(format!("(component (core module {many}))")).unwrap();
    assert!(matches!(in_pieces(&many), Err(Refused::TooLarge { .. })));
    let depth = DEPTH_MAX as usize + 1;
    let deep = format!("{}{}", "(component ".repeat(depth + 1), ")".repeat(depth + 1));
    assert!(matches!(
        in_pieces(&wat::parse_str(deep).unwrap()),
        Err(Refused::Malformed(_))
    ));
}

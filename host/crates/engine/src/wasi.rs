//! The WASI that operators get: none of the outside world, the same answers every time.
//!
//! Owns the list of interfaces that a component may import, and what stands behind them. There are no files, no sockets, no
//! environment; the time is that of the event at hand and a guest cannot wait for it, random numbers follow from the event, what is
//! printed becomes log lines.
//!
//! Every function is [served](crate::served): the host's own, with handles that are numbers, and none of them runs for long.

mod cli;
mod clocks;
mod io;
mod random;

use wasmtime::component::Linker;

use crate::guest::Guest;

pub(crate) use cli::Exit;

/// The WASI interfaces that a component may import, whatever their 0.2.x version.
pub(crate) const GRANTED: [&str; 18] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Whether what this function of WASI answers depends on the event that the guest is at. The seed does not: a guest asks for it
/// once, and hashes with it for as long as its instance lives.
pub(crate) fn answers_by_event(interface: &str, function: &str) -> bool {
    match interface {
        "wasi:random/random" | "wasi:random/insecure" => true,
        "wasi:clocks/monotonic-clock" | "wasi:clocks/wall-clock" => function == "now",
        _ => false,
    }
}

/// The full name of an interface of WASI, of the newest version that is known. A linker gives it to older ones too.
fn interface(name: &str) -> String {
    format!("wasi:{name}@0.2.12")
}

/// Defines the granted interfaces in `linker`, and nothing else.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    io::link(linker)?;
    cli::link(linker)?;
    clocks::link(linker)?;
    random::link(linker)
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
    use crate::imports::linker;
    use crate::seed::Seed;
    use crate::setup::Setup;

    /// A guest that calls a function of WASI so often: writes so many line ends, asks for so many random bytes, polls so many handles.
    const CALLER: &str = r#"(component
        (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $pollable (sub resource)))
            (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
        (alias export $error "error" (type $error))
        (import "wasi:io/streams@0.2.0" (instance $streams
            (alias outer 1 $error (type $cause))
            (alias outer 1 $pollable (type $pollable))
            (export "output-stream" (type $stream (sub resource)))
            (type $named (variant (case "last-operation-failed" (own $cause)) (case "closed")))
            (export "stream-error" (type $stream-error (eq $named)))
            (export "[method]output-stream.blocking-write-and-flush"
                (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))
            (export "[method]output-stream.subscribe"
                (func (param "self" (borrow $stream)) (result (own $pollable))))))
        (alias export $streams "output-stream" (type $stream))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
            (alias outer 1 $stream (type $stream))
            (export "get-stdout" (func (result (own $stream))))))
        (import "wasi:random/random@0.2.0" (instance $random
            (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (core module $memory
            (memory (export "memory") 40)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x100000)))
        (core instance $memory (instantiate $memory))
        (core func $get-stdout (canon lower (func $stdout "get-stdout")))
        (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
            (memory $memory "memory") (realloc (func $memory "realloc"))))
        (core func $subscribe (canon lower (func $streams "[method]output-stream.subscribe")))
        (core func $poll (canon lower (func $poll "poll") (memory $memory "memory") (realloc (func $memory "realloc"))))
        (core func $random (canon lower (func $random "get-random-bytes")
            (memory $memory "memory") (realloc (func $memory "realloc"))))
        (core module $module
            (import "memory" "memory" (memory 1))
            (import "wasi" "get-stdout" (func $get-stdout (result i32)))
            (import "wasi" "write" (func $write (param i32 i32 i32 i32)))
            (import "wasi" "subscribe" (func $subscribe (param i32) (result i32)))
            (import "wasi" "poll" (func $poll (param i32 i32 i32)))
            (import "wasi" "random" (func $random (param i64 i32)))
            (func (export "write") (param $calls i32) (param $bytes i32) (local $stdout i32)
                (local.set $stdout (call $get-stdout))
                (memory.fill (i32.const 64) (i32.const 10) (i32.const 8192))
                (loop
                    (call $write (local.get $stdout) (i32.const 64) (local.get $bytes) (i32.const 0))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1))))))
            (func (export "random") (param $calls i32) (param $bytes i32)
                (loop
                    (call $random (i64.extend_i32_u (local.get $bytes)) (i32.const 0))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1))))))
            (func (export "poll") (param $calls i32) (param $handles i32) (local $pollable i32) (local $n i32)
                (local.set $pollable (call $subscribe (call $get-stdout)))
                (local.set $n (local.get $handles))
                (loop
                    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                    (i32.store (i32.add (i32.const 64) (i32.shl (local.get $n) (i32.const 2))) (local.get $pollable))
                    (br_if 0 (local.get $n)))
                (loop
                    (call $poll (i32.const 64) (local.get $handles) (i32.const 0))
                    (br_if 0 (local.tee $calls (i32.sub (local.get $calls) (i32.const 1)))))))
        (core instance $module (instantiate $module
            (with "memory" (instance $memory))
            (with "wasi" (instance
                (export "get-stdout" (func $get-stdout)) (export "write" (func $write))
                (export "subscribe" (func $subscribe)) (export "poll" (func $poll)) (export "random" (func $random))))))
        (func (export "write") (param "calls" u32) (param "bytes" u32) (canon lift (core func $module "write")))
        (func (export "random") (param "calls" u32) (param "bytes" u32) (canon lift (core func $module "random")))
        (func (export "poll") (param "calls" u32) (param "handles" u32) (canon lift (core func $module "poll"))))"#;

    /// How often a guest yields that calls this function so often, with so much.
    fn yields(function: &str, calls: u32, much: u32) -> Result<usize, String> {
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
        let (called, yields) = done(call.call_async(&mut store, (calls, much)));
        called.map(|()| yields).map_err(|error| error.root_cause().to_string())
    }

    #[test]
    fn what_a_guest_prints_lets_others_run_line_by_line_and_then_call_by_call() {
        // 100 lines of a second are written, in 2.5 us each, and the others counted.
        assert_eq!(yields("write", 1, 4096), Ok(5));
        assert_eq!(yields("write", 1_000, 4096), Ok(81), "and one in 13 calls of 4 us");
        assert_eq!(
            yields("write", 1, 4097),
            Err("writes 4097 bytes at once, and `check-write` allows 4096".into())
        );
    }

    #[test]
    fn random_bytes_let_others_run() {
        assert_eq!(yields("random", 10, 64 << 10), Ok(10), "each 66 us");
        assert_eq!(yields("random", 200, 0), Ok(2), "each 500 ns");
        assert_eq!(
            yields("random", 1, (64 << 10) + 1),
            Err("asks for 65537 random bytes at once; it may ask for 65536".into())
        );
    }

    #[test]
    fn a_list_of_handles_to_poll_is_bounded() {
        assert_eq!(yields("poll", 10, 1024), Ok(10), "each 66 us");
        assert_eq!(
            yields("poll", 1, 1025),
            Err("polls 1025 handles at once; an instance holds at most 1024".into())
        );
    }

    #[test]
    fn what_a_guest_is_answered_by_event_is_known_by_the_functions_that_it_imports() {
        assert!(answers_by_event("wasi:random/random", "get-random-u64"));
        assert!(answers_by_event("wasi:clocks/wall-clock", "now"));
        assert!(!answers_by_event("wasi:clocks/monotonic-clock", "subscribe-duration"));
        assert!(!answers_by_event("wasi:random/insecure-seed", "insecure-seed"));
    }
}

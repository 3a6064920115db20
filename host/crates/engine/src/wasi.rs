//! The WASI that operators get: none of the outside world, the same answers every time.
//!
//! Owns the list of interfaces that a component may import, and what stands behind them. There are no files, no sockets, no
//! environment; clocks stand still and nobody can wait for them, random numbers come from a fixed seed, what is printed
//! becomes log lines.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiView};

use crate::guest_log::{GuestLog, Level};

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

struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Defines the granted interfaces in `linker`, and nothing else.
pub(crate) fn link<Guest: WasiView + 'static>(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi_io::bindings::wasi::io;
    io::error::add_to_linker::<Guest, Io>(linker, |guest| guest.ctx().table)?;
    io::poll::add_to_linker::<Guest, Io>(linker, |guest| guest.ctx().table)?;
    io::streams::add_to_linker::<Guest, Io>(linker, |guest| guest.ctx().table)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, WasiCliView::cli)?;
    clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(linker, WasiClocksView::clocks)?;
    clocks::monotonic_clock::add_to_linker::<Guest, StoppedClock>(linker, |_| StoppedClock)?;
    random::random::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.ctx().ctx.random())?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.ctx().ctx.random())
}

/// What stands behind the interfaces for one instance.
pub(crate) fn deny_all(log: &Arc<GuestLog>) -> WasiCtx {
    /// Any constant serves: what matters is that every instance of every run draws the same numbers.
    const SEED: u128 = 0x6469_7269_676f_2064_6972_6967_6f20_6469;
    /// A guest that wants more random bytes at once than this asks for memory, not for chance.
    const RANDOM_BYTES_MAX: u64 = 64 << 10;
    let cycle = || wasmtime_wasi::Deterministic::new(SEED.to_le_bytes().to_vec());
    WasiCtx::builder()
        .wall_clock(StoppedClock)
        .secure_random(cycle())
        .insecure_random(cycle())
        .insecure_random_seed(SEED)
        .max_random_size(RANDOM_BYTES_MAX)
        .stdout(Print {
            log: log.clone(),
            level: Level::Info,
        })
        .stderr(Print {
            log: log.clone(),
            level: Level::Warn,
        })
        .build()
}

struct StoppedClock;

impl HostWallClock for StoppedClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HasData for StoppedClock {
    type Data<'a> = Self;
}

/// WASI's own would wait in real time whatever the clock says: without end, without burning fuel, and with an instance that
/// others need.
impl clocks::monotonic_clock::Host for StoppedClock {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        Err(cannot_wait())
    }

    fn subscribe_duration(&mut self, _: u64) -> wasmtime::Result<Resource<DynPollable>> {
        Err(cannot_wait())
    }
}

fn cannot_wait() -> wasmtime::Error {
    wasmtime::Error::msg("operators cannot wait: they have no clock")
}

/// Standard output or standard error, whose lines become log lines.
#[derive(Clone)]
struct Print {
    log: Arc<GuestLog>,
    level: Level,
}

impl IsTerminal for Print {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Print {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        unreachable!("only WASI 0.3 asks for this stream, and it is not linked")
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Print {
    async fn ready(&mut self) {}
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Print {
    fn write(&mut self, bytes: bytes::Bytes) -> Result<(), StreamError> {
        self.log.print(self.level, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        /// How much a guest may print in one call; more comes in several.
        const PRINT_BYTES_MAX: usize = 4096;
        Ok(PRINT_BYTES_MAX)
    }
}

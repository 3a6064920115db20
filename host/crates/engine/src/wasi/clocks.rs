//! `wasi:clocks`: the time of the event at hand.
//!
//! A clock reads the event's time, or the first millisecond of 1970 where there is none, and a microsecond more each time that it is
//! read: time passes for a guest that looks at it, in the same way in every run. Nobody can wait for it.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower, Resource};

use super::interface;
use super::io::Pollable;
use crate::guest::Guest;
use crate::served::define;

/// By how much a clock goes on when it is read, in ns.
const RESOLUTION_NS: u64 = 1_000;

/// `wall-clock.datetime`.
#[derive(ComponentType, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// The clocks of one call of a guest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    /// The time of the event, in ms since the epoch.
    event_ms: i64,
    /// How often it was read.
    reads: u64,
}

impl Clocks {
    /// Those of a call that is about an event of this time.
    pub(crate) fn at(event_ms: i64) -> Self {
        Self { event_ms, reads: 0 }
    }

    /// Reads them: ms since the epoch, at least 1, and ns since the event.
    fn read(&mut self) -> (u64, u64) {
        let since_ns = self.reads.saturating_mul(RESOLUTION_NS);
        self.reads += 1;
        (u64::try_from(self.event_ms).unwrap_or(0).max(1), since_ns)
    }

    fn monotonic_ns(&mut self) -> u64 {
        /// The clock reads ns in 64 bits, which end in the year 2554. It goes on there too, as it is read.
        const MS_MAX: u64 = u64::MAX / 1_000_000 - 24 * 60 * 60 * 1_000;
        let (ms, ns) = self.read();
        ms.min(MS_MAX).saturating_mul(1_000_000).saturating_add(ns)
    }

    fn wall(&mut self) -> Datetime {
        const NS_PER_S: u64 = 1_000_000_000;
        let (ms, since_ns) = self.read();
        let ns = (ms % 1_000 * 1_000_000).saturating_add(since_ns);
        Datetime {
            seconds: ms / 1_000 + ns / NS_PER_S,
            nanoseconds: u32::try_from(ns % NS_PER_S).expect("a second has 10^9 of them"),
        }
    }
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance(&interface("clocks/monotonic-clock"))?;
    define(
        &mut monotonic,
        "now",
        |store: &mut StoreContextMut<'_, Guest>, (): ()| Ok(((store.data_mut().clocks.monotonic_ns(),), 0)),
    )?;
    define(&mut monotonic, "resolution", |_, (): ()| Ok(((RESOLUTION_NS,), 0)))?;
    for function in ["subscribe-instant", "subscribe-duration"] {
        define(&mut monotonic, function, |_, (_,): (u64,)| {
            Err::<((Resource<Pollable>,), usize), _>(cannot_wait())
        })?;
    }
    let mut wall = linker.instance(&interface("clocks/wall-clock"))?;
    define(&mut wall, "now", |store: &mut StoreContextMut<'_, Guest>, (): ()| {
        Ok(((store.data_mut().clocks.wall(),), 0))
    })?;
    define(&mut wall, "resolution", |_, (): ()| {
        let resolution = Datetime {
            seconds: 0,
            nanoseconds: 1_000,
        };
        Ok(((resolution,), 0))
    })
}

/// In real time it would wait without end, without burning fuel, and with an instance that others need.
fn cannot_wait() -> wasmtime::Error {
    wasmtime::Error::msg("operators cannot wait: their clock is the time of the event")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reads_the_event_time_and_goes_on_when_it_is_read() {
        let mut clocks = Clocks::at(1_700_000_000_123);
        assert_eq!(
            clocks.wall(),
            Datetime {
                seconds: 1_700_000_000,
                nanoseconds: 123_000_000
            }
        );
        assert_eq!(clocks.monotonic_ns(), 1_700_000_000_123_001_000);
        assert_eq!(clocks.monotonic_ns(), 1_700_000_000_123_002_000);
    }

    #[test]
    fn a_clock_never_reads_0_and_knows_no_time_before_1970() {
        for event_ms in [0, -1, i64::MIN] {
            assert_eq!(Clocks::at(event_ms).monotonic_ns(), 1_000_000);
        }
        assert_eq!(Clocks::default().wall().nanoseconds, 1_000_000);
    }

    #[test]
    fn a_clock_goes_beyond_the_next_second() {
        let mut clocks = Clocks {
            event_ms: 253_402_300_799_999,
            reads: 1_000,
        };
        assert_eq!(
            clocks.wall(),
            Datetime {
                seconds: 253_402_300_800,
                nanoseconds: 0
            }
        );
    }
}

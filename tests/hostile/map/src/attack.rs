//! What a guest can do to a host.

use std::hint::black_box;
use std::time::Duration;

use dirigo_operator::log;
use dirigo_operator::prelude::*;

/// The ways to attack, by the moment at which they do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attack {
    /// At no time.
    Pass,
    /// At an event: it is refused as the contract has it, after an output that must not leave.
    Reject,
    /// At an event: panics.
    Panic,
    /// At an event: ends without a word, so that nothing tells which event it was.
    Abort,
    /// At an event: blames the first event of the batch, and ends.
    BlameAnother,
    /// At an event: ends the program.
    Exit,
    /// At an event: says so, and never returns.
    Loop,
    /// At an event: takes memory until there is no more.
    Memory,
    /// At an event: takes 64 KiB and never gives it back.
    Leak,
    /// At an event: calls itself without end.
    Recursion,
    /// At an event: puts out 100,000 values of 1 KiB.
    Output,
    /// At an event: logs 100 lines, and prints as many.
    Log,
    /// At an event: counts under a name that no other event has.
    Metrics,
    /// At an event: takes about a hundred times as long as another map does.
    Dawdle,
    /// At an event: says so, and sleeps for a century.
    Sleep,
    /// When it is opened: refuses.
    RejectInOpen,
    /// When it is opened: panics.
    PanicInOpen,
    /// When it is opened: never returns.
    LoopInOpen,
    /// When it is opened: takes memory until there is no more.
    MemoryInOpen,
    /// When it is opened: sleeps for a century.
    SleepInOpen,
}

impl Attack {
    pub(crate) fn on_open(self) -> Result<()> {
        match self {
            Attack::RejectInOpen => reject!("this guest opens for nobody"),
            Attack::PanicInOpen => panic!("panicked while it was opened"),
            Attack::LoopInOpen => spin(),
            Attack::MemoryInOpen => hoard(),
            Attack::SleepInOpen => {
                doze();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn on_event(self, number: u64, out: &mut Outputs<'_, Raw<Vec<u8>>>) -> Result<()> {
        match self {
            Attack::Reject => {
                out.push(&Raw(b"this must not leave".to_vec()))?;
                reject!("event {number} is not to its taste");
            }
            Attack::Panic => strike(number),
            Attack::Abort => std::process::abort(),
            Attack::BlameAnother => blame_another(),
            Attack::Exit => std::process::exit(3),
            Attack::Loop => {
                log::warn!("event {number} makes it loop");
                spin();
            }
            Attack::Memory => hoard(),
            Attack::Leak => {
                black_box(vec![1_u8; 64 << 10].leak());
            }
            Attack::Recursion => {
                black_box(descend(number));
            }
            Attack::Output => {
                let value = Raw(vec![b'x'; 1024]);
                for _ in 0..100_000 {
                    out.push(&value)?;
                }
            }
            Attack::Log => {
                for line in 0..100 {
                    log::warn!("line {line} about event {number}");
                    eprintln!("line {line} about event {number}");
                }
            }
            Attack::Metrics => log::count(&format!("events with the number {number}"), 1.0),
            Attack::Dawdle => (0..10_000).for_each(|step| {
                black_box(step);
            }),
            Attack::Sleep => {
                log::warn!("event {number} makes it sleep");
                doze();
            }
            _ => {}
        }
        Ok(())
    }
}

/// A function of its own, so that a backtrace can name it.
#[inline(never)]
fn strike(number: u64) {
    assert!(black_box(false), "event {number} is more than it can bear");
}

fn blame_another() {
    #[cfg(target_arch = "wasm32")]
    dirigo_operator::bindings::lifecycle::dirigo::operator::host::panicked("it was another", Some(0));
    std::process::abort();
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn doze() {
    std::thread::sleep(Duration::from_hours(100 * 366 * 24));
}

fn hoard() -> ! {
    loop {
        black_box(vec![1_u8; 1 << 20].leak());
    }
}

/// Each call needs the results of the one below, so that no optimiser can turn it into a loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(false) {
        return 0;
    }
    descend(black_box(depth + 1)) + black_box(frame)[0]
}

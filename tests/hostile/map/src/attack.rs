//! What a guest can do to a host.

use std::hint::black_box;
use std::time::Duration;

use dirigo_operator::log;
use dirigo_operator::prelude::*;

/// Names the window, rings, clears the screen, begins a line of its own, and turns the order of reading around.
const ESCAPES: &str = "\u{1b}]0;gone\u{7}\u{9b}2J\r\nerror: forged\u{202e}";

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
    /// At an event: logs, prints and refuses with what would act on a terminal, or forge a line of the log.
    Escapes,
    /// At an event: counts under a name that no other event has.
    Metrics,
    /// At an event: takes about a hundred times as long as another map does.
    Dawdle,
    /// At an event: takes four times as long as one that dawdles.
    Plod,
    /// At an event: says so, and sleeps for a century.
    Sleep,
    /// At an event: never stops calling the host.
    HostCalls,
    /// At an event: never stops logging lines of a mebibyte.
    GiantLines,
    /// At an event: never stops printing line ends.
    Print,
    /// At an event: logs a line of a mebibyte, and rejects the event in a message of as much.
    LongReason,
    /// At an event: never stops going through 32 MiB of memory from end to end, as fast as it comes.
    Stream,
    /// At an event: never stops reading and writing here and there in 16 MiB, as much as a cache that processors share holds.
    Thrash,
    /// At an event: never stops filling and copying 32 MiB, in one instruction each.
    Bulk,
    /// At an event: grows its memory by 32 MiB and touches each page.
    Touch,
    /// At an event: fills 32 MiB of memory that it never used.
    FillAfresh,
    /// At an event: puts out one value of 32 MiB.
    GiantValue,
    /// At an event: rejects it, in a message of 32 MiB.
    GiantMessage,
    /// At an event: puts it out ten thousand times.
    Amplify,
    /// At an event: puts out its number with each from 1 to 10,000.
    Enumerate,
    /// At an event: divides for ever.
    Divide,
    /// At an event: prints how often a word stands in memory that it was given afresh. The word is in the event, backwards.
    Snoop,
    /// At an event: calls a function whose body a test has written.
    Injected,
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
            Attack::Escapes => {
                log::warn!("{ESCAPES}");
                eprintln!("{ESCAPES}");
                reject!("{ESCAPES}");
            }
            Attack::Metrics => log::count(&format!("events with the number {number}"), 1.0),
            Attack::HostCalls => loop {
                log::count("calls", 1.0);
                log::debug!("again");
            },
            Attack::GiantLines => {
                let line = "a line without an end ".repeat(48 << 10);
                loop {
                    log::debug!("{line}");
                }
            }
            Attack::Bulk => bulk(),
            Attack::Print => print_line_ends(),
            Attack::LongReason => {
                let line = "a line without an end ".repeat(48 << 10);
                log::info!("{line}");
                reject!("{line}");
            }
            Attack::Stream => stream(),
            Attack::Thrash => thrash(),
            Attack::Touch => touch(32 << 20),
            Attack::FillAfresh => drop(black_box(vec![1_u8; 32 << 20])),
            Attack::GiantValue => out.push(&Raw(vec![b'x'; 32 << 20]))?,
            Attack::GiantMessage => reject!("{}", "no! ".repeat(8 << 20)),
            Attack::Amplify => {
                let value = Raw(format!("{{\"n\":{number}}}").into_bytes());
                for _ in 0..10_000 {
                    out.push(&value)?;
                }
            }
            Attack::Enumerate => {
                for index in 1..=10_000 {
                    out.push(&Raw(format!("{{\"n\":{number},\"index\":{index}}}").into_bytes()))?;
                }
            }
            Attack::Injected => {
                black_box(replaced_by_the_test(black_box(1)));
            }
            Attack::Divide => divide(),
            Attack::Snoop => {
                let found = snoop(b"\"s-\":\"rosnes\"");
                out.push(&Raw(format!("{{\"found\":{found}}}").into_bytes()))?;
            }
            Attack::Dawdle => idle_for(10_000),
            Attack::Plod => idle_for(40_000),
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

/// Two instructions that move 32 MiB each, for ever.
fn bulk() -> ! {
    let mut memory = vec![0_u8; 32 << 20];
    let half = memory.len() / 2;
    loop {
        black_box(&mut memory).fill(black_box(7));
        black_box(&mut memory).copy_within(black_box(1)..half, half);
    }
}

/// As many line ends as one call takes, for ever.
fn print_line_ends() -> ! {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    loop {
        // What a full or closed stream says is nothing to it.
        black_box(stdout.write_all(&[b'\n'; 4096]).is_ok());
    }
}

/// Takes all the bandwidth of the memory: every line of 32 MiB is read and written in turn.
fn stream() -> ! {
    let mut memory = vec![1_u64; (32 << 20) / size_of::<u64>()];
    loop {
        for word in black_box(&mut memory).iter_mut() {
            *word = word.wrapping_mul(3);
        }
    }
}

/// Takes the whole of a cache: lines of 16 MiB are read and written in an order that no prefetcher foresees.
fn thrash() -> ! {
    let mut memory = vec![1_u64; (16 << 20) / size_of::<u64>()];
    let mut place = 1_usize;
    loop {
        for _ in 0..64 {
            // A congruential generator (Knuth's MMIX), of which the high bits are good.
            place = place.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (place >> 8) % memory.len();
            memory[index] = memory[index].wrapping_add(1);
        }
        black_box(&mut memory);
    }
}

/// Takes memory and writes one byte to each page of it.
fn touch(bytes: usize) {
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    for page in memory.spare_capacity_mut().iter_mut().step_by(4096) {
        black_box(page.write(1));
    }
    black_box(memory);
}

/// What takes longest of what burns one unit of fuel and touches no memory.
fn divide() -> ! {
    let mut number = black_box(u64::MAX);
    loop {
        for _ in 0..64 {
            number = u64::MAX / (number | 1);
        }
        number = black_box(number);
    }
}

/// How often a word, given backwards so that it stands nowhere itself, stands in the memory that lies beyond all that is in
/// use, and in all that can be had.
#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "who snoops does not ask")]
fn snoop(backwards: &[u8]) -> usize {
    const PAGE: usize = 64 << 10;
    while core::arch::wasm32::memory_grow::<0>(16) != usize::MAX {}
    let bytes = core::arch::wasm32::memory_size::<0>() * PAGE;
    // SAFETY: there is none for whoever lives here; the instance is dropped after the turn.
    let memory = unsafe { std::slice::from_raw_parts(black_box(16_usize) as *const u8, bytes - 16) };
    let is_the_word = |at: usize| {
        backwards
            .iter()
            .rev()
            .enumerate()
            .all(|(offset, &byte)| memory.get(at + offset) == Some(&byte))
    };
    (0..memory.len())
        .filter(|&at| memory[at] == b'"' && is_the_word(at))
        .count()
}

#[cfg(not(target_arch = "wasm32"))]
fn snoop(_: &[u8]) -> usize {
    0
}

/// A test puts another body in its place.
#[inline(never)]
fn replaced_by_the_test(number: u32) -> u32 {
    black_box(number)
}

fn idle_for(steps: u32) {
    (0..steps).for_each(|step| {
        black_box(step);
    });
}

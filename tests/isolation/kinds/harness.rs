//! Runs the suite, and says at the end which kind of guest was held by what.
//!
//! Understands what `cargo test` passes on: words that a name must contain, `--exact`, `--skip`, `--test-threads`, `--list`.

use std::collections::VecDeque;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::beside;

/// A test, and the line that it has in the table.
pub(crate) struct Held {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) by: &'static str,
    pub(crate) test: fn(),
}

/// What was asked for on the command line.
#[derive(Default)]
struct Asked {
    words: Vec<String>,
    skipped: Vec<String>,
    is_exact: bool,
    is_list: bool,
    threads: Option<usize>,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let mut value = || value.clone().or_else(|| arguments.next()).unwrap_or_default();
            match flag.as_str() {
                "--exact" => asked.is_exact = true,
                "--list" => asked.is_list = true,
                "--skip" => asked.skipped.push(value()),
                "--test-threads" => asked.threads = value().parse().ok(),
                "--format" | "--color" | "-Z" => drop(value()),
                flag if flag.starts_with('-') => {}
                word => asked.words.push(word.to_owned()),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |word: &String| {
            if self.is_exact {
                name == word
            } else {
                name.contains(word.as_str())
            }
        };
        (self.words.is_empty() || self.words.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// Runs what the command line asks for.
pub(crate) fn run(suite: &[Held]) -> ExitCode {
    let asked = Asked::read(std::env::args().skip(1));
    let wanted: Vec<&Held> = suite.iter().filter(|held| asked.wants(held.name)).collect();
    if asked.is_list {
        wanted.iter().for_each(|held| println!("{}: test", held.name));
        return ExitCode::SUCCESS;
    }
    let threads = asked
        .threads
        .or_else(|| thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1);
    println!("\nrunning {} tests", wanted.len());
    let ran = run_all(&wanted, threads.max(1));
    print_table(&ran);
    let failed = ran.iter().filter(|ran| !ran.has_passed).count();
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {} passed; {} failed; {} filtered out\n",
        wanted.len() - failed,
        failed,
        suite.len() - wanted.len()
    );
    // What cargo expects of a test that failed.
    ExitCode::from(if failed == 0 { 0 } else { 101 })
}

/// A test that was run.
struct Ran<'a> {
    held: &'a Held,
    has_passed: bool,
    longest_poll_us: Option<u64>,
}

/// Runs tests side by side. What came of them is in their order.
fn run_all<'a>(wanted: &[&'a Held], threads: usize) -> Vec<Ran<'a>> {
    let waiting = Mutex::new(wanted.iter().copied().enumerate().collect::<VecDeque<_>>());
    let ran = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some((place, held)) = waiting.lock().unwrap().pop_front() else {
                        return;
                    };
                    #[allow(clippy::disallowed_methods, reason = "a test is timed by the wall")]
                    let begun = Instant::now();
                    let has_passed = catch_unwind(held.test).is_ok();
                    let result = if has_passed { "ok" } else { "FAILED" };
                    println!(
                        "test {} ... {result} ({:.1} s)",
                        held.name,
                        begun.elapsed().as_secs_f64()
                    );
                    std::io::stdout().flush().unwrap();
                    let longest_poll_us = beside::take_longest_poll_us();
                    let one = Ran {
                        held,
                        has_passed,
                        longest_poll_us,
                    };
                    ran.lock().unwrap().push((place, one));
                }
            });
        }
    });
    let mut ran = ran.into_inner().unwrap();
    ran.sort_by_key(|(place, _)| *place);
    ran.into_iter().map(|(_, ran)| ran).collect()
}

fn print_table(ran: &[Ran<'_>]) {
    let width = ran.iter().map(|ran| ran.held.kind.len()).max().unwrap_or(0);
    println!("\n{:width$}   longest poll   what held it", "hostile kind");
    for ran in ran {
        let by = if ran.has_passed { ran.held.by } else { "NOTHING" };
        let poll = ran.longest_poll_us.map_or_else(String::new, |us| format!("{us} µs"));
        println!("{:width$}   {poll:>12}   {by}", ran.held.kind);
    }
}

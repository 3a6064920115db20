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
    let failed = run_all(&wanted, threads.max(1));
    print_table(&wanted, &failed);
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {} passed; {} failed; {} filtered out\n",
        wanted.len() - failed.len(),
        failed.len(),
        suite.len() - wanted.len()
    );
    // What cargo expects of a test that failed.
    ExitCode::from(if failed.is_empty() { 0 } else { 101 })
}

/// Runs tests side by side. Gives the names of those that failed.
fn run_all(wanted: &[&Held], threads: usize) -> Vec<&'static str> {
    let waiting = Mutex::new(wanted.iter().copied().collect::<VecDeque<_>>());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(held) = waiting.lock().unwrap().pop_front() else {
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
                    if !has_passed {
                        failed.lock().unwrap().push(held.name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn print_table(wanted: &[&Held], failed: &[&str]) {
    let width = wanted.iter().map(|held| held.kind.len()).max().unwrap_or(0);
    println!("\n{:width$}   what held it", "hostile kind");
    for held in wanted {
        let by = if failed.contains(&held.name) {
            "NOTHING"
        } else {
            held.by
        };
        println!("{:width$}   {by}", held.kind);
    }
}

//! Having a component compiled by another process, and watching over that.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use dirigo_ground::clock::{Clock as _, SystemClock, nanoseconds};
use dirigo_ground::limits::CompileLimits;

use super::SUBCOMMAND;
use super::child::{CODE, PROBLEM};
use crate::error::Error;

/// How often it is looked at what the process has taken: it can fill some 50 MB of memory meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// What waits for a processor is not charged to the component; how many times longer than it computes it may wait.
const WAITING_MAX: u32 = 20;
/// The most code that is taken from it: several times what the largest component that is compiled comes to.
const CODE_BYTES_MAX: u64 = 1 << 30;

/// The code of a component, compiled by a process of `executable`.
///
/// # Errors
/// When it cannot be compiled, or takes more than `limits`.
pub(crate) fn compile(
    executable: &Path,
    gives_way: bool,
    wasm: &[u8],
    limits: CompileLimits,
) -> Result<Vec<u8>, Error> {
    let failed = |error: io::Error| Error::Compiler(error.to_string());
    let mut command = Command::new(executable);
    command
        .arg(SUBCOMMAND)
        .arg(limits.time.as_millis().to_string())
        .arg(limits.memory.to_string())
        .args(gives_way.then_some("--gives-way"))
        // It has no use for what the host knows.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = Process(command.spawn().map_err(failed)?);
    let mut stdin = process.0.stdin.take().expect("it was asked for");
    let mut stdout = process.0.stdout.take().expect("it was asked for");
    thread::scope(|scope| {
        // One that ends before it has read everything says why in another way.
        scope.spawn(move || stdin.write_all(wasm));
        let (sender, answers) = channel();
        scope.spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.by_ref().take(CODE_BYTES_MAX + 1).read_to_end(&mut answer);
            // Where the process was ended, this thread's answer is not waited for any more.
            let _ = sender.send(read.map(|_| answer));
        });
        let clock = SystemClock::new();
        let deadline_ns = clock
            .now_ns()
            .saturating_add(nanoseconds(limits.time.saturating_mul(WAITING_MAX)));
        let mut peak = 0;
        let answer = loop {
            match answers.recv_timeout(LOOK_INTERVAL) {
                Ok(answer) => break answer.map_err(failed)?,
                Err(RecvTimeoutError::Disconnected) => break Vec::new(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            peak = process.resident_bytes().max(peak);
            if peak > limits.memory {
                process.end();
                return Err(Error::CompileMemory { limit: limits.memory });
            }
            if process.spent() > limits.time || clock.now_ns() > deadline_ns {
                process.end();
                return Err(Error::CompileTime { limit: limits.time });
            }
        };
        let status = process.0.wait().map_err(failed)?;
        match answer.split_first() {
            Some((&CODE, code)) if status.success() && answer.len() as u64 <= CODE_BYTES_MAX => Ok(code.to_vec()),
            Some((&PROBLEM, problem)) if status.success() => {
                Err(Error::NotAComponent(String::from_utf8_lossy(problem).into_owned()))
            }
            // It was refused memory, and had used much of what it may.
            _ if peak > limits.memory / 2 => Err(Error::CompileMemory { limit: limits.memory }),
            _ => Err(Error::Compiler(format!(
                "the compiler ended without an answer: {status}"
            ))),
        }
    })
}

/// A process that does not outlive this value.
struct Process(Child);

impl Process {
    fn resident_bytes(&self) -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.0.id())).unwrap_or_default();
        let resident = pages
            .split_whitespace()
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        resident.unwrap_or(0) * rustix::param::page_size() as u64
    }

    /// The processor time that its threads have used.
    fn spent(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap_or_default();
        // The name of the executable may contain anything; user and system time are 11 fields behind its end.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let ticks: u64 = fields.take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_millis(ticks.saturating_mul(1_000) / per_second)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

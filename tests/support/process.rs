//! The binary as a process: started, talked to, interrupted, waited for.
//!
//! Nothing here sleeps: a test waits for a line or for the end, and gives up after [`PATIENCE`].

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use wait4::Wait4 as _;

use super::books::Summary;
use super::guests::target_directory;
use super::{Folder, assert_says};

/// How long a test waits for one thing: far more than any takes on a busy machine, so that only what hangs is given up.
const PATIENCE: Duration = Duration::from_mins(3);

/// A command line of `dirigo`.
pub(crate) struct Dirigo {
    command: Command,
    summary: Option<PathBuf>,
}

impl Dirigo {
    /// `dirigo run` of pipeline files, in the folder of the test.
    pub(crate) fn run<const N: usize>(folder: &Folder, files: [&str; N]) -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let summary = folder.path(format!("summary-{}.json", RUNS.fetch_add(1, Ordering::Relaxed)));
        let mut this = Self::command(folder, "run").args(files);
        this.command.arg("--summary-json").arg(&summary);
        this.summary = Some(summary);
        this
    }

    /// Another subcommand.
    pub(crate) fn command(folder: &Folder, subcommand: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
        command
            .current_dir(folder.path(""))
            .arg(subcommand)
            .env_remove("DIRIGO_LOG")
            .env("DIRIGO_CACHE_DIR", target_directory().join("hostile").join("cache"))
            .env("DIRIGO_CACHE_KEY", target_directory().join("hostile").join("cache.key"));
        Self { command, summary: None }
    }

    pub(crate) fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn workers(self, workers: u32) -> Self {
        self.args(["--workers", &workers.to_string()])
    }

    /// Keeps state in `folder`'s directory `state`.
    pub(crate) fn with_state(self) -> Self {
        self.args(["--state", "state"])
    }

    /// Puts a value in place of the file's.
    pub(crate) fn set(self, key: &str, value: impl std::fmt::Display) -> Self {
        self.args(["--set", &format!("{key}={value}")])
    }

    pub(crate) fn cache(self, directory: PathBuf) -> Self {
        self.env("DIRIGO_CACHE_DIR", directory)
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs to the end, with nothing on standard input.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        self.command.stdin(Stdio::null());
        self.start().finish()
    }

    /// Starts it; standard input stays open for what the test has to say.
    #[track_caller]
    pub(crate) fn piped(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        self.start()
    }

    /// Starts it with a standard error that is full, so that a thread that writes there waits for
    /// [`Running::read_stderr`].
    #[track_caller]
    pub(crate) fn with_full_stderr(mut self) -> (Running, PipeReader) {
        let (reader, writer) = full_pipe();
        self.command.stdin(Stdio::piped()).stderr(writer);
        let running = self.spawn(Stdio::piped(), |_| Lines::of(std::io::empty()));
        (running, reader)
    }

    /// Starts it with a standard output that is full, and that is not read while the reader lives.
    #[track_caller]
    pub(crate) fn with_full_stdout(mut self) -> (Running, PipeReader) {
        let (reader, writer) = full_pipe();
        self.command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let running = self.spawn(writer.into(), |child| Lines::of(child.stderr.take().unwrap()));
        (running, reader)
    }

    #[track_caller]
    fn start(mut self) -> Running {
        self.command.stderr(Stdio::piped());
        self.spawn(Stdio::piped(), |child| Lines::of(child.stderr.take().unwrap()))
    }

    #[track_caller]
    fn spawn(mut self, stdout: Stdio, stderr: impl FnOnce(&mut Child) -> Lines) -> Running {
        let mut child = self.command.stdout(stdout).spawn().unwrap();
        let stdout = child.stdout.take().map(Lines::of);
        Running {
            stdin: child.stdin.take(),
            stdout: stdout.unwrap_or_else(|| Lines::of(std::io::empty())),
            stderr: stderr(&mut child),
            child: Some(child),
            summary: self.summary,
        }
    }
}

/// A pipe that takes no more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(b" ").is_ok() {}
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// A process under way. It is killed if the test gives up.
pub(crate) struct Running {
    /// There until it was waited for.
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
    summary: Option<PathBuf>,
}

/// What a process prints, line by line.
pub(crate) struct Lines {
    lines: Receiver<String>,
    seen: String,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
        Self {
            lines,
            seen: String::new(),
        }
    }

    /// The next line without its end; `None` after the last.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.push_str(&line);
                Some(line.trim_end_matches('\n').to_owned())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("nothing was printed any more after\n{}", self.seen),
        }
    }

    /// Waits for a line with `part` in it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        while let Some(line) = self.next() {
            if line.contains(part) {
                return line;
            }
        }
        panic!("{part:?} was never printed, but\n{}", self.seen)
    }

    /// Whether a line with `part` in it has been printed by now.
    pub(crate) fn have(&mut self, part: &str) -> bool {
        self.seen.extend(self.lines.try_iter());
        self.seen.contains(part)
    }
}

impl Running {
    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Begins to read its standard error.
    pub(crate) fn read_stderr(&mut self, reader: PipeReader) {
        self.stderr = Lines::of(reader);
    }

    /// Ends its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Closes the other end of its standard output, as `head` does when it has enough.
    pub(crate) fn stop_reading(&mut self) {
        let (_, closed) = mpsc::channel();
        self.stdout.lines = closed;
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.send(Signal::INT);
    }

    /// Sends SIGTERM, as service managers do.
    pub(crate) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_child(self.child.as_ref().expect("it was not waited for yet"));
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, as nothing can prevent; `false` if it had ended before.
    pub(crate) fn kill(mut self) -> bool {
        let mut child = self.child.take().expect("it was not waited for yet");
        child.kill().unwrap();
        std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()).is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        self.hang_up();
        while self.stdout.next().is_some() {}
        while self.stderr.next().is_some() {}
        let child = self.child.take().expect("it was not waited for yet");
        let ended = child.wait4().unwrap();
        let summary = self.summary.as_deref().and_then(|path| fs::read_to_string(path).ok());
        Finished {
            status: ended.status,
            stdout: std::mem::take(&mut self.stdout.seen),
            stderr: std::mem::take(&mut self.stderr.seen),
            summary: summary.map(|text| Summary::parse(&text)),
            peak_bytes: ended.rusage.maxrss,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process that ended, and what it left.
#[derive(Debug)]
pub(crate) struct Finished {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    summary: Option<Summary>,
    /// The most memory that it had resident.
    pub(crate) peak_bytes: u64,
}

impl Finished {
    /// Asserts that all went well and that the books balance. A pipeline of which every event failed is well, too: its run
    /// fails, and that is what many tests are about.
    #[track_caller]
    pub(crate) fn succeeds(&self) -> &Summary {
        self.assert_host_is_unmoved();
        let has_failed_events = || self.summary.as_ref().is_some_and(Summary::has_failed_events_at_most);
        let is_well = self.status.success() || (self.status.code() == Some(1) && has_failed_events());
        assert!(is_well, "{}\n{}", self.status, self.stderr);
        let summary = self.summary.as_ref().expect("a run that succeeds leaves a summary");
        summary.assert_conserved();
        summary
    }

    /// What it left of a run that may have failed.
    #[track_caller]
    pub(crate) fn summary(&self) -> &Summary {
        self.summary.as_ref().expect("a run that started leaves a summary")
    }

    /// The code that it ended with.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.assert_host_is_unmoved();
        self.status.code().expect("it was not ended by a signal")
    }

    /// Asserts that it ended with this code, and said these words on standard error.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32, words: &[&str]) {
        self.assert_host_is_unmoved();
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        assert_says(&self.stderr, words);
    }

    /// Whatever a guest or an input does, the host neither panics nor dies of a signal.
    #[track_caller]
    fn assert_host_is_unmoved(&self) {
        // A guest's panic is quoted in dead letters and errors; one of the host begins a line with its thread.
        let panicked = self.stderr.lines().find(|line| line.starts_with("thread '"));
        assert_eq!(panicked, None, "{}", self.stderr);
        assert!(self.status.code().is_some(), "{}\n{}", self.status, self.stderr);
    }
}

//! How a run goes, said while it does: a line per pipeline on a terminal, a line now and then elsewhere, or JSON for programs.
//!
//! Owns when it is said, and where. [`figures`] has what is said.

mod figures;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use dirigo::printable;
use dirigo::runtime::{Host, Job, Monitor};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Log;
use figures::{History, Progressed};

/// How often lines on a terminal are drawn.
const REDRAW: Duration = Duration::from_millis(200);
/// Rates on a terminal are of the last two seconds.
const READINGS_ON_TERMINAL: usize = 10;
/// Lines of a terminal that are taken; of more pipelines the rest is only counted.
const TERMINAL_LINES_MAX: usize = 10;

/// How it is said how a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Lines that stay in place on a terminal, a line per pipeline and interval elsewhere
    Auto,
    /// A line of JSON per interval
    Json,
    /// Not at all
    Off,
}

/// Says how a run goes until it is dropped.
pub(crate) struct Progress {
    monitors: Vec<Monitor>,
    mode: Mode,
    every: Duration,
    log: Log,
    terminal: Option<Terminal>,
}

/// The lines on a terminal. What is logged meanwhile stands above them.
struct Terminal {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Progress {
    pub(crate) fn of(jobs: &[Job], mode: Mode, every: Duration, log: &Log) -> Self {
        let is_terminal = mode == Mode::Auto && std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self {
            monitors: jobs.iter().map(Job::monitor).collect(),
            mode,
            every,
            log: log.clone(),
            terminal: is_terminal.then(|| Terminal::new(jobs.len(), log)),
        }
    }

    /// Says it, again and again.
    pub(crate) async fn follow(&self, host: &Host) -> Infallible {
        if self.mode == Mode::Off {
            return std::future::pending().await;
        }
        let (every, kept) = match self.terminal {
            Some(_) => (REDRAW, READINGS_ON_TERMINAL),
            None => (self.every, 1),
        };
        let mut history = History::new(self.monitors.clone(), host, kept);
        loop {
            tokio::time::sleep(every).await;
            let progressed = history.read(host);
            match (&self.terminal, self.mode) {
                (Some(terminal), _) => terminal.draw(&progressed),
                (None, Mode::Json) => self.log.say(&progressed.to_json()),
                (None, _) => progressed.lines().iter().for_each(|line| self.log.say(line)),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(terminal) = &self.terminal {
            self.log.write_within(None);
            // Where the terminal is gone, so are the lines.
            let _ = terminal.all.clear();
        }
    }
}

impl Terminal {
    fn new(pipelines: usize, log: &Log) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{wide_msg}    ").expect("the template is a constant");
        let line = |_| all.add(ProgressBar::no_length().with_style(style.clone()));
        let lines = (0..pipelines.min(TERMINAL_LINES_MAX + 1)).map(line).collect();
        let drawn = all.clone();
        log.write_within(Some(Arc::new(move |write| drawn.suspend(write))));
        Self { all, lines }
    }

    fn draw(&self, progressed: &Progressed) {
        let mut texts = progressed.lines();
        if texts.len() > TERMINAL_LINES_MAX {
            let more = texts.len() - TERMINAL_LINES_MAX;
            texts.truncate(TERMINAL_LINES_MAX);
            texts.push(format!("and {more} more pipelines"));
        }
        let texts = texts.iter().map(|text| printable::line(text).into_owned());
        for (line, text) in self.lines.iter().zip(texts.chain(std::iter::repeat(String::new()))) {
            line.set_message(text);
            line.tick();
        }
    }
}

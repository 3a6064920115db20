//! `dirigo top`: what the pipelines and tenants of a service are doing, the busiest first.

mod cells;
mod rates;
mod screen;

use std::io::{IsTerminal as _, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use dirigo_api::Activity;
use ratatui::Terminal;
use ratatui::backend::TermionBackend;
use ratatui::termion::async_stdin;
use ratatui::termion::input::TermRead as _;
use ratatui::termion::raw::IntoRawMode as _;
use ratatui::termion::screen::IntoAlternateScreen;
use tokio::signal::unix::{SignalKind, signal};

use self::rates::Rates;
use self::screen::{Key, Screen};
use super::super::output::{self, Format};
use super::super::{Exit, Globals};
use super::client::escaped;
use super::{Client, ServiceOptions, table};

/// How often keys are looked at.
const KEYS_INTERVAL: Duration = Duration::from_millis(50);

/// Arguments of `dirigo top`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
On a terminal the picture changes until `q`. Elsewhere, and with `-o json`, each look is printed: one by default, `--looks N` for more.

WORKERS is how many workers the operator kept busy. WAITING are the events that wait for it; `full` marks the bottleneck of its \
pipeline. P99 is that of the pipeline since its run began. LAG is how far event time is behind the clock. HELD is the part of the time \
in which the tenant had burnt its fuel.")]
pub(crate) struct Args {
    /// How long a look is
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after this many looks
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    looks: Option<u64>,
    #[command(flatten)]
    service: ServiceOptions,
}

fn interval(text: &str) -> Result<Duration, String> {
    let range = Duration::from_millis(100)..=Duration::from_mins(1);
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    range
        .contains(&interval)
        .then_some(interval)
        .ok_or_else(|| "a look lasts from 100 ms to 1 min".to_owned())
}

pub(crate) fn execute(args: &Args, globals: &Globals) -> anyhow::Result<Exit> {
    let client = Client::new(&args.service)?;
    let query = client
        .tenant
        .as_ref()
        .map(|tenant| format!("?tenant={}", escaped(tenant)));
    let watch = Watch {
        path: format!("activity{}", query.unwrap_or_default()),
        client,
        interval: args.interval,
    };
    if globals.format == Format::Text && stdout().is_terminal() {
        on_screen(watch, args.looks)?;
    } else {
        printed(&watch, args.looks.unwrap_or(1), globals.format)?;
    }
    Ok(Exit::Success)
}

/// Looks at a service again and again.
struct Watch {
    client: Client,
    path: String,
    interval: Duration,
}

impl Watch {
    fn look(&self) -> anyhow::Result<Activity> {
        self.client.get(&self.path)
    }

    /// Sends what happened in each interval until the receiver is gone.
    fn send(&self, mut before: Activity, sender: &SyncSender<anyhow::Result<Rates>>) {
        loop {
            thread::sleep(self.interval);
            let look = self.look().map(|now| {
                let rates = Rates::between(&before, &now);
                before = now;
                rates
            });
            if sender.send(look).is_err() {
                return;
            }
        }
    }
}

/// Prints looks, one after the other.
fn printed(watch: &Watch, looks: u64, format: Format) -> anyhow::Result<()> {
    let mut before = watch.look()?;
    for look in 0..looks {
        thread::sleep(watch.interval);
        let now = watch.look()?;
        let rates = Rates::between(&before, &now);
        before = now;
        if format == Format::Json {
            output::print_exactly(&(serde_json::to_string(&rates)? + "\n"))?;
            continue;
        }
        if look > 0 {
            output::print("\n")?;
        }
        let tenants: Vec<_> = rates.tenants.iter().map(cells::of_tenant).collect();
        table::print(&cells::TENANT_HEADS, &tenants, &cells::TENANT_NUMBERS)?;
        output::print("\n")?;
        let operators: Vec<_> = rates.operators.iter().map(cells::of_operator).collect();
        table::print(&cells::OPERATOR_HEADS, &operators, &cells::OPERATOR_NUMBERS)?;
    }
    Ok(())
}

/// Shows looks on the terminal, until a key ends it.
fn on_screen(watch: Watch, looks: Option<u64>) -> anyhow::Result<()> {
    // What is wrong with the service or the token is said before the screen is taken.
    let first = watch.look()?;
    let mut screen = Screen::new(watch.client.server());
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || watch.send(first, &sender));
    let terminal = stdout()
        .into_raw_mode()
        .and_then(IntoAlternateScreen::into_alternate_screen)
        .and_then(|stdout| Terminal::new(TermionBackend::new(stdout)));
    let mut terminal = terminal.context("cannot draw on this terminal")?;
    terminal.hide_cursor()?;
    let drawn = draw(&mut terminal, &mut screen, &receiver, looks.unwrap_or(u64::MAX));
    let shown = terminal.show_cursor();
    drawn.and(shown).context("cannot draw on this terminal")
}

fn draw<W: std::io::Write>(
    terminal: &mut Terminal<TermionBackend<W>>,
    screen: &mut Screen,
    looks: &Receiver<anyhow::Result<Rates>>,
    mut left: u64,
) -> std::io::Result<()> {
    let mut keys = async_stdin().keys();
    let is_ended = ended_by_signal()?;
    while !is_ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| screen.draw(frame))?;
        while let Some(pressed) = keys.next().transpose()? {
            if Key::of(pressed).is_some_and(|key| screen.press(key)) {
                return Ok(());
            }
        }
        match looks.recv_timeout(KEYS_INTERVAL) {
            Ok(look) if !screen.is_paused => {
                match look {
                    Ok(rates) => screen.show(rates),
                    Err(error) => screen.complain(format!("{error:#}; trying again")),
                }
                left -= 1;
                if left == 0 {
                    terminal.draw(|frame| screen.draw(frame))?;
                    return Ok(());
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
    Ok(())
}

/// Becomes true with the first signal that ends a process, so that the terminal is left as it was.
fn ended_by_signal() -> std::io::Result<Arc<AtomicBool>> {
    let is_ended = Arc::new(AtomicBool::new(false));
    let noted = is_ended.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listen = {
        let _inside = runtime.enter();
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal)
    };
    let [terminate, hangup, interrupt] = listen;
    let (mut terminate, mut hangup, mut interrupt) = (terminate?, hangup?, interrupt?);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        noted.store(true, Ordering::Relaxed);
    });
    Ok(is_ended)
}

//! What `dirigo top` draws, and what its keys do.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::cells::{self, OPERATOR_HEADS, OPERATOR_NUMBERS, TENANT_HEADS, TENANT_NUMBERS};
use super::rates::Rates;
use dirigo_api::State;

/// Tenants that are shown at once, at most.
const TENANTS_SHOWN: usize = 6;
/// Rows that a page key moves by.
const PAGE: usize = 10;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Ends.
    Quit,
    /// Moves the mark by rows.
    Down(usize),
    /// Moves it back.
    Up(usize),
    /// Stops the picture, or lets it move again.
    Pause,
}

impl Key {
    /// What a pressed key does, if anything.
    pub(super) fn of(key: ratatui::termion::event::Key) -> Option<Self> {
        use ratatui::termion::event::Key as Pressed;
        match key {
            Pressed::Char('q') | Pressed::Esc | Pressed::Ctrl('c') => Some(Self::Quit),
            Pressed::Down | Pressed::Char('j') => Some(Self::Down(1)),
            Pressed::Up | Pressed::Char('k') => Some(Self::Up(1)),
            Pressed::PageDown => Some(Self::Down(PAGE)),
            Pressed::PageUp => Some(Self::Up(PAGE)),
            Pressed::Home => Some(Self::Up(usize::MAX)),
            Pressed::Char(' ' | 'p') => Some(Self::Pause),
            _ => None,
        }
    }
}

/// What is on the screen.
pub(super) struct Screen {
    server: String,
    rates: Option<Rates>,
    /// Why the service does not answer, while it does not.
    trouble: Option<String>,
    marked: usize,
    pub(super) is_paused: bool,
}

impl Screen {
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            rates: None,
            trouble: None,
            marked: 0,
            is_paused: false,
        }
    }

    /// Shows this from now on.
    pub(super) fn show(&mut self, rates: Rates) {
        self.rates = Some(rates);
        self.trouble = None;
    }

    /// Shows that the service does not answer.
    pub(super) fn complain(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Does what a key does. Gives whether to end.
    pub(super) fn press(&mut self, key: Key) -> bool {
        let last = self
            .rates
            .as_ref()
            .map_or(0, |rates| rates.operators.len().saturating_sub(1));
        match key {
            Key::Quit => return true,
            Key::Down(rows) => self.marked = self.marked.saturating_add(rows).min(last),
            Key::Up(rows) => self.marked = self.marked.saturating_sub(rows),
            Key::Pause => self.is_paused = !self.is_paused,
        }
        false
    }

    /// Draws it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let none = Rates::default();
        let rates = self.rates.as_ref().unwrap_or(&none);
        let tenants = u16::try_from(rates.tenants.len().min(TENANTS_SHOWN)).expect("a few");
        let [head, by_tenant, by_operator, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(tenants + 2),
            Constraint::Min(2),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head(rates)), head);
        let shown = rates.tenants.iter().take(TENANTS_SHOWN);
        let rows = shown.map(|tenant| (cells::of_tenant(tenant), Style::default()));
        draw_table(
            frame,
            by_tenant,
            &TENANT_HEADS,
            &TENANT_NUMBERS,
            &rows.collect::<Vec<_>>(),
            None,
        );
        let rows = rates.operators.iter().map(|row| {
            let style = match row.state {
                State::Failed => Style::new().fg(Color::Red),
                _ if row.is_bottleneck || row.traps > 0 => Style::new().fg(Color::Yellow),
                State::Running => Style::default(),
                _ => Style::new().add_modifier(Modifier::DIM),
            };
            (cells::of_operator(row), style)
        });
        let marked = self.marked.min(rates.operators.len().saturating_sub(1));
        draw_table(
            frame,
            by_operator,
            &OPERATOR_HEADS,
            &OPERATOR_NUMBERS,
            &rows.collect::<Vec<_>>(),
            Some(marked),
        );
        frame.render_widget(Paragraph::new(self.foot(rates)), foot);
    }

    fn head(&self, rates: &Rates) -> Vec<Line<'_>> {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut first = vec![
            Span::styled("dirigo top", bold),
            Span::raw(format!("  {}", self.server)),
        ];
        if self.is_paused {
            first.push(Span::styled("  paused", Style::new().fg(Color::Yellow)));
        }
        let second = match (&self.trouble, &self.rates) {
            (Some(why), _) => Line::styled(why.as_str(), Style::new().fg(Color::Red)),
            (None, None) => Line::raw("looking"),
            (None, Some(_)) => Line::raw(format!(
                "{:.2} of {} workers busy   {} events/s in, {} out   {} of {} pipelines run{}",
                rates.workers_busy,
                rates.workers,
                cells::per_second(rates.events_in_per_s),
                cells::per_second(rates.events_out_per_s),
                rates.running,
                rates.pipelines,
                match rates.failed {
                    0 => String::new(),
                    failed => format!(", {failed} failed"),
                }
            )),
        };
        vec![Line::from(first), second]
    }

    fn foot(&self, rates: &Rates) -> Line<'static> {
        let more = rates.tenants.len().saturating_sub(TENANTS_SHOWN);
        let more = if more > 0 {
            format!("   {more} more tenants")
        } else {
            String::new()
        };
        let pause = if self.is_paused { "resume" } else { "pause" };
        Line::styled(
            format!("q quit   ↑ ↓ move   space {pause}{more}"),
            Style::new().add_modifier(Modifier::DIM),
        )
    }
}

/// Draws rows beneath their heads, each column as wide as what is in it, and the marked one in view.
fn draw_table(
    frame: &mut Frame<'_>,
    area: Rect,
    heads: &[&str],
    numbers: &[usize],
    rows: &[(Vec<String>, Style)],
    marked: Option<usize>,
) {
    let width = |column: usize| {
        let cells = rows.iter().map(|(cells, _)| cells[column].chars().count());
        cells.chain([heads[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let aligned = |column: usize, text: &str| {
        let line = Line::raw(text.to_owned());
        if numbers.contains(&column) {
            line.right_aligned()
        } else {
            line
        }
    };
    let constraints = widths
        .iter()
        .map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let head = Row::new(heads.iter().enumerate().map(|(column, head)| aligned(column, head)));
    let head = head.style(Style::new().add_modifier(Modifier::BOLD));
    let rows = rows.iter().map(|(cells, style)| {
        let cells = cells.iter().enumerate().map(|(column, cell)| aligned(column, cell));
        Row::new(cells).style(*style)
    });
    let table = Table::new(rows, constraints)
        .header(head)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(marked);
    frame.render_stateful_widget(table, area, &mut state);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::rates::tests::two_seconds;
    use super::*;

    fn drawn(screen: &Screen) -> String {
        let mut terminal = Terminal::new(TestBackend::new(110, 12)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_screen_has_tenants_and_operators_and_says_why_one_failed() {
        let mut screen = Screen::new("http://127.0.0.1:7117");
        screen.show(two_seconds());
        let drawn = drawn(&screen);
        for says in [
            "0.75 of 2 workers busy   2000 events/s in, 0 out   2 of 3 pipelines run, 1 failed",
            "acme       1.00          2      4.0 KiB  25 %",
            "cannot open `in.jsonl`  failed",
            "q quit",
        ] {
            assert!(drawn.contains(says), "{says}\n{drawn}");
        }
        assert!(drawn.find("busy  ").unwrap() < drawn.find("calm  ").unwrap(), "{drawn}");
    }

    #[test]
    fn a_service_that_does_not_answer_is_shown_and_what_was_known_stays() {
        let mut screen = Screen::new("http://127.0.0.1:7117");
        screen.show(two_seconds());
        screen.complain("cannot reach the service".into());
        let drawn = drawn(&screen);
        assert!(
            drawn.contains("cannot reach the service") && drawn.contains("calm"),
            "{drawn}"
        );
    }

    #[test]
    fn the_mark_stays_within_the_rows() {
        let mut screen = Screen::new("");
        screen.show(two_seconds());
        assert!(!screen.press(Key::Down(PAGE)));
        assert_eq!(screen.marked, 2);
        screen.press(Key::Up(usize::MAX));
        assert_eq!(screen.marked, 0);
        assert!(screen.press(Key::Quit));
    }
}

//! The summary of a run, for people.

use std::fmt::Write as _;
use std::time::Duration;

use dirigo::pipeline::Severity;
use dirigo::printable;
use dirigo::runtime::{
    Latency, OperatorSummary, PipelineSummary, RefusedSummary, ScalingSummary, SourceSummary, Summary,
};

use super::output::{counted, grouped};
use super::throttling;

/// Two lines of a terminal: reasons that the host and the built-in operators give fit.
const REASON_CHARACTERS_MAX: usize = 160;

/// A few lines that say what the run did.
pub(crate) fn text(summary: &Summary) -> String {
    let figures = &summary.figures;
    let mut text = String::new();
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rate = if figures.elapsed_s > 0.0 {
        figures.events_in as f64 / figures.elapsed_s
    } else {
        0.0
    };
    let mut line = |line: std::fmt::Arguments<'_>| {
        let line = line.to_string();
        writeln!(text, "{}", printable::line(&line)).expect("a string takes what is written");
    };
    let resumed: u64 = summary
        .pipelines
        .iter()
        .flat_map(|pipeline| pipeline.resumed.values())
        .sum();
    let on_their_way = if resumed > 0 {
        format!(" (+ {} resumed in flight)", grouped(resumed))
    } else {
        String::new()
    };
    line(format_args!(
        "{} in{on_their_way}, {} out, {} filtered, {} in {:.2} s ({}/s)",
        counted(figures.events_in, "event"),
        grouped(figures.events_out),
        grouped(figures.filtered),
        counted(figures.dead_letters, "dead letter"),
        figures.elapsed_s,
        counted(rounded(rate), "event"),
    ));
    match summary.pipelines.as_slice() {
        [_] => line(format_args!("{}", latency(figures.latency_ms))),
        // What all have together tells of none.
        several => {
            for pipeline in several {
                let of_pipeline = latency(pipeline.figures.latency_ms);
                line(format_args!("  {}: {of_pipeline}", pipeline.name));
            }
        }
    }
    for refused in &summary.refused {
        line(format_args!("  {}", of_refused(refused)));
    }
    for pipeline in &summary.pipelines {
        if let Some(slo) = pipeline.slo {
            line(format_args!(
                "  {}: {} of {} within its slo of {} ms",
                pipeline.name,
                grouped(slo.met),
                counted(slo.met + slo.missed, "event"),
                slo.target_ms,
            ));
        }
    }
    for pipeline in &summary.pipelines {
        if let Some(said) = dead_letters(pipeline, &summary.operators) {
            line(format_args!("  {}: {said}", pipeline.name));
        }
    }
    for pipeline in &summary.pipelines {
        for said in sources(pipeline) {
            line(format_args!("  {}/{said}", pipeline.name));
        }
        for said in leaps(pipeline, &summary.operators) {
            line(format_args!("  {}/{said}", pipeline.name));
        }
        let operators = summary.operators.iter();
        for operator in operators.filter(|operator| operator.pipeline == pipeline.name) {
            line(format_args!("  {}/{}", pipeline.name, of_operator(operator, pipeline)));
            if let Some(said) = operator.scaling.as_ref().and_then(scaling) {
                line(format_args!("  {}/{}: {said}", pipeline.name, operator.id));
            }
        }
        if loses_windows(pipeline, &summary.operators) {
            line(format_args!(
                "  {}: what lies in open windows ends with this run: `--state DIR` keeps it for the next one, and `partial = \"emit\"` next to \
                 `window` puts it out",
                pipeline.name
            ));
        }
        for (sink, events) in &pipeline.sinks {
            let place = pipeline.written_to.get(sink);
            let place = place.map_or_else(String::new, |place| format!(" to {place}"));
            line(format_args!(
                "  {}/{sink}: {} written{place}",
                pipeline.name,
                grouped(*events)
            ));
        }
    }
    for tenant in &summary.tenants {
        let said: Vec<String> = throttling::of_tenant(tenant)
            .map(|throttling| throttling.in_all)
            .collect();
        if !said.is_empty() {
            line(format_args!("  tenant {}: {}", tenant.name, said.join(", ")));
        }
    }
    text
}

/// Whether events in windows that are still open come to nothing: no state keeps them.
fn loses_windows(pipeline: &PipelineSummary, operators: &[OperatorSummary]) -> bool {
    let has_open = |operator: &OperatorSummary| operator.open_windows.is_some_and(|open| open.events > 0);
    let mut operators = operators.iter().filter(|operator| operator.pipeline == pipeline.name);
    pipeline.checkpoints.is_none() && operators.any(has_open)
}

fn latency(latency: Latency) -> String {
    let Latency { p50, p99, max, .. } = latency;
    if max == 0.0 {
        return "no latency: no event reached a sink".to_owned();
    }
    format!("latency p50 {p50:.3} ms, p99 {p99:.3} ms, max {max:.3} ms")
}

/// A pipeline file that did not run, and the first of what is wrong with it.
fn of_refused(refused: &RefusedSummary) -> String {
    let errors = refused.findings.count(Severity::Error).saturating_sub(1) as u64;
    let first = refused
        .findings
        .iter()
        .find(|found| found.severity() == Severity::Error);
    let first = first.map_or("", |found| found.message());
    let more = match errors {
        0 => String::new(),
        _ => format!(" (and {})", counted(errors, "more error")),
    };
    format!("{} was refused: {}{more}", refused.file.display(), shown(first))
}

/// What is to be said of the sources: where records were no events, or each event goes several ways.
fn sources(pipeline: &PipelineSummary) -> impl Iterator<Item = String> {
    pipeline.sources.iter().filter_map(|source| {
        let ways = ways(pipeline, &source.id);
        if source.dead_letters == 0 && ways.is_empty() {
            return None;
        }
        let read = source.events + source.dead_letters;
        let parts = [(source.events, "events"), (source.dead_letters, "dead letters")];
        Some(format!("{}: {} read{}{ways}", source.id, grouped(read), sum_of(&parts)))
    })
}

/// The events after which others are late, where some are.
fn leaps<'a>(pipeline: &'a PipelineSummary, operators: &[OperatorSummary]) -> impl Iterator<Item = String> + 'a {
    let mut operators = operators.iter().filter(|operator| operator.pipeline == pipeline.name);
    let is_late = operators.any(|operator| operator.counts.late > 0);
    pipeline.sources.iter().filter(move |_| is_late).filter_map(leap)
}

/// The event after which others are late, where it is far after all before it: its time may be wrong.
fn leap(source: &SourceSummary) -> Option<String> {
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    /// Times that are shown as a date: up to the end of the year 9999.
    const DATES_MS: std::ops::Range<i64> = 0..253_402_300_800_000;
    let leap = source.leap.as_ref()?;
    let days = leap.to_ms.saturating_sub(leap.from_ms) / DAY_MS;
    if days == 0 {
        return None;
    }
    let after = match days {
        1 => "a day".to_owned(),
        ..730 => format!("{days} days"),
        _ => format!("{} years", grouped((days / 365).unsigned_abs())),
    };
    let time = if DATES_MS.contains(&leap.to_ms) {
        let since = Duration::from_millis(leap.to_ms.unsigned_abs());
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
    } else {
        format!("{} in ms since 1970", leap.to_ms)
    };
    let are = if leap.late == 1 { "is" } else { "are" };
    Some(format!(
        "{}: event {} took the watermark to {time}, {after} further; {} after it {are} behind that",
        source.id,
        grouped(leap.event),
        counted(leap.late, "event"),
    ))
}

/// Where the events of an operator went, as a sum: what came in is what became of it.
fn of_operator(operator: &OperatorSummary, pipeline: &PipelineSummary) -> String {
    let counts = &operator.counts;
    let failed = counts.dead_letters - counts.failed_timers;
    let ended = counts.passed + counts.filtered + counts.absorbed + counts.late + failed;
    let (absorbed, late) = match operator.keyed {
        None => ("taken into windows", "too late for their windows"),
        Some(_) => ("taken into state", "too late"),
    };
    let parts = [
        (counts.passed, "passed"),
        (counts.filtered, "filtered"),
        (counts.absorbed, absorbed),
        (counts.late, late),
        (failed, "dead letters"),
        (counts.events_in.saturating_sub(ended), "not finished"),
    ];
    let mut said = format!("{}: {} in{}", operator.id, grouped(counts.events_in), sum_of(&parts));
    let _ = write!(said, "; {} out", grouped(counts.events_out));
    if counts.named_out > 0 {
        let _ = write!(said, ", {} under names", grouped(counts.named_out));
    }
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    if counts.passed > 0 && counts.events_out > counts.passed {
        let each = counts.events_out as f64 / counts.passed as f64;
        let _ = write!(said, ", {each:.1} from each that passed");
    }
    said.push_str(&ways(pipeline, &operator.id));
    if let Some(open) = operator.open_windows {
        let (events, windows) = (counted(open.events, "event"), counted(open.windows, "window"));
        let lie = if open.events == 1 { "lies" } else { "lie" };
        let are = if open.windows == 1 { "is" } else { "are" };
        let _ = write!(said, "; {events} {lie} in {windows} that {are} still open");
    }
    if let Some(keyed) = operator.keyed {
        if counts.failed_timers > 0 {
            let _ = write!(said, "; {} of timers", counted(counts.failed_timers, "dead letter"));
        }
        if keyed.keys > 0 {
            let _ = write!(said, "; state of {}", counted(keyed.keys, "key"));
        }
        let _ = match keyed.waiting {
            0 => Ok(()),
            1 => write!(said, "; 1 event waits for the watermark"),
            waiting => write!(said, "; {} events wait for the watermark", grouped(waiting)),
        };
    }
    let is_held_back = operator.open_windows.is_some() || operator.keyed.is_some_and(|keyed| keyed.waiting > 0);
    if let Some(time) = operator.event_time.as_ref().filter(|_| is_held_back) {
        let _ = match time.behind_ms {
            Some(behind_ms @ 1..) => {
                let behind = humantime::format_duration(Duration::from_millis(behind_ms.unsigned_abs()));
                write!(said, ", which wait for `{}`, {behind} behind", time.held_back_by)
            }
            _ => write!(said, ", which wait for `{}`", time.held_back_by),
        };
    }
    if counts.windows > 0 {
        let _ = write!(said, "; {} closed in time", counted(counts.windows, "window"));
    }
    if counts.partial_windows > 0 {
        let windows = counted(counts.partial_windows, "window");
        let _ = write!(said, "; {windows} emitted incomplete at the end of the input");
    }
    let fuel = counts.fuel.checked_div(counts.events_in).unwrap_or(0);
    let _ = write!(said, "; {} fuel per event", grouped(fuel));
    if counts.traps > 0 {
        let _ = write!(said, "; {}", counted(counts.traps, "trap"));
    }
    said
}

/// How the number of its replicas or shards changed, if it did.
fn scaling(scaling: &ScalingSummary) -> Option<String> {
    let last = scaling.latest.last()?;
    let most = scaling.latest.iter().map(|change| change.to.max(change.from)).max()?;
    Some(format!(
        "scaled {}, up to {most} of {}; last {} → {} after {:.1} s: {}",
        counted(scaling.changes, "time"),
        scaling.max,
        last.from,
        last.to,
        last.at_s,
        last.reason
    ))
}

/// To whom events go that go several ways, which is why more may come out than went in.
fn ways(pipeline: &PipelineSummary, from: &str) -> String {
    let edges = pipeline.edges.iter().filter(|edge| edge.from == from);
    let to: Vec<String> = edges.map(|edge| format!("`{}`", edge.to)).collect();
    if to.len() < 2 {
        return String::new();
    }
    format!(", each to {}", to.join(" and "))
}

/// ` = 5 these + 3 those`, without those that there are none of.
fn sum_of(parts: &[(u64, &str)]) -> String {
    let some = parts.iter().filter(|(count, _)| *count > 0);
    let term = |(count, what): &(u64, &str)| {
        let what = match (*count, *what) {
            (1, "events") => "event",
            (1, "dead letters") => "dead letter",
            (_, what) => what,
        };
        format!("{} {what}", grouped(*count))
    };
    let terms: Vec<String> = some.map(term).collect();
    if terms.is_empty() {
        return String::new();
    }
    format!(" = {}", terms.join(" + "))
}

/// How many events of a pipeline failed, where, and why the first one did; `None` where none did.
fn dead_letters(pipeline: &PipelineSummary, operators: &[OperatorSummary]) -> Option<String> {
    let count = pipeline.figures.dead_letters;
    if count == 0 {
        return None;
    }
    let of_sources = pipeline
        .sources
        .iter()
        .map(|source| ("source", &source.id, source.dead_letters));
    let of_operators = operators
        .iter()
        .filter(|operator| operator.pipeline == pipeline.name)
        .map(|operator| ("operator", &operator.id, operator.counts.dead_letters));
    let places: Vec<String> = of_sources
        .chain(of_operators)
        .filter(|(.., count)| *count > 0)
        .map(|(role, id, count)| format!("{role} {id}: {}", grouped(count)))
        .collect();
    let mut said = format!("{} ({})", counted(count, "dead letter"), places.join(", "));
    let file = pipeline
        .dead_letters_path
        .as_ref()
        .map(|path| path.display().to_string());
    if let Some(file) = &file {
        let _ = write!(said, " in {file}");
    }
    if pipeline.dead_letters_left_out > 0 {
        let not_written = grouped(pipeline.dead_letters_left_out);
        let _ = write!(
            said,
            ", but for {not_written} beyond the tenant's `dead_letters_per_second`"
        );
    }
    if let Some(first) = &pipeline.first_dead_letter {
        let _ = write!(said, "; the first, at {}: {}", first.item, shown(&first.reason));
        if let Some(file) = file.filter(|_| first.is_replayable) {
            let _ = write!(said, " (see `dirigo replay {file} --id {}`)", first.id);
        }
    }
    Some(said)
}

/// What a reader of the terminal gets of a reason: its start, as one line.
pub(crate) fn shown(reason: &str) -> String {
    let start: String = reason.chars().take(REASON_CHARACTERS_MAX).collect();
    let mut shown = printable::line(&start).into_owned();
    if reason.chars().nth(REASON_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2^63"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_is_a_sum_of_what_became_of_it() {
        let parts = [(1_990, "passed"), (0, "filtered"), (10, "dead letters")];
        assert_eq!(sum_of(&parts), " = 1,990 passed + 10 dead letters");
        assert_eq!(sum_of(&[(0, "passed"), (1, "dead letters")]), " = 1 dead letter");
        assert_eq!(sum_of(&[(0, "passed")]), "");
    }

    #[test]
    fn of_a_long_reason_the_start_is_shown() {
        assert_eq!(shown("no way"), "no way");
        assert_eq!(shown(&"é".repeat(200)), "é".repeat(160) + "…");
    }
}

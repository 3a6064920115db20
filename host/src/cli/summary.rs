//! The summary of a run, for people.

use std::fmt::Write as _;

use dirigo::runtime::{OperatorSummary, PipelineSummary, Summary};

use super::output::grouped;
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
        writeln!(text, "{line}").expect("a string takes what is written");
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
        "{} events in{on_their_way}, {} out, {} filtered, {} dead letters in {:.2} s ({} events/s)",
        grouped(figures.events_in),
        grouped(figures.events_out),
        grouped(figures.filtered),
        grouped(figures.dead_letters),
        figures.elapsed_s,
        grouped(rounded(rate)),
    ));
    let latency = figures.latency_ms;
    line(format_args!(
        "latency p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        latency.p50, latency.p99, latency.max
    ));
    for pipeline in &summary.pipelines {
        if let Some(slo) = pipeline.slo {
            line(format_args!(
                "  {}: {} of {} events within its slo of {} ms",
                pipeline.name,
                grouped(slo.met),
                grouped(slo.met + slo.missed),
                slo.target_ms,
            ));
        }
    }
    for pipeline in &summary.pipelines {
        if let Some(said) = dead_letters(pipeline, &summary.operators) {
            line(format_args!("  {}: {said}", pipeline.name));
        }
    }
    for operator in &summary.operators {
        let counts = &operator.counts;
        let some = |count: u64, what: &str| {
            if count > 0 {
                format!(", {} {what}", grouped(count))
            } else {
                String::new()
            }
        };
        let (absorbed, traps) = (some(counts.absorbed, "absorbed"), some(counts.traps, "traps"));
        line(format_args!(
            "  {}/{}: {} in, {} out{absorbed}, {} fuel per event{traps}",
            operator.pipeline,
            operator.id,
            grouped(counts.events_in),
            grouped(counts.events_out),
            grouped(counts.fuel.checked_div(counts.events_in).unwrap_or(0)),
        ));
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
    let dead_letters = if count == 1 { "dead letter" } else { "dead letters" };
    let mut said = format!("{} {dead_letters} ({})", grouped(count), places.join(", "));
    let file = pipeline
        .dead_letters_path
        .as_ref()
        .map(|path| path.display().to_string());
    if let Some(file) = &file {
        let _ = write!(said, " in {file}");
    }
    if let Some(first) = &pipeline.first_dead_letter {
        let _ = write!(said, "; the first, at {}: {}", first.item, shown(&first.reason));
        if let Some(file) = file.filter(|_| first.is_replayable) {
            let _ = write!(said, " (see `dirigo replay {file} --id {}`)", first.id);
        }
    }
    Some(said)
}

/// What a reader of the terminal gets of a reason: its start, as one line. Guests word it, and could else move the cursor.
pub(crate) fn shown(reason: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    let mut shown: String = reason.chars().take(REASON_CHARACTERS_MAX).map(plain).collect();
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
    fn a_reason_is_one_line_and_moves_no_cursor() {
        assert_eq!(shown("no\n\u{1b}[2Jway"), "no  [2Jway");
        assert_eq!(shown(&"é".repeat(200)), "é".repeat(160) + "…");
    }
}

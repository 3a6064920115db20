//! The summary of a run, for people.

use std::fmt::Write as _;

use dirigo::runtime::Summary;

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
    line(format_args!(
        "{} events in, {} out, {} filtered, {} dead letters in {:.2} s ({} events/s)",
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
    for operator in &summary.operators {
        let counts = &operator.counts;
        let traps = if counts.traps > 0 {
            format!(", {} traps", grouped(counts.traps))
        } else {
            String::new()
        };
        line(format_args!(
            "  {}/{}: {} in, {} out, {} fuel per event{traps}",
            operator.pipeline,
            operator.id,
            grouped(counts.events_in),
            grouped(counts.events_out),
            grouped(counts.fuel.checked_div(counts.events_in).unwrap_or(0)),
        ));
    }
    text
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2^63"
)]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        assert_eq!(
            [1, 999, 1000, 1_234_567].map(grouped),
            ["1", "999", "1,000", "1,234,567"]
        );
    }
}

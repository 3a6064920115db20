//! How figures are written in the narrow columns of `dirigo top`.

use dirigo_api::State;

use super::rates::{OperatorRates, TenantRates};
use crate::cli::output::grouped;

/// The heads of the table of operators.
pub(super) const OPERATOR_HEADS: [&str; 11] = [
    "TENANT", "PIPELINE", "OPERATOR", "STATE", "WORKERS", "IN/S", "OUT/S", "WAITING", "P99", "LAG", "TRAPS",
];
/// The heads of the table of tenants.
pub(super) const TENANT_HEADS: [&str; 5] = ["TENANT", "WORKERS", "PIPELINES", "MEMORY PEAK", "HELD"];
/// Of the former, those of numbers.
pub(super) const OPERATOR_NUMBERS: [usize; 7] = [4, 5, 6, 7, 8, 9, 10];
/// Of the latter, those of numbers.
pub(super) const TENANT_NUMBERS: [usize; 4] = [1, 2, 3, 4];

/// The cells of an operator. What others wrote is shown without control characters.
pub(super) fn of_operator(row: &OperatorRates) -> Vec<String> {
    let what = match (&row.reason, row.state) {
        (Some(reason), State::Failed) => dirigo::printable::line(reason).into_owned(),
        _ => row.operator.clone(),
    };
    let waiting = grouped(row.queued) + if row.is_bottleneck { " full" } else { "" };
    vec![
        row.tenant.clone(),
        row.pipeline.clone(),
        what,
        row.state.word().to_owned(),
        format!("{:.2}", row.workers),
        per_second(row.events_in_per_s),
        per_second(row.events_out_per_s),
        waiting,
        row.p99_ms.map(milliseconds).unwrap_or_default(),
        row.watermark_lag_ms.map(lag).unwrap_or_default(),
        grouped(row.traps),
    ]
}

/// The cells of a tenant.
pub(super) fn of_tenant(row: &TenantRates) -> Vec<String> {
    let denied = match row.memory_denied {
        0 => String::new(),
        times => format!(" (denied {}×)", grouped(times)),
    };
    vec![
        row.name.clone(),
        format!("{:.2}", row.workers),
        grouped(row.pipelines),
        format!("{}{denied}", bytesize::ByteSize(row.memory_peak).display().iec()),
        format!("{:.0} %", row.held * 100.0),
    ]
}

/// A rate with three digits that count.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        rate if rate >= 9_999_500.0 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 9_999.5 => format!("{:.0} k", rate / 1e3),
        rate if rate >= 10.0 || rate == 0.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms >= 10_000.0 => format!("{:.0} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// How far event time is behind the clock, in its largest unit.
fn lag(lag_ms: i64) -> String {
    const UNITS: [(&str, i64); 4] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let unit = UNITS.iter().find(|(_, length_ms)| lag_ms >= 2 * length_ms);
    match unit {
        Some((unit, length_ms)) => format!("{} {unit}", lag_ms / length_ms),
        None => format!("{lag_ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let rates = [0.0, 0.25, 12.4, 9_999.0, 123_456.0, 12_345_678.0].map(per_second);
        assert_eq!(rates, ["0", "0.2", "12", "9999", "123 k", "12.3 M"]);
        let lags = [900, 3_000, 120_000, 8_000_000, 86_400_000 * 400].map(lag);
        assert_eq!(lags, ["900 ms", "3 s", "2 min", "2 h", "400 d"]);
        assert_eq!([0.42, 83.0, 12_000.0].map(milliseconds), ["0.4 ms", "83 ms", "12 s"]);
    }
}

//! Tables for a terminal.

use std::fmt::Write as _;

/// Rows under a header; the first column to the left, the others to the right.
pub(super) fn text(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    for row in [&header].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let written = if column == 0 {
                write!(line, "{cell:<width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
            written.expect("a string takes what is written");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A latency in the unit that suits it.
pub(super) fn latency(us: f64) -> String {
    if us < 1_000.0 {
        format!("{us:.0} µs")
    } else if us < 100_000.0 {
        format!("{:.1} ms", us / 1e3)
    } else if us < 1_000_000.0 {
        format!("{:.0} ms", us / 1e3)
    } else {
        format!("{:.1} s", us / 1e6)
    }
}

/// The same of whole µs.
pub(super) fn latency_of_us(us: u64) -> String {
    latency(f64::from(u32::try_from(us).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["alone".into(), "1 µs".into()], vec!["x".into(), "100 µs".into()]];
        assert_eq!(
            text(&["kind", "p99"], &rows),
            "kind      p99\nalone    1 µs\nx      100 µs\n"
        );
    }

    #[test]
    fn latencies_bear_the_unit_that_suits_them() {
        assert_eq!([12.4, 3_210.0, 2e6].map(latency), ["12 µs", "3.2 ms", "2.0 s"]);
    }
}

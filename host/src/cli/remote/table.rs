//! Tables for people.

use super::super::output;

/// Prints rows beneath their heads, each column as wide as what is in it. `right` are the columns of numbers.
pub(super) fn print(heads: &[&str], rows: &[Vec<String>], right: &[usize]) -> std::io::Result<()> {
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (column, cell) in cells.enumerate() {
            let width = widths[column];
            let gap = width - cell.chars().count();
            let (before, after) = if right.contains(&column) { (gap, 0) } else { (0, gap) };
            text += &" ".repeat(before);
            text += cell;
            text += &" ".repeat(after + 2);
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut heads.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    output::print(&text)
}

//! How results are printed.

use std::io::{self, Write as _};

use clap::ValueEnum;
use dirigo_ground::printable;
use serde::Serialize;

/// For people, or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people
    Text,
    /// JSON for programs
    Json,
}

/// Prints lines for people to standard output. What a terminal would act on is escaped; whatever in them could bring line
/// breaks of its own was made one line by [`printable::line`].
///
/// # Errors
/// If it cannot be written.
pub fn print(text: &str) -> io::Result<()> {
    print_exactly(&printable::lines(text))
}

/// Says a line on standard error.
pub fn say(line: &str) {
    say_exactly(&(printable::line(line).into_owned() + "\n"));
}

/// Says lines on standard error as they are. Where nothing takes them, there is nowhere to say that either.
pub fn say_exactly(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints data to standard output as it is. A reader that went away has what it wanted: that is no failure.
///
/// # Errors
/// If it cannot be written.
pub fn print_exactly(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Prints a value as indented JSON, with a line end.
///
/// # Errors
/// If it cannot be written.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string_pretty(value).expect("what is printed is plain JSON");
    print_exactly(&(json + "\n"))
}

/// Digits in groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
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

/// So many of something: "1 event", "2,000 events".
#[must_use]
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
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

    #[test]
    fn one_of_something_is_no_plural() {
        assert_eq!(
            [0, 1, 2_000].map(|count| counted(count, "event")),
            ["0 events", "1 event", "2,000 events"]
        );
    }
}

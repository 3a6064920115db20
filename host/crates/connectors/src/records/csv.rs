//! A byte stream divided into CSV records.
//!
//! Follows RFC 4180 as `csv-core` does: fields in double quotes may contain commas, line ends and doubled quotes; a
//! record ends with LF, CRLF or CR; empty lines are not records. Knows nothing of headers or of what fields say.

use std::io::{self, Read};
use std::mem;

use csv_core::ReadRecordResult;
use memchr::memchr;

use super::stream::{Piece, Stream, line_feeds};

/// Fields that a record may have and still be read, which bounds what is kept for each record: as many as a sheet of
/// the largest spreadsheets has.
pub(super) const FIELDS_MAX: usize = 16_384;

/// What is kept of the memory for fields after an exceptional record.
const FIELD_BYTES_KEPT: usize = 256 * 1024;

/// A divided stream.
pub(super) struct Csv<R> {
    pub(super) stream: Stream<R>,
    parser: csv_core::Reader,
    /// How many of the unread bytes the parser has seen.
    parsed: usize,
    bytes: Vec<u8>,
    byte_count: usize,
    ends: Vec<usize>,
    end_count: usize,
    /// Fields of the record beyond `FIELDS_MAX`.
    surplus: usize,
}

/// The unquoted fields of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
    count: usize,
}

/// A record that the end of the stream has ended.
pub(super) struct Last<'a> {
    /// The line where it starts.
    pub(super) number: u64,
    pub(super) piece: Piece<'a>,
    pub(super) fields: Fields<'a>,
    /// The line of a quote that is still open at the end: all that follows it was read as one field.
    pub(super) open_quote_line: Option<u64>,
}

impl<'a> Fields<'a> {
    /// How many there are; of more than [`FIELDS_MAX`] none can be got.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.ends.len()).map(move |index| self.get(index))
    }
}

impl<R: Read> Csv<R> {
    pub(super) fn new(stream: Stream<R>) -> Self {
        Self {
            stream,
            parser: csv_core::Reader::new(),
            parsed: 0,
            bytes: vec![0; 4096],
            byte_count: 0,
            ends: vec![0; 64],
            end_count: 0,
            surplus: 0,
        }
    }

    /// The next record that has been read to its end, and the number of the line where it starts.
    pub(super) fn next(&mut self) -> Option<(u64, Piece<'_>, Fields<'_>)> {
        if self.parsed == 0 && !self.stream.is_passing_over() {
            self.shrink();
            self.skip_line_ends();
        }
        if self.parse(false) { Some(self.take(true)) } else { None }
    }

    /// Reads once, and returns whether there was anything.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.stream.pass_over(self.parsed) {
            self.parsed = 0;
            self.forget_fields();
        }
        self.stream.fill()
    }

    /// The last record, when the stream has ended without a line end.
    pub(super) fn last(&mut self) -> Option<Last<'_>> {
        if self.stream.is_finished() {
            return None;
        }
        self.parse(true);
        // It has seen the end; should more be appended, it starts anew.
        self.parser.reset();
        let open_quote = open_quote(&self.stream.unread()[..self.parsed]);
        let (number, piece, fields) = self.take(false);
        Some(Last {
            number,
            piece,
            fields,
            open_quote_line: open_quote.map(|line_feeds| number + line_feeds),
        })
    }

    /// The line of a quote that is still open at the end of what was read of a record.
    pub(super) fn open_quote_line(&self) -> Option<u64> {
        open_quote(self.stream.unread()).map(|line_feeds| self.stream.place().line + 1 + line_feeds)
    }

    fn shrink(&mut self) {
        if self.bytes.len() > FIELD_BYTES_KEPT {
            self.bytes.truncate(FIELD_BYTES_KEPT);
            self.bytes.shrink_to_fit();
        }
    }

    /// Empty lines are not records, and neither is the LF of a CRLF whose CR has ended a record.
    fn skip_line_ends(&mut self) {
        let unread = self.stream.unread();
        let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let length = unread.iter().position(is_text).unwrap_or(unread.len());
        if length > 0 {
            self.stream.close(length);
        }
    }

    /// Parses on, and returns whether it came to the end of a record.
    fn parse(&mut self, is_end: bool) -> bool {
        loop {
            let input = &self.stream.unread()[self.parsed..];
            // To the parser, no input is the end of the stream.
            if input.is_empty() && !is_end {
                return false;
            }
            let (bytes, ends) = (&mut self.bytes[self.byte_count..], &mut self.ends[self.end_count..]);
            let (result, parsed, byte_count, end_count) = self.parser.read_record(input, bytes, ends);
            self.parsed += parsed;
            self.byte_count += byte_count;
            self.end_count += end_count;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() < FIELDS_MAX => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull => self.surplus += mem::take(&mut self.end_count),
                ReadRecordResult::Record => return true,
                ReadRecordResult::End => return false,
            }
        }
    }

    fn take(&mut self, is_ended: bool) -> (u64, Piece<'_>, Fields<'_>) {
        let length = mem::take(&mut self.parsed);
        let line_feeds = line_feeds(&self.stream.unread()[..length]);
        let count = self.surplus + self.end_count;
        let end_count = if self.surplus > 0 { 0 } else { self.end_count };
        self.forget_fields();
        let (number, piece) = self.stream.take(length, line_feeds, is_ended);
        (
            number,
            piece,
            Fields {
                bytes: &self.bytes,
                ends: &self.ends[..end_count],
                count,
            },
        )
    }

    fn forget_fields(&mut self) {
        (self.byte_count, self.end_count, self.surplus) = (0, 0, 0);
    }
}

/// How many line feeds there are before the quote of a record that is still open at its end, if one is.
///
/// The parser does not say where it is, so its rules stand here again: a quote opens at the start of a field, two in a row
/// within are one of the field's, and in a field that does not start with one they mean nothing.
fn open_quote(record: &[u8]) -> Option<u64> {
    let mut at = 0;
    loop {
        if record.get(at) == Some(&b'"') {
            let opened = at;
            at += 1;
            loop {
                let Some(quote) = memchr(b'"', &record[at..]) else {
                    return Some(line_feeds(&record[..opened]));
                };
                at += quote + 1;
                if record.get(at) != Some(&b'"') {
                    break;
                }
                at += 1;
            }
        }
        at += 1 + memchr(b',', &record[at..])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Script;
    use dirigo_connect::source::REFUSED_BYTES_MAX;

    const MAX: usize = 200_000;

    fn all(reader: impl Read) -> Vec<(u64, Vec<String>)> {
        let mut csv = Csv::new(Stream::new(reader, MAX));
        let mut all = Vec::new();
        loop {
            while let Some((number, piece, fields)) = csv.next() {
                all.push((number, shown(&piece, fields)));
            }
            if !csv.fill().unwrap() {
                all.extend(csv.last().map(|last| (last.number, shown(&last.piece, last.fields))));
                assert!(csv.last().is_none());
                return all;
            }
        }
    }

    fn shown(piece: &Piece<'_>, fields: Fields<'_>) -> Vec<String> {
        match piece {
            Piece::Whole(_) => fields
                .iter()
                .map(|field| String::from_utf8(field.to_vec()).unwrap())
                .collect(),
            Piece::TooLong(start) => vec![format!("<too long, {} kept>", start.len())],
            Piece::Rest(rest) => vec![format!("<rest {}>", String::from_utf8_lossy(rest))],
        }
    }

    fn records(records: &[(u64, &[&str])]) -> Vec<(u64, Vec<String>)> {
        records
            .iter()
            .map(|(line, fields)| (*line, fields.iter().map(|&field| field.to_owned()).collect()))
            .collect()
    }

    #[test]
    fn a_record_is_numbered_by_the_line_where_it_starts() {
        let text = b"a,b\r\n\r\n\"1\n2\",\"say \"\"x\"\"\"\n\n\n3,\n4";
        let expected = records(&[
            (1, &["a", "b"]),
            (3, &["1\n2", "say \"x\""]),
            (7, &["3", ""]),
            (8, &["4"]),
        ]);
        assert_eq!(all(text.as_slice()), expected);
        assert_eq!(all(Script::new(text.chunks(1))), expected);
    }

    #[test]
    fn a_record_that_is_too_long_is_passed_over_with_its_line_feeds() {
        let text = format!("a\n\"{}\"\nb\n", "xx\n".repeat(MAX));
        let kept = format!("<too long, {REFUSED_BYTES_MAX} kept>");
        let expected = records(&[(1, &["a"]), (2, &[&kept]), (3 + MAX as u64, &["b"])]);
        assert_eq!(all(text.as_bytes()), expected);
        assert_eq!(all(Script::new(text.as_bytes().chunks(70_001))), expected);
    }

    #[test]
    fn an_open_quote_ends_with_the_stream() {
        assert_eq!(
            all(b"a\n\"b\nc\n".as_slice()),
            records(&[(1, &["a"]), (2, &["b\nc\n"])])
        );
    }

    #[test]
    fn a_quote_that_is_open_at_the_end_is_known_by_its_line() {
        for (text, line) in [
            ("a\n\"b\nc\n", Some(2)),
            ("a\n\"b\nb\",c,\"d\n\"\"\n", Some(3)),
            ("a\nb\"c", None),
            ("a\nb,\"c\"", None),
            ("a\n\"b\"\"", Some(2)),
            ("a\n\"b\"x\"y", None),
            ("a\n\"b\"x,\"", Some(2)),
            ("a\n\"\"", None),
            ("a\nb,", None),
        ] {
            let mut csv = Csv::new(Stream::new(text.as_bytes(), MAX));
            loop {
                while csv.next().is_some() {}
                if !csv.fill().unwrap() {
                    break;
                }
            }
            assert_eq!(csv.last().unwrap().open_quote_line, line, "{text:?}");
        }
    }

    #[test]
    fn fields_without_number_are_counted_in_bounded_memory() {
        let text = ",".repeat(5 * FIELDS_MAX);
        let mut csv = Csv::new(Stream::new(text.as_bytes(), MAX));
        while csv.fill().unwrap() {
            assert!(csv.next().is_none());
        }
        let fields = csv.last().unwrap().fields;
        assert_eq!((fields.len(), fields.iter().count()), (5 * FIELDS_MAX + 1, 0));
        assert_eq!(csv.ends.len(), FIELDS_MAX);
    }

    #[test]
    fn what_is_appended_to_a_record_that_was_taken_at_the_end_is_its_rest() {
        let mut csv = Csv::new(Stream::new(
            Script::new([&b"a\n1"[..], b"", b"2\n3", b"", b"\n4\n"]),
            MAX,
        ));
        let mut seen = Vec::new();
        for _ in 0..3 {
            while csv.fill().unwrap() {}
            while let Some((number, piece, fields)) = csv.next() {
                seen.push((number, shown(&piece, fields)));
            }
            seen.extend(csv.last().map(|last| (last.number, shown(&last.piece, last.fields))));
        }
        assert_eq!(
            seen,
            records(&[(1, &["a"]), (2, &["1"]), (2, &["<rest 2\n>"]), (3, &["3"]), (4, &["4"])])
        );
    }
}

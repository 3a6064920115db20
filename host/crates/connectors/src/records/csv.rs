//! A byte stream divided into CSV records.
//!
//! Follows RFC 4180 as `csv-core` does: fields in double quotes may contain commas, line ends and doubled quotes; a
//! record ends with LF, CRLF or CR; empty lines are not records. Knows nothing of headers or of what fields say.

use std::borrow::Cow;
use std::io::{self, Read};

use memchr::memchr;

use super::marks::{WIDTH, Word, separators};
use super::stream::{Piece, Stream, line_feeds};

/// Fields that a record may have and still be read, which bounds what is kept for each record: as many as a sheet of
/// the largest spreadsheets has.
pub(super) const FIELDS_MAX: usize = 16_384;

/// A divided stream.
pub(super) struct Csv<R> {
    pub(super) stream: Stream<R>,
    scan: Scan,
}

/// How far a record was scanned, of which more may come.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// How many bytes were.
    at: usize,
    state: State,
    /// Where the field starts that is being scanned.
    field_start: usize,
    /// Where the last quote opened.
    opened: usize,
    has_quotes: bool,
    /// Where fields end, of the first [`FIELDS_MAX`].
    ends: Vec<usize>,
    /// How many fields have ended.
    count: usize,
}

/// What the bytes mean that come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A quote opens at the start of a field, and means nothing elsewhere.
    #[default]
    Plain,
    /// All bytes up to a quote are the field's.
    Quoted,
    /// A quote was the last byte: another one makes both of them one quote of the field's, and anything else is outside of quotes.
    Closing,
}

impl Scan {
    /// Begins a record.
    #[inline]
    fn begin(&mut self) {
        self.ends.clear();
        (self.at, self.count, self.field_start) = (0, 0, 0);
        (self.state, self.has_quotes) = (State::Plain, false);
    }

    /// Goes on in a record whose bytes so far are dropped.
    fn pass_over(&mut self) {
        const PASSED_OVER: usize = usize::MAX;
        self.field_start = if self.field_start == self.at { 0 } else { PASSED_OVER };
        self.ends.clear();
        (self.at, self.count, self.opened) = (0, 0, 0);
    }

    /// Scans on in the bytes of a record, and gives its length, with what ends it, where it ends in them.
    #[inline]
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            match self.state {
                State::Plain => {
                    let end = self.scan_plain(bytes);
                    if self.state == State::Plain {
                        return end;
                    }
                }
                State::Quoted => {
                    let Some(quote) = memchr(b'"', &bytes[self.at..]) else {
                        self.at = bytes.len();
                        return None;
                    };
                    self.at += quote + 1;
                    self.state = State::Closing;
                }
                State::Closing => match bytes.get(self.at) {
                    None => return None,
                    Some(b'"') => {
                        self.at += 1;
                        self.state = State::Quoted;
                    }
                    Some(_) => self.state = State::Plain,
                },
            }
        }
    }

    /// Scans up to a quote that opens, or to the end of the record.
    #[inline]
    fn scan_plain(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some((word, _)) = bytes[self.at..].split_first_chunk::<WIDTH>() {
            let end = self.scan_word(word, bytes);
            if end.is_some() || self.state == State::Quoted {
                return end;
            }
        }
        let rest = &bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        // Zeros separate nothing.
        let mut word = Word::default();
        word[..rest.len()].copy_from_slice(rest);
        let end = self.scan_word(&word, bytes);
        self.at = self.at.min(bytes.len());
        end
    }

    /// Scans the next word, up to a quote that opens, or to the end of the record.
    #[inline]
    fn scan_word(&mut self, word: &Word, bytes: &[u8]) -> Option<usize> {
        let mut marks = separators(word);
        while marks != 0 {
            let place = self.at + marks.trailing_zeros() as usize;
            marks &= marks - 1;
            match bytes[place] {
                b',' => {
                    self.end_field(place);
                    self.field_start = place + 1;
                }
                b'"' if place == self.field_start => {
                    self.at = place + 1;
                    self.opened = place;
                    self.has_quotes = true;
                    self.state = State::Quoted;
                    return None;
                }
                b'"' => {}
                _ => {
                    self.end_field(place);
                    self.at = place + 1;
                    return Some(place + 1);
                }
            }
        }
        self.at += WIDTH;
        None
    }

    #[inline]
    fn end_field(&mut self, place: usize) {
        if self.count < FIELDS_MAX {
            self.ends.push(place);
        }
        self.count += 1;
    }

    /// The fields of a record that was scanned to its end.
    fn fields<'a>(&'a self, record: &'a [u8]) -> Fields<'a> {
        Fields {
            record,
            ends: if self.count > FIELDS_MAX { &[] } else { &self.ends },
            count: self.count,
        }
    }

    /// The fields of a record without what ends it, which has no more than [`FIELDS_MAX`].
    pub(super) fn fields_of<'a>(&'a mut self, record: &'a [u8]) -> Fields<'a> {
        self.begin();
        let end = self.scan(record);
        debug_assert_eq!(end, None, "it is one record");
        self.end_field(record.len());
        self.fields(record)
    }
}

/// The fields of a record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    record: &'a [u8],
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

    /// The record without what ends it.
    pub(super) fn record(&self) -> &'a [u8] {
        &self.record[..self.ends.last().copied().unwrap_or_default()]
    }

    /// A field as it is written, quotes included.
    #[inline]
    pub(super) fn written(&self, index: usize) -> &'a [u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] + 1 };
        &self.record[start..self.ends[index]]
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Cow<'a, [u8]>> {
        (0..self.ends.len()).map(move |index| unquoted(self.written(index)))
    }
}

/// What a field says.
#[inline]
pub(super) fn unquoted(written: &[u8]) -> Cow<'_, [u8]> {
    match written.split_first() {
        Some((b'"', quoted)) => within_quotes(quoted),
        _ => Cow::Borrowed(written),
    }
}

/// What a field says that begins with a quote; what follows the quote that closes is the field's too.
fn within_quotes(quoted: &[u8]) -> Cow<'_, [u8]> {
    let first = memchr(b'"', quoted).unwrap_or(quoted.len());
    if quoted.len() - first <= 1 {
        return Cow::Borrowed(&quoted[..first]);
    }
    let mut text = quoted[..first].to_vec();
    let mut rest = &quoted[first..];
    while let Some(doubled) = rest.strip_prefix(b"\"\"") {
        let next = memchr(b'"', doubled).unwrap_or(doubled.len());
        text.push(b'"');
        text.extend_from_slice(&doubled[..next]);
        rest = &doubled[next..];
    }
    text.extend_from_slice(rest.strip_prefix(b"\"").unwrap_or(rest));
    Cow::Owned(text)
}

impl<R: Read> Csv<R> {
    pub(super) fn new(stream: Stream<R>) -> Self {
        Self {
            stream,
            scan: Scan::default(),
        }
    }

    /// The next record that has been read to its end, and the number of the line where it starts.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(u64, Piece<'_>, Fields<'_>)> {
        if self.scan.at == 0 && !self.stream.is_passing_over() {
            self.scan.begin();
            self.skip_line_ends();
        }
        let length = self.scan.scan(self.stream.unread())?;
        Some(self.take(length, true))
    }

    /// Reads once, and returns whether there was anything.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.stream.pass_over(self.scan.at) {
            self.scan.pass_over();
        }
        self.stream.fill()
    }

    /// The last record, when the stream has ended without a line end.
    pub(super) fn last(&mut self) -> Option<Last<'_>> {
        if self.stream.is_finished() {
            return None;
        }
        let length = self.stream.unread().len();
        self.scan.end_field(length);
        let open_quote = self.open_quote();
        let (number, piece, fields) = self.take(length, false);
        Some(Last {
            number,
            piece,
            fields,
            open_quote_line: open_quote.map(|line_feeds| number + line_feeds),
        })
    }

    /// The line of a quote that is still open at the end of what was read of a record.
    pub(super) fn open_quote_line(&self) -> Option<u64> {
        let line_feeds = self.open_quote()?;
        Some(self.stream.place().line + 1 + line_feeds)
    }

    /// How many line feeds there are before the quote that is open, if one is.
    fn open_quote(&self) -> Option<u64> {
        let is_open = self.scan.state == State::Quoted;
        is_open.then(|| line_feeds(&self.stream.unread()[..self.scan.opened]))
    }

    /// Empty lines are not records, and neither is the LF of a CRLF whose CR has ended a record.
    #[inline]
    fn skip_line_ends(&mut self) {
        let unread = self.stream.unread();
        let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
        let length = unread.iter().position(is_text).unwrap_or(unread.len());
        if length > 0 {
            self.stream.close(length);
        }
    }

    #[inline]
    fn take(&mut self, length: usize, is_ended: bool) -> (u64, Piece<'_>, Fields<'_>) {
        let record = &self.stream.unread()[..length];
        let line_feeds = if self.scan.has_quotes {
            line_feeds(record)
        } else {
            u64::from(record.ends_with(b"\n"))
        };
        self.scan.at = 0;
        let (number, piece) = self.stream.take(length, line_feeds, is_ended);
        let record = match piece {
            Piece::Whole(record) | Piece::Rest(record) => record,
            Piece::TooLong(_) => {
                self.scan.ends.clear();
                &[]
            }
        };
        (number, piece, self.scan.fields(record))
    }
}

#[cfg(test)]
mod tests {
    use csv_core::ReadRecordResult;
    use proptest::prelude::*;

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
                .map(|field| String::from_utf8(field.into_owned()).unwrap())
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
        assert_eq!(csv.scan.ends.len(), FIELDS_MAX);
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

    /// What `csv-core` makes of a text that has no byte order mark.
    fn by_csv_core(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
        let mut parser = csv_core::Reader::new();
        let (mut bytes, mut ends) = (vec![0; text.len() + 1], vec![0; text.len() + 1]);
        let (mut input, mut all) = (text, Vec::new());
        let (mut byte_count, mut end_count) = (0, 0);
        loop {
            let (result, read, written, ended) =
                parser.read_record(input, &mut bytes[byte_count..], &mut ends[end_count..]);
            input = &input[read..];
            (byte_count, end_count) = (byte_count + written, end_count + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => {
                    let starts = [0].into_iter().chain(ends[..end_count].iter().copied());
                    let fields = starts
                        .zip(&ends[..end_count])
                        .map(|(start, &end)| bytes[start..end].to_vec());
                    all.push(fields.collect());
                    (byte_count, end_count) = (0, 0);
                }
                ReadRecordResult::End => return all,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    unreachable!("there is room for all")
                }
            }
        }
    }

    proptest! {
        #[test]
        fn records_are_those_of_csv_core_wherever_the_chunks_end(
            bytes in prop::collection::vec(prop::sample::select(&b"\r\n\",,\"\"ab\xff\x00 1"[..]), 0..200),
            plain in prop::collection::vec(prop::sample::select(&b"\n,,abcdefgh\xc3\xa9 123456"[..]), 0..200),
            cuts in prop::collection::vec(1_usize..40, 1..60),
        ) {
            for text in [&bytes, &plain, &[plain.clone(), bytes.clone()].concat()] {
                let mut chunks = Vec::new();
                let mut rest = &text[..];
                for &cut in &cuts {
                    let (chunk, after) = rest.split_at(cut.min(rest.len()));
                    if !chunk.is_empty() {
                        chunks.push(chunk.to_vec());
                    }
                    rest = after;
                }
                if !rest.is_empty() {
                    chunks.push(rest.to_vec());
                }
                let mut csv = Csv::new(Stream::new(Script::new(chunks), MAX));
                let (mut all, mut scan) = (Vec::new(), Scan::default());
                let mut keep = |fields: Fields<'_>| {
                    let found: Vec<Vec<u8>> = fields.iter().map(Cow::into_owned).collect();
                    let again: Vec<Vec<u8>> = scan.fields_of(fields.record()).iter().map(Cow::into_owned).collect();
                    assert_eq!(found, again, "a record alone has the same fields");
                    all.push(found);
                };
                loop {
                    while let Some((_, _, fields)) = csv.next() {
                        keep(fields);
                    }
                    if !csv.fill().unwrap() {
                        csv.last().into_iter().for_each(|last| keep(last.fields));
                        break;
                    }
                }
                prop_assert_eq!(all, by_csv_core(text));
            }
        }
    }
}

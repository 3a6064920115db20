//! A byte stream divided into lines.
//!
//! A line ends with LF or CRLF; the last one may go without. Knows nothing of what lines say.

use std::io::{self, Read};

use memchr::memchr;

use super::stream::{Piece, Stream};

/// A divided stream.
#[derive(Debug)]
pub(super) struct Lines<R> {
    pub(super) stream: Stream<R>,
    /// How many of the unread bytes are known to have no line feed, so that a long line is searched only once.
    scanned: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(stream: Stream<R>) -> Self {
        Self { stream, scanned: 0 }
    }

    /// The next line that has been read to its end, and its number.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(u64, Piece<'_>)> {
        loop {
            let unread = self.stream.unread();
            let Some(at) = memchr(b'\n', &unread[self.scanned..]) else {
                self.scanned = unread.len();
                return None;
            };
            let length = self.scanned + at + 1;
            self.scanned = 0;
            if self.stream.is_open() && matches!(unread[..length], [b'\n'] | [b'\r', b'\n']) {
                self.stream.close(length);
                continue;
            }
            return Some(self.stream.take(length, 1, true));
        }
    }

    /// Reads once, and returns whether there was anything.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        if self.stream.pass_over(self.scanned) {
            self.scanned = 0;
        }
        self.stream.fill()
    }

    /// The last line, when the stream has ended without a line feed.
    pub(super) fn last(&mut self) -> Option<(u64, Piece<'_>)> {
        if self.stream.is_finished() {
            return None;
        }
        self.scanned = 0;
        Some(self.stream.take(self.stream.unread().len(), 0, false))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::records::Script;
    use crate::records::stream::without_end;
    use dirigo_connect::source::REFUSED_BYTES_MAX;

    const MAX: usize = 200_000;

    fn all(reader: impl Read) -> Vec<(u64, String)> {
        let mut lines = Lines::new(Stream::new(reader, MAX));
        let mut all = Vec::new();
        loop {
            while let Some((number, piece)) = lines.next() {
                all.push((number, shown(&piece)));
            }
            if !lines.fill().unwrap() {
                all.extend(lines.last().map(|(number, piece)| (number, shown(&piece))));
                assert_eq!(lines.last(), None);
                return all;
            }
        }
    }

    fn shown(piece: &Piece<'_>) -> String {
        match piece {
            Piece::Whole(line) => String::from_utf8_lossy(without_end(line)).into_owned(),
            Piece::TooLong(start) => format!("<too long, {} kept>", start.len()),
            Piece::Rest(rest) => format!("<rest {}>", String::from_utf8_lossy(rest)),
        }
    }

    fn numbered<const N: usize>(lines: [&str; N]) -> Vec<(u64, String)> {
        (1..).zip(lines.map(str::to_owned)).collect()
    }

    #[test]
    fn lf_and_crlf_end_a_line_and_the_last_may_go_without() {
        assert_eq!(all(b"a\r\n\nb\rc\nd".as_slice()), numbered(["a", "", "b\rc", "d"]));
        assert_eq!(all(b"a\n".as_slice()), numbered(["a"]));
        assert_eq!(all(b"".as_slice()), []);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_bound_and_no_longer() {
        let text = format!("{0}\n{0}\r\n{0}x\n{0}xx\r\nend\n{0}", "y".repeat(MAX));
        let long = "y".repeat(MAX);
        let too_long = format!("<too long, {REFUSED_BYTES_MAX} kept>");
        let expected = numbered([&long, &long, &too_long, &too_long, "end", &long]);
        assert_eq!(all(text.as_bytes()), expected);
        assert_eq!(all(Script::new(text.as_bytes().chunks(70_001))), expected);
    }

    #[test]
    fn a_line_that_is_much_too_long_is_passed_over_in_bounded_memory() {
        let mut lines = Lines::new(Stream::new(
            io::repeat(b'x').take(50_000_000).chain(b"\nnext\n".as_slice()),
            MAX,
        ));
        while lines.next().is_none() {
            assert!(lines.stream.unread().len() < 4 * MAX);
            assert!(lines.fill().unwrap());
        }
        assert_eq!(lines.next(), Some((2, Piece::Whole(b"next\n"))));
    }

    #[test]
    fn an_offset_within_a_line_that_is_too_long_points_to_its_start() {
        let mut lines = Lines::new(Stream::new(b"a\n".chain(io::repeat(b'x')), MAX));
        lines.fill().unwrap();
        lines.next().unwrap();
        let place = lines.stream.place();
        for _ in 0..20 {
            assert_eq!(lines.next(), None);
            lines.fill().unwrap();
        }
        assert_eq!(lines.stream.place(), place);
    }

    #[test]
    fn an_overlong_last_line_without_an_end_is_reported() {
        let text = format!("a\n{}", "x".repeat(5 * MAX));
        assert_eq!(
            all(text.as_bytes()),
            numbered(["a", &format!("<too long, {REFUSED_BYTES_MAX} kept>")])
        );
    }

    #[test]
    fn the_line_feed_of_a_line_that_was_taken_at_the_end_is_not_a_line() {
        // The script ends in between: an empty chunk reads as the end of the stream.
        let mut lines = Lines::new(Stream::new(
            Script::new([&b"a\nb"[..], b"", b"\r\nc", b"", b"d\ne\n"]),
            MAX,
        ));
        let mut seen = Vec::new();
        for _ in 0..3 {
            while lines.fill().unwrap() {}
            while let Some((number, piece)) = lines.next() {
                seen.push((number, shown(&piece)));
            }
            seen.extend(lines.last().map(|(number, piece)| (number, shown(&piece))));
        }
        let expected = [(1, "a"), (2, "b"), (3, "c"), (3, "<rest d\n>"), (4, "e")];
        assert_eq!(seen, expected.map(|(number, line)| (number, line.to_owned())));
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_naive_split_wherever_the_chunks_end(
            bytes in prop::collection::vec(prop::sample::select(&b"\r\n\nab\xff\xef\xbb\xbf"[..]), 0..200),
            cuts in prop::collection::vec(1_usize..20, 1..60),
        ) {
            let mut chunks = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at(cut.min(rest.len()));
                if !chunk.is_empty() {
                    chunks.push(chunk.to_vec());
                }
                rest = after;
            }
            if !rest.is_empty() {
                chunks.push(rest.to_vec());
            }
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            let mut naive: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(without_end).collect();
            if text.is_empty() {
                naive.clear();
            }
            let naive = naive.into_iter().map(|line| String::from_utf8_lossy(line).into_owned());
            let naive: Vec<_> = (1..).zip(naive).collect();
            prop_assert_eq!(all(Script::new(chunks)), naive);
        }
    }
}

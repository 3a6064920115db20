//! Events from a byte stream.
//!
//! Owns what the formats make of a record: an event, a refusal, or nothing. Knows nothing of where the bytes come from.

use std::io::{self, ErrorKind, Read as Reader};
use std::sync::Arc;

use super::cells::CellRules;
use super::csv::{Csv, Fields};
use super::encoder::LastEncoder;
use super::extract::{Extract, Extracted};
use super::json::{self, is_closed};
use super::lines::Lines;
use super::stream::{Piece, Stream, without_end};
use super::table::CsvTable;
use super::{Error, RECORD_BYTES_MAX};
use dirigo_connect::Format;
use dirigo_connect::source::{Intake, Opening, Read, ReadLimit};
use dirigo_fields::{Pass, Wanted};
use dirigo_ground::clock::Clock;
use dirigo_ground::values::RecordEncoder as _;

/// A byte stream of events.
pub(crate) struct Text<R> {
    /// What it is called in errors.
    name: String,
    records: Records<R>,
    reading: Reading,
    pass: Pass,
    clock: Arc<dyn Clock>,
    last_record: LastRecord,
    /// Whether an empty stream is one without events, also in a format that begins with a header.
    has_optional_header: bool,
}

/// What a byte stream is read as.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// How records are told apart.
    pub(crate) format: Format,
    /// Where their keys and times are.
    pub(crate) extract: Extract,
    /// What the cells of a CSV are.
    pub(crate) cells: Arc<CellRules>,
    /// The fields that operators read.
    pub(crate) reads: Arc<[Wanted]>,
    pub(super) last_encoder: LastEncoder,
}

impl Reading {
    pub(crate) fn new(format: Format, cells: &Arc<CellRules>, opening: &Opening<'_>) -> Self {
        Self {
            format,
            extract: Extract::new(opening.key, opening.time),
            cells: cells.clone(),
            reads: opening.reads.into(),
            last_encoder: LastEncoder::default(),
        }
    }

    /// Without keys or times.
    #[cfg(test)]
    pub(crate) fn plain(format: Format) -> Self {
        Self::of_values(format, &Arc::default())
    }

    /// Without keys or times: the values alone are wanted.
    pub(crate) fn of_values(format: Format, cells: &Arc<CellRules>) -> Self {
        Self {
            format,
            extract: Extract::default(),
            cells: cells.clone(),
            reads: Arc::default(),
            last_encoder: LastEncoder::default(),
        }
    }
}

/// What becomes of a last record without a line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastRecord {
    /// The end of the stream ends it.
    Ends,
    /// It waits for its end where more may be appended to it.
    Waits,
}

enum Records<R> {
    Jsonl(Lines<R>),
    Lines(Lines<R>),
    Csv {
        csv: Box<Csv<R>>,
        /// Known once the header has been read.
        table: Option<CsvTable>,
    },
}

/// What may still be taken.
struct Remaining {
    events: usize,
    bytes: usize,
    is_untouched: bool,
}

impl Remaining {
    fn new(limit: ReadLimit) -> Self {
        Self {
            events: limit.events,
            bytes: limit.bytes,
            is_untouched: true,
        }
    }

    #[inline]
    fn take(&mut self, bytes: usize) {
        self.is_untouched = false;
        self.events -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.events == 0 || self.bytes == 0
    }
}

impl<R: Reader> Text<R> {
    pub(crate) fn new(name: String, reader: R, reading: Reading, clock: Arc<dyn Clock>) -> Self {
        let stream = Stream::new(reader, RECORD_BYTES_MAX);
        let records = match reading.format {
            Format::Jsonl => Records::Jsonl(Lines::new(stream)),
            Format::Lines => Records::Lines(Lines::new(stream)),
            Format::Csv => Records::Csv {
                csv: Box::new(Csv::new(stream)),
                table: None,
            },
        };
        Self {
            name,
            records,
            reading,
            pass: Pass::default(),
            clock,
            last_record: LastRecord::Ends,
            has_optional_header: false,
        }
    }

    /// With an empty stream being one without events, or in a format that begins with a header an error.
    pub(crate) fn with_optional_header(mut self, has_optional_header: bool) -> Self {
        self.has_optional_header = has_optional_header;
        self
    }

    /// With something else becoming of a last record without a line end.
    pub(crate) fn with_last_record(mut self, last_record: LastRecord) -> Self {
        self.last_record = last_record;
        self
    }

    /// Reads the start of the stream, as far as it is there, and takes nothing.
    pub(crate) fn peek(&mut self) -> Result<(), Error> {
        while !self.stream().window.is_head_full() && self.fill()? {}
        Ok(())
    }

    /// Has the end of the stream end a last record without a line end from now on.
    pub(crate) fn end_last_record(&mut self) {
        self.last_record = LastRecord::Ends;
    }

    /// What is left for a later run at the end of the stream, in words; `None` where nothing is.
    pub(crate) fn waiting(&self) -> Option<String> {
        if !self.waits() {
            return None;
        }
        let stream = self.stream();
        let start = stream.place();
        let line = start.line + 1;
        let bytes = stream.window.offset() + stream.unread().len() as u64 - start.offset;
        let quote = match &self.records {
            Records::Csv { csv, .. } => csv.open_quote_line(),
            Records::Jsonl(_) | Records::Lines(_) => None,
        };
        let cause = quote.map_or_else(
            || "it has no line end yet".to_owned(),
            |line| format!("a quote opened on line {line} is not closed"),
        );
        Some(format!(
            "the last record of {}, {bytes} bytes from line {line} on, waits for its end: {cause}",
            self.name
        ))
    }

    pub(crate) fn stream(&self) -> &Stream<R> {
        match &self.records {
            Records::Jsonl(lines) | Records::Lines(lines) => &lines.stream,
            Records::Csv { csv, .. } => &csv.stream,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream<R> {
        match &mut self.records {
            Records::Jsonl(lines) | Records::Lines(lines) => &mut lines.stream,
            Records::Csv { csv, .. } => &mut csv.stream,
        }
    }

    /// Appends the events that have been read, and reads only while there are none.
    pub(crate) fn read(&mut self, intake: &mut Intake, limit: ReadLimit) -> Result<Read, Error> {
        let mut remaining = Remaining::new(limit);
        loop {
            self.take_records(intake, &mut remaining)?;
            if remaining.is_full() || !remaining.is_untouched {
                return Ok(Read::More);
            }
            if !self.fill()? {
                self.take_last(intake, &mut remaining)?;
                return Ok(Read::End);
            }
        }
    }

    /// Reads the header of a format that has one.
    pub(crate) fn read_header(&mut self) -> Result<(), Error> {
        let mut none = Remaining {
            events: 0,
            bytes: 0,
            is_untouched: true,
        };
        loop {
            self.take_records(&mut Intake::default(), &mut none)?;
            let Records::Csv { table: None, .. } = self.records else {
                return Ok(());
            };
            if !self.fill()? {
                return self.take_last(&mut Intake::default(), &mut none);
            }
        }
    }

    fn fill(&mut self) -> Result<bool, Error> {
        let is_start = self.stream().window.offset() == 0 && self.stream().unread().is_empty();
        let result = match &mut self.records {
            Records::Jsonl(lines) | Records::Lines(lines) => lines.fill(),
            Records::Csv { csv, .. } => csv.fill(),
        };
        let result = result.and_then(|is_filled| {
            let is_utf_16 = is_start && matches!(self.stream().unread(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
            if is_utf_16 && !matches!(self.records, Records::Lines(_)) {
                let problem = "it is UTF-16; make UTF-8 of it, for example with `iconv -f UTF-16 -t UTF-8`";
                return Err(io::Error::new(ErrorKind::InvalidData, problem));
            }
            Ok(is_filled)
        });
        result.map_err(|reason| Error::Read {
            from: self.name.clone(),
            reason,
        })
    }

    /// Takes the records that have been read to their ends.
    fn take_records(&mut self, intake: &mut Intake, remaining: &mut Remaining) -> Result<(), Error> {
        let mut taker = RecordTaker::new(intake, remaining, &self.reading.extract, &mut self.pass, &*self.clock);
        match &mut self.records {
            Records::Jsonl(lines) => {
                while !taker.remaining.is_full()
                    && let Some((number, piece)) = lines.next()
                {
                    taker.take_json(number, piece);
                }
            }
            Records::Lines(lines) => {
                while !taker.remaining.is_full()
                    && let Some((number, piece)) = lines.next()
                {
                    taker.take_line(number, piece);
                }
            }
            Records::Csv { csv, table } => {
                if table.is_none()
                    && let Some((_, piece, fields)) = csv.next()
                {
                    *table = Some(to_table(&self.name, &piece, fields, &self.reading)?);
                }
                while !taker.remaining.is_full()
                    && let Some(table) = table
                    && let Some((number, piece, fields)) = csv.next()
                {
                    taker.take_record(table, number, piece, fields);
                }
            }
        }
        Ok(())
    }

    /// Whether the last record is to be left for a later run. A whole object or array is not: nothing could be appended that
    /// would make another value of it.
    fn waits(&self) -> bool {
        let is_whole = |line: &[u8]| matches!(self.records, Records::Jsonl(_)) && is_closed(line);
        let stream = self.stream();
        self.last_record == LastRecord::Waits
            && !(stream.is_finished() || (!stream.is_open() && is_whole(stream.unread())))
    }

    /// Takes the record that the end of the stream has ended.
    fn take_last(&mut self, intake: &mut Intake, remaining: &mut Remaining) -> Result<(), Error> {
        if self.waits() {
            return Ok(());
        }
        let mut taker = RecordTaker::new(intake, remaining, &self.reading.extract, &mut self.pass, &*self.clock);
        match &mut self.records {
            Records::Jsonl(lines) => {
                if let Some((number, piece)) = lines.last() {
                    taker.take_json(number, piece);
                }
            }
            Records::Lines(lines) => {
                if let Some((number, piece)) = lines.last() {
                    taker.take_line(number, piece);
                }
            }
            Records::Csv {
                csv,
                table: Some(table),
            } => {
                if let Some(last) = csv.last() {
                    match (last.open_quote_line, last.piece) {
                        (Some(line), Piece::Whole(record)) => taker.refuse(last.number, record, never_closed(line)),
                        (_, piece) => taker.take_record(table, last.number, piece, last.fields),
                    }
                }
            }
            Records::Csv { csv, table } => {
                let flawed = |problem| Error::Header {
                    from: self.name.clone(),
                    problem,
                };
                let last = match csv.last() {
                    Some(last) => last,
                    None if self.has_optional_header => return Ok(()),
                    None => return Err(flawed("there is no header line".to_owned())),
                };
                if let Some(line) = last.open_quote_line {
                    return Err(flawed(never_closed(line)));
                }
                *table = Some(to_table(&self.name, &last.piece, last.fields, &self.reading)?);
            }
        }
        Ok(())
    }
}

/// Lines that a medium hands over one by one, each with its number and the time that it has where events bring none.
#[derive(Debug)]
pub(crate) struct SingleLines {
    reading: Reading,
    pass: Pass,
}

impl SingleLines {
    pub(crate) fn new(reading: Reading) -> Self {
        Self {
            reading,
            pass: Pass::default(),
        }
    }

    /// Appends the events of what `next` gives, until it gives nothing or the limit is reached.
    pub(crate) fn take<L: AsRef<[u8]>>(
        &mut self,
        intake: &mut Intake,
        limit: ReadLimit,
        mut next: impl FnMut() -> Option<(u64, i64, L)>,
    ) {
        let mut remaining = Remaining::new(limit);
        let Self { reading, pass } = self;
        let mut taker = RecordTaker::at(intake, &mut remaining, &reading.extract, pass, 0);
        while !taker.remaining.is_full()
            && let Some((number, time, line)) = next()
        {
            taker.arrival = time;
            match reading.format {
                Format::Lines => taker.take_line(number, Piece::Whole(line.as_ref())),
                Format::Jsonl | Format::Csv => taker.take_json(number, Piece::Whole(line.as_ref())),
            }
        }
    }
}

/// Why a record was refused, and that it is an array if it is one: a whole file may be.
#[cold]
fn with_shape(value: &[u8], reason: String) -> String {
    if value.trim_ascii_start().starts_with(b"[") {
        format!("{reason}: the record is an array; each line is one event")
    } else {
        reason
    }
}

fn never_closed(line: u64) -> String {
    format!("a quote opened on line {line} is never closed")
}

fn to_table(name: &str, header: &Piece<'_>, fields: Fields<'_>, reading: &Reading) -> Result<CsvTable, Error> {
    let table = match header {
        Piece::Whole(_) | Piece::Rest(_) => CsvTable::new(fields, reading),
        Piece::TooLong(_) => Err("the header line is too long".to_owned()),
    };
    table.map_err(|problem| Error::Header {
        from: name.to_owned(),
        problem,
    })
}

/// Takes records in.
struct RecordTaker<'t> {
    intake: &'t mut Intake,
    remaining: &'t mut Remaining,
    extract: &'t Extract,
    pass: &'t mut Pass,
    /// Whether values are not looked into.
    is_blind: bool,
    arrival: i64,
}

impl<'t> RecordTaker<'t> {
    fn new(
        intake: &'t mut Intake,
        remaining: &'t mut Remaining,
        extract: &'t Extract,
        pass: &'t mut Pass,
        clock: &dyn Clock,
    ) -> Self {
        // Not asked for the time where events bring their own.
        let arrival = if extract.has_time() { 0 } else { clock.wall_ms() };
        Self::at(intake, remaining, extract, pass, arrival)
    }

    fn at(
        intake: &'t mut Intake,
        remaining: &'t mut Remaining,
        extract: &'t Extract,
        pass: &'t mut Pass,
        arrival: i64,
    ) -> Self {
        extract.prepare(pass, &intake.fields);
        Self {
            is_blind: extract.is_empty() && intake.fields.is_empty(),
            intake,
            remaining,
            extract,
            pass,
            arrival,
        }
    }

    /// A line of JSON; one of nothing but white space is no event.
    #[inline]
    fn take_json(&mut self, number: u64, piece: Piece<'_>) {
        let Piece::Whole(line) = piece else {
            return self.refuse_piece(number, piece);
        };
        let value = without_end(line);
        if !self.is_blind
            && let Some(found) = self.extract.find_with(value, &mut self.intake.fields, self.pass)
        {
            return self.take(number, value, found);
        }
        if self.is_blind && json::is_flat_object(line) {
            return self.take_unread(number, value);
        }
        if value.trim_ascii_start().is_empty() {
            return;
        }
        match json::flaw(line) {
            None => self.take_unread(number, value),
            Some(reason) => self.refuse(number, value, reason),
        }
    }

    #[inline]
    fn take_line(&mut self, number: u64, piece: Piece<'_>) {
        let Piece::Whole(line) = piece else {
            return self.refuse_piece(number, piece);
        };
        let line = without_end(line);
        if !self.is_blind
            && let Some(found) = self.extract.find_with(line, &mut self.intake.fields, self.pass)
        {
            return self.take(number, line, found);
        }
        self.take_unread(number, line);
    }

    /// Takes a value that is not JSON, or not looked into.
    fn take_unread(&mut self, number: u64, value: &[u8]) {
        let found = self.extract.find_up_to(value);
        if found.is_ok() {
            self.intake.fields.push_unreadable();
        }
        self.take(number, value, found);
    }

    #[inline]
    fn take(&mut self, number: u64, value: &[u8], found: Result<Extracted<'_>, String>) {
        match found {
            Ok(found) => {
                self.remaining.take(value.len());
                self.intake.values.push(value);
                self.push_found(number, &found);
            }
            Err(reason) => self.refuse(number, value, with_shape(value, reason)),
        }
    }

    #[inline]
    fn take_record(&mut self, table: &mut CsvTable, number: u64, piece: Piece<'_>, fields: Fields<'_>) {
        let Piece::Whole(record) = piece else {
            return self.refuse_piece(number, piece);
        };
        if table.is_header(fields) {
            return;
        }
        match table.take(fields, &mut self.intake.fields) {
            Ok(found) => {
                let encoder = table.encoder();
                self.intake.encode_by(encoder);
                self.intake.values.push(fields.record());
                self.remaining.take(fields.record().len() + encoder.added_bytes());
                self.push_found(number, &found);
            }
            Err(reason) => self.refuse(number, without_end(record), reason),
        }
    }

    #[inline]
    fn push_found(&mut self, number: u64, found: &Extracted<'_>) {
        self.intake.keys.push(&found.key);
        self.intake.times.push(found.time.unwrap_or(self.arrival));
        self.intake.positions.push(number);
    }

    #[cold]
    fn refuse(&mut self, number: u64, value: &[u8], reason: String) {
        self.intake.refuse(number, value, reason);
        self.remaining.take(value.len());
    }

    #[cold]
    fn refuse_piece(&mut self, number: u64, piece: Piece<'_>) {
        match piece {
            Piece::TooLong(start) => {
                self.refuse(
                    number,
                    &start,
                    format!("line {number} starts a record of more than {RECORD_BYTES_MAX} bytes"),
                );
            }
            Piece::Rest(rest) | Piece::Whole(rest) => {
                self.refuse(
                    number,
                    without_end(rest),
                    format!(
                        "this continues line {number}, which had been read when it was the last and had no end yet"
                    ),
                );
            }
        }
    }
}

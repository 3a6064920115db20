//! From the body of a request to lines.

use std::io::Read;
use std::sync::Arc;

use dirigo_connect::Format;
use dirigo_connect::source::{Intake, Read as ReadEnd, ReadLimit};
use dirigo_ground::clock::Clock;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::records::{CellRules, Reading, Text};

/// What the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A JSON value per line.
    Lines,
    /// JSON values one after the other; the elements of an array are values of their own.
    Json,
    /// A header and records.
    Csv,
}

impl Shape {
    /// What a `Content-Type` says, or the format of the source where it says nothing. `None` for a type that is none of these.
    pub(super) fn of(content_type: Option<&str>, format: Format) -> Option<Self> {
        let own = match format {
            Format::Jsonl | Format::Lines => Self::Lines,
            Format::Csv => Self::Csv,
        };
        let media = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        match media.to_ascii_lowercase().as_str() {
            // What `curl --data-binary` says of everything.
            "" | "application/x-www-form-urlencoded" | "application/octet-stream" => Some(own),
            "text/plain" if format == Format::Lines => Some(Self::Lines),
            _ if format == Format::Lines => None,
            "text/plain" => Some(own),
            "application/json" => Some(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
                Some(Self::Lines)
            }
            "text/csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What a `Content-Encoding` says; `None` for one that is not known.
    pub(super) fn of(content_encoding: Option<&str>) -> Option<Self> {
        match content_encoding
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is larger than it may be.
    TooLarge,
    /// Its records would be much larger than the body.
    Grows,
    /// It is not what it says.
    Malformed(String),
}

/// A body as it was before it was compressed, if that is at most `max` bytes.
pub(super) fn decompressed(body: &[u8], encoding: Encoding, max: u64) -> Result<Vec<u8>, Refused> {
    let read = |reader: &mut dyn Read, name: &str| {
        let mut all = Vec::new();
        let result = reader.take(max + 1).read_to_end(&mut all);
        result.map_err(|error| Refused::Malformed(format!("the body is not {name}: {error}")))?;
        Ok(all)
    };
    let all = match encoding {
        Encoding::Identity => body.to_vec(),
        Encoding::Gzip => read(&mut flate2::read::MultiGzDecoder::new(body), "gzip")?,
        Encoding::Zstd => {
            let decoder = zstd::Decoder::new(body).and_then(|mut decoder| {
                // 8 MiB, as RFC 8878, section 3.1.1.1.2, asks of every decoder.
                decoder.window_log_max(23)?;
                Ok(decoder)
            });
            let mut decoder = decoder.map_err(|error| Refused::Malformed(format!("the body is not zstd: {error}")))?;
            read(&mut decoder, "zstd")?
        }
    };
    if all.len() as u64 > max {
        return Err(Refused::TooLarge);
    }
    Ok(all)
}

/// The lines of a body, each with its end, and how many have something in them.
pub(super) fn lines(
    body: Vec<u8>,
    shape: Shape,
    cells: &Arc<CellRules>,
    clock: &Arc<dyn Clock>,
) -> Result<(Vec<u8>, u64), Refused> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    match shape {
        Shape::Lines => {
            let mut body = body;
            if body.starts_with(BYTE_ORDER_MARK) {
                body.drain(..BYTE_ORDER_MARK.len());
            }
            if !body.is_empty() && !body.ends_with(b"\n") {
                body.push(b'\n');
            }
            let count = body.split_inclusive(|byte| *byte == b'\n');
            let count = count.filter(|line| !line.trim_ascii().is_empty()).count() as u64;
            Ok((body, count))
        }
        Shape::Json => of_json(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body)),
        Shape::Csv => of_csv(&body, cells, clock),
    }
}

fn of_json(body: &[u8]) -> Result<(Vec<u8>, u64), Refused> {
    let malformed = |error: serde_json::Error| Refused::Malformed(format!("the body is not JSON: {error}"));
    let (mut lines, mut count) = (Vec::with_capacity(body.len() + 1), 0);
    let mut push = |value: &RawValue| {
        // Within a string JSON has no line break, and elsewhere it is a space.
        let line = value
            .get()
            .bytes()
            .map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte });
        lines.extend(line);
        lines.push(b'\n');
        count += 1;
    };
    for value in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
        let value = value.map_err(malformed)?;
        if value.get().starts_with('[') {
            let mut elements = serde_json::Deserializer::from_str(value.get());
            elements.deserialize_seq(Elements(&mut push)).map_err(malformed)?;
        } else {
            push(value);
        }
    }
    Ok((lines, count))
}

/// Hands on the elements of an array one by one.
struct Elements<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            (self.0)(element);
        }
        Ok(())
    }
}

fn of_csv(body: &[u8], cells: &Arc<CellRules>, clock: &Arc<dyn Clock>) -> Result<(Vec<u8>, u64), Refused> {
    const LIMIT: ReadLimit = ReadLimit {
        events: 1_024,
        bytes: 1 << 20,
    };
    /// Each record repeats the names of the columns.
    const GROWTH_MAX: usize = 16;
    let reading = Reading::of_values(Format::Csv, cells);
    let mut text = Text::new("the body".to_owned(), body, reading, clock.clone()).with_optional_header(true);
    let mut intake = Intake::default();
    let (mut lines, mut count) = (Vec::new(), 0);
    loop {
        let read = text.read(&mut intake, LIMIT);
        let read = read.map_err(|error| Refused::Malformed(error.to_string()))?;
        if let Some(refused) = intake.refused.first() {
            return Err(Refused::Malformed(format!(
                "line {} of the body: {}",
                refused.position, refused.reason
            )));
        }
        let values = std::mem::take(&mut intake).take_values().to_column();
        count += values.len() as u64;
        for value in values.iter() {
            lines.extend_from_slice(value);
            lines.push(b'\n');
        }
        if lines.len() > GROWTH_MAX * body.len().max(LIMIT.bytes) {
            return Err(Refused::Grows);
        }
        if read == ReadEnd::End {
            return Ok((lines, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use dirigo_ground::clock::ManualClock;

    use super::*;

    fn made(body: &str, shape: Shape) -> Result<(String, u64), Refused> {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
        let (lines, count) = lines(body.as_bytes().to_vec(), shape, &Arc::default(), &clock)?;
        Ok((String::from_utf8(lines).unwrap(), count))
    }

    fn lines_of<const N: usize>(lines: [&str; N]) -> (String, u64) {
        let count = lines.len() as u64;
        (lines.map(|line| format!("{line}\n")).concat(), count)
    }

    #[test]
    fn values_of_each_shape_become_lines() {
        assert_eq!(
            made("{\"a\":1}\n{\"a\":2}", Shape::Lines).unwrap(),
            lines_of([r#"{"a":1}"#, r#"{"a":2}"#])
        );
        let array = "[{\"a\":\n 1}, {\"a\":\"x\\ny\"},\r\n 7]";
        assert_eq!(
            made(array, Shape::Json).unwrap(),
            lines_of(["{\"a\":  1}", r#"{"a":"x\ny"}"#, "7"])
        );
        assert_eq!(
            made("{\"a\":1}\n\n{\"a\":\n2}", Shape::Json).unwrap(),
            lines_of([r#"{"a":1}"#, "{\"a\": 2}"])
        );
        assert_eq!(
            made("a,b\n1,x\n2,\"y\nz\"\n", Shape::Csv).unwrap(),
            lines_of([r#"{"a":1,"b":"x"}"#, r#"{"a":2,"b":"y\nz"}"#])
        );
        for shape in [Shape::Lines, Shape::Json, Shape::Csv] {
            assert_eq!(made("", shape), Ok((String::new(), 0)));
        }
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_refused_with_the_place() {
        let refused = |body, shape| match made(body, shape).unwrap_err() {
            Refused::Malformed(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(refused("[{\"a\":1},\n{\"a\":oops}]", Shape::Json).contains("line 2"));
        let reason = refused("a,b\n1,2\n3\n", Shape::Csv);
        assert_eq!(reason, "line 3 of the body: the record has 1 fields, the header has 2");
    }

    #[test]
    fn records_that_repeat_long_names_are_refused_before_they_fill_the_memory() {
        let body = format!("{}\n{}", "n".repeat(500_000), "1\n".repeat(500_000));
        assert_eq!(made(&body, Shape::Csv), Err(Refused::Grows));
    }

    #[test]
    fn a_body_is_decompressed_up_to_a_bound() {
        let text = "0123456789".repeat(1_000);
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        for (body, encoding) in [(zstd, Encoding::Zstd), (gzip.finish().unwrap(), Encoding::Gzip)] {
            assert_eq!(decompressed(&body, encoding, 10_000).unwrap(), text.as_bytes());
            assert_eq!(decompressed(&body, encoding, 9_999), Err(Refused::TooLarge));
            let cut = decompressed(&body[..body.len() / 2], encoding, 10_000).unwrap_err();
            assert!(matches!(cut, Refused::Malformed(_)), "{cut:?}");
        }
    }

    #[test]
    fn the_type_of_a_request_says_what_it_brings() {
        let of = |content_type| Shape::of(content_type, Format::Jsonl);
        assert_eq!(of(None), Some(Shape::Lines));
        assert_eq!(of(Some("application/json; charset=utf-8")), Some(Shape::Json));
        assert_eq!(of(Some("Text/CSV")), Some(Shape::Csv));
        assert_eq!(of(Some("application/x-protobuf")), None);
        assert_eq!(Shape::of(None, Format::Csv), Some(Shape::Csv));
        assert_eq!(Shape::of(Some("application/json"), Format::Lines), None);
    }
}

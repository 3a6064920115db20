//! Random documents: what is taken out of them is what `serde_json` finds there, and what is put in is what it finds afterwards.
//!
//! `DIRIGO_DOCUMENTS` says how many (20,000 by default), `DIRIGO_SEED` from which seed; the seed is printed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and prints its seed"
)]

use std::sync::Arc;

use dirigo_fields::{Extraction, Pass, Wanted};
use dirigo_ground::batch::Column;
use dirigo_ground::fields::{FieldColumn, FieldType, FieldValues, NamedColumn};
use dirigo_ground::json::write_extended;
use dirigo_json::Field;
use serde_json::Value;

/// A generator of documents: xorshift, the same ones for the same seed.
struct Documents(u64);

impl Documents {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn blank(&mut self) -> &'static str {
        self.pick(&["", "", "", "", " ", "\t", "\n ", "  \r\n"])
    }

    fn name(&mut self) -> &'static str {
        self.pick(&[
            "\"a\"",
            "\"b\"",
            "\"\\u0061\"",
            "\"c\"",
            "\"\"",
            "\"x/y\"",
            "\"~\"",
            "\"grün\"",
            "\"0\"",
            "\"1\"",
            "\"sensor\"",
            "\"\\\"\"",
            "\"a name of more than sixteen bytes\"",
        ])
    }

    fn number(&mut self) -> String {
        let digits = |documents: &mut Self| {
            let count = 1 + documents.below(22);
            (0..count)
                .map(|_| char::from(b'0' + u8::try_from(documents.below(10)).unwrap()))
                .collect::<String>()
        };
        match self.below(8) {
            0 => self.below(1_000).to_string(),
            1 => format!("-{}", self.below(100_000)),
            2 => format!("{}.{}", self.below(1_000), digits(self)),
            3 => format!("-{}.{}e{}", self.below(10), digits(self), self.below(20)),
            4 => format!("{}E-{}", self.below(10_000), self.below(330)),
            5 => format!("1e{}", self.below(400)),
            6 => digits(self).trim_start_matches('0').to_owned() + "0",
            _ => self
                .pick(&[
                    "-0",
                    "0",
                    "-0.0",
                    "9223372036854775807",
                    "-9223372036854775808",
                    "9223372036854775808",
                    "12.0",
                    "1.50e1",
                ])
                .to_owned(),
        }
    }

    fn string(&mut self) -> String {
        let parts = self.below(5);
        let mut text = String::from("\"");
        for _ in 0..parts {
            text.push_str(self.pick(&[
                "plain",
                "grün",
                "\\n",
                "\\\"",
                "\\\\",
                "\\u00e9",
                "\\ud83d\\ude00",
                "😀",
                "AAH/",
                " ",
                "0123456789abcdef",
                "\\/",
                "\u{7f}",
                "\u{80}",
            ]));
        }
        text + "\""
    }

    fn value(&mut self, depth: u32) -> String {
        match self.below(if depth == 0 { 7 } else { 10 }) {
            0 | 1 => self.number(),
            2 | 3 => self.string(),
            4 => "null".to_owned(),
            5 => "true".to_owned(),
            6 => "false".to_owned(),
            7 => {
                let items: Vec<String> = (0..self.below(4)).map(|_| self.value(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            _ => self.object(depth - 1),
        }
    }

    fn object(&mut self, depth: u32) -> String {
        let members: Vec<String> = (0..self.below(6))
            .map(|_| {
                let [before, between, after, end] = [(); 4].map(|()| self.blank());
                format!("{before}{}{between}:{after}{}{end}", self.name(), self.value(depth))
            })
            .collect();
        format!("{}{{{}}}{}", self.blank(), members.join(","), self.blank())
    }

    /// A document, broken now and then.
    fn document(&mut self) -> Vec<u8> {
        let mut document = if self.below(20) == 0 {
            self.value(3)
        } else {
            self.object(3)
        }
        .into_bytes();
        if self.below(10) == 0 && !document.is_empty() {
            let at = usize::try_from(self.below(document.len() as u64)).unwrap();
            match self.below(3) {
                0 => document.truncate(at),
                1 => drop(document.remove(at)),
                _ => document[at] = u8::try_from(self.below(256)).unwrap(),
            }
        }
        document
    }
}

const NAMES: [&str; 8] = ["a", "/b", "/a/b", "/c/0", "/x~1y", "grün", "/~0/1", "/a/a/a"];
const TYPES: [FieldType; 5] = [
    FieldType::F64,
    FieldType::S64,
    FieldType::Text,
    FieldType::Boolean,
    FieldType::Json,
];

/// What is in an event: nothing, `null`, something else, or a value.
#[derive(Debug, PartialEq)]
enum Found {
    None,
    Mistyped,
    Value(Value),
}

fn expected(document: Option<&Value>, name: &str, field_type: FieldType) -> Found {
    let Some(document) = document else {
        return Found::Mistyped;
    };
    let pointer = if name.starts_with('/') {
        name.to_owned()
    } else {
        format!("/{name}")
    };
    let Some(value) = document.pointer(&pointer) else {
        return Found::None;
    };
    let is_it = match field_type {
        FieldType::Json => true,
        _ if value.is_null() => return Found::None,
        FieldType::F64 => value.is_number(),
        FieldType::S64 => value.as_i64().is_some() || value.as_f64().is_some_and(is_integer),
        FieldType::Text => value.is_string(),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Bytes => false,
    };
    if is_it {
        Found::Value(value.clone())
    } else {
        Found::Mistyped
    }
}

/// Whether it is an integer that an `f64` holds exactly and 64 bits do; those beyond are looked at digit by digit.
fn is_integer(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 9.007_199_254_740_992e15
}

fn found(column: &FieldColumn, event: usize) -> Found {
    if column.mistyped.contains(&u32::try_from(event).unwrap()) {
        return Found::Mistyped;
    }
    if !column.is_valid(event) {
        return Found::None;
    }
    Found::Value(match &column.values {
        FieldValues::F64(values) => values[event].into(),
        FieldValues::S64(values) => values[event].into(),
        FieldValues::Boolean(values) => values.get(event).into(),
        FieldValues::Text(values) => str::from_utf8(values.get(event)).unwrap().into(),
        FieldValues::Json(values) => serde_json::from_slice(values.get(event)).unwrap(),
        FieldValues::Bytes(_) => unreachable!("none is asked for"),
    })
}

/// Whether both say the same: numbers by what they are, not how they are written.
fn is_same(found: &Found, expected: &Found, field_type: FieldType) -> bool {
    match (found, expected, field_type) {
        // `serde_json` is off by one place at times; ours is the nearest, which the scanner's own tests hold.
        (Found::Value(found), Found::Value(expected), FieldType::F64) => {
            let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
            (found - expected).abs() <= found.abs() * 2.0 * f64::EPSILON
        }
        (Found::Value(found), Found::Value(expected), FieldType::S64) => {
            found.as_i64() == expected.as_i64() || found.as_f64() == expected.as_f64()
        }
        _ => found == expected,
    }
}

#[test]
fn fields_are_what_serde_json_finds_and_stay_what_was_written() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |value| value.parse().unwrap());
    let (rounds, seed) = (number("DIRIGO_DOCUMENTS", 20_000), number("DIRIGO_SEED", 0x5eed));
    println!("{rounds} documents from DIRIGO_SEED={seed}");
    let mut documents = Documents(seed.max(1));
    let wanted: Vec<Wanted> = NAMES
        .iter()
        .flat_map(|name| TYPES.map(|field_type| (Arc::new(Field::new(*name).unwrap()), field_type)))
        .collect();
    let mut passes: [Pass; 12] = Default::default();
    let (mut valid, mut compared) = (0, 0);
    for round in 0..rounds {
        let document = documents.document();
        let shown = String::from_utf8_lossy(&document).into_owned();
        let mut values = Column::default();
        values.push(&document);
        let mut at_once = Extraction::of(wanted.clone());
        at_once.extend(&values, 0..1);
        // In one pass with two other places, for as many fields as some round has; and again, where the first time says what to expect.
        let few = usize::try_from(round % 12).unwrap();
        let mut one_by_one = Extraction::of(wanted[..few].to_vec());
        let pass = &mut passes[few];
        pass.look_for(&one_by_one, [Some(&wanted[0].0), None]);
        let others = pass.take(&document, &mut one_by_one, Ok::<_, ()>);
        let mut again = Extraction::of(wanted[..few].to_vec());
        assert_eq!(pass.take(&document, &mut again, Ok), others, "{shown}");
        let parsed = str::from_utf8(&document)
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        // A number that no f64 holds is none for serde_json, and JSON for us.
        let is_beyond = parsed.is_none() && others.is_some();
        if is_beyond {
            continue;
        }
        assert_eq!(others.is_some(), parsed.is_some(), "{shown}");
        valid += u64::from(parsed.is_some());
        let (at_once, one_by_one, again) = (at_once.finish(), one_by_one.finish(), again.finish());
        for (place, (named, (_, field_type))) in at_once.iter().zip(&wanted).enumerate() {
            let name = NAMES[place / TYPES.len()];
            let (found, expected) = (found(&named.column, 0), expected(parsed.as_ref(), name, *field_type));
            // An f64 does not say whether what was written is an integer, and which: the scanner's own tests do.
            let is_unknown = *field_type == FieldType::S64
                && match (&found, &expected) {
                    (Found::Value(value), Found::Mistyped) => !value.as_f64().is_some_and(is_integer),
                    (Found::Mistyped, Found::Value(value)) => value.as_i64().is_none(),
                    _ => false,
                };
            assert!(
                is_unknown || is_same(&found, &expected, *field_type),
                "`{name}` as {field_type} of {shown}: {found:?}, and {expected:?} for serde_json"
            );
            compared += 1;
        }
        // Of what is not JSON, a pass takes nothing.
        if others.is_some() {
            for (one, other) in one_by_one.iter().chain(&again).zip(at_once[..few].iter().cycle()) {
                assert_eq!(one.column, other.column, "{shown}");
            }
        }
        written_back(&mut documents, &document, parsed.as_ref());
    }
    println!("{valid} are JSON; {compared} fields compared");
    assert!(valid > rounds / 2);
}

/// Fields that are put into a document are there afterwards, and the rest is as it was.
fn written_back(documents: &mut Documents, document: &[u8], parsed: Option<&Value>) {
    let shown = String::from_utf8_lossy(document);
    let text = documents.string();
    let mut json = Column::default();
    json.push(text.as_bytes());
    let column = |name: &str, values: FieldValues| NamedColumn {
        field: Arc::new(Field::new(name).unwrap()),
        column: Arc::new(FieldColumn::of(values)),
    };
    let columns = [
        column("a", FieldValues::F64(vec![-1.5])),
        column("new", FieldValues::Json(json)),
        column("/b", FieldValues::S64(vec![i64::MIN])),
    ];
    let mut buffer = Vec::new();
    let written = write_extended(document, &columns, 0, &mut buffer);
    let Some(Value::Object(before)) = parsed else {
        assert!(written.is_err() && buffer.is_empty(), "{shown}");
        return;
    };
    written.unwrap();
    let after: Value = serde_json::from_slice(&buffer).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let mut wanted = before.clone();
    wanted.insert("a".to_owned(), (-1.5).into());
    wanted.insert("new".to_owned(), serde_json::from_str(&text).unwrap());
    wanted.insert("b".to_owned(), i64::MIN.into());
    assert_eq!(after, Value::Object(wanted), "{shown}");
}

/// A column that was written and one that is taken out of the values again say the same: no `f64` becomes an integer that it was not.
#[test]
fn a_number_that_is_written_reads_back_as_the_same_number() {
    let field = Arc::new(Field::new("n").unwrap());
    let mut random = Documents(0x5eed);
    let mut numbers: Vec<f64> = vec![9_007_199_254_740_992.0, 1e15, 1e16, 1e17, -1e22, 1e23, f64::MAX, 5e-324];
    while numbers.len() < 20_000 {
        let bits = random.below(1 << 53) << 11 | random.below(1 << 11);
        // Half of them around 2^53, where the way of writing changes.
        let near = f64::from_bits(0x4330_0000_0000_0000 + (bits >> 9));
        numbers.extend(
            [f64::from_bits(bits), near]
                .into_iter()
                .filter(|number| number.is_finite()),
        );
    }
    let written = [NamedColumn {
        field: field.clone(),
        column: Arc::new(FieldColumn::of(FieldValues::F64(numbers.clone()))),
    }];
    let mut values = Column::default();
    for index in 0..numbers.len() {
        let mut buffer = Vec::new();
        write_extended(b"{}", &written, index, &mut buffer).unwrap();
        values.push(&buffer);
    }
    let mut extraction = Extraction::of(vec![(field, FieldType::F64)]);
    extraction.extend(&values, 0..values.len());
    assert_eq!(*extraction.finish()[0].column, *written[0].column);
}

use proptest::prelude::*;

use super::*;
use crate::records::cells::ColumnType;
use crate::records::{Extract, Reading, Script, Text};
use dirigo_connect::Format;
use dirigo_connect::source::{Intake, Read, ReadLimit};
use dirigo_ground::batch::Column;
use dirigo_ground::clock::ManualClock;
use dirigo_ground::fields::{FieldColumn, NamedColumn};
use dirigo_ground::values::Values;
use dirigo_pipeline::keys::Choice;

const LIMIT: ReadLimit = ReadLimit {
    events: 1_000,
    bytes: 1 << 20,
};

fn field(name: &str) -> Arc<Field> {
    Arc::new(Field::new(name).unwrap())
}

fn column_type(word: &str) -> ColumnType {
    let mut words = ColumnType::WORDS.iter();
    words.find(|(other, _)| *other == word).expect("it is a type").1
}

fn reading(types: &[(&str, &str)], nulls: &[&str], reads: &[Wanted]) -> Reading {
    let to_type = |&(name, word): &(&str, &str)| (name.to_owned(), column_type(word));
    Reading {
        cells: Arc::new(CellRules {
            types: types.iter().map(to_type).collect(),
            nulls: nulls.iter().map(|&null| null.to_owned()).collect(),
        }),
        reads: reads.into(),
        ..Reading::plain(Format::Csv)
    }
}

/// What is read of a text, of whose events these fields are wanted.
fn read(text: &str, reading: &Reading, wanted: &[Wanted]) -> Result<Intake, String> {
    let clock = Arc::new(ManualClock::new(7));
    let mut text = Text::new("`in.csv`".to_owned(), Script::new([text]), reading.clone(), clock);
    let mut intake = Intake::wanting(wanted);
    while text.read(&mut intake, LIMIT).map_err(|error| error.to_string())? != Read::End {}
    Ok(intake)
}

fn payloads(intake: &mut Intake) -> Arc<Column> {
    intake.take_values().to_column()
}

fn shown(payloads: &Column) -> Vec<String> {
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    payloads.iter().map(text).collect()
}

/// A column without the difference between a bitmap of ones and none, and without what stands where there is no value.
fn seen(NamedColumn { column, .. }: &NamedColumn) -> (Vec<Option<String>>, Vec<u32>) {
    let value = |index: usize| {
        let one = u32::try_from(index).unwrap();
        let FieldColumn { values, .. } = &**column;
        column.is_valid(index).then(|| format!("{:?}", values.gather(&[one])))
    };
    ((0..column.len()).map(value).collect(), column.mistyped.clone())
}

const CELLS: &[&str] = &[
    "",
    "\"\"",
    "NA",
    "\"NA\"",
    "0",
    "-0",
    "12",
    "007",
    "1.50",
    "-1.5e3",
    "12E3",
    "1e400",
    ".5",
    "+7",
    "1.",
    "9007199254740993",
    "+9007199254740993",
    "-09007199254740993.",
    "9223372036854775808",
    "123456789012345678901234567890",
    "true",
    "TRUE",
    "false",
    "null",
    "abc",
    "é\u{1f600}",
    "\u{fffd}",
    " 1",
    "1 ",
    "\"a,b\"",
    "\"say \"\"x\"\"\"",
    "\"two\nlines\"",
    "\"12\"",
    "\"12\"3",
    "a\"b",
    "\\",
    "\u{1}",
    "\t",
    "AAH/",
    "{}",
    "[1]",
    "\"{\"\"b\"\": [1, \n 2]}\"",
    "\"{\"\"b\"\":{\"\"c\"\":null},\"\"b\"\":\"\"é\"\"}\"",
    "\"[7,8]\"",
    "\"\"\"x\"\"\"",
];

const NULLS: &[&[&str]] = &[&[""], &["", "\"\""], &["", "NA"], &[], &["-0"]];

const WANTED: &[&str] = &["a", "/b", "/a/b", "/a/0", "/b/b/c", "missing", "c~d", "/c~0d"];

const TYPES: [FieldType; 6] = [
    FieldType::Boolean,
    FieldType::S64,
    FieldType::F64,
    FieldType::Text,
    FieldType::Bytes,
    FieldType::Json,
];

proptest! {
    #[test]
    fn cells_make_the_columns_that_their_json_makes(
        records in prop::collection::vec(prop::collection::vec(prop::sample::select(CELLS), 3..=3), 0..20),
        wanted in prop::collection::vec((prop::sample::select(WANTED), prop::sample::select(&TYPES[..])), 0..7),
        types in prop::collection::vec(prop::sample::select(&["", "boolean", "s64", "f64", "text", "json"][..]), 3..=3),
        nulls in prop::sample::select(NULLS),
        are_read in any::<bool>(),
    ) {
        let wanted: Vec<Wanted> = wanted.into_iter().map(|(name, field_type)| (field(name), field_type)).collect();
        let types: Vec<(&str, &str)> =
            ["a", "b", "c~d"].into_iter().zip(types).filter(|(_, word)| !word.is_empty()).collect();
        let records: Vec<String> = records.iter().map(|cells| cells.join(",")).collect();
        let text = format!("a,b,c~d\n{}\n", records.join("\n"));
        let reading = reading(&types, nulls, if are_read { &wanted } else { &[] });
        let mut intake = read(&text, &reading, &wanted).unwrap();
        let payloads = payloads(&mut intake);
        prop_assert_eq!(intake.fields.events(), payloads.len());
        let mut scanned = Extraction::of(wanted);
        scanned.extend(&payloads, 0..payloads.len());
        prop_assert!(payloads.iter().all(|payload| dirigo_json::is_json(payload) && !payload.contains(&b'\n')));
        for (direct, scanned) in intake.fields.finish().iter().zip(scanned.finish()) {
            prop_assert_eq!(seen(direct), seen(&scanned), "{} of {:?}", &direct.field, shown(&payloads));
        }
    }
}

#[test]
fn a_column_has_the_type_that_it_is_given() {
    let types = [
        ("code", "text"),
        ("qty", "s64"),
        ("on", "boolean"),
        ("more", "json"),
        ("price", "f64"),
    ];
    let text = "code,qty,on,more,price\n\
        007,007,TRUE,\"{\"\"a\"\": 1}\",1.10\n\
        12E3,1.20e1,false,null,.5\n\
        1.10,,,,\n\
        x,12.5,true,1,1\n\
        x,1,yes,1,1\n\
        x,1,true,{,1\n\
        x,1,true,1,inf\n\
        x,\"1\",\"true\",\" [1] \",\"2\"\n";
    let mut intake = read(text, &reading(&types, &[""], &[]), &[]).unwrap();
    assert_eq!(
        shown(&payloads(&mut intake)),
        [
            r#"{"code":"007","qty":7,"on":true,"more":{"a": 1},"price":1.10}"#,
            r#"{"code":"12E3","qty":1.20e1,"on":false,"more":null,"price":0.5}"#,
            r#"{"code":"1.10","qty":null,"on":null,"more":null,"price":null}"#,
            r#"{"code":"x","qty":1,"on":true,"more":[1],"price":2}"#,
        ]
    );
    let refused: Vec<(u64, &str)> = intake
        .refused
        .iter()
        .map(|refused| (refused.position, &*refused.reason))
        .collect();
    assert_eq!(
        refused,
        [
            (
                5,
                "column `qty` is \"12.5\", and `fields` says s64: an integer of 64 bits, such as `-12`"
            ),
            (
                6,
                "column `on` is \"yes\", and `fields` says boolean: `true` or `false`"
            ),
            (7, "column `more` is \"{\", and `fields` says json: one JSON value"),
            (
                8,
                "column `price` is \"inf\", and `fields` says f64: a number that 64 bits hold, such as `-1.5e3`"
            ),
        ]
    );
}

#[test]
fn no_payload_is_larger_than_it_counts_but_for_escapes() {
    let cells = [
        "",
        "NA",
        ".5",
        "-.5",
        "1.e15",
        "+7",
        "007",
        "1e300",
        "9007199254740993.",
        "true",
        "x",
        "[1]",
    ];
    for word in ["", "boolean", "s64", "f64", "text", "json"] {
        let types: &[(&str, &str)] = if word.is_empty() { &[] } else { &[("a", word)] };
        for cell in cells {
            let text = format!("a,b\n{cell},1\n");
            let mut intake = read(&text, &reading(types, &["", "NA"], &[]), &[]).unwrap();
            let values = intake.take_values();
            let bytes = values.to_column().bytes().len();
            assert!(
                bytes <= values.size(),
                "{cell:?} as {word:?}: {bytes} bytes, {} counted",
                values.size()
            );
        }
    }
}

#[test]
fn json_in_a_cell_may_be_nested_as_deeply_as_the_event_may() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let text = format!("more\n{}\n{}\n", nested(128), nested(129));
    let mut intake = read(&text, &reading(&[("more", "json")], &[""], &[]), &[]).unwrap();
    assert_eq!(
        intake.refused.len(),
        1,
        "the innermost list would lie in 129 containers"
    );
    assert!(dirigo_json::is_json(payloads(&mut intake).get(0)));
}

#[test]
fn a_column_without_a_type_is_text_where_it_is_read_as_nothing_else() {
    let text = "code,qty\n123,1\nA12,2\n";
    let read_as = |reads: &[Wanted]| shown(&payloads(&mut read(text, &reading(&[], &[""], reads), &[]).unwrap()));
    let (code, qty) = (field("/code"), field("qty"));
    let as_text = [r#"{"code":"123","qty":1}"#, r#"{"code":"A12","qty":2}"#];
    assert_eq!(
        read_as(&[(code.clone(), FieldType::Text), (qty, FieldType::F64)]),
        as_text
    );
    let as_itself = [r#"{"code":123,"qty":1}"#, r#"{"code":"A12","qty":2}"#];
    assert_eq!(
        read_as(&[(code.clone(), FieldType::Text), (code.clone(), FieldType::Json)]),
        as_itself
    );
    assert_eq!(read_as(&[]), as_itself);
    let within = field("/code/0");
    assert_eq!(
        read_as(&[(within.clone(), FieldType::Text)]),
        as_itself,
        "what lies in a cell is no text of the column"
    );
    assert_eq!(
        read_as(&[(code.clone(), FieldType::Text), (within, FieldType::Text)]),
        as_itself
    );
    let typed = reading(&[("code", "json")], &[""], &[(code, FieldType::Text)]);
    assert_eq!(
        shown(&payloads(&mut read(text, &typed, &[]).unwrap())),
        [r#"{"code":123,"qty":1}"#]
    );
}

#[test]
fn what_stands_for_null_can_be_said_and_is_compared_as_it_is_written() {
    let text = "a,b\n,NA\n\"\",\"NA\"\n";
    let read_with = |nulls: &[&str]| shown(&payloads(&mut read(text, &reading(&[], nulls, &[]), &[]).unwrap()));
    assert_eq!(
        read_with(&["", "NA"]),
        [r#"{"a":null,"b":null}"#, r#"{"a":"","b":"NA"}"#]
    );
    assert_eq!(read_with(&[""]), [r#"{"a":null,"b":"NA"}"#, r#"{"a":"","b":"NA"}"#]);
    assert_eq!(read_with(&[]), [r#"{"a":"","b":"NA"}"#, r#"{"a":"","b":"NA"}"#]);
    let by_default = Reading::plain(Format::Csv);
    assert_eq!(
        shown(&payloads(&mut read(text, &by_default, &[]).unwrap())),
        [r#"{"a":null,"b":"NA"}"#, r#"{"a":null,"b":"NA"}"#]
    );
}

#[test]
fn a_type_for_a_column_that_is_not_there_is_refused() {
    let refused = read("code,qty\n", &reading(&[("cod", "text")], &[""], &[]), &[]).unwrap_err();
    assert_eq!(
        refused,
        "cannot read `in.csv` as csv: `fields` gives a type to column `cod`, and there is none: did you mean `code`? the columns are `code` and \
         `qty`"
    );
}

#[test]
fn keys_and_times_are_those_of_typed_cells() {
    let text = "k,t\n007,1\nx,2\n,3\n";
    let pointer = |name: &str| Pointer {
        text: name.to_owned(),
        tokens: vec![name.to_owned()],
    };
    let keyed = |types: &[(&str, &str)]| Reading {
        extract: Extract::new(Some(&pointer("k")), Some(&pointer("t").into())),
        ..reading(types, &[""], &[])
    };
    let keys = |types: &[(&str, &str)]| {
        let intake = read(text, &keyed(types), &[]).unwrap();
        assert_eq!(intake.refused.last().unwrap().reason, "`k` is null");
        let keys = intake.keys.iter().map(|key| String::from_utf8(key.to_vec()).unwrap());
        (keys.collect::<Vec<_>>(), intake.times)
    };
    assert_eq!(keys(&[]), (vec!["007".to_owned(), "x".to_owned()], vec![1, 2]));
    assert_eq!(keys(&[("k", "s64")]), (vec!["7".to_owned()], vec![1]));
    let mut texts = read(text, &keyed(&[("t", "text")]), &[]).unwrap();
    assert!(payloads(&mut texts).is_empty());
    assert!(
        texts.refused[0]
            .reason
            .starts_with("`t` is \"1\", which is not an RFC 3339 time")
    );
}

#[test]
fn what_operators_read_keys_and_times_as_does_not_change_them() {
    let pointer = |name: &str| Pointer {
        text: name.to_owned(),
        tokens: vec![name.to_owned()],
    };
    let reads = [(field("k"), FieldType::Text), (field("t"), FieldType::Text)];
    let reading = Reading {
        extract: Extract::new(Some(&pointer("k")), Some(&pointer("t").into())),
        ..reading(&[], &[""], &reads)
    };
    let mut intake = read("k,t\n007,1700000000000\n", &reading, &[]).unwrap();
    assert_eq!(intake.refused, []);
    assert_eq!(
        (intake.keys.get(0), &*intake.times),
        (&b"007"[..], &[1_700_000_000_000][..])
    );
    assert_eq!(shown(&payloads(&mut intake)), [r#"{"k":"007","t":"1700000000000"}"#]);
}

#[test]
fn payloads_of_files_with_one_header_are_joined_as_they_are() {
    let reading = reading(&[], &[""], &[]);
    let of = |text: &str| read(text, &reading, &[]).unwrap().take_values();
    let [first, second, other] = ["a,b\n1,2\n", "a,b\n3,4\n", "b,a\n5,6\n"].map(of);
    assert!(second.is_alike(&first) && !other.is_alike(&first));
    assert!(!Values::concat([&first, &second].into_iter()).are_bytes());
    let all = Values::concat([&first, &second, &other].into_iter());
    assert_eq!(
        shown(&all.to_column()),
        [r#"{"a":1,"b":2}"#, r#"{"a":3,"b":4}"#, r#"{"b":5,"a":6}"#]
    );
}

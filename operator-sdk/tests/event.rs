//! What `#[derive(Event)]` makes of structs, through an operator of each kind.

use dirigo_operator::{fields::FieldType, prelude::*, testing::Tester};
use serde_json::json;

#[derive(Event)]
struct Reading {
    sensor: String,
    #[event(name = "/data/value")]
    value: f64,
    count: Option<u8>,
    is_late: Option<bool>,
    tags: Vec<String>,
}

#[derive(Event)]
struct Summary {
    label: String,
    twice: f64,
    count: Option<i32>,
    tags: Vec<String>,
}

struct Summarise;

#[operator]
impl Map for Summarise {
    type Config = NoConfig;
    type Event = Reading;
    type Output = Extend<Summary>;

    fn open(_: NoConfig) -> Result<Self> {
        Ok(Summarise)
    }

    fn map(&mut self, event: &Reading) -> Result<Extend<Summary>> {
        if event.value < 0.0 {
            reject!("{} is negative", event.value);
        }
        Ok(Extend(Summary {
            label: format!(
                "{}{}",
                event.sensor,
                if event.is_late == Some(true) { " (late)" } else { "" }
            ),
            twice: event.value * 2.0,
            count: event.count.map(|count| i32::from(count) - 300),
            tags: event.tags.iter().rev().cloned().collect(),
        }))
    }
}

#[test]
fn fields_of_a_struct_are_columns_of_their_types() {
    let schema = Map::schema(&Summarise);
    let reads: Vec<_> = schema
        .reads
        .iter()
        .map(|read| (read.field.to_string(), read.field_type, read.is_optional))
        .collect();
    let expected = [
        ("sensor", FieldType::Text, false),
        ("/data/value", FieldType::F64, false),
        ("count", FieldType::S64, true),
        ("is_late", FieldType::Boolean, true),
        ("tags", FieldType::Json, false),
    ];
    assert_eq!(
        reads,
        expected.map(|(name, field_type, is_optional)| (name.to_owned(), field_type, is_optional))
    );
    assert!(!schema.raw, "nothing is parsed in the operator");
    let writes: Vec<_> = schema.writes.iter().map(|written| written.field_type).collect();
    assert_eq!(
        writes,
        [FieldType::Text, FieldType::F64, FieldType::S64, FieldType::Json]
    );
}

#[test]
fn an_output_extends_its_event_and_leaves_every_other_byte() {
    let outcome = Tester::<Summarise>::open(&json!({})).unwrap().map([
        r#"{ "sensor":"a", "data": {"value": 1.50, "unit":"C"}, "count":7, "tags":["x","y"] }"#,
        r#"{"sensor":"b","data":{"value":2},"is_late":true,"tags":[],"label":null,"count":null}"#,
    ]);
    assert_eq!(outcome.rejected, []);
    assert_eq!(
        outcome.text(),
        [
            r#"{ "sensor":"a", "data": {"value": 1.50, "unit":"C"}, "count":-293, "tags":["y","x"],"label":"a","twice":3.0 }"#,
            r#"{"sensor":"b","data":{"value":2},"is_late":true,"tags":[],"label":"b (late)","count":null,"twice":4.0}"#,
        ]
    );
}

#[test]
fn an_event_without_a_field_or_with_something_else_there_is_rejected() {
    let outcome = Tester::<Summarise>::open(&json!({})).unwrap().map([
        json!({"sensor": "a", "data": {}, "tags": []}),
        json!({"sensor": 1, "data": {"value": 1}, "tags": []}),
        json!({"sensor": "a", "data": {"value": 1}, "tags": [], "count": 300}),
        json!({"sensor": "a", "data": {"value": 1}, "tags": 7}),
        json!({"sensor": "a", "data": {"value": -1}, "tags": []}),
        json!({"sensor": "a", "data": {"value": 1}, "tags": []}),
    ]);
    let reasons: Vec<_> = (0..6).map(|event| outcome.rejection(event)).collect();
    assert_eq!(
        reasons[..3],
        [
            Some("field `/data/value` is missing"),
            Some("field `sensor` is the number 1, not a string"),
            Some("field `count`: the integer 300 is out of the range of u8"),
        ]
    );
    assert!(
        reasons[3]
            .unwrap()
            .starts_with("field `tags`: invalid type: integer `7`"),
        "{:?}",
        reasons[3]
    );
    assert_eq!(reasons[4..], [Some("-1 is negative"), None]);
    assert_eq!(outcome.outputs.len(), 1);
}

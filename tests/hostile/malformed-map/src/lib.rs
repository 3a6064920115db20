//! A map whose results break the contract, in the way that its configuration names. Written without the SDK, which would
//! not let it.

#![allow(unsafe_code, reason = "some lies cannot be told in safe code")]

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../wit", world: "map-operator" });

use dirigo::operator::types::{Batch, Column, Failure, FieldColumn, FieldType, FieldValues, Outputs};
use exports::dirigo::operator::lifecycle::{Field, OutputMode, Schema, Written};

thread_local! {
    static LIE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Liar;

export!(Liar);

impl exports::dirigo::operator::lifecycle::Guest for Liar {
    /// The configuration is `{"lie":"…"}`.
    fn open(config: String) -> Result<Schema, String> {
        let lie = config.split('"').nth(3).ok_or("there is no lie in the configuration")?;
        LIE.set(lie.to_owned());
        Ok(schema(lie))
    }
}

/// Lies about fields come from a guest that writes some; lies about the schema are told here.
fn schema(lie: &str) -> Schema {
    let written = |name: &str, kind| Written {
        name: name.to_owned(),
        kind,
    };
    let read = |name: &str| Field {
        name: name.to_owned(),
        kind: FieldType::F64,
        optional: true,
        exact: false,
    };
    let raw = Schema {
        reads: Vec::new(),
        raw: true,
        writes: Vec::new(),
        outputs: OutputMode::Raw,
    };
    let fields = Schema {
        writes: vec![
            written("f", FieldType::F64),
            written("t", FieldType::Text),
            written("b", FieldType::Boolean),
        ],
        outputs: OutputMode::Replace,
        ..raw
    };
    match lie {
        "schema: a pointer that is none" => Schema {
            reads: vec![read("/a~2")],
            ..fields
        },
        "schema: a field in another" => Schema {
            reads: ["a", "/a/b"]
                .map(|name| Field {
                    kind: FieldType::Json,
                    ..read(name)
                })
                .into(),
            ..fields
        },
        "schema: a text that is exact" => Schema {
            reads: vec![Field {
                kind: FieldType::Text,
                exact: true,
                ..read("a")
            }],
            ..fields
        },
        "schema: 129 fields" => Schema {
            reads: (0..129).map(|field| read(&format!("f{field}"))).collect(),
            ..fields
        },
        "schema: a field twice" => Schema {
            writes: vec![written("f", FieldType::F64), written("/f/g", FieldType::S64)],
            outputs: OutputMode::Extend,
            ..fields
        },
        "schema: fields of raw outputs" => Schema {
            outputs: OutputMode::Raw,
            ..fields
        },
        "schema: a nested field of an object" => Schema {
            writes: vec![written("/f/g", FieldType::F64)],
            ..fields
        },
        lie if lie.starts_with("fields: ") => fields,
        _ => Schema {
            reads: Vec::new(),
            raw: true,
            writes: Vec::new(),
            outputs: OutputMode::Raw,
        },
    }
}

/// Fields as the schema has them, but for the lie.
fn fields(lie: &str, events: usize) -> Outputs {
    let column = |values| FieldColumn { validity: None, values };
    let texts = Column {
        bytes: vec![b'x'; events],
        ends: (1..).take(events).collect(),
    };
    let mut fields = vec![
        column(FieldValues::F64(vec![1.5; events])),
        column(FieldValues::Text(texts.clone())),
        column(FieldValues::Boolean(vec![0xff; events.div_ceil(8)])),
    ];
    let mut values = None;
    match lie {
        "fields: none wrong" => {}
        "fields: one too few" => drop(fields.pop()),
        "fields: one too many" => fields.push(fields[0].clone()),
        "fields: of other types" => fields.swap(0, 1),
        "fields: a number too few" => fields[0].values = FieldValues::F64(vec![1.5; events - 1]),
        "fields: a text too many" => {
            fields[1].values = FieldValues::Text(Column {
                bytes: vec![b'x'; events + 1],
                ends: (1..).take(events + 1).collect(),
            });
        }
        "fields: ends descend" => {
            let mut texts = texts;
            texts.ends[0] = u32::MAX;
            fields[1].values = FieldValues::Text(texts);
        }
        "fields: a text that is none" => {
            let mut texts = texts;
            texts.bytes[0] = 0xff;
            fields[1].values = FieldValues::Text(texts);
        }
        "fields: half a character" => {
            // Together they are UTF-8, and neither is.
            let bytes = "é".repeat(events.div_ceil(2)).into_bytes();
            fields[1].values = FieldValues::Text(Column {
                ends: if events == 1 {
                    vec![2]
                } else {
                    (1..).take(events).collect()
                },
                bytes: bytes[..if events == 1 { 2 } else { events }].to_vec(),
            });
            if events == 1 {
                fields[1].values = FieldValues::Text(Column {
                    bytes: vec![0xc3],
                    ends: vec![1],
                });
            }
        }
        "fields: too few bits" => fields[2].values = FieldValues::Boolean(Vec::new()),
        "fields: too much validity" => fields[0].validity = Some(vec![0xff; events.div_ceil(8) + 1]),
        "fields: values besides" => values = Some(texts),
        "fields: no number" => fields[0].values = FieldValues::F64(vec![f64::NAN; events]),
        _ => panic!("it does not know how to tell the lie {lie:?}"),
    }
    Outputs {
        origins: (0..).take(events).collect(),
        keys: None,
        fields,
        values,
        failures: Vec::new(),
    }
}

impl exports::dirigo::operator::map::Guest for Liar {
    fn map(input: Batch) -> Outputs {
        let events = u32::try_from(input.times.len()).unwrap();
        if let Some(outputs) =
            LIE.with_borrow(|lie| lie.starts_with("fields: ").then(|| fields(lie, input.times.len())))
        {
            return outputs;
        }
        let mut outputs = Outputs {
            origins: (0..events).collect(),
            keys: None,
            fields: Vec::new(),
            values: input.values,
            failures: Vec::new(),
        };
        let Outputs {
            origins,
            keys,
            values,
            failures,
            ..
        } = &mut outputs;
        let values = values.as_mut().expect("it reads them");
        let failure = |index| Failure {
            index,
            message: String::new(),
        };
        LIE.with_borrow(|lie| match lie.as_str() {
            "none" => {}
            "ends descend" => values.ends[0] = u32::MAX,
            "ends stop short" => values.bytes.push(b'x'),
            "ends overrun" => *values.ends.last_mut().unwrap() += 1,
            "a value too few" => {
                values.ends.pop();
                values.bytes.truncate(values.ends.last().map_or(0, |&end| end as usize));
            }
            "a value too many" => values.ends.push(values.bytes.len() as u32),
            "an origin out of range" => *origins.last_mut().unwrap() = events,
            "origins descend" => {
                origins.insert(0, events - 1);
                values.ends.push(values.bytes.len() as u32);
                if events == 1 {
                    origins[0] = u32::MAX;
                }
            }
            "a key too few" => {
                *keys = Some(Column {
                    bytes: Vec::new(),
                    ends: vec![0; events as usize - 1],
                })
            }
            "a failure out of range" => failures.push(failure(events)),
            "a failure twice" => failures.extend([failure(0), failure(0)]),
            "an event passed and failed" => failures.push(failure(0)),
            "a list outside memory" => {
                // SAFETY: there is none, which is the point: the list is handed over and never looked at.
                values.bytes = unsafe { Vec::from_raw_parts(0xffff_0000_u32 as *mut u8, 1 << 20, 1 << 20) };
            }
            "a message that is no text" => {
                // SAFETY: as above.
                let message = unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe]) };
                failures.push(Failure { index: 0, message });
            }
            _ => panic!("it does not know how to tell the lie {lie:?}"),
        });
        outputs
    }
}

//! A process whose results break the contract, in the way that its configuration names: what it puts out under names, and which names it says
//! that it has. Written without the SDK, which would not let it.

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../wit", world: "process-operator-with-named-outputs" });

use dirigo::operator::types::{Batch, Column, Failure, FieldColumn, FieldType, FieldValues, Outputs};
use exports::dirigo::operator::lifecycle::{OutputMode, Schema};
use exports::dirigo::operator::named_outputs::{NamedOutput, ProcessedUnderNames, PutOut, Written};
use exports::dirigo::operator::process::{Advances, Known, Migrated, Processed, Versions};

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
        Ok(Schema {
            reads: Vec::new(),
            raw: true,
            writes: Vec::new(),
            outputs: OutputMode::Raw,
        })
    }
}

impl exports::dirigo::operator::state::Guest for Liar {
    fn layout() -> String {
        String::new()
    }
}

/// A column of `items` items, each one byte long.
fn column(items: usize) -> Column {
    Column {
        bytes: vec![b'x'; items],
        ends: (1..).take(items).collect(),
    }
}

fn floats(items: usize) -> FieldColumn {
    FieldColumn {
        validity: None,
        values: FieldValues::F64(vec![1.5; items]),
    }
}

/// The honest answer: an `x` for each event, by each output.
fn honest(input: &Batch, known: &Known) -> ProcessedUnderNames {
    let events = input.times.len();
    let raw = || Outputs {
        origins: (0..).take(events).collect(),
        keys: None,
        fields: Vec::new(),
        values: Some(column(events)),
        failures: Vec::new(),
    };
    let fields = Outputs {
        fields: vec![floats(events)],
        values: None,
        ..raw()
    };
    let put_out = |output, outputs| PutOut {
        output,
        outputs,
        times: input.times.clone(),
    };
    ProcessedUnderNames {
        processed: Processed {
            states: Column {
                bytes: Vec::new(),
                ends: vec![0; known.keys.ends.len()],
            },
            timers: None,
            outputs: raw(),
            times: input.times.clone(),
            rejected: Vec::new(),
        },
        named: vec![put_out(0, raw()), put_out(1, fields)],
    }
}

fn failure(index: u32) -> Failure {
    Failure {
        index,
        message: "no".to_owned(),
    }
}

impl exports::dirigo::operator::process::Guest for Liar {
    fn state_versions() -> Versions {
        Versions { written: 1, oldest: 1 }
    }

    fn migrate(_: u32, states: Column) -> Migrated {
        Migrated {
            states,
            failures: Vec::new(),
        }
    }

    fn process(_: Batch, _: Vec<u32>, _: Option<Vec<u32>>, _: Option<Advances>, _: Known) -> Processed {
        panic!("the host calls the function that has names")
    }
}

impl exports::dirigo::operator::named_outputs::Guest for Liar {
    fn declared() -> Vec<NamedOutput> {
        let raw = |name: &str| NamedOutput {
            name: name.to_owned(),
            writes: None,
        };
        let fields = |field: &str| NamedOutput {
            name: "shares".to_owned(),
            writes: Some(vec![Written {
                name: field.to_owned(),
                kind: FieldType::F64,
            }]),
        };
        LIE.with_borrow(|lie| match lie.as_str() {
            "declared: late" => vec![raw("late")],
            "declared: twice" => vec![raw("letters"), raw("letters")],
            "declared: a name that is none" => vec![raw("a.b")],
            "declared: too many" => (0..33).map(|number| raw(&format!("n{number}"))).collect(),
            "declared: a nested field" => vec![fields("/f/g")],
            _ => vec![raw("letters"), fields("share")],
        })
    }

    fn process(
        input: Batch,
        _: Vec<u32>,
        _: Option<Vec<u32>>,
        _: Option<Advances>,
        known: Known,
    ) -> ProcessedUnderNames {
        let events = input.times.len();
        let mut answer = honest(&input, &known);
        let [letters, shares] = &mut answer.named[..] else {
            panic!("there are two")
        };
        LIE.with_borrow(|lie| match lie.as_str() {
            "an output out of range" => shares.output = 2,
            "an output twice" => shares.output = 0,
            "outputs fall" => std::mem::swap(letters, shares),
            "a value too few" => letters.outputs.values = Some(column(events - 1)),
            "a key too few" => letters.outputs.keys = Some(column(events - 1)),
            "a time too few" => letters.times = vec![0; events - 1],
            "a time too many" => shares.times = vec![0; events + 1],
            "an origin out of range" => letters.outputs.origins[events - 1] = events as u32,
            "origins fall" => {
                letters.outputs.origins = vec![1, 0];
                letters.outputs.values = Some(column(2));
                letters.times = vec![0; 2];
            }
            "a failure" => {
                letters.outputs = Outputs {
                    origins: Vec::new(),
                    values: None,
                    failures: vec![failure(0)],
                    ..letters.outputs.clone()
                };
                letters.times = Vec::new();
            }
            "no field" => shares.outputs.fields = Vec::new(),
            "a field of another type" => shares.outputs.fields[0].values = FieldValues::S64(vec![1; events]),
            "a number too few" => shares.outputs.fields = vec![floats(events - 1)],
            "values besides" => shares.outputs.values = Some(column(events)),
            "rejected all the same" => answer.processed.rejected = vec![failure(0)],
            "none" => {}
            _ => panic!("it does not know how to tell the lie {lie:?}"),
        });
        answer
    }
}

//! A reduce whose results break the contract, in the way that its configuration names. Written without the SDK, which
//! would not let it.

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../wit", world: "reduce-operator" });

use dirigo::operator::types::{Batch, Column, Failure, Outputs};
use exports::dirigo::operator::reduce::{Folded, Migrated, Versions, Windows};

thread_local! {
    static LIE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Liar;

export!(Liar);

impl exports::dirigo::operator::lifecycle::Guest for Liar {
    /// The configuration is `{"lie":"…"}`.
    fn open(config: String) -> Result<exports::dirigo::operator::lifecycle::Schema, String> {
        let lie = config.split('"').nth(3).ok_or("there is no lie in the configuration")?;
        LIE.set(lie.to_owned());
        Ok(exports::dirigo::operator::lifecycle::Schema {
            reads: Vec::new(),
            raw: true,
            writes: Vec::new(),
            outputs: exports::dirigo::operator::lifecycle::OutputMode::Raw,
        })
    }
}

/// A column of `items` items, each one byte long.
fn column(items: usize) -> Column {
    Column {
        bytes: vec![b'x'; items],
        ends: (1..).take(items).collect(),
    }
}

/// The honest answer: an `x` for every accumulator, and one for every window that closes.
fn honest(open: usize, closing: usize) -> Folded {
    Folded {
        accumulators: column(open),
        outputs: Outputs {
            origins: (0..).take(closing).collect(),
            keys: None,
            fields: Vec::new(),
            values: Some(column(closing)),
            failures: Vec::new(),
        },
        rejected: Vec::new(),
    }
}

impl exports::dirigo::operator::reduce::Guest for Liar {
    fn state_versions() -> Versions {
        Versions { written: 2, oldest: 1 }
    }

    fn migrate(_: u32, accumulators: Column) -> Migrated {
        let old = accumulators.ends.len();
        let mut migrated = Migrated {
            accumulators: column(old),
            failures: Vec::new(),
        };
        LIE.with_borrow(|lie| match lie.as_str() {
            "a migrated accumulator too many" => migrated.accumulators = column(old + 1),
            "a migrated accumulator that is empty" => {
                migrated.accumulators = Column {
                    bytes: Vec::new(),
                    ends: vec![0; old],
                }
            }
            "a failed migration out of range" => {
                migrated.failures = vec![Failure {
                    index: old as u32,
                    message: String::new(),
                }]
            }
            _ => {}
        });
        migrated
    }

    fn accumulate(input: Batch, _: Vec<u32>, accumulators: Column, closing: Option<Windows>) -> Folded {
        let (groups, closing) = (
            accumulators.ends.len(),
            closing.map_or(0, |windows| windows.starts.len()),
        );
        let mut folded = honest(groups - closing, closing);
        LIE.with_borrow(|lie| match lie.as_str() {
            "an accumulator too many" => folded.accumulators = column(groups - closing + 1),
            "an empty accumulator" => {
                let ends = vec![0; groups - closing];
                folded.accumulators = Column {
                    bytes: Vec::new(),
                    ends,
                };
            }
            "a window out of range" => {
                folded.outputs.origins = vec![groups as u32];
                folded.outputs.values = Some(column(1));
            }
            "a rejection out of range" => {
                folded.rejected = vec![Failure {
                    index: input.times.len() as u32,
                    message: String::new(),
                }]
            }
            "a finished window out of range" | "a finished window too few" => {}
            _ => panic!("it does not know how to tell the lie {lie:?}"),
        });
        folded
    }

    fn merge(left: Column, _: Column) -> Column {
        left
    }

    fn finish(windows: Windows, _: Column) -> Outputs {
        let windows = windows.starts.len();
        let mut outputs = honest(0, windows).outputs;
        LIE.with_borrow(|lie| match lie.as_str() {
            "a finished window out of range" => outputs.origins[0] = windows as u32,
            "a finished window too few" => outputs.values = Some(column(windows - 1)),
            _ => {}
        });
        outputs
    }
}

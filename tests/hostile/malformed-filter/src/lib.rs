//! A filter whose results break the contract, in the way that its configuration names. Written without the SDK, which
//! would not let it.

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../wit", world: "filter-operator" });

use dirigo::operator::types::{Batch, Failure};
use exports::dirigo::operator::filter::Filtered;

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

impl exports::dirigo::operator::filter::Guest for Liar {
    fn filter(input: Batch) -> Filtered {
        let events = u32::try_from(input.times.len()).unwrap();
        let all: Vec<u32> = (0..events).collect();
        let failure = |index| Failure {
            index,
            message: String::new(),
        };
        let (kept, failures) = LIE.with_borrow(|lie| match lie.as_str() {
            "an event twice" => (vec![0, 0], vec![]),
            "an event out of range" => (vec![events], vec![]),
            "a failure out of range" => (all, vec![failure(events)]),
            "an event kept and failed" => (all, vec![failure(0)]),
            _ => panic!("it does not know how to tell the lie {lie:?}"),
        });
        Filtered { kept, failures }
    }
}

//! A map whose results break the contract, in the way that its configuration names. Written without the SDK, which would
//! not let it.

#![allow(unsafe_code, reason = "some lies cannot be told in safe code")]

use std::cell::RefCell;

wit_bindgen::generate!({ path: "../../../wit", world: "map-operator" });

use dirigo::operator::types::{Batch, Column, Failure, Outputs};

thread_local! {
    static LIE: RefCell<String> = const { RefCell::new(String::new()) };
}

struct Liar;

export!(Liar);

impl exports::dirigo::operator::lifecycle::Guest for Liar {
    /// The configuration is `{"lie":"…"}`.
    fn open(config: String) -> Result<(), String> {
        let lie = config.split('"').nth(3).ok_or("there is no lie in the configuration")?;
        LIE.set(lie.to_owned());
        Ok(())
    }
}

impl exports::dirigo::operator::map::Guest for Liar {
    fn map(input: Batch) -> Outputs {
        let events = u32::try_from(input.times.len()).unwrap();
        let mut outputs = Outputs {
            origins: (0..events).collect(),
            keys: None,
            values: input.values,
            failures: Vec::new(),
        };
        let Outputs {
            origins,
            keys,
            values,
            failures,
        } = &mut outputs;
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

//! Tests of a [`Process`] under a clock of their own.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Event, Outcome, batch, host, outcome};
use crate::{
    Operator, Process, Result,
    columns::{Advances, Batch, Column, Known, Timers, position},
    process::{Steps, process_batch},
};

/// A process under test: it keeps state and timers of keys between calls as the host does, and event time goes on when the test says so.
///
/// ```
/// use dirigo_operator::{prelude::*, testing::{Event, ProcessTester}};
/// use serde_json::json;
///
/// struct Silence;
///
/// #[operator]
/// impl Process for Silence {
///     type Config = NoConfig;
///     type Event = f64;
///     type State = ();
///     type Output = i64;
///     fn open(_: NoConfig) -> Result<Self> { Ok(Silence) }
///     fn event(&mut self, _: &f64, key: &mut Context<'_, Self>) -> Result<()> {
///         key.set_timer("silent", key.time() + 60_000);
///         Ok(())
///     }
///     fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
///         key.push(&timer.time())
///     }
/// }
///
/// # fn main() -> Result<()> {
/// let mut silence = ProcessTester::<Silence>::open(&json!({}))?;
/// let event = |time| Event::from(json!(1.5)).key("a").at(time);
/// silence.events([event(0), event(30_000)]);
/// assert!(silence.advance(60_000).outputs.is_empty());
/// assert_eq!(silence.advance(90_000).json(), [json!(90_000)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ProcessTester<O> {
    operator: O,
    keys: BTreeMap<Vec<u8>, StoredKey>,
}

/// What is kept of a key.
#[derive(Debug, Clone, Default)]
struct StoredKey {
    state: Vec<u8>,
    timers: Vec<(i64, Vec<u8>)>,
}

impl<O: Operator + Process> ProcessTester<O> {
    /// Opens the operator with a configuration, as the host does.
    ///
    /// # Errors
    /// When the operator refuses it.
    pub fn open(config: &Value) -> Result<Self> {
        Ok(Self {
            operator: O::open_json(&config.to_string())?,
            keys: BTreeMap::new(),
        })
    }

    /// Hands events over, in this order, by the first input. Of an event that is rejected nothing stays.
    pub fn events<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) -> Outcome {
        self.events_of(0, events)
    }

    /// Hands events over that come by the input at a place in the `inputs` of the pipeline file.
    pub fn events_of<E: Into<Event>>(&mut self, input: u32, events: impl IntoIterator<Item = E>) -> Outcome {
        let mut all = Outcome::default();
        for (place, event) in events.into_iter().enumerate() {
            let event: Event = event.into();
            let key = event.key.clone();
            let steps = Steps {
                keys: vec![0],
                inputs: Some(vec![input]),
                advances: Advances::default(),
            };
            let schema = Process::schema(&self.operator);
            let provided = host::provide(&schema, &batch([event]));
            match provided.refused.into_iter().next() {
                Some((_, reason)) => all.rejected.push((place, reason)),
                None => self.step(&key, &provided.batch, &steps, place, &mut all),
            }
        }
        all
    }

    /// Lets event time go on for all keys, up to `until` ms since the epoch: the timers fire that are set by then, key after key.
    pub fn advance(&mut self, until: i64) -> Outcome {
        let mut all = Outcome::default();
        let keys: Vec<Vec<u8>> = self.keys.keys().cloned().collect();
        for key in keys {
            let steps = Steps {
                advances: Advances {
                    places: vec![0],
                    keys: vec![0],
                    until: vec![until],
                },
                ..Steps::default()
            };
            let nothing = host::provide(&Process::schema(&self.operator), &batch(Vec::<Event>::new())).batch;
            self.step(&key, &nothing, &steps, 0, &mut all);
        }
        all
    }

    /// The end of the input: the timers fire that are set, and those that they set.
    pub fn end(&mut self) -> Outcome {
        self.advance(i64::MAX)
    }

    /// The state of a key, if the operator keeps some.
    ///
    /// # Panics
    /// When it is not what the operator keeps.
    #[must_use]
    pub fn state(&self, key: impl AsRef<[u8]>) -> Option<O::State> {
        let kept = self.keys.get(key.as_ref())?;
        (!kept.state.is_empty()).then(|| crate::stored::decode(&kept.state))
    }

    /// The timers of a key, by their times: of each the name and the time.
    #[must_use]
    pub fn timers(&self, key: impl AsRef<[u8]>) -> Vec<(String, i64)> {
        let kept = self.keys.get(key.as_ref());
        let timers = kept.into_iter().flat_map(|kept| &kept.timers);
        timers
            .map(|(time, name)| (String::from_utf8_lossy(name).into_owned(), *time))
            .collect()
    }

    /// How many keys something is kept of.
    #[must_use]
    pub fn keys_kept(&self) -> usize {
        self.keys.len()
    }

    /// One step of a key, and what comes of it.
    fn step(&mut self, key: &[u8], batch: &Batch, steps: &Steps, place: usize, all: &mut Outcome) {
        let kept = self.keys.get(key).cloned().unwrap_or_default();
        let known = Known {
            keys: [key].into_iter().collect(),
            states: [&kept.state].into_iter().collect(),
            timers: Some(Timers {
                ends: vec![position(kept.timers.len())],
                times: kept.timers.iter().map(|(time, _)| *time).collect(),
                names: kept.timers.iter().map(|(_, name)| name).collect(),
            }),
        };
        let mut processed = process_batch(&mut self.operator, batch, steps, &known);
        if let Some(failure) = processed.rejected.pop() {
            all.rejected.push((place, failure.message));
            // The host drops timers that fail.
            if let (Some(until), Some(kept)) = (steps.advances.until.first(), self.keys.get_mut(key)) {
                kept.timers.retain(|(time, _)| time > until);
            }
            return;
        }
        let timers = processed.timers.unwrap_or_default();
        let after = StoredKey {
            state: processed.states.get(0).to_vec(),
            timers: timers
                .times
                .iter()
                .copied()
                .zip(timers.names.iter().map(<[u8]>::to_vec))
                .collect(),
        };
        if after.state.is_empty() && after.timers.is_empty() {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.to_vec(), after);
        }
        let schema = Process::schema(&self.operator);
        let none = host::Provided {
            batch: Batch::default(),
            places: Vec::new(),
            refused: Vec::new(),
        };
        let values = host::values(&schema, &Batch::default(), &none, &mut processed.outputs);
        let inherited: Column = [key].into_iter().collect();
        let of_step = outcome(&processed.outputs, &values, &inherited);
        all.outputs.extend(of_step.outputs.into_iter().map(|mut output| {
            output.origin = place;
            output
        }));
    }
}

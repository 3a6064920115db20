//! Tests of an operator with plain `cargo test`, through the same code that runs inside the component.
//!
//! ```
//! use dirigo_operator::{prelude::*, testing::Tester};
//! use serde_json::json;
//!
//! struct Threshold(f64);
//!
//! #[operator]
//! impl Filter for Threshold {
//!     type Config = f64;
//!     type Event = f64;
//!     fn open(threshold: f64) -> Result<Self> { Ok(Threshold(threshold)) }
//!     fn keep(&mut self, event: &f64) -> Result<bool> { Ok(*event > self.0) }
//! }
//!
//! # fn main() -> Result<()> {
//! let mut threshold = Tester::<Threshold>::open(&json!(20.0))?;
//! let outcome = threshold.filter([json!(19.0), json!(21.5), json!("warm")]);
//! assert_eq!(outcome.json(), [json!(21.5)]);
//! assert!(outcome.rejection(2).unwrap().contains("invalid type"));
//! # Ok(())
//! # }
//! ```

mod host;
pub(crate) mod process;

pub use process::ProcessTester;

use serde_json::Value;

use crate::{
    Filter, FlatMap, Map, Operator, Reduce, Result, Schema,
    columns::{Batch, Column, Failure, Outputs, Windows, position},
    filter::filter_batch,
    map::{flat_map_batch, map_batch},
    reduce::{accumulate_batch, finish_batch, merge_batch},
};

/// An event to test with: made from a JSON value, or from text or bytes that are to arrive as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    time: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Event {
    /// The same event with a key; without, it has the empty one.
    #[must_use]
    pub fn key(self, key: impl AsRef<[u8]>) -> Event {
        Event {
            key: key.as_ref().to_vec(),
            ..self
        }
    }

    /// The same event at this time, in ms since the epoch; without, it is at 0.
    #[must_use]
    pub fn at(self, time: i64) -> Event {
        Event { time, ..self }
    }
}

impl From<Value> for Event {
    fn from(value: Value) -> Event {
        Event {
            value: value.to_string().into_bytes(),
            ..Event::default()
        }
    }
}

impl From<&str> for Event {
    fn from(text: &str) -> Event {
        Event::from(text.as_bytes())
    }
}

impl From<&[u8]> for Event {
    fn from(value: &[u8]) -> Event {
        Event {
            value: value.to_vec(),
            ..Event::default()
        }
    }
}

/// A batch of the values of these events, as the host would hand it to an operator that reads those.
pub fn batch<E: Into<Event>>(events: impl IntoIterator<Item = E>) -> Batch {
    let none = Batch {
        values: Some(Column::default()),
        ..Batch::default()
    };
    events
        .into_iter()
        .map(Into::into)
        .fold(none, |mut batch, event: Event| {
            batch.times.push(event.time);
            batch.keys.push(&event.key);
            batch.values.get_or_insert_default().push(&event.value);
            batch
        })
}

/// What an operator put out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The place of what it came from: an event, or for a reduce a window in the order of the keys; for a process the event,
    /// or 0 for a timer.
    pub origin: usize,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What became of the events of a test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What the operator put out; for a filter, the events that it kept.
    pub outputs: Vec<Output>,
    /// The places of what it rejected, with the reasons.
    pub rejected: Vec<(usize, String)>,
}

impl Outcome {
    /// The outputs as JSON.
    ///
    /// # Panics
    /// When one of them is not JSON.
    #[must_use]
    pub fn json(&self) -> Vec<Value> {
        let parse = |output: &Output| serde_json::from_slice(&output.value).expect("every output is JSON");
        self.outputs.iter().map(parse).collect()
    }

    /// The outputs as text.
    #[must_use]
    pub fn text(&self) -> Vec<String> {
        self.outputs
            .iter()
            .map(|output| String::from_utf8_lossy(&output.value).into_owned())
            .collect()
    }

    /// Why the event at this place was rejected, if it was.
    #[must_use]
    pub fn rejection(&self, place: usize) -> Option<&str> {
        self.rejected
            .iter()
            .find(|(index, _)| *index == place)
            .map(|(_, message)| message.as_str())
    }
}

/// An operator under test.
#[derive(Debug)]
pub struct Tester<O> {
    operator: O,
}

impl<O: Operator> Tester<O> {
    /// Opens the operator with a configuration, as the host does.
    ///
    /// # Errors
    /// When the operator refuses it.
    pub fn open(config: &Value) -> Result<Tester<O>> {
        Ok(Tester {
            operator: O::open_json(&config.to_string())?,
        })
    }
}

impl<O> Tester<O> {
    fn run<E: Into<Event>>(
        &mut self,
        schema: &Schema,
        events: impl IntoIterator<Item = E>,
        run: impl FnOnce(&mut O, &Batch) -> Outputs,
    ) -> Outcome {
        let batch = batch(events);
        let provided = host::provide(schema, &batch);
        let mut outputs = run(&mut self.operator, &provided.batch);
        let values = host::values(schema, &batch, &provided, &mut outputs);
        let mut outcome = outcome(&outputs, &values, &provided.batch.keys);
        for output in &mut outcome.outputs {
            output.origin = provided.places[output.origin];
        }
        outcome.rejected = host::at_place(&provided, outputs.failures);
        outcome
    }
}

impl<O: Map> Tester<O> {
    /// Maps events.
    pub fn map<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) -> Outcome {
        self.run(&Map::schema(&self.operator), events, map_batch)
    }
}

impl<O: FlatMap> Tester<O> {
    /// Maps events.
    pub fn flat_map<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) -> Outcome {
        self.run(&FlatMap::schema(&self.operator), events, flat_map_batch)
    }
}

impl<O: Filter> Tester<O> {
    /// Filters events.
    pub fn filter<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) -> Outcome {
        let batch = batch(events);
        let provided = host::provide(&Filter::schema(&self.operator), &batch);
        let filtered = filter_batch(&mut self.operator, &provided.batch);
        let values = batch.values.unwrap_or_default();
        let kept = |&place: &u32| {
            let origin = provided.places[place as usize];
            Output {
                origin,
                key: batch.keys.get(origin).to_vec(),
                value: values.get(origin).to_vec(),
            }
        };
        Outcome {
            outputs: filtered.kept.iter().map(kept).collect(),
            rejected: host::at_place(&provided, filtered.failures),
        }
    }
}

impl<O: Reduce> Tester<O> {
    /// Folds the events of each key into one window, from its first event to its last, and finishes the windows in the
    /// order in which the keys came.
    pub fn reduce<E: Into<Event>>(&mut self, events: impl IntoIterator<Item = E>) -> Outcome {
        self.reduce_parts([events])
    }

    /// Like [`reduce`](Tester::reduce), but folds each part of the events on its own and merges the parts, which this
    /// version of the host never does. However the events are split, the outputs should be the same.
    pub fn reduce_parts<E: Into<Event>, P: IntoIterator<Item = E>>(
        &mut self,
        parts: impl IntoIterator<Item = P>,
    ) -> Outcome {
        let parts: Vec<Batch> = parts.into_iter().map(batch).collect();
        let mut windows = Windows::default();
        let groups: Vec<Vec<u32>> = parts.iter().map(|part| assign(part, &mut windows)).collect();
        let empty: Column = vec![""; windows.len()].into_iter().collect();
        let (mut merged, mut refused, mut events_before) = (empty.clone(), Vec::new(), 0);
        for (part, groups) in parts.iter().zip(&groups) {
            let (folded, failures) = self.fold(part, groups, &empty);
            merged = merge_batch(&mut self.operator, &merged, &folded);
            refused.extend(
                failures
                    .into_iter()
                    .map(|(place, reason)| (events_before + place, reason)),
            );
            events_before += part.len();
        }
        let schema = Schema {
            reads: Vec::new(),
            ..Reduce::schema(&self.operator)
        };
        let mut outputs = finish_batch(&mut self.operator, &windows, &merged);
        let whole = Batch::default();
        let none = host::Provided {
            batch: Batch::default(),
            places: Vec::new(),
            refused: Vec::new(),
        };
        let values = host::values(&schema, &whole, &none, &mut outputs);
        let mut outcome = outcome(&outputs, &values, &windows.keys);
        outcome.rejected = refused;
        outcome.rejected.extend(rejected(outputs.failures));
        outcome
    }

    /// Folds a part; where events are rejected, again without them, as the host does.
    fn fold(&mut self, part: &Batch, groups: &[u32], empty: &Column) -> (Column, Vec<(usize, String)>) {
        let none = Windows::default();
        let schema = Reduce::schema(&self.operator);
        let provided = host::provide(&schema, part);
        let groups_of = |places: &[usize]| -> Vec<u32> { places.iter().map(|&place| groups[place]).collect() };
        let groups_provided = groups_of(&provided.places);
        let folded = accumulate_batch(&mut self.operator, &provided.batch, &groups_provided, empty, &none);
        if folded.rejected.is_empty() {
            return (folded.accumulators, provided.refused);
        }
        let failed = host::at_place(&provided, folded.rejected);
        let is_kept = |place: &usize| !failed.iter().any(|(failed, _)| failed == place);
        let kept: Vec<usize> = (0..part.len()).filter(is_kept).collect();
        let rest = host::part(part, &kept, &schema);
        let again = accumulate_batch(&mut self.operator, &rest, &groups_of(&kept), empty, &none);
        (again.accumulators, failed)
    }
}

/// Finds each event's window by its key, makes the windows that are new, and counts the event in.
fn assign(part: &Batch, windows: &mut Windows) -> Vec<u32> {
    let mut assigned = Vec::with_capacity(part.len());
    for (key, &time) in part.keys.iter().zip(&part.times) {
        let known = windows.keys.iter().position(|other| other == key);
        let window = known.unwrap_or_else(|| {
            windows.keys.push(key);
            windows.starts.push(time);
            windows.ends.push(time);
            windows.counts.push(0);
            windows.panes.push(0);
            windows.len() - 1
        });
        windows.starts[window] = windows.starts[window].min(time);
        windows.ends[window] = windows.ends[window].max(time);
        windows.counts[window] += 1;
        assigned.push(position(window));
    }
    assigned
}

fn outcome(outputs: &Outputs, values: &Column, inherited: &Column) -> Outcome {
    let keys = outputs.keys.as_ref();
    let output = |(index, &origin): (usize, &u32)| {
        let origin = origin as usize;
        let key = keys
            .map_or_else(|| inherited.get(origin), |keys| keys.get(index))
            .to_vec();
        Output {
            origin,
            key,
            value: values.get(index).to_vec(),
        }
    };
    Outcome {
        outputs: outputs.origins.iter().enumerate().map(output).collect(),
        rejected: Vec::new(),
    }
}

fn rejected(failures: Vec<Failure>) -> Vec<(usize, String)> {
    failures
        .into_iter()
        .map(|failure| (failure.index as usize, failure.message))
        .collect()
}

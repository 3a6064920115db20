//! The stateless kinds: from each event to one value, or to any number of them.

use std::{borrow::Borrow, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    codec::{Decode, Encode, for_each_event},
    columns::{self, Batch, Column, Failure, Writing, position},
    fields::Schema,
    json::{JsonBuf, Place},
    progress,
};

/// An operator that turns each event into one value.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// #[derive(Serialize, Deserialize)]
/// struct Reading { sensor: String, celsius: f64 }
///
/// #[derive(Serialize)]
/// struct Converted { sensor: String, fahrenheit: f64 }
///
/// struct Convert;
///
/// #[operator]
/// impl Map for Convert {
///     type Config = NoConfig;
///     type Event = Reading;
///     type Output = Converted;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Convert)
///     }
///
///     fn map(&mut self, event: &Reading) -> Result<Converted> {
///         Ok(Converted { sensor: event.sensor.clone(), fahrenheit: event.celsius * 1.8 + 32.0 })
///     }
/// }
/// # fn main() {}
/// ```
pub trait Map: Sized {
    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;
    /// What becomes of it.
    type Output: Encode;

    /// Prepares the operator, once per activation.
    ///
    /// # Errors
    /// When the configuration makes no sense; the pipeline doesn't start.
    fn open(config: Self::Config) -> Result<Self>;

    /// What it reads and writes: the fields of its event type and of its output type. An operator whose configuration names fields says
    /// so here.
    fn schema(&self) -> Schema {
        Schema::of::<Self::Event, Self::Output>()
    }

    /// Maps an event.
    ///
    /// # Errors
    /// Rejects the event.
    fn map(&mut self, event: &Self::Event) -> Result<Self::Output>;
}

/// An operator that turns each event into any number of values, with keys of their own if it likes.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// struct Words;
///
/// #[operator]
/// impl FlatMap for Words {
///     type Config = NoConfig;
///     type Event = String;
///     type Output = str;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Words)
///     }
///
///     fn flat_map(&mut self, line: &String, out: &mut Outputs<'_, str>) -> Result<()> {
///         line.split_whitespace().try_for_each(|word| out.push_keyed(word, word))
///     }
/// }
/// # fn main() {}
/// ```
pub trait FlatMap: Sized {
    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;
    /// What becomes of it.
    type Output: Encode + ?Sized;

    /// Prepares the operator, once per activation.
    ///
    /// # Errors
    /// When the configuration makes no sense; the pipeline doesn't start.
    fn open(config: Self::Config) -> Result<Self>;

    /// What it reads and writes, as for [`Map::schema`].
    fn schema(&self) -> Schema {
        Schema::of::<Self::Event, Self::Output>()
    }

    /// Maps an event.
    ///
    /// # Errors
    /// Rejects the event, and drops what it has pushed.
    fn flat_map(&mut self, event: &Self::Event, out: &mut Outputs<'_, Self::Output>) -> Result<()>;
}

/// Where a [`FlatMap`] puts what it makes of an event.
#[derive(Debug)]
pub struct Outputs<'a, O: ?Sized> {
    written: &'a mut Written,
    batch: &'a Batch,
    origin: u32,
    output: PhantomData<fn(&O)>,
}

/// What a [`FlatMap`] has put out.
#[derive(Debug)]
struct Written {
    origins: Vec<u32>,
    keys: Option<Column>,
    writing: Writing,
    failures: Vec<Failure>,
}

impl<O: Encode + ?Sized> Outputs<'_, O> {
    /// Appends a value that bears the key of the event.
    ///
    /// # Errors
    /// When the value has no encoding.
    #[inline]
    pub fn push(&mut self, value: &O) -> Result<()> {
        self.push_with(value, None)
    }

    /// Appends a value with a key of its own.
    ///
    /// # Errors
    /// When the value has no encoding.
    pub fn push_keyed(&mut self, key: impl AsRef<[u8]>, value: &O) -> Result<()> {
        self.push_with(value, Some(key.as_ref()))
    }

    #[inline]
    fn push_with(&mut self, value: &O, key: Option<&[u8]>) -> Result<()> {
        self.push_written(key, |writing| writing.push(value))
    }

    #[inline]
    fn push_written(&mut self, key: Option<&[u8]>, write: impl FnOnce(&mut Writing) -> Result<()>) -> Result<()> {
        // An operator may go on without this value, so nothing of one stays that cannot be written.
        write(&mut self.written.writing)?;
        if key.is_some() && self.written.keys.is_none() {
            self.written.keys = Some(inherited_keys(&self.written.origins, self.batch));
        }
        if let Some(keys) = &mut self.written.keys {
            keys.push(key.unwrap_or_else(|| self.batch.keys.get(self.origin as usize)));
        }
        self.written.origins.push(self.origin);
        Ok(())
    }
}

impl Outputs<'_, JsonBuf> {
    /// Appends what [`Place::set`] returns: the document of the place with this value there. It is written to where it
    /// travels from, so that an edit allocates and copies nothing besides.
    ///
    /// # Errors
    /// When there is no object for the field to be in, or the value doesn't serialize.
    #[inline]
    pub fn push_edited<T: Serialize + ?Sized>(&mut self, place: &Place<'_, '_>, value: &T) -> Result<()> {
        self.push_written(None, |writing| {
            writing.push_written(|buffer| Ok(place.write_edited(value, buffer)?))
        })
    }
}

/// The keys column begins with the first key that an operator sets: the values before it keep theirs.
#[cold]
fn inherited_keys(origins: &[u32], batch: &Batch) -> Column {
    origins.iter().map(|&origin| batch.keys.get(origin as usize)).collect()
}

/// Runs a [`Map`] over a batch. Public for the generated glue, for tests, and to measure against.
#[doc(hidden)]
pub fn map_batch<O: Map>(operator: &mut O, batch: &Batch) -> columns::Outputs {
    let mut writing = Writing::of::<O::Output>(batch.len(), values_capacity(batch));
    let mut failures = Vec::new();
    for_each_event::<O::Event>(batch, |origin, event| {
        progress::at_event(origin);
        let mapped = O::Event::decode(event)
            .and_then(|event| operator.map(event.borrow()))
            .and_then(|output| writing.push(&output));
        if let Err(error) = mapped {
            failures.push(Failure {
                index: origin,
                message: error.into_message(),
            });
        }
    });
    progress::at_no_event();
    let (fields, values) = writing.finish();
    columns::Outputs {
        origins: all_but(&failures, batch.len()),
        keys: None,
        fields,
        values,
        failures,
    }
}

/// The places of a batch that were not rejected.
fn all_but(failures: &[Failure], events: usize) -> Vec<u32> {
    let places = 0..position(events);
    if failures.is_empty() {
        return places.collect();
    }
    let mut failed = failures.iter().map(|failure| failure.index).peekable();
    places.filter(|place| failed.next_if_eq(place).is_none()).collect()
}

/// Runs a [`FlatMap`] over a batch, as [`map_batch`] does.
#[doc(hidden)]
pub fn flat_map_batch<O: FlatMap>(operator: &mut O, batch: &Batch) -> columns::Outputs {
    let mut written = Written {
        origins: Vec::with_capacity(batch.len()),
        keys: None,
        writing: Writing::of::<O::Output>(batch.len(), values_capacity(batch)),
        failures: Vec::new(),
    };
    for_each_event::<O::Event>(batch, |origin, event| {
        progress::at_event(origin);
        let decoded = O::Event::decode(event);
        let put_out = decoded.and_then(|event| {
            let mut outputs = Outputs {
                written: &mut written,
                batch,
                origin,
                output: PhantomData,
            };
            operator.flat_map(event.borrow(), &mut outputs)
        });
        if let Err(error) = put_out {
            reject(&mut written, origin, error);
        }
    });
    progress::at_no_event();
    let (fields, values) = written.writing.finish();
    columns::Outputs {
        origins: written.origins,
        keys: written.keys,
        fields,
        values,
        failures: written.failures,
    }
}

/// Most operators hand on about as much as they get: a field more, a field less.
fn values_capacity(batch: &Batch) -> usize {
    const GROWTH_PER_EVENT: usize = 32;
    batch.values.as_ref().map_or(0, |values| values.bytes.len()) + batch.len() * GROWTH_PER_EVENT
}

/// Takes back what a rejected event has put out.
#[cold]
fn reject(written: &mut Written, origin: u32, error: Error) {
    let before = written
        .origins
        .iter()
        .rposition(|&other| other != origin)
        .map_or(0, |last| last + 1);
    written.origins.truncate(before);
    written.writing.truncate(before);
    if let Some(keys) = &mut written.keys {
        keys.truncate(before);
    }
    written.failures.push(Failure {
        index: origin,
        message: error.into_message(),
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{NoConfig, Raw, reject, testing::batch};

    struct Halve;

    impl Map for Halve {
        type Config = NoConfig;
        type Event = u32;
        type Output = u32;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Halve)
        }

        fn map(&mut self, event: &u32) -> Result<u32> {
            if event % 2 == 1 {
                reject!("{event} is odd");
            }
            Ok(event / 2)
        }
    }

    #[test]
    fn a_rejected_event_leaves_the_others_alone() {
        let outputs = map_batch(&mut Halve, &batch([json!(4), json!(5), json!("six"), json!(8)]));
        assert_eq!(outputs.origins, [0, 3]);
        assert_eq!(outputs.values, Some(["2", "4"].into_iter().collect()));
        assert_eq!(outputs.keys, None);
        let failures: Vec<_> = outputs.failures.iter().map(|f| (f.index, f.message.as_str())).collect();
        assert_eq!(failures[0], (1, "5 is odd"));
        assert_eq!(failures[1].0, 2);
        assert!(
            failures[1].1.contains("invalid type: string \"six\", expected u32"),
            "{}",
            failures[1].1
        );
    }

    struct Reverse;

    impl Map for Reverse {
        type Config = NoConfig;
        type Event = [u8];
        type Output = Raw<Vec<u8>>;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Reverse)
        }

        fn map(&mut self, event: &[u8]) -> Result<Raw<Vec<u8>>> {
            Ok(Raw(event.iter().rev().copied().collect()))
        }
    }

    #[test]
    fn raw_bytes_travel_as_they_are() {
        let outputs = map_batch(&mut Reverse, &batch(["abc", "", "\u{0}x"]));
        assert_eq!(outputs.values, Some([&b"cba"[..], b"", b"x\0"].into_iter().collect()));
    }

    /// Puts out each letter, the capitals as keys of their own, until a digit spoils the event.
    struct Letters;

    impl FlatMap for Letters {
        type Config = NoConfig;
        type Event = [u8];
        type Output = Raw<[u8; 1]>;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(Letters)
        }

        fn flat_map(&mut self, event: &[u8], out: &mut Outputs<'_, Raw<[u8; 1]>>) -> Result<()> {
            for letter in event {
                match letter {
                    b'0'..=b'9' => reject!("a digit"),
                    b'A'..=b'Z' => out.push_keyed([*letter], &Raw([*letter]))?,
                    _ => out.push(&Raw([*letter]))?,
                }
            }
            Ok(())
        }
    }

    #[test]
    fn without_new_keys_there_is_no_keys_column() {
        assert_eq!(flat_map_batch(&mut Letters, &batch(["ab", "", "c"])).keys, None);
    }

    #[test]
    fn outputs_without_a_key_of_their_own_inherit_it() {
        let mut events = batch(["ab", "cD", "e"]);
        events.keys = ["first", "second", "third"].into_iter().collect();
        let outputs = flat_map_batch(&mut Letters, &events);
        assert_eq!(outputs.origins, [0, 0, 1, 1, 2]);
        assert_eq!(
            outputs.keys,
            Some(["first", "first", "second", "D", "third"].into_iter().collect())
        );
    }

    #[test]
    fn a_rejected_event_takes_its_outputs_back() {
        let outputs = flat_map_batch(&mut Letters, &batch(["a", "Bc1", "d"]));
        assert_eq!(outputs.origins, [0, 2]);
        assert_eq!(outputs.values, Some(["a", "d"].into_iter().collect()));
        assert_eq!(outputs.keys, Some(["", ""].into_iter().collect()));
        assert_eq!(
            outputs.failures,
            [Failure {
                index: 1,
                message: "a digit".to_owned()
            }]
        );
    }

    struct TupleKeys;

    impl Map for TupleKeys {
        type Config = NoConfig;
        type Event = [u8];
        type Output = std::collections::BTreeMap<(u8, u8), u8>;

        fn open(_: NoConfig) -> Result<Self> {
            Ok(TupleKeys)
        }

        fn map(&mut self, event: &[u8]) -> Result<Self::Output> {
            Ok(event.iter().map(|&byte| ((byte, byte), byte)).collect())
        }
    }

    #[test]
    fn an_output_without_an_encoding_rejects_the_event_and_leaves_no_bytes() {
        let outputs = map_batch(&mut TupleKeys, &batch(["x", "", "y"]));
        assert_eq!(outputs.values, Some(["{}"].into_iter().collect()));
        assert_eq!(
            outputs.failures[0].message,
            "the output is no JSON: key must be a string"
        );
    }
}

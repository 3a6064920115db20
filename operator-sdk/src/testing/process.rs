//! Tests of a [`Process`] under a clock of their own.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Event, Outcome, Output, batch, host, outcome, rejected};
use crate::{
    DeclaredOutput, Encode, KeyList, KeyMap, ListState, MapKey, MapState, NamedOutput, Operator, Process, Result,
    Schema,
    columns::{Advances, Batch, Column, Known, NamedOutputs, Outputs, Timers, position},
    fields::OutputMode,
    items::{ItemStore, Page, StoredItem},
    outputs,
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
///
/// What is put out under a name waits until the test [takes](Self::take) it.
#[derive(Debug)]
pub struct ProcessTester<O> {
    operator: O,
    keys: BTreeMap<Vec<u8>, StoredKey>,
    /// What was put out under names and not taken, by the names.
    named: BTreeMap<&'static str, Vec<Output>>,
}

/// What is kept of a key.
#[derive(Debug, Clone, Default)]
struct StoredKey {
    state: Vec<u8>,
    timers: Vec<(i64, Vec<u8>)>,
    items: StoredItems,
}

impl StoredKey {
    fn is_empty(&self) -> bool {
        self.state.is_empty() && self.timers.is_empty() && self.items.by_name.is_empty()
    }
}

/// The items of a key.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredItems {
    /// The state version of the operator.
    version: u32,
    by_name: BTreeMap<Vec<u8>, StoredItem>,
}

impl StoredItems {
    fn within(&self, start: &[u8], end: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &StoredItem)> {
        let end = end.filter(|end| *end >= start).or(end.map(|_| start));
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_name.range::<[u8], _>((Bound::Included(start), end))
    }
}

impl ItemStore for StoredItems {
    fn get(&self, _: u32, name: &[u8]) -> Option<StoredItem> {
        self.by_name.get(name).cloned()
    }

    fn set(&mut self, _: u32, name: &[u8], value: &[u8]) -> bool {
        let item = StoredItem {
            version: self.version,
            value: value.to_vec(),
        };
        self.by_name.insert(name.to_vec(), item).is_some()
    }

    fn remove(&mut self, _: u32, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }

    fn remove_range(&mut self, _: u32, start: &[u8], end: Option<&[u8]>) {
        let gone: Vec<Vec<u8>> = self.within(start, end).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.by_name.remove(&name);
        }
    }

    fn range(&self, _: u32, start: &[u8], end: Option<&[u8]>, from_last: bool, max: u32) -> Page {
        let mut within = self.within(start, end);
        let mut next = || if from_last { within.next_back() } else { within.next() };
        let mut page = Page::default();
        while let Some((name, item)) = next() {
            page.has_more = page.items.len() == max as usize;
            if page.has_more {
                break;
            }
            page.items.push((name.clone(), item.clone()));
        }
        page
    }
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
            named: BTreeMap::new(),
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

    /// What was put out under a name since that was last taken.
    ///
    /// ```
    /// use dirigo_operator::{prelude::*, testing::{Event, ProcessTester}};
    /// use serde_json::json;
    ///
    /// const NEGATIVE: NamedOutput<i64> = NamedOutput::new("negative");
    ///
    /// struct Split;
    ///
    /// #[operator]
    /// impl Process for Split {
    ///     const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[&NEGATIVE];
    ///     type Config = NoConfig;
    ///     type Event = i64;
    ///     type State = ();
    ///     type Output = i64;
    ///     fn open(_: NoConfig) -> Result<Self> { Ok(Split) }
    ///     fn event(&mut self, number: &i64, key: &mut Context<'_, Self>) -> Result<()> {
    ///         if *number < 0 { key.push_to(NEGATIVE, number) } else { key.push(number) }
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> {
    /// let mut split = ProcessTester::<Split>::open(&json!({}))?;
    /// assert_eq!(split.events([json!(1), json!(-2)]).json(), [json!(1)]);
    /// assert_eq!(split.take(NEGATIVE).json(), [json!(-2)]);
    /// assert!(split.take(NEGATIVE).outputs.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// When the output does not stand among the [`OUTPUTS`](Process::OUTPUTS) of the operator.
    pub fn take<T: Encode + ?Sized>(&mut self, output: NamedOutput<T>) -> Outcome {
        let name = O::OUTPUTS[outputs::place_of::<O>(&output)].name();
        Outcome {
            outputs: self.named.remove(name).unwrap_or_default(),
            rejected: Vec::new(),
        }
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

    /// A map of a key, empty where the operator keeps nothing there. What a test changes in it changes what is kept.
    pub fn map<K: MapKey, V: Serialize + DeserializeOwned>(
        &mut self,
        key: impl AsRef<[u8]>,
        map: MapState<K, V>,
    ) -> KeyMap<'_, O, K, V> {
        KeyMap::new(self.items(key.as_ref()), 0, map)
    }

    /// A list of a key, as [`map`](Self::map).
    pub fn list<V: Serialize + DeserializeOwned>(
        &mut self,
        key: impl AsRef<[u8]>,
        list: ListState<V>,
    ) -> KeyList<'_, O, V> {
        KeyList::new(self.items(key.as_ref()), 0, list)
    }

    /// Keeps an item as another version of the operator wrote it.
    #[cfg(test)]
    pub(crate) fn put_item<V: Serialize>(&mut self, key: &str, name: &[u8], version: u32, value: &V) {
        let mut bytes = Vec::new();
        crate::stored::encode_into(value, &mut bytes);
        let item = StoredItem { version, value: bytes };
        self.items(key.as_bytes()).by_name.insert(name.to_vec(), item);
    }

    fn items(&mut self, key: &[u8]) -> &mut StoredItems {
        // One that nothing is kept of is none when keys are counted.
        let items = &mut self.keys.entry(key.to_vec()).or_default().items;
        items.version = O::STATE_VERSION;
        items
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
        let is_kept = |kept: &&StoredKey| !kept.is_empty();
        self.keys.values().filter(is_kept).count()
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
        let mut items = kept.items;
        items.version = O::STATE_VERSION;
        let mut processed = process_batch(&mut self.operator, batch, steps, &known, &mut items);
        let mut of_step = Outcome::default();
        let mut named = Vec::new();
        if processed.rejected.is_empty() {
            of_step = written(&Process::schema(&self.operator), key, &mut processed.outputs);
            for NamedOutputs { output, outputs, .. } in &mut processed.named {
                let declared = O::OUTPUTS[*output as usize];
                let outcome = written(&schema_of(declared), key, outputs);
                of_step.rejected.extend(outcome.rejected);
                named.push((declared.name(), outcome.outputs));
            }
        }
        let unwritable = of_step.rejected.into_iter().map(|(_, message)| message);
        let mut rejected = processed
            .rejected
            .into_iter()
            .map(|failure| failure.message)
            .chain(unwritable);
        if let Some(message) = rejected.next() {
            all.rejected.push((place, message));
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
            items,
        };
        if after.is_empty() {
            self.keys.remove(key);
        } else {
            self.keys.insert(key.to_vec(), after);
        }
        let at_place = |output: Output| Output {
            origin: place,
            ..output
        };
        all.outputs.extend(of_step.outputs.into_iter().map(at_place));
        for (name, outputs) in named {
            let waiting = self.named.entry(name).or_default();
            waiting.extend(outputs.into_iter().map(at_place));
        }
    }
}

/// What a step of a key puts out to an output of this schema, and why some of it cannot be written.
fn written(schema: &Schema, key: &[u8], outputs: &mut Outputs) -> Outcome {
    let none = host::Provided {
        batch: Batch::default(),
        places: Vec::new(),
        refused: Vec::new(),
    };
    let values = host::values(schema, &Batch::default(), &none, outputs);
    let inherited: Column = [key].into_iter().collect();
    let failures = std::mem::take(&mut outputs.failures);
    Outcome {
        rejected: rejected(failures),
        ..outcome(outputs, &values, &inherited)
    }
}

/// What an output with a name is to the host.
fn schema_of(output: &dyn DeclaredOutput) -> Schema {
    let writes = output.writes();
    Schema {
        reads: Vec::new(),
        raw: false,
        outputs: if writes.is_some() {
            OutputMode::Replace
        } else {
            OutputMode::Raw
        },
        writes: writes.unwrap_or_default(),
    }
}

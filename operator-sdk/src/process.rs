//! The kind with state and timers by key.
//!
//! Owns how a row of steps becomes calls of an operator: which timers fire at a step, and in which order. When a step comes, and where state
//! and timers are kept, is the host's business.

mod timers;
mod written;

use std::{borrow::Borrow, fmt, rc::Rc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result,
    codec::{Decode, Encode, Encoded, for_each_event},
    columns::{Advances, Batch, Column, Failure, Known, Migrated, NamedOutputs, Processed, Timers, position},
    fields::Schema,
    items::{self, ItemState, ItemStore, KeyList, KeyMap, ListState, MapKey, MapState, MigratedItem},
    layout,
    outputs::{self, DeclaredOutput, NamedOutput},
    progress,
    stored::{self, Stored, migrate_all},
};
use timers::KeyTimers;
use written::{Step, Written};

/// An operator that keeps state for each key, sets timers, and puts out what it likes, when it likes.
///
/// ```
/// use dirigo_operator::prelude::*;
///
/// #[derive(Deserialize)]
/// struct Heartbeat { sensor: String }
///
/// #[derive(Serialize)]
/// struct Alert { sensor: String, silent_since: i64 }
///
/// /// Says which sensors have not been heard of for a minute.
/// struct Silence;
///
/// #[operator]
/// impl Process for Silence {
///     type Config = NoConfig;
///     type Event = Heartbeat;
///     type State = (String, i64);
///     type Output = Alert;
///
///     fn open(_: NoConfig) -> Result<Self> {
///         Ok(Silence)
///     }
///
///     fn event(&mut self, event: &Heartbeat, key: &mut Context<'_, Self>) -> Result<()> {
///         let now = key.time();
///         *key.state() = (event.sensor.clone(), now);
///         key.set_timer("silent", now + 60_000);
///         Ok(())
///     }
///
///     fn timer(&mut self, _: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
///         let (sensor, silent_since) = std::mem::take(key.state());
///         key.forget();
///         key.push(&Alert { sensor, silent_since })
///     }
/// }
/// # fn main() {}
/// ```
///
/// # In which order
/// The pipeline file says so. With `order = "time"` the host keeps the events of a key until the watermark has passed them, and hands
/// them over by their times: timers fire between them, each after the events of its time. Then the outputs depend on the input alone,
/// whatever the order in which events arrive, with any number of inputs. With `order = "arrival"` an event is handed over at once, and a timer
/// fires once the watermark has passed it: events that arrive meanwhile come first.
///
/// A rejected event leaves state and timers as they were. Timers that fail are gone.
///
/// # When the state changes
/// As for the accumulator of a [`Reduce`](crate::Reduce): a change of [`State`](Process::State) raises
/// [`STATE_VERSION`](Process::STATE_VERSION), and [`migrate`](Process::migrate) makes new state of old.
pub trait Process: Sized {
    /// The version of the state that this operator writes: one more with every change that reads old state otherwise.
    const STATE_VERSION: u32 = 1;
    /// The oldest version that [`migrate`](Process::migrate) reads. A pipeline whose state is older, or newer than
    /// [`STATE_VERSION`](Process::STATE_VERSION), is refused before it starts.
    const OLDEST_STATE_VERSION: u32 = Self::STATE_VERSION;

    /// The maps and lists that the operator keeps of a key besides its state: of these, entries are read and written one by one.
    const ITEMS: &'static [&'static dyn ItemState] = &[];

    /// The outputs that the operator has besides its own, each with a name.
    const OUTPUTS: &'static [&'static dyn DeclaredOutput] = &[];

    /// The operator's `config` table in the pipeline file.
    type Config: DeserializeOwned;
    /// What an event is.
    type Event: Decode + ?Sized;
    /// What is kept of a key. It is decoded and encoded once for each batch that has the key, as a whole: keep it small, and what grows in a
    /// [`MapState`] or a [`ListState`].
    type State: Serialize + DeserializeOwned + Default;
    /// What is put out.
    type Output: Encode + ?Sized;

    /// How the state is laid out in bytes, as of [`Reduce::state_layout`](crate::Reduce::state_layout), with that of the
    /// [items](Self::ITEMS).
    #[must_use]
    fn state_layout() -> Option<String> {
        items::layout_with(layout::of::<Self::State>(), Self::ITEMS)
    }

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

    /// Makes state of what an operator of the version `from` kept, which is older than this one's.
    ///
    /// # Errors
    /// When it cannot be read. It stays as it is, and the event that touched it becomes a dead letter.
    fn migrate(&mut self, from: u32, stored: Stored<'_>) -> Result<Self::State> {
        let _ = from;
        Err(stored.unknown())
    }

    /// Makes the value of an entry of a map or a list, of which the name is `map`, of one that an operator of the version `from` wrote. Each is migrated
    /// when it is read; what is not read stays as it is.
    ///
    /// # Errors
    /// When it cannot be read. It stays as it is.
    fn migrate_item(from: u32, map: &str, stored: Stored<'_>) -> Result<MigratedItem> {
        let _ = from;
        Err(items::unknown(map, stored))
    }

    /// Processes an event.
    ///
    /// # Errors
    /// Rejects the event: state and timers of its key stay as they were before it.
    fn event(&mut self, event: &Self::Event, key: &mut Context<'_, Self>) -> Result<()>;

    /// Processes a timer that fires. It is no longer set.
    ///
    /// # Errors
    /// Rejects the timer, and those of its key that fire together with it: they are gone, and a dead letter names them.
    fn timer(&mut self, timer: &Timer, key: &mut Context<'_, Self>) -> Result<()> {
        let _ = key;
        Err(Error::new(format!(
            "the operator has no use for the timer `{}`",
            timer.name()
        )))
    }
}

/// A timer of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    time: i64,
    name: Rc<str>,
}

impl Timer {
    /// When it fires, in ms since the epoch.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What an operator has of a key at an event, or at a timer.
pub struct Context<'a, O: Process> {
    key: &'a [u8],
    /// The number of the key.
    number: u32,
    time: i64,
    input: u32,
    step: u32,
    /// Whether this is the end of the input.
    is_end: bool,
    kept: &'a mut Kept<O::State>,
    items: &'a mut dyn ItemStore,
    written: &'a mut Written,
    /// By the place of the output among those of the operator; none before something is put out under a name.
    named: &'a mut Vec<Option<Written>>,
}

impl<O: Process> fmt::Debug for Context<'_, O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Context");
        shown.field("key", &self.key_str()).field("time", &self.time);
        shown.field("timers", &self.kept.timers).finish_non_exhaustive()
    }
}

impl<'a, O: Process> Context<'a, O> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key
    }

    /// The key as text; what is not UTF-8 in it turns into `\u{FFFD}`.
    #[must_use]
    pub fn key_str(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.key)
    }

    /// The time of the event, or of the timer, in ms since the epoch. Outputs bear it.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time
    }

    /// Whether the input has ended, and this is a timer that fires for that. Those that it sets fire, too: a timer that sets itself anew
    /// must not do so then, or it never comes to rest.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.is_end
    }

    /// By which input the event came: its place, from 0, in the `inputs` of the pipeline file. 0 for a timer.
    #[must_use]
    pub fn input(&self) -> usize {
        self.input as usize
    }

    /// The state of the key: [`Default`] where nothing is known of it. From here on it is kept, until it is [forgotten](Self::forget).
    pub fn state(&mut self) -> &mut O::State {
        self.kept.state.get_or_insert_default()
    }

    /// The state of the key, if there is any.
    #[must_use]
    pub fn known(&self) -> Option<&O::State> {
        self.kept.state.as_ref()
    }

    /// A map of the key.
    ///
    /// # Panics
    /// When it does not stand among the [`ITEMS`](Process::ITEMS) of the operator.
    pub fn map<K: MapKey, V: Serialize + DeserializeOwned>(&mut self, map: MapState<K, V>) -> KeyMap<'_, O, K, V> {
        KeyMap::new(self.items, self.number, map)
    }

    /// A list of the key.
    ///
    /// # Panics
    /// When it does not stand among the [`ITEMS`](Process::ITEMS) of the operator.
    pub fn list<V: Serialize + DeserializeOwned>(&mut self, list: ListState<V>) -> KeyList<'_, O, V> {
        KeyList::new(self.items, self.number, list)
    }

    /// Forgets the state of the key, with its maps and lists. Its timers stay set.
    pub fn forget(&mut self) {
        self.kept.state = None;
        if !O::ITEMS.is_empty() {
            self.items.remove_range(self.number, &[], None);
        }
    }

    /// [Forgets](Self::forget) the key once event time has come to `time`, ms since the epoch, in place of the time that was set before. State that
    /// is kept for an hour after the last event: `key.forget_at(key.time() + 3_600_000)` at each event. It is a timer of the
    /// name [`FORGET_TIMER`], which the operator does not get to see.
    pub fn forget_at(&mut self, time: i64) {
        self.set_timer(FORGET_TIMER, time);
    }

    /// Sets a timer, in place of the one of the same name, if that is set. A time that lies before [`time`](Self::time) is taken for that
    /// one.
    pub fn set_timer(&mut self, name: &str, time: i64) {
        self.kept.timers.set(Timer {
            time: time.min(LAST_TIME).max(self.time),
            name: name.into(),
        });
    }

    /// Cancels the timer of this name; says whether it was set.
    pub fn cancel_timer(&mut self, name: &str) -> bool {
        self.kept.timers.cancel(name)
    }

    /// The timers of the key that are set, by their times.
    pub fn timers(&self) -> impl Iterator<Item = &Timer> {
        self.kept.timers.iter()
    }

    /// Puts a value out that bears the key.
    ///
    /// # Errors
    /// When the value has no encoding.
    pub fn push(&mut self, value: &O::Output) -> Result<()> {
        let step = self.step();
        self.written.push(value, None, step)
    }

    /// Puts a value out that bears another key.
    ///
    /// # Errors
    /// When the value has no encoding.
    pub fn push_keyed(&mut self, key: impl AsRef<[u8]>, value: &O::Output) -> Result<()> {
        let step = self.step();
        self.written.push(value, Some(key.as_ref()), step)
    }

    /// Puts a value out under a name. It bears the key.
    ///
    /// # Errors
    /// When the value has no encoding.
    ///
    /// # Panics
    /// When the output does not stand among the [`OUTPUTS`](Process::OUTPUTS) of the operator.
    pub fn push_to<T: Encode + ?Sized>(&mut self, output: NamedOutput<T>, value: &T) -> Result<()> {
        let step = self.step();
        self.written_to(output).push(value, None, step)
    }

    /// Puts a value out under a name that bears another key.
    ///
    /// # Errors
    /// When the value has no encoding.
    ///
    /// # Panics
    /// As [`push_to`](Self::push_to).
    pub fn push_keyed_to<T: Encode + ?Sized>(
        &mut self,
        output: NamedOutput<T>,
        key: impl AsRef<[u8]>,
        value: &T,
    ) -> Result<()> {
        let step = self.step();
        self.written_to(output).push(value, Some(key.as_ref()), step)
    }

    fn step(&self) -> Step<'a> {
        Step {
            number: self.step,
            key: self.key,
            time: self.time,
        }
    }

    fn written_to<T: Encode + ?Sized>(&mut self, output: NamedOutput<T>) -> &mut Written {
        let place = outputs::place_of::<O>(&output);
        self.named.resize_with(O::OUTPUTS.len(), || None);
        self.named[place].get_or_insert_with(|| Written::of::<T>(0))
    }
}

/// The timer of [`Context::forget_at`].
pub const FORGET_TIMER: &str = "dirigo:forget";
/// The last time that a timer can have: one ms behind it the input ends.
const LAST_TIME: i64 = END_OF_INPUT - 2;
/// Up to when timers fire at the end of the input.
const END_OF_INPUT: i64 = i64::MAX;

/// State and timers of a key.
struct Kept<S> {
    state: Option<S>,
    timers: KeyTimers,
}

/// What a call of a process is handed next to the batch.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct Steps {
    /// The number of the key of each event.
    pub keys: Vec<u32>,
    /// By which input each event came.
    pub inputs: Option<Vec<u32>>,
    /// The steps between.
    pub advances: Advances,
}

/// Runs a [`Process`] over a batch. Public for the generated glue and for tests.
#[doc(hidden)]
pub fn process_batch<O: Process>(
    operator: &mut O,
    batch: &Batch,
    steps: &Steps,
    known: &Known,
    items: &mut dyn ItemStore,
) -> Processed {
    let mut call = Call {
        operator,
        items,
        steps,
        keys: known.keys.iter().collect(),
        kept: decoded::<O>(known),
        next_advance: 0,
        written: Written::of::<O::Output>(batch.len()),
        named: Vec::new(),
        rejected: Vec::new(),
    };
    for_each_event::<O::Event>(batch, |place, event| {
        call.advance_before(place);
        call.event(place, event);
    });
    call.advance_before(u32::MAX);
    progress::at_no_event();
    call.finish()
}

/// Brings states of an older version to the one that the operator writes.
#[doc(hidden)]
pub fn migrate_states<O: Process>(operator: &mut O, from: u32, states: &Column) -> Migrated {
    migrate_all(from, O::STATE_VERSION, states, |stored| operator.migrate(from, stored))
}

/// What is known of each key, decoded.
fn decoded<O: Process>(known: &Known) -> Vec<Kept<O::State>> {
    let mut kept: Vec<Kept<O::State>> = known
        .states
        .iter()
        .map(|bytes| Kept {
            state: (!bytes.is_empty()).then(|| stored::decode(bytes)),
            timers: KeyTimers::default(),
        })
        .collect();
    if let Some(timers) = &known.timers {
        let mut start = 0;
        for (key, &end) in kept.iter_mut().zip(&timers.ends) {
            for timer in start..end as usize {
                key.timers.set(Timer {
                    time: timers.times[timer],
                    name: String::from_utf8_lossy(timers.names.get(timer)).into(),
                });
            }
            start = end as usize;
        }
    }
    kept
}

/// A call under way.
struct Call<'a, O: Process> {
    operator: &'a mut O,
    items: &'a mut dyn ItemStore,
    steps: &'a Steps,
    /// By number.
    keys: Vec<&'a [u8]>,
    kept: Vec<Kept<O::State>>,
    /// How many advances were made.
    next_advance: usize,
    written: Written,
    /// See [`Context`].
    named: Vec<Option<Written>>,
    rejected: Vec<Failure>,
}

impl<O: Process> Call<'_, O> {
    /// Makes the advances that come before the event at this place.
    fn advance_before(&mut self, place: u32) {
        while let Some(&before) = self.steps.advances.places.get(self.next_advance)
            && before <= place
        {
            let advance = self.next_advance;
            self.next_advance += 1;
            self.advance(before + position(advance), advance);
        }
    }

    fn advance(&mut self, step: u32, advance: usize) {
        let advances = &self.steps.advances;
        let (key, until) = (advances.keys[advance], advances.until[advance]);
        progress::at_event(step);
        let fired = self.fire(key as usize, step, until);
        self.note(step, fired);
    }

    /// Fires the timers of a key up to a time.
    fn fire(&mut self, key: usize, step: u32, until: i64) -> Result<()> {
        loop {
            let kept = &mut self.kept[key];
            let Some(timer) = kept.timers.take_due(until) else {
                return Ok(());
            };
            let mut context = Context {
                key: self.keys[key],
                number: position(key),
                time: timer.time,
                input: 0,
                step,
                is_end: until == END_OF_INPUT,
                kept,
                items: self.items,
                written: &mut self.written,
                named: &mut self.named,
            };
            if timer.name() == FORGET_TIMER {
                context.forget();
            } else {
                self.operator.timer(&timer, &mut context)?;
            }
        }
    }

    fn event(&mut self, place: u32, event: Encoded<'_>) {
        let step = place + position(self.next_advance);
        let key = self.steps.keys[place as usize] as usize;
        let inputs = self.steps.inputs.as_ref();
        progress::at_event(step);
        let mut context = Context {
            key: self.keys[key],
            number: position(key),
            time: event.time(),
            input: inputs.map_or(0, |inputs| inputs[place as usize]),
            step,
            is_end: false,
            kept: &mut self.kept[key],
            items: self.items,
            written: &mut self.written,
            named: &mut self.named,
        };
        let processed = O::Event::decode(event).and_then(|event| self.operator.event(event.borrow(), &mut context));
        self.note(step, processed);
    }

    fn note(&mut self, step: u32, result: Result<()>) {
        if let Err(error) = result {
            self.rejected.push(Failure {
                index: step,
                message: error.into_message(),
            });
        }
    }

    fn finish(self) -> Processed {
        if !self.rejected.is_empty() {
            return Processed {
                rejected: self.rejected,
                ..Processed::default()
            };
        }
        let (outputs, output_times) = self.written.finish();
        let named = (0..).zip(self.named).filter_map(|(output, written)| {
            let (outputs, times) = written?.finish();
            Some(NamedOutputs { output, outputs, times })
        });
        let named = named.collect();
        let mut states = Column::with_capacity(self.kept.len(), 0);
        let mut timers = Timers::default();
        for kept in &self.kept {
            match &kept.state {
                Some(state) => stored::encode(state, &mut states),
                None => states.push(&[]),
            }
            for timer in kept.timers.iter() {
                timers.times.push(timer.time);
                timers.names.push(timer.name.as_bytes());
            }
            timers.ends.push(position(timers.times.len()));
        }
        Processed {
            states,
            timers: (!timers.times.is_empty()).then_some(timers),
            outputs,
            times: output_times,
            named,
            rejected: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

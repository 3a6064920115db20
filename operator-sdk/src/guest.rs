//! An operator inside a component: the exports of each kind, on top of the functions that run batches.
//!
//! It is thin on purpose: everything that could be wrong is in code that also runs, and is tested, natively.

use std::{
    cell::RefCell,
    marker::PhantomData,
    panic::{self, PanicHookInfo},
    thread::LocalKey,
};

use crate::{
    DeclaredOutput, Filter, FlatMap, Map, Operator, Process, Reduce,
    bindings::{
        filter::exports::dirigo::operator::filter,
        items::dirigo::operator::items,
        lifecycle::{dirigo::operator::host, exports::dirigo::operator::lifecycle},
        map::exports::dirigo::operator::map,
        process::exports::dirigo::operator::{named_outputs, process},
        reduce::exports::dirigo::operator::{merging, reduce},
        settings::exports::dirigo::operator::settings,
        state::exports::dirigo::operator::state,
    },
    columns::{Advances, Batch, Column, Known, NamedOutputs, Outputs, Timers, Windows},
    fields::{self, OutputMode, Schema},
    filter::filter_batch,
    items::{ItemStore, Page, StoredItem},
    log::Level,
    map::{flat_map_batch, map_batch},
    process::{Steps, migrate_states, process_batch},
    progress,
    reduce::{accumulate_batch, finish_batch, merge_batch, migrate_batch},
};

/// The one operator of this instance: none until the host opens it.
pub type Slot<O> = RefCell<Option<O>>;

/// An operator with a place to live. `#[operator]` implements it.
pub trait Resident: Operator + 'static {
    /// Where it lives.
    fn slot() -> &'static LocalKey<Slot<Self>>;
}

/// An operator whose settings can be listed. `#[operator]` implements it.
pub trait Configured {
    /// The JSON Schema of its configuration, if there is one.
    fn settings() -> Option<String>;
}

/// What every operator exports.
pub struct LifecycleComponent<O>(PhantomData<O>);
/// What settings an operator has.
pub struct SettingsComponent<O>(PhantomData<O>);
/// What a [`Map`] exports besides.
pub struct MapComponent<O>(PhantomData<O>);
/// What a [`FlatMap`] exports besides.
pub struct FlatMapComponent<O>(PhantomData<O>);
/// What a [`Filter`] exports besides.
pub struct FilterComponent<O>(PhantomData<O>);
/// What a [`Reduce`] exports besides.
pub struct ReduceComponent<O>(PhantomData<O>);
/// What a [`Process`] exports besides.
pub struct ProcessComponent<O>(PhantomData<O>);
/// How an operator lays out what it keeps.
pub struct StateComponent<O>(PhantomData<O>);

/// An operator that keeps state. `#[operator]` implements it.
pub trait Stateful {
    /// How the state is laid out, if that can be told.
    fn layout() -> Option<String>;
}

fn with<O: Resident, R>(run: impl FnOnce(&mut O) -> R) -> R {
    O::slot().with_borrow_mut(|operator| run(operator.as_mut().expect("the host opens an operator before it uses it")))
}

impl<O: Resident> lifecycle::Guest for LifecycleComponent<O> {
    fn open(config: String) -> Result<lifecycle::Schema, String> {
        panic::set_hook(Box::new(|panic| {
            host::panicked(&message(panic), progress::current_event());
        }));
        let operator = O::open_json(&config).map_err(crate::Error::into_message)?;
        let schema = operator.schema();
        O::slot().set(Some(operator));
        Ok(schema.into())
    }
}

impl From<Schema> for lifecycle::Schema {
    fn from(schema: Schema) -> lifecycle::Schema {
        let read = |read: fields::Read| lifecycle::Field {
            name: read.field.to_string(),
            kind: read.field_type,
            optional: read.is_optional,
            exact: read.is_exact,
        };
        let written = |written: fields::Written| lifecycle::Written {
            name: written.field.to_string(),
            kind: written.field_type,
        };
        lifecycle::Schema {
            reads: schema.reads.into_iter().map(read).collect(),
            raw: schema.raw,
            writes: schema.writes.into_iter().map(written).collect(),
            outputs: match schema.outputs {
                OutputMode::Raw => lifecycle::OutputMode::Raw,
                OutputMode::Extend => lifecycle::OutputMode::Extend,
                OutputMode::Replace => lifecycle::OutputMode::Replace,
            },
        }
    }
}

/// What a dead letter says of a panic: one line, with its place in the operator's source.
fn message(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    match panic.location() {
        Some(place) => format!("{message} ({place})"),
        None => message.to_owned(),
    }
}

impl<O: Resident + Map> map::Guest for MapComponent<O> {
    fn map(input: Batch) -> Outputs {
        with(|operator: &mut O| map_batch(operator, &input))
    }
}

impl<O: Resident + FlatMap> map::Guest for FlatMapComponent<O> {
    fn map(input: Batch) -> Outputs {
        with(|operator: &mut O| flat_map_batch(operator, &input))
    }
}

impl<O: Resident + Filter> filter::Guest for FilterComponent<O> {
    fn filter(input: Batch) -> filter::Filtered {
        let filtered = with(|operator: &mut O| filter_batch(operator, &input));
        filter::Filtered {
            kept: filtered.kept,
            failures: filtered.failures,
        }
    }
}

impl<O: Resident + Configured> settings::Guest for SettingsComponent<O> {
    fn schema() -> String {
        O::settings().unwrap_or_default()
    }
}

impl<O: Resident + Stateful> state::Guest for StateComponent<O> {
    fn layout() -> String {
        <O as Stateful>::layout().unwrap_or_default()
    }
}

impl<O: Resident + Reduce> reduce::Guest for ReduceComponent<O> {
    fn state_versions() -> reduce::Versions {
        reduce::Versions {
            written: O::STATE_VERSION,
            oldest: O::OLDEST_STATE_VERSION,
        }
    }

    fn migrate(from_version: u32, accumulators: Column) -> reduce::Migrated {
        let migrated = with(|operator: &mut O| migrate_batch(operator, from_version, &accumulators));
        reduce::Migrated {
            accumulators: migrated.accumulators,
            failures: migrated.failures,
        }
    }

    fn accumulate(
        input: Batch,
        groups: Vec<u32>,
        accumulators: Column,
        closing: Option<reduce::Windows>,
    ) -> reduce::Folded {
        let closing = closing.map(Windows::from).unwrap_or_default();
        let folded = with(|operator: &mut O| accumulate_batch(operator, &input, &groups, &accumulators, &closing));
        reduce::Folded {
            accumulators: folded.accumulators,
            outputs: folded.outputs,
            rejected: folded.rejected,
        }
    }

    fn merge(left: Column, right: Column) -> Column {
        with(|operator: &mut O| merge_batch(operator, &left, &right))
    }

    fn finish(windows: reduce::Windows, accumulators: Column) -> Outputs {
        with(|operator: &mut O| finish_batch(operator, &windows.into(), &accumulators))
    }
}

impl<O: Resident + Reduce> merging::Guest for ReduceComponent<O> {
    fn is_associative() -> bool {
        O::ASSOCIATIVE
    }
}

impl From<reduce::Windows> for Windows {
    fn from(windows: reduce::Windows) -> Windows {
        Windows {
            keys: windows.keys,
            starts: windows.starts,
            ends: windows.ends,
            counts: windows.counts,
            panes: windows.panes,
        }
    }
}

impl<O: Resident + Process> process::Guest for ProcessComponent<O> {
    fn state_versions() -> process::Versions {
        process::Versions {
            written: O::STATE_VERSION,
            oldest: O::OLDEST_STATE_VERSION,
        }
    }

    fn migrate(from_version: u32, states: Column) -> process::Migrated {
        let migrated = with(|operator: &mut O| migrate_states(operator, from_version, &states));
        process::Migrated {
            states: migrated.accumulators,
            failures: migrated.failures,
        }
    }

    fn process(
        input: Batch,
        keys: Vec<u32>,
        inputs: Option<Vec<u32>>,
        advances: Option<process::Advances>,
        known: process::Known,
    ) -> process::Processed {
        processed::<O>(&input, keys, inputs, advances, known).processed
    }
}

impl<O: Resident + Process> named_outputs::Guest for ProcessComponent<O> {
    fn declared() -> Vec<named_outputs::NamedOutput> {
        let written = |written: fields::Written| named_outputs::Written {
            name: written.field.to_string(),
            kind: written.field_type,
        };
        let declared = |output: &&dyn DeclaredOutput| named_outputs::NamedOutput {
            name: output.name().to_owned(),
            writes: output.writes().map(|writes| writes.into_iter().map(written).collect()),
        };
        O::OUTPUTS.iter().map(declared).collect()
    }

    fn process(
        input: Batch,
        keys: Vec<u32>,
        inputs: Option<Vec<u32>>,
        advances: Option<process::Advances>,
        known: process::Known,
    ) -> named_outputs::ProcessedUnderNames {
        processed::<O>(&input, keys, inputs, advances, known)
    }
}

/// Runs a batch, and gives what the host is answered.
fn processed<O: Resident + Process>(
    input: &Batch,
    keys: Vec<u32>,
    inputs: Option<Vec<u32>>,
    advances: Option<process::Advances>,
    known: process::Known,
) -> named_outputs::ProcessedUnderNames {
    let advances = advances.map(|advances| Advances {
        places: advances.places,
        keys: advances.keys,
        until: advances.until,
    });
    let steps = Steps {
        keys,
        inputs,
        advances: advances.unwrap_or_default(),
    };
    let known = Known {
        keys: known.keys,
        states: known.states,
        timers: known.timers.map(Timers::from),
    };
    let processed = with(|operator: &mut O| process_batch(operator, input, &steps, &known, &mut HostItems));
    let put_out = |named: NamedOutputs| named_outputs::PutOut {
        output: named.output,
        outputs: named.outputs,
        times: named.times,
    };
    named_outputs::ProcessedUnderNames {
        named: processed.named.into_iter().map(put_out).collect(),
        processed: process::Processed {
            states: processed.states,
            timers: processed.timers.map(process::Timers::from),
            outputs: processed.outputs,
            times: processed.times,
            rejected: processed.rejected,
        },
    }
}

/// The items that the host keeps.
struct HostItems;

impl From<items::Item> for StoredItem {
    fn from(items::Item { version, value }: items::Item) -> StoredItem {
        StoredItem { version, value }
    }
}

impl ItemStore for HostItems {
    fn get(&self, key: u32, name: &[u8]) -> Option<StoredItem> {
        items::get(key, name).map(StoredItem::from)
    }

    fn set(&mut self, key: u32, name: &[u8], value: &[u8]) -> bool {
        items::set(key, name, value)
    }

    fn remove(&mut self, key: u32, name: &[u8]) -> bool {
        items::remove(key, name)
    }

    fn remove_range(&mut self, key: u32, start: &[u8], end: Option<&[u8]>) {
        items::remove_range(key, start, end);
    }

    fn range(&self, key: u32, start: &[u8], end: Option<&[u8]>, from_last: bool, max: u32) -> Page {
        let page = items::range(key, start, end, from_last, max);
        Page {
            items: page
                .names
                .into_iter()
                .zip(page.items.into_iter().map(StoredItem::from))
                .collect(),
            has_more: page.has_more,
        }
    }
}

impl From<process::Timers> for Timers {
    fn from(process::Timers { ends, times, names }: process::Timers) -> Timers {
        Timers { ends, times, names }
    }
}

impl From<Timers> for process::Timers {
    fn from(Timers { ends, times, names }: Timers) -> process::Timers {
        process::Timers { ends, times, names }
    }
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => host::Level::Trace,
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

pub(crate) fn count(name: &str, value: f64) {
    host::metric(name, value);
}

/// Exports an operator of this kind from the crate that calls it; only `#[operator]` does.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (Map, $operator:ty) => { $crate::__export!(Map, MapComponent, export_map, map, $operator); };
    (FlatMap, $operator:ty) => { $crate::__export!(FlatMap, FlatMapComponent, export_map, map, $operator); };
    (Filter, $operator:ty) => { $crate::__export!(Filter, FilterComponent, export_filter, filter, $operator); };
    (Reduce, $operator:ty) => {
        $crate::__export!(Reduce, ReduceComponent, export_reduce, reduce, $operator);
        $crate::__export!(state of Reduce, $operator);
    };
    (Process, $operator:ty) => {
        $crate::__export!(Process, ProcessComponent, export_process, process, $operator);
        $crate::__export!(state of Process, $operator);
    };
    (state of $kind:ident, $operator:ty) => {
        impl $crate::guest::Stateful for $operator {
            fn layout() -> ::std::option::Option<::std::string::String> {
                <$operator as $crate::$kind>::state_layout()
            }
        }
        type State = $crate::guest::StateComponent<$operator>;
        $crate::bindings::state::export_state!(State with_types_in $crate::bindings::state);
    };
    ($kind:ident, $component:ident, $export:ident, $world:ident, $operator:ty) => {
        ::std::thread_local! {
            static OPERATOR: $crate::guest::Slot<$operator> = const {
                ::std::cell::RefCell::new(::std::option::Option::None)
            };
        }
        impl $crate::guest::Resident for $operator {
            fn slot() -> &'static ::std::thread::LocalKey<$crate::guest::Slot<Self>> {
                &OPERATOR
            }
        }
        impl $crate::guest::Configured for $operator {
            fn settings() -> ::std::option::Option<::std::string::String> {
                #[allow(unused_imports, reason = "which of them it is depends on the configuration")]
                use $crate::settings::{WithDefaults as _, WithoutDefaults as _};
                (&$crate::settings::Settings::<<$operator as $crate::$kind>::Config>::new()).schema()
            }
        }
        type Lifecycle = $crate::guest::LifecycleComponent<$operator>;
        type Settings = $crate::guest::SettingsComponent<$operator>;
        $crate::bindings::settings::export_settings!(Settings with_types_in $crate::bindings::settings);
        type Kind = $crate::guest::$component<$operator>;
        $crate::bindings::lifecycle::export_lifecycle!(Lifecycle with_types_in $crate::bindings::lifecycle);
        $crate::bindings::$world::$export!(Kind with_types_in $crate::bindings::$world);
    };
}

//! Checks of an operator.
//!
//! Owns the built-in components' names and what each kind of them may be given. The kind of a `.wasm` file is not known
//! before it is loaded: for those the engine makes the same checks, with
//! [`Loaded::error_at`](super::Loaded::error_at).

use std::ops::RangeInclusive;
use std::time::Duration;

use super::choice::{ActorsWord, Word};
use super::config::Translation;
use super::count::count;
use super::diagnostic::Diagnostic;
use super::model::{Actors, ComponentRef, Format, Isolation, Limits, OnError, Operator, Partial, Scaling, Window};
use super::paths::Readable;
use super::section::{At, Field};
use super::span::Span;
use super::units::{Lapse, Size};
use super::validate::{Validation, shown_size};
use super::{pointer, raw, suggest, validate, window};

/// The built-in components.
const BUILTINS: [(&str, BuiltinKind); 9] = [
    ("map", BuiltinKind::Stateless),
    ("filter", BuiltinKind::Stateless),
    ("reduce", BuiltinKind::Windowed),
    ("window", BuiltinKind::Windowed),
    ("top", BuiltinKind::Windowed),
    ("dedup", BuiltinKind::Process),
    ("join", BuiltinKind::OfTwo(["LEFT", "RIGHT"])),
    ("lookup", BuiltinKind::OfTwo(["EVENTS", "TABLE"])),
    ("endless-loop", BuiltinKind::Stateless),
];

/// What a built-in component needs of a pipeline file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuiltinKind {
    /// It keeps nothing.
    Stateless,
    /// It cuts events into windows.
    Windowed,
    /// It keeps state by key, and sets timers.
    Process,
    /// The same, of two inputs; what these are.
    OfTwo([&'static str; 2]),
}

/// One page is the smallest memory that there is, and 32 bits address no more than 4 GiB.
const MEMORY_RANGE: RangeInclusive<u64> = 64 << 10..=4 << 30;
const STATE_RANGE: RangeInclusive<u64> = 1 << 10..=256 << 20;

/// Below, switching costs more than running: 10 us is about 70 times a yield and resume. Above, one operator holds up a
/// worker for as long as a person notices.
const SLICE_RANGE: RangeInclusive<Duration> = Duration::from_micros(10)..=Duration::from_millis(100);

/// Long enough for what builds large tables on a slow machine; what takes longer holds up the end of a run.
const OPEN_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);

pub(super) fn validate(raw: &raw::Operator, validation: &mut Validation<'_>) -> Option<Operator> {
    let problems = &mut validation.problems;
    let id = raw
        .id
        .required("id", "\"map-1\"", raw.place, "the operator", problems)
        .map(|at| at.value.0.clone());
    let who = id
        .as_ref()
        .map_or_else(|| "the operator".to_owned(), |id| format!("operator `{id}`"));
    let component = raw
        .component
        .required("component", "\"builtin:map\"", raw.place, &who, problems)
        .and_then(|at| component(at, &who, validation));
    let window = raw.window.given().and_then(|at| window::validate(at, validation));
    if let Some(ComponentRef::Builtin(name)) = &component {
        check_builtin(name, raw, &who, validation);
    }
    let window = window::allowed_lateness(raw, window, validation);
    let window = window::early(raw, window, validation);
    if let (Some(place), true) = (raw.partial.key(), window.is_some_and(Window::is_in_time)) {
        validation.problems.push(
            Diagnostic::error("windows in time have no `partial`")
                .at(place, "only count windows can be incomplete")
                .help("remove it: the end of the input closes them, as a watermark does"),
        );
    }
    if let (Some(place), Some(Window::Global { .. })) = (raw.partial.key(), window) {
        validation.problems.push(
            Diagnostic::error("a global window has no `partial`")
                .at(place, "it is emitted at the end of the input")
                .help("remove it"),
        );
    }
    let mut translation = Translation {
        outside: Some(validation.outside),
        problems: &mut validation.problems,
    };
    let config = raw.config.map(|config| translation.object(&config.0));
    translation.outside = None;
    let config_as_written = raw.config.map(|config| translation.object(&config.0));
    let key = raw
        .key
        .given()
        .map(|at| pointer::parse("key", at, Format::Jsonl, &mut validation.problems));
    let limits = raw.limits.map(raw::Limits::clone).unwrap_or_default();
    Some(Operator {
        id: id?,
        component: component?,
        inputs: Vec::new(),
        read_outputs: Vec::new(),
        config: config.unwrap_or_else(|| serde_json::json!({})),
        config_as_written: config_as_written.unwrap_or_else(|| serde_json::json!({})),
        key: key.flatten(),
        window,
        order: raw.order.map(|Word(order)| *order),
        partial: match window {
            Some(Window::Global { .. }) => Some(Partial::Emit),
            _ => raw.partial.map(|Word(partial)| *partial),
        },
        limits: self::limits(&limits, validation),
        errors: limits.errors.map(|Word(errors)| *errors).unwrap_or(OnError::DeadLetter),
        actors: actors(raw, validation),
        isolation: raw
            .isolation
            .map(|Word(isolation)| *isolation)
            .unwrap_or(Isolation::Actor),
        replicas: raw
            .replicas
            .given()
            .and_then(|at| count(&at.value, &mut validation.problems)),
        scaling: raw.scaling.map(|Word(scaling)| *scaling).unwrap_or(Scaling::Auto),
        approximate: raw.approximate.map(bool::clone).unwrap_or(false),
        idle_timeout: duration_or(
            validation.positive("idle_timeout", &raw.idle_timeout),
            raw::IDLE_TIMEOUT,
        ),
        slice: slice(&raw.slice, validation),
        slice_shared: slice_shared(validation),
    })
}

fn duration_or(given: Option<Duration>, default: &str) -> Duration {
    given.unwrap_or_else(|| humantime::parse_duration(default).expect("the default is a duration"))
}

fn component(at: &At<String>, who: &str, validation: &mut Validation<'_>) -> Option<ComponentRef> {
    let names = BUILTINS.map(|(name, _)| name);
    if let Some(name) = at.value.strip_prefix("builtin:") {
        if names.contains(&name) {
            return Some(ComponentRef::Builtin(name.to_owned()));
        }
        validation.problems.push(
            Diagnostic::error(format!("there is no built-in component `{name}`"))
                .at(at.place, "unknown")
                .help(suggest::help(name, &names, "there are")),
        );
        return None;
    }
    if names.contains(&at.value.as_str()) {
        validation.problems.push(
            Diagnostic::error(format!(
                "`{}` is neither a built-in component nor a `.wasm` file",
                at.value
            ))
            .at(at.place, "no such file")
            .help(format!("did you mean `builtin:{}`?", at.value)),
        );
        return None;
    }
    if let Some(stored) = validation.stored {
        let path = stored.get(&at.value);
        if path.is_none() {
            let problem = Diagnostic::error(format!("the component of {who} did not come with the pipeline"));
            let problem = problem.at(at.place, "not among the components that were sent");
            validation.problems.push(problem.help(
                "`dirigo deploy` sends the components that a pipeline file names; a program names each in `components`",
            ));
        }
        return path.map(|path| ComponentRef::Stored {
            called: at.value.clone(),
            path: path.clone(),
        });
    }
    validation
        .read_file(at, "component", &format!("the component of {who}"), Readable::File)
        .map(ComponentRef::File)
}

/// What a built-in component needs or cannot use.
fn check_builtin(name: &str, raw: &raw::Operator, who: &str, validation: &mut Validation<'_>) {
    let known = BUILTINS.iter().find(|(other, _)| *other == name);
    let kind = known.map_or(BuiltinKind::Stateless, |(_, kind)| *kind);
    let is_process = matches!(kind, BuiltinKind::Process | BuiltinKind::OfTwo(_));
    let is_windowed = kind == BuiltinKind::Windowed;
    if is_process && raw.order.is_absent() {
        validation.problems.push(
            Diagnostic::error(format!("{who} has no `order`"))
                .at(
                    raw.component.given().map_or(raw.place, |at| at.place),
                    format!("a {name} keeps state by key, and has timers"),
                )
                .help("add `order = \"time\"`, by their times, once the watermark has passed them; or `order = \"arrival\"`, as they come"),
        );
    }
    if let BuiltinKind::OfTwo(inputs) = kind {
        check_inputs(inputs, raw, who, validation);
    }
    if is_windowed && raw.window.is_absent() {
        validation.problems.push(
            Diagnostic::error(format!("{who} has no `window`"))
                .at(
                    raw.component.given().map_or(raw.place, |at| at.place),
                    format!("a {name} cuts events into windows"),
                )
                .help("add `window = { tumbling = \"1m\" }` for a result every minute of a key's events, or `{ count = 5 }` for one every 5 events"),
        );
    }
    let of_windows = [
        ("window", raw.window.key()),
        ("partial", raw.partial.key()),
        ("allowed_lateness", raw.allowed_lateness.key()),
        ("early", raw.early.key()),
        ("approximate", raw.approximate.key()),
    ];
    let of_windows = of_windows.into_iter().filter(|_| !is_windowed);
    let others: &[(&str, Option<Span>)] = if is_process {
        &[("replicas", raw.replicas.key())]
    } else if is_windowed {
        &[("replicas", raw.replicas.key()), ("order", raw.order.key())]
    } else {
        &[
            ("order", raw.order.key()),
            ("shards", raw.shards.key()),
            ("actors", raw.actors.key()),
        ]
    };
    for (key, place) in of_windows.chain(others.iter().copied()) {
        if let Some(place) = place {
            validation.problems.push(foreign_key(name, key, place));
        }
    }
}

/// Reports inputs that are not two.
fn check_inputs([first, second]: [&str; 2], raw: &raw::Operator, who: &str, validation: &mut Validation<'_>) {
    let inputs = raw.inputs.map(Vec::len).unwrap_or_default();
    if inputs != 2 {
        let place = raw.inputs.given().map_or(raw.place, |at| at.place);
        validation.problems.push(
            Diagnostic::error(format!("{who} has {inputs} `inputs`"))
                .at(place, format!("it needs two: {first} and {second}"))
                .help(format!("write `inputs = [\"{first}\", \"{second}\"]`")),
        );
    }
}

fn foreign_key(name: &str, key: &str, place: Span) -> Diagnostic {
    let (label, help) = match key {
        "window" | "partial" | "allowed_lateness" | "early" => {
            ("only a reduce has windows", "remove it, or use `builtin:reduce`")
        }
        "approximate" => ("only a reduce has results that may be approximate", "remove it"),
        "order" => ("only a `process` operator has an `order`", "remove it"),
        "replicas" => (
            "only an operator without state has replicas",
            "use `shards`: its keys are spread over them",
        ),
        _ => (
            "only an operator with state spans actors",
            "use `replicas`: as many turns run at once",
        ),
    };
    Diagnostic::error(format!("`builtin:{name}` has no `{key}`"))
        .at(place, label)
        .help(help)
}

fn limits(raw: &raw::Limits, validation: &mut Validation<'_>) -> Limits {
    let default = |size: &str| {
        let size = size.parse::<bytesize::ByteSize>();
        size.expect("the default is a size").as_u64()
    };
    if let Some(at) = raw.memory.given().filter(|at| !MEMORY_RANGE.contains(&at.value.0)) {
        validation.problems.push(
            Diagnostic::error("`memory` is out of range")
                .at(at.place, format!("{} bytes", at.value.0))
                .help(
                    "it lies between \"64KiB\", one page of WebAssembly memory, and \"4GiB\", all that 32 bits address",
                ),
        );
    }
    if let Some(at) = raw.state.given().filter(|at| !STATE_RANGE.contains(&at.value.0)) {
        validation.problems.push(
            Diagnostic::error("`state` is out of range")
                .at(at.place, format!("{} bytes", at.value.0))
                .help("what is kept of one key lies between \"1KiB\" and \"256MiB\""),
        );
    }
    let bytes = |field: &Field<Size>| field.given().map(|at| (at.value.0, at.place));
    let fuel = raw.fuel_per_event.given().map(|at| (at.value.to_u64(), at.place));
    let (memory, state) = (default(raw::MEMORY), default(raw::STATE));
    Limits {
        memory: validation.capped("memory", bytes(&raw.memory), memory, |caps| caps.memory, shown_size),
        state: validation.capped("state", bytes(&raw.state), state, |caps| caps.state, shown_size),
        fuel_per_event: validation.capped(
            "fuel_per_event",
            fuel,
            raw::FUEL_PER_EVENT,
            |caps| caps.fuel_per_event,
            |fuel| fuel.to_string(),
        ),
        table_elements: raw
            .table_elements
            .map(|elements| elements.to_u64())
            .unwrap_or(raw::TABLE_ELEMENTS),
        open_ms: open_ms(&raw.open, validation),
    }
}

fn open_ms(field: &Field<Lapse>, validation: &mut Validation<'_>) -> u64 {
    if let Some(at) = field.given().filter(|at| !OPEN_RANGE.contains(&at.value.0)) {
        validation.problems.push(
            Diagnostic::error("`open` is out of range")
                .at(at.place, "too short to open anything, or too long to wait for")
                .help("it lies between \"1ms\" and \"10m\""),
        );
    }
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let asked = field.given().map(|at| (ms(at.value.0), at.place));
    let default = ms(duration_or(None, raw::OPEN));
    validation.capped(
        "open",
        asked,
        default,
        |caps| caps.open_ms,
        |ms| humantime::format_duration(Duration::from_millis(ms)).to_string(),
    )
}

fn actors(raw: &raw::Operator, validation: &mut Validation<'_>) -> Actors {
    let shards = raw.shards.given();
    match (raw.actors.given(), shards) {
        (
            Some(At {
                value: Word(ActorsWord::PerKey),
                place,
            }),
            Some(shards),
        ) => {
            validation.problems.push(
                Diagnostic::error("`shards` and `actors = \"per-key\"` exclude each other")
                    .at(shards.place, "so many actors share the keys")
                    .also(*place, "each key has an actor of its own")
                    .help("remove one of the two"),
            );
            Actors::PerKey
        }
        (
            Some(At {
                value: Word(ActorsWord::PerKey),
                ..
            }),
            None,
        ) => Actors::PerKey,
        _ => Actors::Shards(shards.and_then(|at| count(&at.value, &mut validation.problems))),
    }
}

fn slice(field: &Field<Lapse>, validation: &mut Validation<'_>) -> Duration {
    if let Some(at) = field.given().filter(|at| !SLICE_RANGE.contains(&at.value.0)) {
        validation.problems.push(
            Diagnostic::error("`slice` is out of range")
                .at(
                    at.place,
                    "too short to be worth a switch, or too long for the neighbours",
                )
                .help("it lies between \"10us\" and \"100ms\""),
        );
    }
    let cap = validation.admission.caps.map_or(Duration::MAX, |caps| caps.slice);
    if let Some(at) = field.given().filter(|at| at.value.0 > cap) {
        let shown = humantime::format_duration(cap).to_string();
        validation
            .problems
            .push(validate::beyond_cap("slice", &shown, at.place));
    }
    duration_or(field.map(|Lapse(slice)| *slice), raw::SLICE).min(cap)
}

/// The most of a slice where other tenants wait for the worker: what the operator of the host grants, or what it would grant
/// by default.
fn slice_shared(validation: &Validation<'_>) -> Duration {
    let granted = validation.admission.caps.map(|caps| caps.slice);
    duration_or(granted, raw::SLICE_CAP)
}

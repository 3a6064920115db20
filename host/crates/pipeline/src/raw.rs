//! The pipeline file as it is written: its tables and their keys.
//!
//! Owns the list of keys, with their types, defaults and descriptions: the reader, the "did you mean" and the JSON
//! Schema all come from here. Says nothing about what the values mean together.

use super::choice::{ActorsWord, Word};
use super::config::{Any, Object};
use super::count::RawCount;
use super::diagnostic::Home;
use super::document::{Node, Value};
use super::early::{Early, EarlyTable};
use super::model::{DeadLettersMax, EventOrder, IfExists, Isolation, OnError, Order, OutputOrder, Partial, Scaling};
use super::name::Name;
use super::section::{At, Open, Section};
use super::time::{Time, TimeTable, ZoneName};
use super::token::Role;
use super::units::{Interval, Lapse, Length, Moment, Size, Whole};
use crate::section;

pub(super) const TENANT: &str = "default";
pub(super) const CHECKPOINT: &str = "1s";
pub(super) const IDLE_TIMEOUT: &str = "60s";
pub(super) const SLICE: &str = "100us";
pub(super) const MEMORY: &str = "64MiB";
pub(super) const STATE: &str = "1MiB";
pub(super) const FUEL_PER_EVENT: u64 = 10_000_000;
pub(super) const TABLE_ELEMENTS: u64 = 10_000;
pub(super) const OPEN: &str = "10s";

/// What an operator may ask for at most where a tenants file says nothing else. A neighbour waits for a slice and for a
/// key's state as a whole: 1 ms each. A hundred times the default fuel is about a second of a worker.
pub(super) const SLICE_CAP: &str = "1ms";
pub(super) const MEMORY_CAP: &str = "256MiB";
pub(super) const STATE_CAP: &str = "4MiB";
/// Six times the default, and less than a service manager waits for a start.
pub(super) const OPEN_CAP: &str = "60s";
/// The default of a source.
pub(super) const ZSTD_WINDOW_CAP: &str = "128MiB";
pub(super) const SOURCES: u32 = 64;
pub(super) const SINKS: u32 = 64;
pub(super) const FUEL_PER_EVENT_CAP: u64 = 1_000_000_000;
pub(super) const DEAD_LETTER_BYTES: &str = "1GiB";

section! {
    /// A Dirigo pipeline: a named graph of sources, operators and sinks of one tenant.
    #[schemars(title = "Dirigo pipeline", extend("required" = ["pipeline", "source", "sink"]))]
    pub(super) struct File = "the pipeline file" {
        /// What the pipeline is called, whose it is, and what is asked of it.
        pipeline: Pipeline,
        /// What its tenant may use. Pipelines of one tenant that state it state the same; a tenants file overrules it.
        tenant: Tenant,
        /// Where events enter.
        source: Vec<At<Open<Source>>>,
        /// Components placed in the pipeline. Each one's input is the source or operator listed before it, unless
        /// `inputs` says otherwise.
        operator: Vec<At<Operator>>,
        /// Where events leave.
        sink: Vec<At<Open<Sink>>>,
        /// Where events go that fail.
        dead_letters: DeadLetters,
        /// Cases for `dirigo test`.
        test: Vec<At<Test>>,
    }
}

section! {
    /// What the pipeline is called, whose it is, and what is asked of it.
    #[schemars(extend("required" = ["name"]))]
    pub(super) struct Pipeline = "[pipeline]" {
        /// Its name: a letter, then letters, digits, `-` and `_`.
        name: Name,
        /// Whose it is.
        #[schemars(extend("default" = TENANT))]
        tenant: Name,
        /// Latency target from arrival to sink, such as "50ms".
        slo: Lapse,
        /// How often state and positions become durable where a run keeps state, such as "1s"; "off" for only at the end.
        #[schemars(extend("default" = CHECKPOINT))]
        checkpoint: Interval,
    }
}

section! {
    /// What a tenant may use of the host, all its pipelines together. What is not stated has no bound.
    pub(super) struct Tenant = "[tenant]", list "write `[[tenant]]`, with double brackets" {
        /// In a tenants file: which tenant.
        name: Name,
        /// Its share of the workers, relative to the other tenants'.
        #[schemars(extend("default" = 1))]
        weight: Whole<1, 1024>,
        /// Fuel that it may burn per second; past it, it waits.
        fuel_per_second: Whole<1, { i64::MAX }>,
        /// Linear memories, state and waiting events, such as "256MiB". Past it sources wait, idle actors give up their
        /// instances, and a guest that asks for more is denied it.
        memory: Size,
        /// Actors that have an instance at the same time; past it, the others wait.
        active_actors: Whole<1, { u32::MAX as i64 }>,
        /// Log lines per second; past it, they are left out and counted.
        log_lines_per_second: Whole<0, { i64::MAX }>,
        /// Bytes of log lines per second, such as "64KiB"; past it, they are left out and counted.
        log_bytes_per_second: Size,
        /// Events that an operator may put out for one that it gets; one that leads to more is a dead letter.
        outputs_per_event: Whole<1, { i64::MAX }>,
        /// Bytes that an operator may put out for one event, such as "1MiB"; one that leads to more is a dead letter.
        output_bytes_per_event: Size,
        /// Bytes of dead letters that are kept, such as "256MiB"; a pipeline whose next one would be beyond it fails.
        #[schemars(extend("default" = DEAD_LETTER_BYTES))]
        dead_letter_bytes: Size,
        /// Dead letters that are written per second; past it, they are counted, and not written: their events are lost.
        dead_letters_per_second: Whole<1, { i64::MAX }>,
    }
}

section! {
    /// What tenants may use of a host: the file given with `--tenants`.
    #[schemars(title = "Dirigo tenants")]
    pub(super) struct Tenants = "the tenants file" {
        /// The tenants, by name.
        tenant: Vec<At<Open<Tenant>>>,
        /// What a tenant may use that is not listed. Without it, such a tenant is refused.
        default: Open<Tenant>,
        /// Who may use the service, and what each may do there.
        token: Vec<At<Bearer>>,
    }
}

section! {
    /// A token of the service (`dirigo serve`): any caller that sends it with a request is its bearer.
    pub(super) struct Bearer = "[[token]]", list "write `[[token]]`, with double brackets" {
        /// What the log calls its bearer.
        name: Name,
        /// The tenant whose pipelines its bearer may see and change. Without it, the bearer is an operator of the host, and may see and
        /// change all.
        tenant: Name,
        /// Whether its bearer may change something, or only look.
        #[schemars(extend("default" = "admin"))]
        role: Word<Role>,
        /// The token itself, from outside: { env = "NAME" } or { file = "PATH" }.
        token: String,
        /// The SHA-256 of the token, in hexadecimal, in place of the token itself.
        sha256: String,
        /// When the token ceases to be valid, such as "2027-01-31T00:00:00Z". Default: never.
        expires: String,
    }
}

section! {
    /// What a tenants file says of a tenant, next to its budget: which files are its, and what they may do to the host.
    pub(super) struct Grant = "[[tenant]]" {
        /// The pipeline files that are this tenant's, and folders of them, relative to the folder of the tenants file.
        pipelines: Vec<At<String>>,
        /// The folders that its pipelines may read. Default: that of the pipeline file.
        read: Vec<At<String>>,
        /// The folders that its pipelines may write. Default: that of the pipeline file.
        write: Vec<At<String>>,
        /// The environment variables that its pipelines may name; "PREFIX_*" for all that begin so. Default: none.
        env: Vec<At<String>>,
        /// The addresses at which its pipelines may listen, such as "127.0.0.1:8080". Default: none.
        listen: Vec<At<String>>,
        /// Whether its pipelines may send to addresses that are not public, where they say `allow_private = true`.
        #[schemars(extend("default" = false))]
        private_receivers: bool,
        /// The servers to which its pipelines may connect, such as "nats.example.com:4222". Default: none.
        connect: Vec<At<String>>,
        /// Sources of all its pipelines together. Each has a thread and a file of its own.
        #[schemars(extend("default" = SOURCES))]
        sources: Whole<1, { u32::MAX as i64 }>,
        /// Sinks of all its pipelines together. Each has a thread and a file of its own.
        #[schemars(extend("default" = SINKS))]
        sinks: Whole<1, { u32::MAX as i64 }>,
        /// The most that one of its operators may ask for.
        limits: Caps,
    }
}

section! {
    /// The most that an operator or a source of a tenant may ask for in its pipeline file.
    pub(super) struct Caps = "[tenant.limits]" {
        /// How long it runs before another actor gets the worker.
        #[schemars(extend("default" = SLICE_CAP))]
        slice: Lapse,
        /// Linear memory of an actor.
        #[schemars(extend("default" = MEMORY_CAP))]
        memory: Size,
        /// What is kept of one key.
        #[schemars(extend("default" = STATE_CAP))]
        state: Size,
        /// Fuel that one event may burn.
        #[schemars(extend("default" = FUEL_PER_EVENT_CAP))]
        fuel_per_event: Whole<1, { i64::MAX }>,
        /// How long it may take to open.
        #[schemars(extend("default" = OPEN_CAP))]
        open: Lapse,
        /// The `zstd_window_max` of a source: memory of the host that it may take to decompress.
        #[schemars(extend("default" = ZSTD_WINDOW_CAP))]
        zstd_window_max: Size,
        /// Processor time that compiling one component may take. Default: 60s.
        compile_time: Lapse,
        /// How much memory compiling one component may take. Default: 1GiB.
        compile_memory: Size,
    }
}

section! {
    /// Where events enter.
    #[schemars(extend("required" = ["id", "kind"]))]
    pub(super) struct Source = "[[source]]", list "write `[[source]]`, with double brackets" {
        /// Its name, of which the file has no other.
        id: Name,
        /// What it reads.
        kind: Any,
        /// Where the key of an event is: a JSON pointer such as "/sensor"; for csv also a column name.
        key: String,
        /// Where the event time is: a JSON pointer such as "/ts", or a column name, to ms since the epoch or an RFC
        /// 3339 time; or a table that says more of it. Without it an event's time is its arrival.
        time: Time,
        /// How far behind the newest event time the watermark runs: how late events may come, and still be in their windows in time or be processed in order.
        #[schemars(extend("default" = "0s"))]
        lateness: Lapse,
        /// Where events say how far event time has come: a JSON pointer such as "/complete", or a column name, to ms since the epoch or an RFC 3339
        /// time. Older events that come after one that says so may be too late. The times of events then move no watermark, and there is no
        /// `lateness`.
        watermark: String,
        /// How far an event's time may be ahead of the host's clock: later events are dead letters, and move no watermark. Default: any time is
        /// taken.
        max_ahead: Lapse,
        /// How far the source may read ahead of the slowest other source, in event time: it waits there, so that windows of operators
        /// behind both do not fill memory. Default: it reads on.
        max_drift: Lapse,
        /// A source that is silent for so long no longer holds windows in time and timers back, where they have events of other sources, too. Default:
        /// it holds them back until it ends.
        idle: Lapse,
    }
}

section! {
    /// A component placed in the pipeline.
    #[schemars(extend("required" = ["id", "component"]))]
    pub(super) struct Operator = "[[operator]]", list "write `[[operator]]`, with double brackets" {
        /// Its name, of which the file has no other.
        id: Name,
        /// "builtin:map", "builtin:filter", "builtin:reduce", "builtin:window", "builtin:top", "builtin:dedup", "builtin:join", "builtin:lookup", or the path
        /// of a `.wasm` file relative to the folder of the pipeline file.
        component: String,
        /// The ids of the sources and operators that feed it. `ID.late` stands for the events that come too late for the windows in time of an
        /// operator, or for a process with `order = "time"`, and `ID.NAME` for what a process puts out under that name. Default: the one listed
        /// before it.
        inputs: Vec<At<String>>,
        /// What the component is opened with. `{ env = "NAME" }` stands for the value of an environment variable.
        config: Object,
        /// Gives events a new key: a JSON pointer such as "/sensor". Default: the key that they bear.
        key: String,
        /// How a reduce cuts its events into windows.
        window: Window,
        /// How long after its end a tumbling or sliding window, or a session, takes late events in: it is finished again then, with all of its
        /// events. Later events are too late.
        #[schemars(extend("default" = "0s"))]
        allowed_lateness: Lapse,
        /// When windows have results before their end. A duration: how often a tumbling window has one, by event time from its start on, of all
        /// events up to then, if there are new ones. `{ events = N }`: a tumbling, session or global window has one after every N events.
        early: Early,
        /// In which order a process is handed the events of a key: "time" has them wait until the watermark has passed them, and hands them
        /// over by their times, timers between them; "arrival" hands them over as they come, and timers fire when the watermark has passed
        /// them.
        order: Word<EventOrder>,
        /// What becomes of count windows that are incomplete when all sources have been read to their end: "keep" leaves them open, and
        /// the next run with this state resumes them; "emit" closes them and emits what is in them.
        #[schemars(extend("default" = "keep"))]
        partial: Word<Partial>,
        /// What each of its actors may use, and what an error does.
        limits: Limits,
        /// How many actors share its keys, or bounds: `{ min = 1, max = 4 }`. Helpers of a hot key count as actors here; with a number there are
        /// none. Default: as many as the load asks for, up to as many as there are workers.
        shards: RawCount,
        /// Whether keys share actors or have one each.
        #[schemars(extend("default" = "shards"))]
        actors: Word<ActorsWord>,
        /// How long an instance lives: as long as its actor is active, or for one turn.
        #[schemars(extend("default" = "actor"))]
        isolation: Word<Isolation>,
        /// How many turns of a stateless operator run at once, or bounds: `{ min = 1, max = 4 }`. Default: as many as the load asks for, up to as
        /// many as there are workers.
        replicas: RawCount,
        /// Whether the number of its replicas or shards follows the load: "off" has as many as it may have all the time.
        #[schemars(extend("default" = "auto"))]
        scaling: Word<Scaling>,
        /// Whether results of a reduce may differ in their last digits from one run to the next, as sums of `f64` do when they are added in another
        /// order. A reduce that says that its accumulators may be merged in any order gets helpers for a hot key only if its results stay the same;
        /// with `true`, other last digits count as the same. `builtin:reduce` does not need it: its sums are exact.
        #[schemars(extend("default" = false))]
        approximate: bool,
        /// An actor this long without events gives up its instance.
        #[schemars(extend("default" = IDLE_TIMEOUT))]
        idle_timeout: Lapse,
        /// How long it runs before another actor gets the worker: 10us to 100ms. Where tenants share the host, 1ms at most, or
        /// what the tenants file says.
        #[schemars(extend("default" = SLICE))]
        slice: Lapse,
    }
}

section! {
    /// How a reduce cuts the events of a key into windows: by `count`, or by event time with `tumbling`, `sliding` or `session`, or not at all
    /// with `global`. Windows in time close when the watermark passes their end: the time of the newest event, less the `lateness` of its source.
    pub(super) struct Window = "a window", later time duration, meant meant_window {
        /// The number of events in a window.
        count: Whole<1, { i64::MAX }>,
        /// Windows so long that lie end to end: a duration, or months or years of the calendar, such as "1month", "3months" or "1y".
        tumbling: Length,
        /// Windows so long that overlap: one begins `every` so often.
        sliding: Length,
        /// How often a sliding window begins. With `zone` and without `sliding`, the same as `tumbling`.
        every: Length,
        /// The time zone of days, weeks, months and years: "UTC", an offset such as "+02:00", or a name of the IANA time zone database such as
        /// "Europe/Paris", where a day has 23 or 25 hours when daylight-saving time begins or ends.
        #[schemars(extend("default" = "UTC"))]
        zone: ZoneName,
        /// Windows that end when a key has been silent for so long.
        session: Lapse,
        /// `true`: one window of all events of a key, which the end of the input closes.
        global: bool,
        /// How much later than the epoch, 1970-01-01T00:00:00Z, a tumbling or sliding window begins: `"2h"` with `tumbling = "1d"` has days
        /// begin at 2 o'clock UTC, and with `zone` at 2 o'clock there.
        #[schemars(extend("default" = "0s"))]
        offset: Lapse,
        /// What others call windows of event time.
        #[schemars(skip)]
        time: Any,
        /// What others call windows of event time.
        #[schemars(skip)]
        duration: Any,
    }
}

/// The window that a value may stand for.
fn meant_window(node: &Node) -> Option<String> {
    let table = match &node.value {
        Value::String(text) if text == "global" => "global = true".to_owned(),
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => format!("tumbling = {text:?}"),
        Value::Integer(events) if *events > 0 => format!("count = {events}"),
        _ => return None,
    };
    Some(format!("write `window = {{ {table} }}`"))
}

impl Window {
    /// Whether it says anything of windows in event time.
    pub(super) fn is_in_time(&self) -> bool {
        !(self.tumbling.is_absent() && self.sliding.is_absent() && self.session.is_absent())
    }
}

section! {
    /// What each actor of an operator may use, and what an error does.
    pub(super) struct Limits = "[operator.limits]" {
        /// Linear memory, such as "16MiB"; from "64KiB", one page, to "4GiB", all that a component can address.
        #[schemars(extend("default" = MEMORY))]
        memory: Size,
        /// What is kept of one key, such as "1MiB", up to "256MiB". The host copies it to the operator and back as a whole, and
        /// no other actor runs on that worker meanwhile: 0.2 ms or more for each MiB.
        #[schemars(extend("default" = STATE))]
        state: Size,
        /// Fuel that one event may burn; roughly, WebAssembly instructions.
        #[schemars(extend("default" = FUEL_PER_EVENT))]
        fuel_per_event: Whole<1, { i64::MAX }>,
        /// Elements of all tables together.
        #[schemars(extend("default" = TABLE_ELEMENTS))]
        table_elements: Whole<1, 20_000>,
        /// How long an instance may take to open, such as "10s": from 1ms to 10m. An operator that takes longer ends its pipeline.
        #[schemars(extend("default" = OPEN))]
        open: Lapse,
        /// Whether an event that fails goes to the dead letters or stops the pipeline.
        #[schemars(extend("default" = "dead-letter"))]
        errors: Word<OnError>,
    }
}

section! {
    /// Where events leave.
    #[schemars(extend("required" = ["id", "kind"]))]
    pub(super) struct Sink = "[[sink]]", list "write `[[sink]]`, with double brackets" {
        /// Its name, of which the file has no other.
        id: Name,
        /// What it writes to.
        kind: Any,
        /// The ids of the sources and operators that feed it. Default: the one listed before it.
        inputs: Vec<At<String>>,
        /// Whether it keeps the order within each key, or also that of the source between keys.
        #[schemars(extend("default" = "key"))]
        order: Word<Order>,
    }
}

section! {
    /// Where events go that fail.
    pub(super) struct DeadLetters = "[dead_letters]" {
        /// The path of the file, relative to the folder of the pipeline file. Default: `dead-letters.jsonl` in the state, or
        /// `NAME.dead.jsonl` in the working directory of a run that keeps none.
        path: String,
        /// What becomes of a file that is there and that this pipeline did not write: "overwrite" or "append". Without it,
        /// such a file is refused.
        if_exists: Word<IfExists>,
        /// More than this, and the run fails: a number, or a share of the events such as "5%". Default: no bound, but a run in
        /// which all events fail fails.
        max: DeadLettersMax,
    }
}

section! {
    /// A case for `dirigo test`: the events that enter, and the events that must leave.
    #[schemars(extend("required" = ["name", "input", "output"]))]
    pub(super) struct Test = "[[test]]", list "write `[[test]]`, with double brackets" {
        /// What it shows.
        name: String,
        /// The events that enter, in order, with watermarks between them.
        input: Vec<At<InputEntry>>,
        /// The events that must leave by each sink: all of them and no others.
        output: Vec<At<Event>>,
        /// Whether the events must leave by each sink in the order in which they are "listed", or in "any".
        #[schemars(extend("default" = "listed"))]
        order: Word<OutputOrder>,
        /// The dead letters that must come, in any order: all of them and no others. Default: any may come.
        dead_letters: Vec<At<ExpectedDeadLetter>>,
        /// How many events must come too late, for their windows in time or for a process with `order = "time"`, over all operators. Default: any number may.
        late: Whole<0, { i64::MAX }>,
        /// Fuel that each operator may burn per event, on the average of all its events. Default: any amount.
        max_fuel_per_event: Whole<1, { i64::MAX }>,
    }
}

section! {
    /// What enters by a source in a test: an event, or a watermark.
    pub(super) struct InputEntry = "an entry of the input", list "write `[{ at = \"ID\", value = { … } }]`" {
        /// The source that it enters by. May be left out where there is only one.
        at: String,
        /// The value of an event.
        value: Any,
        /// In place of a value: how far event time has come at the source, as an RFC 3339 time or ms since the epoch. What this
        /// closes has left before the next entry enters. One that is not beyond the times of the events before it, less the `lateness`
        /// of the source, changes nothing.
        watermark: Moment,
    }
}

section! {
    /// An event that leaves in a test.
    #[schemars(extend("required" = ["value"]))]
    pub(super) struct Event = "an event of the output", list "write `[{ at = \"ID\", value = { … } }]`", later watermark {
        /// The sink that it leaves by. May be left out where there is only one.
        at: String,
        /// Its value.
        value: Any,
        /// What entries of the input have.
        #[schemars(skip)]
        watermark: Any,
    }
}

section! {
    /// A dead letter that must come in a test.
    #[schemars(extend("required" = ["operator"]))]
    pub(super) struct ExpectedDeadLetter = "a dead letter of a test",
        list "write `[{ operator = \"ID\", reason = \"…\" }]`"
    {
        /// The operator in which the event fails, or the source that refuses it.
        operator: String,
        /// A part of the reason.
        reason: String,
        /// The value of the event, as the operator gets it.
        value: Any,
    }
}

/// The tables that a misplaced key may have been meant for, with their keys.
const HOMES: [Home; 12] = [
    (File::TITLE, File::KEYS),
    (Pipeline::TITLE, Pipeline::KEYS),
    (Tenant::TITLE, Tenant::KEYS),
    (Limits::TITLE, Limits::KEYS),
    (Operator::TITLE, Operator::KEYS),
    (Source::TITLE, Source::KEYS),
    (Sink::TITLE, Sink::KEYS),
    (Window::TITLE, Window::KEYS),
    (EarlyTable::TITLE, EarlyTable::KEYS),
    (TimeTable::TITLE, TimeTable::KEYS),
    (DeadLetters::TITLE, DeadLetters::KEYS),
    (Test::TITLE, Test::KEYS),
];

/// The one table that has this key; `None` where none or several do. Connectors have keys in `others`.
pub(super) fn home_of(key: &str, others: &[Home]) -> Option<&'static str> {
    let mut homes: Vec<&str> = HOMES
        .iter()
        .chain(others)
        .filter(|(_, keys)| keys.contains(&key))
        .map(|(title, _)| *title)
        .collect();
    homes.dedup();
    match homes.as_slice() {
        [home] => Some(home),
        _ => None,
    }
}

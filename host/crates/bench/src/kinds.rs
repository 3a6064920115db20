//! The kinds of hostile neighbours.
//!
//! A table: to add one, add an entry. Each is a pipeline that is fed with as many events as it takes: of one operator, unless its
//! shape is what is hostile about it.

use dirigo_connect::sink::Sink;

use super::greedy::{Bottomless, Compressor, Times};
use super::guests::Guests;

/// A neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What it does, in a few words.
    about: &'static str,
    component: Guest,
    /// The operator's `config`, as TOML.
    config: &'static str,
    /// What else stands in the operator, as TOML.
    rest: &'static str,
    /// How many keys its events have.
    pub(super) keys: u64,
    /// Which times they have.
    pub(super) times: Times,
    shape: Shape,
}

/// What its pipeline looks like.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// A source, the operator, a sink.
    Line,
    /// As many sources as a tenant may have, all of which lead to the operator.
    ManySources,
    /// The operator leads to as many sinks as a tenant may have.
    ManySinks,
    /// The operator stands twice in each layer, and reads both of the layer before: as often as a graph may have it.
    Diamonds,
}

/// Sources, and sinks, that a tenant may have where nothing else is said.
const ENDS: usize = 64;
/// Layers of two that double their events: 512 ways lead to each of the next layer, of 1,000 that may.
const LAYERS: usize = 9;
/// Operators of the layer behind them: with each of the 512 ways a delivery, 20,000 are the most for an event.
const LAST_LAYER: usize = 36;

/// Which component it runs.
#[derive(Clone, Copy, Debug)]
enum Guest {
    /// One of `tests/hostile`.
    Hostile(&'static str),
    /// One that any pipeline may use: greed needs no malice.
    Builtin(&'static str),
}
use Guest::{Builtin, Hostile};

const fn kind(name: &'static str, about: &'static str, component: Guest, config: &'static str) -> Kind {
    Kind {
        name,
        about,
        component,
        config,
        rest: "",
        keys: 64,
        times: Times::Still,
        shape: Shape::Line,
    }
}

/// Fuel that nobody lives to see the end of: no trap ends what such an event does.
const UNBOUND: &str = "limits = { fuel_per_event = 9_000_000_000_000_000_000 }";

/// All of them.
pub(super) const ALL: &[Kind] = &[
    kind(
        "greedy",
        "a sound map that takes all the events it can get",
        Builtin("map"),
        r#"{ field = "value", scale = 1.8, offset = 32.0, into = "scaled" }"#,
    ),
    Kind {
        rest: UNBOUND,
        ..kind(
            "infinite-loop",
            "never returns, and may burn fuel without bound",
            Hostile("map"),
            r#"{ mode = "loop" }"#,
        )
    },
    kind(
        "fuel-exhaustion",
        "never returns, until its fuel is gone: event after event",
        Hostile("map"),
        r#"{ mode = "loop" }"#,
    ),
    kind(
        "panic-every-event",
        "traps at every event, with a word",
        Hostile("map"),
        r#"{ mode = "panic" }"#,
    ),
    kind(
        "abort-every-event",
        "traps at every event, without one",
        Hostile("map"),
        r#"{ mode = "abort" }"#,
    ),
    kind(
        "reject-every-event",
        "makes a dead letter of every event",
        Hostile("map"),
        r#"{ mode = "reject" }"#,
    ),
    kind(
        "memory-bomb",
        "takes memory until there is no more",
        Hostile("map"),
        r#"{ mode = "memory" }"#,
    ),
    kind(
        "memory-leak",
        "takes 64 KiB per event and keeps them",
        Hostile("map"),
        r#"{ mode = "leak" }"#,
    ),
    kind(
        "deep-recursion",
        "calls itself without end",
        Hostile("map"),
        r#"{ mode = "recursion" }"#,
    ),
    Kind {
        rest: "limits = { memory = \"512MiB\", fuel_per_event = 10_000_000_000 }",
        ..kind(
            "huge-output",
            "makes 100 MB of output of every event",
            Hostile("map"),
            r#"{ mode = "output" }"#,
        )
    },
    Kind {
        rest: "limits = { memory = \"512MiB\", fuel_per_event = 10_000_000_000 }",
        ..kind(
            "giant-value",
            "puts out one value of 32 MiB for every event",
            Hostile("map"),
            r#"{ mode = "giant-value" }"#,
        )
    },
    Kind {
        rest: "limits = { fuel_per_event = 10_000_000_000 }",
        ..kind(
            "amplification",
            "puts every event out ten thousand times",
            Hostile("map"),
            r#"{ mode = "amplify" }"#,
        )
    },
    Kind {
        rest: "slice = \"100ms\"\nlimits = { fuel_per_event = 9_000_000_000_000_000_000 }",
        ..kind(
            "long-slices",
            "asks for slices of 100 ms, and never returns",
            Hostile("map"),
            r#"{ mode = "loop" }"#,
        )
    },
    Kind {
        rest: "limits = { fuel_per_event = 9_000_000_000_000_000_000, open = \"10m\" }",
        ..kind(
            "open-never-ends",
            "never returns from `open`",
            Hostile("map"),
            r#"{ mode = "loop-in-open" }"#,
        )
    },
    Kind {
        rest: UNBOUND,
        ..kind(
            "bulk-memory",
            "fills and copies 32 MiB in one instruction each, for ever",
            Hostile("map"),
            r#"{ mode = "bulk" }"#,
        )
    },
    Kind {
        rest: "limits = { fuel_per_event = 10_000_000_000 }\nisolation = \"fresh\"",
        ..kind(
            "page-faults",
            "touches each page of 32 MiB of memory, new for every turn",
            Hostile("map"),
            r#"{ mode = "touch" }"#,
        )
    },
    Kind {
        rest: UNBOUND,
        ..kind(
            "slow-instructions",
            "divides for ever",
            Hostile("map"),
            r#"{ mode = "divide" }"#,
        )
    },
    Kind {
        rest: UNBOUND,
        ..kind(
            "host-calls",
            "never stops calling the host",
            Hostile("map"),
            r#"{ mode = "host-calls" }"#,
        )
    },
    kind(
        "log-flood",
        "logs and prints 200 lines per event",
        Hostile("map"),
        r#"{ mode = "log" }"#,
    ),
    Kind {
        rest: UNBOUND,
        ..kind(
            "print-flood",
            "never stops printing line ends",
            Hostile("map"),
            r#"{ mode = "print" }"#,
        )
    },
    kind(
        "long-reasons",
        "rejects every event in a message of a mebibyte, and logs as much",
        Hostile("map"),
        r#"{ mode = "long-reason" }"#,
    ),
    kind(
        "long-reasons-utf16",
        "rejects every event in a mebibyte of UTF-16, and logs as much",
        Hostile("utf16"),
        "{}",
    ),
    Kind {
        rest: UNBOUND,
        ..kind(
            "memory-bandwidth",
            "reads and writes 32 MiB from end to end, for ever",
            Hostile("map"),
            r#"{ mode = "stream" }"#,
        )
    },
    Kind {
        rest: UNBOUND,
        ..kind(
            "cache-thrash",
            "reads and writes here and there in 16 MiB, for ever",
            Hostile("map"),
            r#"{ mode = "thrash" }"#,
        )
    },
    kind(
        "metric-flood",
        "counts under a new name at every event",
        Hostile("map"),
        r#"{ mode = "metrics" }"#,
    ),
    Kind {
        rest: "window = { count = 1_000_000_000 }",
        ..kind(
            "huge-state",
            "keeps 8,000 numbers per event in the state of 64 keys",
            Hostile("reduce"),
            r#"{ mode = "hoard", every = 1 }"#,
        )
    },
    Kind {
        rest: "actors = \"per-key\"\nwindow = { count = 5 }",
        keys: 100_000,
        ..kind(
            "many-actors",
            "an actor for each of 100,000 keys",
            Builtin("reduce"),
            r#"{ field = "value", aggregate = "avg" }"#,
        )
    },
    Kind {
        rest: "isolation = \"fresh\"",
        ..kind(
            "start-up-storm",
            "a fresh instance for every turn",
            Hostile("map"),
            r#"{ mode = "pass" }"#,
        )
    },
    Kind {
        times: Times::Rising,
        rest: "window = { tumbling = \"1ms\" }",
        ..kind(
            "window-per-event",
            "each event opens a window in time, and closes the one before",
            Builtin("reduce"),
            COUNT,
        )
    },
    Kind {
        times: Times::Scattered,
        rest: "window = { tumbling = \"1ms\" }",
        ..kind(
            "windows-without-end",
            "each event opens a window that nothing closes",
            Builtin("reduce"),
            COUNT,
        )
    },
    Kind {
        times: Times::Scattered,
        rest: "window = { session = \"1ms\" }",
        ..kind(
            "sessions-without-end",
            "each event opens a session that nothing closes",
            Builtin("reduce"),
            COUNT,
        )
    },
    Kind {
        times: Times::Rising,
        rest: "window = { sliding = \"10s\", every = \"1ms\" }",
        ..kind(
            "windows-of-many-segments",
            "each event closes a window that is merged from as many segments as a key may have",
            Builtin("reduce"),
            COUNT,
        )
    },
    Kind {
        times: Times::Rising,
        rest: "order = \"time\"",
        ..kind(
            "timers-without-number",
            "each event sets a thousand timers, which fire",
            Hostile("process"),
            r#"{ mode = "swarm", every = 1 }"#,
        )
    },
    Kind {
        times: Times::Rising,
        rest: "order = \"arrival\"",
        ..kind(
            "timers-without-rest",
            "each timer sets itself anew until its fuel is gone",
            Hostile("process"),
            r#"{ mode = "restless", every = 1 }"#,
        )
    },
    Kind {
        times: Times::Scattered,
        rest: "order = \"time\"",
        ..kind(
            "events-that-wait",
            "each event waits for a time that event time never comes to",
            Hostile("process"),
            r#"{ mode = "pass", every = 1 }"#,
        )
    },
    Kind {
        rest: "order = \"arrival\"",
        ..kind(
            "state-that-grows",
            "each event adds 16 KiB to the state of one of 64 keys",
            Hostile("process"),
            r#"{ mode = "hoard", every = 1 }"#,
        )
    },
    Kind {
        rest: "order = \"arrival\"",
        ..kind(
            "maps-that-grow",
            "each event adds an entry of 16 KiB to a map of one of 64 keys",
            Hostile("process"),
            r#"{ mode = "pile", every = 1 }"#,
        )
    },
    Kind {
        rest: "order = \"arrival\"",
        ..kind(
            "maps-read-again-and-again",
            "each event changes a map of 0.5 MiB and reads it ten times",
            Hostile("process"),
            r#"{ mode = "browse", every = 1 }"#,
        )
    },
    Kind {
        shape: Shape::ManySources,
        ..kind(
            "many-sources",
            "64 sources that give all the events they can",
            Builtin("filter"),
            EACH,
        )
    },
    Kind {
        shape: Shape::ManySinks,
        ..kind(
            "many-sinks",
            "64 sinks that each compress all the events there are",
            Builtin("filter"),
            EACH,
        )
    },
    Kind {
        shape: Shape::Diamonds,
        ..kind(
            "diamonds",
            "9 layers that double their events, and 36 operators behind",
            Builtin("filter"),
            EACH,
        )
    },
];

/// Has `builtin:reduce` count.
const COUNT: &str = r#"{ aggregate = "count" }"#;

/// Has `builtin:filter` pass every event.
const EACH: &str = r#"{ field = "value", threshold = -1 }"#;

/// The kind of this name.
pub(super) fn named(name: &str) -> Result<Kind, String> {
    ALL.iter().find(|kind| kind.name == name).copied().ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|kind| format!("`{}`", kind.name)).collect();
        format!("there is no such kind; there are {}", known.join(", "))
    })
}

impl Kind {
    /// Its pipeline; `name` is that of its tenant too.
    pub(super) fn pipeline(&self, name: &str, guests: &Guests) -> String {
        let component = match self.component {
            Hostile(name) => guests.path(name).display().to_string(),
            Builtin(name) => format!("builtin:{name}"),
        };
        self.text(name, &component)
    }

    fn text(&self, name: &str, component: &str) -> String {
        let rest = format!("config = {}\n{}", self.config, self.rest);
        let operator = |id: &str, inputs: &[String]| operator(id, component, inputs, &rest);
        let parts: Vec<String> = match self.shape {
            Shape::Line => return header(name) + &line(component, &rest, self.times),
            Shape::ManySources => {
                let ids: Vec<String> = (0..ENDS).map(|number| format!("events-{number}")).collect();
                let sources = ids.iter().map(|id| source(id));
                let guest = operator("guest", &ids);
                sources.chain([guest, sink("nowhere", &["guest".to_owned()])]).collect()
            }
            Shape::ManySinks => {
                let guest = operator("guest", &["events".to_owned()]);
                let sinks = (0..ENDS).map(|number| sink(&format!("nowhere-{number}"), &["guest".to_owned()]));
                [source("events"), guest].into_iter().chain(sinks).collect()
            }
            Shape::Diamonds => {
                let mut parts = vec![source("events")];
                let mut layer = vec!["events".to_owned()];
                for number in 0..=LAYERS {
                    let width = if number < LAYERS { 2 } else { LAST_LAYER };
                    let next: Vec<String> = (0..width).map(|place| format!("guest-{number}-{place}")).collect();
                    parts.extend(next.iter().map(|id| operator(id, &layer)));
                    layer = next;
                }
                parts.push(sink("nowhere", &layer[..1]));
                parts
            }
        };
        header(name) + &parts.concat()
    }

    /// A sink of its.
    pub(super) fn sink(&self) -> Box<dyn Sink> {
        match self.shape {
            Shape::ManySinks => Box::new(Compressor),
            Shape::Line | Shape::ManySources | Shape::Diamonds => Box::new(Bottomless),
        }
    }
}

/// What they do, for people.
pub(super) fn help() -> String {
    let line = |kind: &Kind| format!("  {:<20} {}\n", kind.name, kind.about);
    format!("Kinds of neighbours:\n{}", ALL.iter().map(line).collect::<String>())
}

/// The pipeline of a neighbour with this component, and `rest` for further keys of its operator.
pub(super) fn pipeline(name: &str, component: &str, rest: &str) -> String {
    header(name) + &line(component, rest, Times::Still)
}

/// A source, the operator, a sink.
fn line(component: &str, rest: &str, times: Times) -> String {
    let [events, guest] = ["events", "guest"].map(|id| vec![id.to_owned()]);
    let lateness = match times {
        Times::Still | Times::Rising => "",
        // As long as the times are apart: no watermark passes one.
        Times::Scattered => "lateness = \"36500days\"\n",
    };
    source("events") + lateness + &operator("guest", component, &events, rest) + &sink("nowhere", &guest)
}

fn header(name: &str) -> String {
    format!("[pipeline]\nname = \"{name}\"\ntenant = \"{name}\"\n")
}

fn source(id: &str) -> String {
    format!("[[source]]\nid = \"{id}\"\nkind = \"generator\"\n")
}

fn operator(id: &str, component: &str, inputs: &[String], rest: &str) -> String {
    let component = toml::Value::String(component.to_owned());
    format!("[[operator]]\nid = \"{id}\"\ncomponent = {component}\ninputs = {inputs:?}\n{rest}\n")
}

fn sink(id: &str, inputs: &[String]) -> String {
    format!("[[sink]]\nid = \"{id}\"\nkind = \"null\"\ninputs = {inputs:?}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_have_as_many_parts_as_a_tenant_may_have() {
        let parts = |name: &str| {
            let kind = named(name).unwrap();
            let text = kind.text("neighbour", "builtin:filter");
            ["[[source]]", "[[operator]]", "[[sink]]"].map(|part| text.matches(part).count())
        };
        assert_eq!(parts("greedy"), [1, 1, 1]);
        assert_eq!(parts("many-sources"), [64, 1, 1]);
        assert_eq!(parts("many-sinks"), [1, 1, 64]);
        assert_eq!(parts("diamonds"), [1, 2 * 9 + 36, 1]);
    }

    #[test]
    fn diamonds_are_one_layer_and_one_operator_short_of_what_is_refused() {
        const PATHS_MAX: usize = 1_000;
        const DELIVERIES_MAX: usize = 20_000;
        // One way leads to each operator of the first layer, and twice as many to each of the next.
        let to_the_last = 1 << LAYERS;
        assert!(to_the_last <= PATHS_MAX && 2 * to_the_last > PATHS_MAX);
        // The sink gets what one of the last layer gets.
        let deliveries = |last_layer: usize| 2 * (to_the_last - 1) + (last_layer + 1) * to_the_last;
        assert!(deliveries(LAST_LAYER) <= DELIVERIES_MAX && deliveries(LAST_LAYER + 1) > DELIVERIES_MAX);
    }
}

//! The kinds of hostile neighbours.
//!
//! A table: to add one, add an entry. Each is a pipeline of one operator, fed with as many events as it takes.

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
}

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
];

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
        pipeline(name, &component, &format!("config = {}\n{}", self.config, self.rest))
    }
}

/// What they do, for people.
pub(super) fn help() -> String {
    let line = |kind: &Kind| format!("  {:<20} {}\n", kind.name, kind.about);
    format!("Kinds of neighbours:\n{}", ALL.iter().map(line).collect::<String>())
}

/// The pipeline of a neighbour with this component, and `rest` for further keys of its operator.
pub(super) fn pipeline(name: &str, component: &str, rest: &str) -> String {
    let component = toml::Value::String(component.to_owned());
    format!(
        r#"
        [pipeline]
        name = "{name}"
        tenant = "{name}"
        [[source]]
        id = "events"
        kind = "generator"
        [[operator]]
        id = "guest"
        component = {component}
        {rest}
        [[sink]]
        id = "nowhere"
        kind = "null"
        "#
    )
}

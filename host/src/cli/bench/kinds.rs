//! The kinds of hostile neighbours.
//!
//! A table: to add one, add a line. Each is a pipeline of one operator, fed with as many events as it takes.

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
    /// Further keys of the operator, as TOML.
    keys: &'static str,
    /// How many keys its events have.
    pub(super) keys_count: u64,
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
        keys: "",
        keys_count: 64,
    }
}

/// All of them.
pub(super) const ALL: &[Kind] = &[
    kind(
        "greedy",
        "a sound map that takes all the events it can get",
        Builtin("map"),
        r#"{ field = "value", scale = 1.8, offset = 32.0, into = "scaled" }"#,
    ),
    Kind {
        keys: "limits = { fuel_per_event = 9_000_000_000_000_000_000 }",
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
        keys: "limits = { memory = \"512MiB\", fuel_per_event = 10_000_000_000 }",
        ..kind(
            "huge-output",
            "makes 100 MB of output of every event",
            Hostile("map"),
            r#"{ mode = "output" }"#,
        )
    },
    kind(
        "log-flood",
        "logs and prints 200 lines per event",
        Hostile("map"),
        r#"{ mode = "log" }"#,
    ),
    kind(
        "metric-flood",
        "counts under a new name at every event",
        Hostile("map"),
        r#"{ mode = "metrics" }"#,
    ),
    Kind {
        keys: "window = { count = 1_000_000_000 }",
        keys_count: 1,
        ..kind(
            "huge-state",
            "keeps every event in the state of one key",
            Hostile("reduce"),
            r#"{ mode = "pass", every = 1 }"#,
        )
    },
    Kind {
        keys: "actors = \"per-key\"\nwindow = { count = 5 }",
        keys_count: 100_000,
        ..kind(
            "many-actors",
            "an actor for each of 100,000 keys",
            Builtin("reduce"),
            r#"{ field = "value", aggregate = "avg" }"#,
        )
    },
    Kind {
        keys: "isolation = \"fresh\"",
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
    /// Its pipeline.
    pub(super) fn pipeline(&self, guests: &Guests) -> String {
        let component = match self.component {
            Hostile(name) => guests.path(name).display().to_string(),
            Builtin(name) => format!("builtin:{name}"),
        };
        pipeline(&component, &format!("config = {}\n{}", self.config, self.keys))
    }
}

/// What they do, for people.
pub(super) fn help() -> String {
    let line = |kind: &Kind| format!("  {:<20} {}\n", kind.name, kind.about);
    format!("Kinds of neighbours:\n{}", ALL.iter().map(line).collect::<String>())
}

/// The pipeline of a neighbour with this component, and `rest` for further keys of its operator.
pub(super) fn pipeline(component: &str, rest: &str) -> String {
    let component = toml::Value::String(component.to_owned());
    format!(
        r#"
        [pipeline]
        name = "neighbour"
        tenant = "neighbour"
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

//! Compiles the built-in operators.

use dirigo_component_build::{Guest, embed};

const OPERATORS: [Guest; 9] = [
    Guest {
        name: "map",
        package: "dirigo-map",
    },
    Guest {
        name: "filter",
        package: "dirigo-filter",
    },
    Guest {
        name: "reduce",
        package: "dirigo-reduce",
    },
    Guest {
        name: "window",
        package: "dirigo-window",
    },
    Guest {
        name: "top",
        package: "dirigo-top",
    },
    Guest {
        name: "dedup",
        package: "dirigo-dedup",
    },
    Guest {
        name: "join",
        package: "dirigo-join",
    },
    Guest {
        name: "lookup",
        package: "dirigo-lookup",
    },
    // An example of what the host is for.
    Guest {
        name: "endless-loop",
        package: "dirigo-endless-loop",
    },
];

fn main() {
    embed(&OPERATORS, &["operators"], "builtin.rs");
}

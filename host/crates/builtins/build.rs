//! Compiles the built-in operators.

use dirigo_component_build::{Guest, embed};

const OPERATORS: [Guest; 4] = [
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
];

fn main() {
    embed(&OPERATORS, &["operators"], "builtin.rs");
}

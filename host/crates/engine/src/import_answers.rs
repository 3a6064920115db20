//! What each import of a component is answered with, in a few words.
//!
//! A component that was made for WASI imports what its standard library might call. That it is linked says nothing of what it
//! gets: here is what that is.

/// By interface without its version: the longest that an import begins with counts.
const ANSWERS: &[(&str, &str)] = &[
    ("dirigo:operator/host", "the log, counters, and what a panic says"),
    (
        "dirigo:operator/items",
        "what is kept of the keys of the call, entry by entry",
    ),
    ("dirigo:operator/types", "types"),
    ("wasi:cli/environment", "no variables, no arguments"),
    ("wasi:cli/exit", "ends the turn as a trap does"),
    ("wasi:cli/stdin", "at its end"),
    ("wasi:cli/stdout", "lines of the log, level info"),
    ("wasi:cli/stderr", "lines of the log, level warn"),
    ("wasi:cli/terminal", "there is no terminal"),
    ("wasi:clocks", "no clock of the machine: the same in every run"),
    ("wasi:filesystem", "denied: there are no files"),
    ("wasi:io", "what the streams of the others are made of"),
    ("wasi:random", "numbers from a seed: the same in every run"),
    ("wasi:sockets", "denied: there is no network"),
];

/// What `import` is answered with.
#[must_use]
pub fn answer(import: &str) -> &'static str {
    let of_it = ANSWERS.iter().filter(|(interface, _)| import.starts_with(interface));
    let longest = of_it.max_by_key(|(interface, _)| interface.len());
    longest.map_or("nothing", |(_, answer)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::interface;
    use crate::imports::OWN;
    use crate::wasi::GRANTED;

    #[test]
    fn it_is_said_of_all_that_is_granted_what_it_is_answered_with() {
        for import in GRANTED {
            assert_ne!(answer(import), "nothing", "{import}");
        }
        for name in OWN {
            assert_ne!(answer(&interface(name)), "nothing", "{name}");
        }
        assert_eq!(answer("wasi:cli/terminal-stdin@0.2.6"), "there is no terminal");
    }
}

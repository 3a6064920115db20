//! The name of an operator's crate.
//!
//! Owns which names work: as a package, as an identifier, as the name of a pipeline and of its operator.

use std::str::FromStr;

/// As long as a pipeline's name may be, which the project's pipeline bears.
const LENGTH_MAX: usize = 64;

/// The keywords of Rust 2024, those that are only reserved included.
const KEYWORDS: [&str; 50] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while",
];
/// Crates that every Rust program has.
const STANDARD: [&str; 5] = ["alloc", "core", "proc_macro", "std", "test"];
/// Crates that the project depends on.
const DEPENDENCIES: [&str; 3] = ["dirigo_operator", "serde", "serde_json"];
/// Other ids in the project's pipeline.
const IDS: [&str; 2] = ["out", "readings"];

/// A name that an operator's crate can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CrateName(String);

impl CrateName {
    /// As a package has it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As code and file names have it.
    pub(crate) fn identifier(&self) -> String {
        identifier(&self.0)
    }
}

impl FromStr for CrateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match flaw(text) {
            None => Ok(Self(text.to_owned())),
            Some(flaw) => Err(flaw),
        }
    }
}

fn identifier(name: &str) -> String {
    name.replace('-', "_")
}

fn flaw(text: &str) -> Option<String> {
    let Some(first) = text.chars().next() else {
        return Some("it is empty".into());
    };
    let is_foreign = |character: &char| !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_'));
    if let Some(foreign) = text.chars().find(is_foreign) {
        return Some(format!(
            "it contains {foreign:?}; a name has letters, digits, `-` and `_`"
        ));
    }
    if !first.is_ascii_alphabetic() {
        return Some(format!("it starts with {first:?}; a name starts with a letter"));
    }
    if text.chars().any(|character| character.is_ascii_uppercase()) {
        return Some(format!(
            "crates are named in lower case, as in `{}`",
            text.to_ascii_lowercase()
        ));
    }
    if text.len() > LENGTH_MAX {
        return Some(format!(
            "it has {} characters, at most {LENGTH_MAX} are possible",
            text.len()
        ));
    }
    let identifier = identifier(text);
    let is_one_of = |names: &[&str]| names.contains(&identifier.as_str());
    if is_one_of(&KEYWORDS) {
        Some("it is a keyword of Rust".into())
    } else if is_one_of(&STANDARD) {
        Some("it is a crate of Rust's own".into())
    } else if is_one_of(&DEPENDENCIES) {
        Some("the project depends on the crate of this name".into())
    } else if is_one_of(&IDS) {
        Some("the project's pipeline has a source or a sink of this name".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_pass() {
        for name in ["a", "my-operator", "my_operator2", "tests"] {
            assert_eq!(name.parse::<CrateName>().unwrap().as_str(), name);
        }
        assert_eq!("my-op".parse::<CrateName>().unwrap().identifier(), "my_op");
    }

    #[test]
    fn a_name_that_would_not_work_is_refused_with_the_reason() {
        for (name, reason) in [
            ("", "it is empty"),
            ("a b", "it contains ' '"),
            ("../up", "it contains '.'"),
            ("é", "it contains 'é'"),
            ("2nd", "it starts with '2'"),
            ("-x", "it starts with '-'"),
            ("Op", "lower case, as in `op`"),
            ("match", "a keyword"),
            ("core", "Rust's own"),
            ("proc-macro", "Rust's own"),
            ("serde-json", "depends on"),
            ("readings", "a source or a sink"),
        ] {
            let refused = name.parse::<CrateName>().unwrap_err();
            assert!(refused.contains(reason), "{name}: {refused}");
        }
        assert!("x".repeat(65).parse::<CrateName>().is_err());
    }
}

//! Files that are taken for others: data, a component or a tenants file where a pipeline file is wanted.
//!
//! Owns what they are known by. Each is one mistake, however many the parser would find.

use super::diagnostic::Diagnostic;
use super::document::{Node, Value};

/// A file that people write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Pipeline,
    Tenants,
}

impl Wanted {
    pub(super) fn named(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline file",
            Self::Tenants => "tenants file",
        }
    }

    fn mistaken(self, found: &str, help: &str) -> Diagnostic {
        Diagnostic::error(format!("this is {found}, not a {}", self.named())).help(help)
    }

    /// What a file is by its first bytes.
    pub(super) fn binary(self, bytes: &[u8]) -> Option<Diagnostic> {
        let is = |magic: &[u8]| bytes.starts_with(magic);
        if is(b"\0asm") {
            return Some(self.mistaken("a component", "name it as the `component` of an `[[operator]]`"));
        }
        let is_compressed = is(&[0x1f, 0x8b]) || is(&[0x28, 0xb5, 0x2f, 0xfd]);
        is_compressed.then(|| self.mistaken("a compressed file", EVENTS))
    }

    /// What a text is that is no TOML.
    pub(super) fn data(self, text: &str) -> Option<Diagnostic> {
        let line = text.lines().find(|line| !line.trim().is_empty())?.trim();
        if line.starts_with('{') {
            return Some(self.mistaken("JSON", EVENTS));
        }
        let is_toml = line.starts_with(['[', '#']) || line.contains('=');
        (!is_toml && line.contains([',', ';', '\t'])).then(|| self.mistaken("a table of data, such as CSV", EVENTS))
    }

    /// What a TOML file is by its tables.
    pub(super) fn other(self, root: &Node) -> Option<Diagnostic> {
        let Value::Table(entries) = &root.value else {
            return None;
        };
        let table = |key: &str| entries.iter().find(|entry| entry.key == key);
        let is_pipeline = ["pipeline", "source", "operator", "sink"]
            .into_iter()
            .any(|key| table(key).is_some());
        let lists_tenants = table("tenant").is_some_and(|entry| matches!(entry.node.value, Value::List(_)));
        match self {
            Self::Pipeline if !is_pipeline && (lists_tenants || table("default").is_some()) => {
                Some(self.mistaken("a tenants file", "give it with `--tenants`, next to the pipeline files"))
            }
            Self::Tenants if is_pipeline && !lists_tenants => {
                let help = "a tenants file has a `[[tenant]]` for each tenant, and `[default]` for all others";
                Some(self.mistaken("a pipeline file", help))
            }
            _ => None,
        }
    }
}

const EVENTS: &str =
    "a file of events is named as the `path` of a `[[source]]`; the pipeline file is TOML, and has a `[pipeline]`";

//! Files that a source reads, or a sink writes.

use std::fmt;
use std::path::PathBuf;

/// A file, or several of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// One file.
    One(PathBuf),
    /// Those of a folder that match. Whoever writes some of them has the folder to itself.
    Matching(Pattern),
}

/// The files of a folder whose names begin and end alike: `logs/day-*.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The folder.
    pub folder: PathBuf,
    /// What comes before the `*`.
    pub prefix: String,
    /// What comes behind the `*`.
    pub suffix: String,
}

impl Pattern {
    /// All files of a folder.
    #[must_use]
    pub fn all_of(folder: PathBuf) -> Self {
        Self {
            folder,
            prefix: String::new(),
            suffix: String::new(),
        }
    }

    /// What stands for the `*` in a name, if the name is one of these.
    #[must_use]
    pub fn matched<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(self.prefix.as_str())?
            .strip_suffix(self.suffix.as_str())
    }

    /// Whether this is the name of one of the files. A hidden one is none of them.
    #[must_use]
    pub fn matched_file(&self, name: &str) -> bool {
        !name.starts_with('.') && self.matched(name).is_some()
    }

    /// The name in which `middle` stands for the `*`.
    #[must_use]
    pub fn name(&self, middle: &str) -> String {
        format!("{}{middle}{}", self.prefix, self.suffix)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.folder.join(self.name("*")).display().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_matched_by_both_of_its_ends() {
        let pattern = Pattern {
            folder: "logs".into(),
            prefix: "a.".into(),
            suffix: ".a".into(),
        };
        assert_eq!(pattern.to_string(), "logs/a.*.a");
        assert_eq!(pattern.matched("a.7.a"), Some("7"));
        assert_eq!(pattern.matched("a..a"), Some(""));
        assert_eq!(pattern.matched("a.a"), None, "the ends do not overlap");
        assert_eq!(pattern.matched(&pattern.name("x")), Some("x"));
    }
}

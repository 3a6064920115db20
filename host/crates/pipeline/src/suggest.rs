//! "did you mean": the known word that lies nearest to an unknown one.
//!
//! Owns how near is near enough.

use std::path::Path;

/// Half of the letters swapped is a different word; `treshold` and `threshold` are 0.96 alike, `http` and `path` 0.5.
const LIKENESS_MIN: f64 = 0.75;

/// The longest list of keys that a table has is 14; ids may be thousands.
const LISTED_MAX: usize = 16;

/// How many directory entries are looked at for a file name that is almost the one written.
const SIBLINGS_MAX: usize = 10_000;

/// Words that others have for what is called differently here.
const SYNONYMS: [(&str, &str); 13] = [
    ("mean", "avg"),
    ("average", "avg"),
    ("total", "sum"),
    ("minimum", "min"),
    ("least", "min"),
    ("maximum", "max"),
    ("greatest", "max"),
    ("number", "count"),
    ("name", "id"),
    ("type", "kind"),
    ("file", "path"),
    ("wasm", "component"),
    ("from", "inputs"),
];

/// The candidate that means what `word` does, or is most like it, if one is like it at all.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == lower).map(|(_, own)| *own);
    if let Some(meant) = candidates.iter().find(|candidate| Some(**candidate) == synonym) {
        return Some(meant);
    }
    candidates
        .into_iter()
        .map(|candidate| (likeness(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

fn likeness(word: &str, candidate: &str) -> f64 {
    let likeness = strsim::jaro_winkler(word, candidate);
    // Jaro-Winkler rates short words low: `cvs` is meant as `csv`.
    if is_one_slip(word, candidate) {
        likeness.max(0.9)
    } else {
        likeness
    }
}

/// Whether one letter is missing, added, replaced, or swapped with the next.
pub(super) fn is_one_slip(word: &str, candidate: &str) -> bool {
    candidate.len() > 2 && strsim::damerau_levenshtein(word, candidate) == 1
}

/// "did you mean `threshold`?" and which words there are.
#[must_use]
pub fn help(word: &str, candidates: &[&str], are: &str) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`? {are} {}", listed(candidates)),
        None => format!("{are} {}", listed(candidates)),
    }
}

/// `` `a`, `b` and `c` ``.
pub(super) fn listed(words: &[&str]) -> String {
    let mut shown: Vec<String> = words.iter().take(LISTED_MAX).map(|word| format!("`{word}`")).collect();
    if words.len() > LISTED_MAX {
        shown.push(format!("{} more", words.len() - LISTED_MAX));
    }
    match shown.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// The first pipeline file of a folder, going by the names.
pub(super) fn pipeline_file_in(folder: &Path) -> Option<String> {
    /// Files of Rust projects, in whose folders pipeline files often are.
    const OTHERS: [&str; 4] = ["Cargo.toml", "rust-toolchain.toml", "rustfmt.toml", "clippy.toml"];
    let names = names_in(folder)?.into_iter();
    names
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "toml"))
        .filter(|name| !OTHERS.contains(&name.as_str()))
        .min()
}

fn names_in(folder: &Path) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(folder).ok()?.take(SIBLINGS_MAX);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Some(names.collect())
}

/// A file next to `path` whose name is almost the same.
pub(super) fn sibling(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut names = names_in(folder)?;
    // It is there itself where it is a link that leads nowhere.
    names.retain(|other| other != name);
    // Endings are alike wherever a folder's files are of one kind: `Cargo.toml` is not meant by `tenants.toml`.
    let stem = |name: &str| {
        Path::new(name)
            .file_stem()
            .map(|stem| stem.to_string_lossy().to_lowercase())
    };
    let is_near = |other: &&str| {
        stem(name)
            .zip(stem(other))
            .is_some_and(|(name, other)| likeness(&name, &other) >= LIKENESS_MIN)
    };
    nearest(name, names.iter().map(String::as_str).filter(is_near)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_others_is_known() {
        let candidates = ["avg", "sum", "min", "max", "count"];
        let meant = |word: &str| nearest(word, candidates);
        assert_eq!(meant("mean"), Some("avg"));
        assert_eq!(meant("Minimum"), Some("min"));
        assert_eq!(meant("cuont"), Some("count"));
        assert_eq!(nearest("mean", ["main"]), Some("main"), "where there is no `avg`");
    }

    #[test]
    fn a_file_is_meant_that_is_named_alike_before_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["Cargo.toml", "readings.jsonl", "readings.csv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let meant = |name: &str| sibling(&folder.path().join(name));
        assert_eq!(meant("tenants.toml"), None);
        assert_eq!(meant("reading.csv").as_deref(), Some("readings.csv"));
        assert_eq!(meant("readings.json").as_deref(), Some("readings.jsonl"));
    }
}

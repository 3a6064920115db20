//! What the position of a source or a sink depends on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

/// What something depends on, by the key of the pipeline file that says it. It is kept with the state, and a run whose
/// pipeline says something else does not go on from there.
pub type Facets = BTreeMap<String, Value>;

/// Facets from keys and values; a null is a key that is not there.
#[must_use]
pub fn facets<const N: usize>(facets: [(&str, Value); N]) -> Facets {
    let facets = facets.into_iter().filter(|(_, value)| !value.is_null());
    facets.map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A path as it is seen from the folder of the pipeline `file`: the same from any working directory, and when pipeline
/// and data move together.
#[must_use]
pub fn seen_from(file: &Path, path: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (file, path) = (absolute(file), absolute(path));
    let folder = file.parent().unwrap_or(&file);
    path.strip_prefix(folder).unwrap_or(&path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_seen_from_the_pipeline_file() {
        assert_eq!(seen_from(Path::new("a/p.toml"), Path::new("a/data/x")), "data/x");
        assert_eq!(seen_from(Path::new("p.toml"), Path::new("x")), "x");
        assert_eq!(seen_from(Path::new("a/p.toml"), Path::new("/x")), "/x");
    }
}

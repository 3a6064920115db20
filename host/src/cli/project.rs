//! The files of a project for an operator.
//!
//! Owns what is in it: a template, filled in, and the sources that it is built against, all of which the binary carries.
//! Nothing is ever overwritten.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::crate_name::CrateName;

/// `operator-sdk/templates`: a directory per kind.
const TEMPLATES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));
/// The SDK with its macros, and `wit/`, at their places in the repository.
const SDK: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
/// Where the sources lie that the project is built against.
const VENDOR: &str = "vendor/dirigo";
/// The toolchain that the SDK is tested with, and the target that operators are compiled for.
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");
/// What version control leaves out: what is built, and the dead letters of runs.
const IGNORED: &str = "/target\n*.dead.jsonl\n";

/// A project, in memory.
#[derive(Debug)]
pub(crate) struct Project {
    /// Paths within the project, with what is there.
    files: Vec<(String, String)>,
}

impl Project {
    /// The project of this template under this name.
    pub(crate) fn from_template(template: &str, name: &CrateName) -> Self {
        let fill = |text: &str| {
            text.replace("{{name}}", name.as_str())
                .replace("{{crate}}", &name.identifier())
        };
        let within = |path: &'static str| path.strip_prefix(template)?.strip_prefix('/');
        let own = TEMPLATES.iter().filter_map(|(path, text)| {
            let path = within(path)?;
            // Under its real name, cargo would take a template's manifest for that of a package.
            Some((path.strip_suffix(".in").unwrap_or(path).to_owned(), fill(text)))
        });
        let vendored = SDK
            .iter()
            .map(|(path, text)| (format!("{VENDOR}/{path}"), (*text).to_owned()));
        let settings = [(".gitignore", IGNORED), ("rust-toolchain.toml", TOOLCHAIN)];
        let settings = settings.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self {
            files: own.chain(settings).chain(vendored).collect(),
        }
    }

    /// The paths of its files within the project.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(path, _)| path.as_str())
    }

    /// Writes it to `directory`, which is made or empty.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let place = directory.display();
        match fs::read_dir(directory) {
            Ok(mut entries) => anyhow::ensure!(
                entries.next().is_none(),
                "{place} exists and is not empty; nothing was written"
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make a project in {place}")),
        }
        for (path, text) in &self.files {
            let file = directory.join(path);
            write_new(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::File::create_new(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_template_that_is_filled_in() {
        let name: CrateName = "my-op".parse().unwrap();
        for kind in ["map", "filter", "reduce"] {
            let project = Project::from_template(kind, &name);
            for wanted in [
                "Cargo.toml",
                "rust-toolchain.toml",
                "src/lib.rs",
                "pipeline.toml",
                "data.jsonl",
                "vendor/dirigo/operator-sdk/Cargo.toml",
                "vendor/dirigo/operator-sdk/macros/src/lib.rs",
                "vendor/dirigo/wit/types.wit",
            ] {
                assert!(project.paths().any(|path| path == wanted), "{kind} has no {wanted}");
            }
            for (path, text) in project.files.iter().filter(|(path, _)| !path.starts_with("vendor")) {
                assert!(!text.contains("{{"), "{path} of {kind} has a placeholder left");
            }
        }
    }
}

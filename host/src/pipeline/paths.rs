//! Paths that a pipeline file names: where they lead, whether something is there, and who else uses them.
//!
//! Owns the rule that a relative path is relative to the folder of the pipeline file, and the one that nobody writes
//! where another reads or writes. Opens no file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, Problems};
use super::place::Place;
use super::section::At;
use super::suggest;

/// The folder that relative paths start from; empty for the working directory.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(file: &Path) -> Self {
        Self(file.parent().unwrap_or(Path::new("")).to_owned())
    }

    /// Where the path leads.
    pub(super) fn resolve(&self, at: &At<String>, problems: &mut Problems) -> Option<PathBuf> {
        if at.value.is_empty() || at.value.contains('\0') {
            problems.push(Diagnostic::error("this cannot be a path").at(at.place, "no file bears this name"));
            return None;
        }
        Some(self.0.join(&at.value))
    }
}

/// Reports a file that is to be read and is not there.
pub(super) fn expect_file(path: &Path, place: Place, of: &str, problems: &mut Problems) -> Option<()> {
    let problem = match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => return Some(()),
        Ok(_) => Diagnostic::error(format!("the {of} is a directory")).at(place, "a directory"),
        Err(error) => {
            let label = match path.read_link() {
                Ok(target) => format!("a symbolic link to {}: {error}", target.display()),
                Err(_) => format!("{}: {error}", path.display()),
            };
            Diagnostic::error(format!("cannot find the {of}")).at(place, label)
        }
    };
    let help = match Some(path).filter(|_| !problems.is_full()).and_then(suggest::sibling) {
        Some(name) => format!("did you mean `{name}`?"),
        None if path.extension().is_some_and(|extension| extension == "wasm") => {
            "`dirigo build` compiles an operator crate; relative paths start from the folder of the pipeline file"
                .to_owned()
        }
        None => "relative paths start from the folder of the pipeline file".to_owned(),
    };
    problems.push(problem.help(help));
    None
}

/// Reports a file that is to be written and cannot be: there is a directory in its place.
pub(super) fn expect_no_directory(path: &Path, place: Place, of: &str, problems: &mut Problems) -> Option<()> {
    if path.is_dir() {
        problems.push(
            Diagnostic::error(format!("the {of} is a directory"))
                .at(place, "a directory")
                .help("name a file within it"),
        );
        return None;
    }
    Some(())
}

/// Who uses which file.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Of several uses of a file, one that writes it, if any does.
    by_file: HashMap<Identity, Claim>,
}

/// A use of a file.
#[derive(Debug)]
pub(super) struct Claim {
    /// The file.
    pub(super) path: PathBuf,
    /// Who uses it: "sink `averages`".
    pub(super) who: String,
    /// What for.
    pub(super) usage: Usage,
    /// Where the path stands; `None` for the pipeline file itself, and between pipelines.
    pub(super) place: Option<Place>,
    /// Whether nobody named the file: dead letters go there by default.
    pub(super) is_default: bool,
}

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Reads,
    Writes,
}

impl Claims {
    /// Notes a use, and reports it when it gets in the way of an earlier one.
    pub(super) fn add(&mut self, claim: Claim, problems: &mut Problems) {
        let Some(identity) = identity(&claim.path) else { return };
        match self.by_file.entry(identity) {
            Entry::Vacant(vacant) => {
                vacant.insert(claim);
            }
            Entry::Occupied(mut first) => {
                if claim.usage == Usage::Writes || first.get().usage == Usage::Writes {
                    problems.push(collision(&claim, first.get()));
                }
                if claim.usage == Usage::Writes {
                    first.insert(claim);
                }
            }
        }
    }
}

fn collision(claim: &Claim, other: &Claim) -> Diagnostic {
    let message = format!("{} and {} use the same file", other.who, claim.who);
    let mut problem = match claim.place {
        Some(place) => Diagnostic::error(message).at(place, claim.usage.told()),
        None => Diagnostic::error(format!("{message}, {}", claim.path.display())),
    };
    if let Some(place) = other.place {
        problem = problem.also(place, other.usage.told());
    }
    problem.help(if claim.is_default || other.is_default {
        "name a file for the dead letters under `[dead_letters]`"
    } else {
        "give each one its own file"
    })
}

impl Usage {
    fn told(self) -> &'static str {
        match self {
            Usage::Reads => "read here",
            Usage::Writes => "written here",
        }
    }
}

/// What tells a file from others, however its path is written.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// The device and inode of one that exists: hard links have paths that no text betrays as one file's.
    Existing(u64, u64),
    /// Where one will be: the folder as far as it exists, with `.` and `..` taken out.
    Future(PathBuf),
}

/// `None` for devices and pipes: those who share one lose nothing of each other's.
fn identity(path: &Path) -> Option<Identity> {
    let plain = plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    // A way through a folder that does not exist yet leads somewhere once a sink has made it.
    if let Ok(metadata) = path.metadata().or_else(|_| plain.metadata()) {
        let is_own = metadata.is_file() || metadata.is_dir();
        return is_own.then(|| Identity::Existing(metadata.dev(), metadata.ino()));
    }
    Some(Identity::Future(
        match (plain.parent().map(Path::canonicalize), plain.file_name()) {
            (Some(Ok(folder)), Some(name)) => folder.join(name),
            _ => plain,
        },
    ))
}

fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            _ => plain.push(component),
        }
    }
    plain
}

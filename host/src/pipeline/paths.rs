//! Paths that a pipeline file names: where they lead, whether something is there, and who else uses them.
//!
//! Owns the rule that a relative path is relative to the folder of the pipeline file, and the one that nobody writes
//! where another reads or writes. Opens no file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, Problems};
use super::pattern::Pattern;
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

    /// Where the path of many files leads, of which a `*` in the file name makes one.
    pub(super) fn pattern(&self, at: &At<String>, problems: &mut Problems) -> Option<Pattern> {
        let path = self.resolve(at, problems)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let folder = path.parent().unwrap_or(Path::new(""));
        let in_folders = folder
            .strip_prefix(&self.0)
            .unwrap_or(folder)
            .to_string_lossy()
            .contains('*');
        let (label, help) = match name.split_once('*') {
            _ if in_folders => (
                "a folder with a `*`",
                "a `*` may stand in the name of the files, not of their folder",
            ),
            Some((_, rest)) if rest.contains('*') => ("a second `*`", "one `*` is all that a path may have"),
            Some((prefix, _)) if prefix.starts_with('.') => {
                ("hidden files", "let their names begin with something else than a dot")
            }
            Some((prefix, suffix)) => {
                return Some(Pattern {
                    folder: or_here(folder).to_owned(),
                    prefix: prefix.to_owned(),
                    suffix: suffix.to_owned(),
                });
            }
            None => (
                "no `*`",
                "let a `*` stand for what tells the files apart, such as \"averages/*.jsonl\"",
            ),
        };
        let problem = Diagnostic::error("this cannot be the path of several files").at(at.place, label);
        problems.push(problem.help(help));
        None
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

/// Reports a folder that cannot be made: there is a file in its place.
pub(super) fn expect_no_file(folder: &Path, place: Place, of: &str, problems: &mut Problems) -> Option<()> {
    if folder.exists() && !folder.is_dir() {
        let problem =
            Diagnostic::error(format!("the {of} is a file")).at(place, format!("{} is a file", folder.display()));
        problems.push(problem.help("name a folder that is yet to be made"));
        return None;
    }
    Some(())
}

/// Who uses which file.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Of several uses of a file, or of a folder as a whole, one that writes it, if any does.
    by_file: HashMap<Identity, Claim>,
    /// Of the uses of the files in a folder, the same.
    by_folder: HashMap<Identity, Claim>,
}

/// A use of a file.
#[derive(Clone, Debug)]
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
    /// All files of a folder that match a pattern.
    ReadsFolder,
    /// All files of a folder.
    WritesFolder,
}

impl Claims {
    /// Notes a use, and reports it when it gets in the way of an earlier one.
    pub(super) fn add(&mut self, claim: Claim, problems: &mut Problems) {
        let Some(own) = identity(&claim.path) else { return };
        let folder = if claim.usage.is_of_folder() {
            None
        } else {
            claim.path.parent().and_then(|folder| identity(or_here(folder)))
        };
        let above = folder.as_ref().and_then(|folder| self.by_file.get(folder));
        let within = Some(&own).filter(|_| claim.usage.is_of_folder());
        let within = within.and_then(|folder| self.by_folder.get(folder));
        let others = [
            self.by_file.get(&own),
            above.filter(|other| other.usage.is_of_folder()),
            within,
        ];
        if let Some(other) = others
            .into_iter()
            .flatten()
            .find(|other| claim.usage.writes() || other.usage.writes())
        {
            problems.push(collision(&claim, other));
        }
        if let Some(folder) = folder {
            note(&mut self.by_folder, folder, claim.clone());
        }
        note(&mut self.by_file, own, claim);
    }
}

/// Keeps a use, unless there is one already that more get in the way of.
fn note(uses: &mut HashMap<Identity, Claim>, identity: Identity, claim: Claim) {
    match uses.entry(identity) {
        Entry::Vacant(vacant) => {
            vacant.insert(claim);
        }
        Entry::Occupied(mut first) if claim.usage.writes() => {
            first.insert(claim);
        }
        Entry::Occupied(_) => {}
    }
}

fn collision(claim: &Claim, other: &Claim) -> Diagnostic {
    let is_of_folder = claim.usage.is_of_folder() || other.usage.is_of_folder();
    let what = if is_of_folder { "folder" } else { "file" };
    let message = format!("{} and {} use the same {what}", other.who, claim.who);
    let mut problem = match claim.place {
        Some(place) => Diagnostic::error(message).at(place, claim.usage.told()),
        None => Diagnostic::error(format!("{message}, {}", claim.path.display())),
    };
    if let Some(place) = other.place {
        problem = problem.also(place, other.usage.told());
    }
    problem.help(if claim.is_default || other.is_default {
        "name a file for the dead letters under `[dead_letters]`"
    } else if is_of_folder {
        "give each one its own folder"
    } else {
        "give each one its own file"
    })
}

impl Usage {
    fn told(self) -> &'static str {
        match self {
            Usage::Reads | Usage::ReadsFolder => "read here",
            Usage::Writes | Usage::WritesFolder => "written here",
        }
    }

    fn writes(self) -> bool {
        matches!(self, Usage::Writes | Usage::WritesFolder)
    }

    fn is_of_folder(self) -> bool {
        matches!(self, Usage::ReadsFolder | Usage::WritesFolder)
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

/// The working directory has a name of its own.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
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

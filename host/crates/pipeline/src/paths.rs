//! Paths that a pipeline file names: where they lead, whether something is there, and who else uses them.
//!
//! Owns the rule that a relative path is relative to the folder of the pipeline file, and the one that nobody writes
//! where another reads or writes. Opens no file.

use std::collections::HashMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use super::diagnostic::{Diagnostic, Problems};
use super::section::At;
use super::span::Span;
use super::suggest;
use dirigo_connect::Pattern;

/// The folder that relative paths start from; empty for the working directory.
#[derive(Debug)]
pub(super) struct BaseFolder(PathBuf);

impl BaseFolder {
    pub(super) fn of(file: &Path) -> Self {
        Self(file.parent().unwrap_or(Path::new("")).to_owned())
    }

    /// Where the path leads.
    pub(super) fn resolve(&self, at: &At<String>, problems: &mut Problems) -> Option<PathBuf> {
        if at.value.is_empty() || at.value.contains('\0') {
            problems.push(Diagnostic::error("this cannot be a path").at(at.place, "no file bears this name"));
            return None;
        }
        if at.value == "~" || at.value.starts_with("~/") {
            let problem = Diagnostic::error("`~` stands for no folder in a pipeline file");
            let help = "write the whole path, or one from the folder of the pipeline file; a folder named `~` is `./~`";
            problems.push(problem.at(at.place, "only a shell expands it").help(help));
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

/// What may be at the path of a file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// A regular file.
    File,
    /// A pipe too.
    FileOrPipe,
}

/// Reports a file that is to be read and is not there, or is something else than a file: a pipe or a device may hold its reader
/// up for ever, or have no end.
pub(super) fn expect_file(
    path: &Path,
    place: Span,
    of: &str,
    readable: Readable,
    problems: &mut Problems,
) -> Option<()> {
    let problem = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Some(()),
        Ok(metadata) if metadata.is_dir() => {
            Diagnostic::error(format!("the {of} is a directory")).at(place, "a directory")
        }
        Ok(metadata) if metadata.file_type().is_fifo() && readable == Readable::FileOrPipe => return Some(()),
        Ok(metadata) => {
            let kind = if metadata.file_type().is_fifo() {
                "a pipe"
            } else {
                "a device or a socket"
            };
            let problem = Diagnostic::error(format!("the {of} is {kind}")).at(place, "no regular file");
            let help = match kind {
                "a pipe" if of == "source file" => {
                    "`special = true` reads a pipe; it is waited for where nothing is written to it"
                }
                _ => "name a regular file",
            };
            problems.push(problem.help(help));
            return None;
        }
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

/// Reports a folder whose files are to be read and that is not there; and that there are no files yet.
pub(super) fn expect_files(pattern: &Pattern, place: Span, problems: &mut Problems) -> Option<()> {
    let names = match std::fs::read_dir(&pattern.folder) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()),
        Err(error) => {
            let label = format!("{}: {error}", pattern.folder.display());
            let problem = Diagnostic::error("cannot read the folder of the source files").at(place, label);
            problems.push(problem.help("relative paths start from the folder of the pipeline file"));
            return None;
        }
    };
    if !names.into_iter().any(|name| pattern.matched_file(&name)) {
        let problem = Diagnostic::warning("there are no source files").at(place, format!("no file is {pattern}"));
        problems.push(problem.help("a run reads those that are there when it begins"));
    }
    Some(())
}

/// Reports a file that is to be written and cannot be: there is a directory in its place.
pub(super) fn expect_no_directory(path: &Path, place: Span, of: &str, problems: &mut Problems) -> Option<()> {
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
pub(super) fn expect_no_file(folder: &Path, place: Span, of: &str, problems: &mut Problems) -> Option<()> {
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
    /// The uses of a file, or of a folder as a whole.
    by_file: HashMap<FileIdentity, Vec<NotedClaim>>,
    /// The uses of files, by the folders that they are in.
    by_folder: HashMap<FileIdentity, Vec<NotedClaim>>,
    /// The number of uses that were noted so far.
    noted: u64,
}

/// A use that was noted, with its number in the order of notes.
#[derive(Debug)]
struct NotedClaim {
    number: u64,
    claim: Claim,
}

/// Where a use was noted.
#[derive(Debug)]
pub(super) struct Noted {
    number: u64,
    files: Vec<FileIdentity>,
    folders: Vec<FileIdentity>,
}

/// A use of a file, or of several in a folder.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The file, or the folder.
    pub(super) path: PathBuf,
    /// Of a folder, the names of the files that are used; a writer has all of it.
    pub(super) names: Option<Pattern>,
    /// Who uses it: "sink `averages`".
    pub(super) who: String,
    /// What for.
    pub(super) access: Access,
    /// Where the path stands; `None` for the pipeline file itself, and between pipelines.
    pub(super) place: Option<Span>,
    /// Whether nobody named the file: dead letters go there by default.
    pub(super) is_default: bool,
}

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Reads,
    Writes,
}

impl Claims {
    /// Notes a use, and reports it when it gets in the way of an earlier one.
    pub(super) fn add(&mut self, claim: &Claim, problems: &mut Problems) {
        self.report(claim, problems);
        self.note(claim);
    }

    /// Reports a use that gets in the way of an earlier one.
    pub(super) fn report(&self, claim: &Claim, problems: &mut Problems) {
        if let Some(other) = self.in_the_way_of(claim) {
            problems.push(collision(claim, other));
        }
    }

    /// Notes a use.
    pub(super) fn note(&mut self, claim: &Claim) -> Noted {
        let number = self.noted;
        self.noted += 1;
        let files = identities(&claim.path);
        let folders = if files.is_empty() || claim.names.is_some() {
            Vec::new()
        } else {
            folders_of(claim)
        };
        for (uses, places) in [(&mut self.by_file, &files), (&mut self.by_folder, &folders)] {
            for place in places {
                let claim = claim.clone();
                uses.entry(place.clone())
                    .or_default()
                    .push(NotedClaim { number, claim });
            }
        }
        Noted { number, files, folders }
    }

    /// Forgets a use that was noted.
    pub(super) fn forget(&mut self, noted: &Noted) {
        for (uses, places) in [(&mut self.by_file, &noted.files), (&mut self.by_folder, &noted.folders)] {
            for place in places {
                if let Some(claims) = uses.get_mut(place) {
                    claims.retain(|claim| claim.number != noted.number);
                    if claims.is_empty() {
                        uses.remove(place);
                    }
                }
            }
        }
    }

    fn in_the_way_of(&self, claim: &Claim) -> Option<&Claim> {
        let own = identities(&claim.path);
        let collides = |other: &&Claim| claim.access == Access::Writes || other.access == Access::Writes;
        let of_files = || found(&self.by_file, &own).filter(collides);
        // A use that writes is reported rather than one that reads.
        let writer = of_files().find(|other| other.access == Access::Writes);
        if let Some(other) = writer.or_else(|| of_files().next()) {
            return Some(other);
        }
        if claim.names.is_some() {
            return found(&self.by_folder, &own).find(|other| collides(other) && claim.covers(other));
        }
        if own.is_empty() {
            return None;
        }
        let around = folders_of(claim);
        found(&self.by_file, &around).find(|around| collides(around) && around.covers(claim))
    }
}

/// The uses that were noted at one of these places.
fn found<'c>(
    uses: &'c HashMap<FileIdentity, Vec<NotedClaim>>,
    places: &[FileIdentity],
) -> impl Iterator<Item = &'c Claim> {
    let found = places.iter().filter_map(|place| uses.get(place));
    let found: Vec<_> = found.collect();
    found.into_iter().flatten().map(|noted| &noted.claim)
}

/// The folder that the file of a claim is in.
fn folders_of(claim: &Claim) -> Vec<FileIdentity> {
    claim
        .path
        .parent()
        .map_or_else(Vec::new, |folder| identities(or_here(folder)))
}

impl Claim {
    /// Whether a file in the folder of this claim is among those that it is about.
    fn covers(&self, file: &Claim) -> bool {
        let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        self.names
            .as_ref()
            .is_some_and(|names| self.access == Access::Writes || names.matched(name).is_some())
    }
}

fn collision(claim: &Claim, other: &Claim) -> Diagnostic {
    let is_of_folder = claim.names.is_some() || other.names.is_some();
    let what = if is_of_folder { "folder" } else { "file" };
    let message = format!("{} and {} use the same {what}", other.who, claim.who);
    let mut problem = match claim.place {
        Some(place) if other.place.is_some() => Diagnostic::error(message).at(place, claim.access.verb()),
        // The file of the other is not shown.
        Some(place) => Diagnostic::error(format!("{message}, {}", claim.path.display())).at(place, claim.access.verb()),
        None => Diagnostic::error(format!("{message}, {}", claim.path.display())),
    };
    if let Some(place) = other.place {
        problem = problem.also(place, other.access.verb());
    }
    problem.help(if claim.is_default || other.is_default {
        "name a file for the dead letters under `[dead_letters]`"
    } else if is_of_folder {
        "give each one its own folder"
    } else {
        "give each one its own file"
    })
}

impl Access {
    fn verb(self) -> &'static str {
        match self {
            Access::Reads => "read here",
            Access::Writes => "written here",
        }
    }
}

/// What tells a file from others, however its path is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum FileIdentity {
    /// The device and inode of one that exists: hard links have paths that no text betrays as one file's.
    Existing(u64, u64),
    /// Where it is or will be: the folder as far as it exists, with `.` and `..` taken out.
    At(PathBuf),
}

/// The identities of a file: its path, and its inode if it exists. A file that is made later is found by its path. Devices and pipes have none: pipelines that
/// share one do not overwrite each other.
fn identities(path: &Path) -> Vec<FileIdentity> {
    let plain = plain(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    let mut identities = Vec::with_capacity(2);
    // A way through a folder that does not exist yet leads somewhere once a sink has made it.
    if let Ok(metadata) = path.metadata().or_else(|_| plain.metadata()) {
        if !metadata.is_file() && !metadata.is_dir() {
            return identities;
        }
        identities.push(FileIdentity::Existing(metadata.dev(), metadata.ino()));
    }
    identities.push(FileIdentity::At(
        match (plain.parent().map(Path::canonicalize), plain.file_name()) {
            (Some(Ok(folder)), Some(name)) => folder.join(name),
            _ => plain,
        },
    ));
    identities
}

/// The working directory has a name of its own.
pub(super) fn or_here(folder: &Path) -> &Path {
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

//! The way from a file to a pipeline.
//!
//! Owns reading the file, and the places of its keys for what is found out later. The steps are the other files' work.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::admission::Admission;
use super::connector::Registry;
use super::diagnostic::{Diagnostic, Diagnostics, Problems, Severity};
use super::document::{self, Node, Value};
use super::mistaken::Wanted;
use super::model::Pipeline;
use super::overrides::{self, Override};
use super::raw;
use super::section::Read;
use super::span::{Origin, Span, Texts};
use super::validate::{Inputs, Surroundings, Validation, outside};
use dirigo_disk::{Real, open_regular, read_opened, real_path};

/// Pipelines of a thousand operators are under 300 KiB. The bound keeps a mistaken path (a data file, a device) from
/// filling the memory, and the number of sources within 16 bits: none is written with less than 20 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The list of which each item has a place.
const INPUTS: &str = "inputs";

/// A pipeline, with what its author should know.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Warnings and notes.
    pub warnings: Diagnostics,
    span_index: SpanIndex,
}

/// Where the parts of a pipeline stand in its file, for what is found out after loading.
#[derive(Clone, Debug, Default)]
pub struct SpanIndex {
    texts: Texts,
    places: KeySpans,
}

/// A file that was opened. What is read is what was admitted, whatever becomes of its path meanwhile.
#[derive(Debug)]
pub struct OpenedFile {
    /// As it was named.
    path: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
    file: fs::File,
    metadata: fs::Metadata,
}

impl OpenedFile {
    /// Opens a pipeline file that is to be loaded with `overrides`.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be opened.
    pub fn open(path: &Path, overrides: &[Override]) -> Result<Self, Diagnostics> {
        Self::open_as(path, Wanted::Pipeline, overrides)
    }

    /// Opens a file that people write.
    pub(super) fn open_as(path: &Path, what: Wanted, overrides: &[Override]) -> Result<Self, Diagnostics> {
        let open = || {
            let (file, metadata) = open_regular(&Real, path)?;
            let real = real_path(&file)?;
            Ok(Self {
                path: path.to_owned(),
                real,
                file,
                metadata,
            })
        };
        open().map_err(|error| unreadable(path, what, overrides, &error))
    }

    /// Its text.
    pub(super) fn read(self, what: Wanted, overrides: &[Override]) -> Result<String, Diagnostics> {
        let Self {
            path, file, metadata, ..
        } = self;
        let bytes = read_opened(file, &metadata, FILE_BYTES_MAX);
        let bytes = bytes.map_err(|error| unreadable(&path, what, overrides, &error))?;
        if let Some(mistake) = what.binary(&bytes) {
            return Err(Diagnostics::of_one(texts(&path, "", overrides), mistake));
        }
        String::from_utf8(bytes).map_err(|error| not_utf8(&path, what, overrides, &error))
    }

    /// As it was named.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it was when it was opened, without symbolic links.
    pub(super) fn real(&self) -> &Path {
        &self.real
    }
}

/// Reads a pipeline file and validates it, with `overrides` put in one after the other. Its sources and sinks are of the
/// kinds in `connectors`.
///
/// # Errors
/// When the file cannot be read, or with everything in it that is wrong.
pub fn load(path: &Path, overrides: &[Override], connectors: &Registry) -> Result<Loaded, Diagnostics> {
    let opened = OpenedFile::open(path, overrides)?;
    load_admitted(opened, overrides, connectors, Inputs::OfSources, &Admission::default())
}

/// [`load`] of a file that may do what it was admitted to. Where its test cases bring the events, the files of its sources
/// need not exist.
///
/// # Errors
/// When the file cannot be read, or with everything in it that is wrong.
pub fn load_admitted(
    opened: OpenedFile,
    overrides: &[Override],
    connectors: &Registry,
    inputs: Inputs,
    admission: &Admission,
) -> Result<Loaded, Diagnostics> {
    let path = opened.path().to_owned();
    let text = opened.read(Wanted::Pipeline, overrides)?;
    parse_in(&text, &path, overrides, real(connectors, inputs, admission))
}

/// The surroundings of this process.
fn real<'a>(connectors: &'a Registry, inputs: Inputs, admission: &'a Admission) -> Surroundings<'a> {
    let environment = &|name: &str| std::env::var(name);
    Surroundings {
        connectors,
        environment,
        inputs,
        admission,
        stored: None,
    }
}

/// Validates the text of a pipeline file that is, or would be, at `file`.
///
/// # Errors
/// With everything in it that is wrong.
pub fn parse(text: &str, file: &Path, overrides: &[Override], connectors: &Registry) -> Result<Loaded, Diagnostics> {
    let admission = Admission::default();
    parse_in(text, file, overrides, real(connectors, Inputs::OfSources, &admission))
}

/// [`parse`] with what surrounds the file handed in.
///
/// # Errors
/// With everything in it that is wrong.
pub fn parse_in(
    text: &str,
    file: &Path,
    overrides: &[Override],
    surroundings: Surroundings<'_>,
) -> Result<Loaded, Diagnostics> {
    parse_called(text, file, file, overrides, surroundings)
}

/// A pipeline file that was sent, with its components.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its text.
    pub text: &'a str,
    /// What its author calls it.
    pub called: &'a Path,
    /// Where it would be on this machine: relative paths start from there.
    pub file: &'a Path,
    /// Where the host has stored its components, by what the file calls them.
    pub stored: &'a BTreeMap<String, PathBuf>,
}

/// Validates a pipeline file that was sent, and may do what it was admitted to.
///
/// # Errors
/// With everything in it that is wrong.
pub fn load_sent(
    sent: Sent<'_>,
    overrides: &[Override],
    connectors: &Registry,
    admission: &Admission,
) -> Result<Loaded, Diagnostics> {
    if sent.text.len() as u64 > FILE_BYTES_MAX {
        let problem = Diagnostic::error(format!("the pipeline file has more than {FILE_BYTES_MAX} bytes"));
        return Err(Diagnostics::of_one(texts(sent.called, "", overrides), problem));
    }
    let surroundings = Surroundings {
        stored: Some(sent.stored),
        ..real(connectors, Inputs::OfSources, admission)
    };
    parse_called(sent.text, sent.file, sent.called, overrides, surroundings)
}

/// Something that is wrong with a pipeline file that was sent, at no place in it.
#[must_use]
pub fn refused(called: &Path, text: &str, message: String, help: Option<String>) -> Diagnostics {
    Diagnostics::of_one(texts(called, text, &[]), Diagnostic::error(message).help_if(help))
}

/// Validates the text of a file that its author calls `called`.
fn parse_called(
    text: &str,
    file: &Path,
    called: &Path,
    overrides: &[Override],
    surroundings: Surroundings<'_>,
) -> Result<Loaded, Diagnostics> {
    // The parser takes one byte order mark away, too: of two, the second is a mistake.
    let without_mark = text
        .strip_prefix('\u{feff}')
        .filter(|rest| !rest.starts_with('\u{feff}'));
    let texts = texts(called, without_mark.unwrap_or(text), overrides);
    let mut problems = Problems::of_file_with(surroundings.connectors.homes());
    let Some(mut root) = document::parse(&texts.text, &mut problems) else {
        return Err(match Wanted::Pipeline.data(&texts.text) {
            Some(mistake) => Diagnostics::of_one(texts, mistake),
            None => problems.into_diagnostics(texts),
        });
    };
    if let Some(mistake) = Wanted::Pipeline.other(&root) {
        return Err(Diagnostics::of_one(texts, mistake));
    }
    if matches!(&root.value, Value::Table(entries) if entries.is_empty()) {
        problems.push(empty());
        return Err(problems.into_diagnostics(texts));
    }
    overrides::apply(&mut root, overrides, &mut problems);
    outside(file, surroundings.environment, surroundings.admission).fill_in(&mut root, &mut problems);
    let Some(raw) = raw::File::read(&root, &mut problems) else {
        return Err(problems.into_diagnostics(texts));
    };
    let mut validation = Validation::new(&texts, file, surroundings, problems);
    let pipeline = validation.pipeline(&raw, file);
    let problems = validation.problems.into_diagnostics(texts.clone());
    match pipeline {
        Some(pipeline) => Ok(Loaded {
            pipeline,
            warnings: problems,
            span_index: SpanIndex {
                texts,
                places: KeySpans::of(&root),
            },
        }),
        None => Err(problems),
    }
}

impl Loaded {
    /// An error that was found after loading, told like one of the file: at `key` (such as `component`,
    /// `limits.memory` or `inputs.0`) of the source, operator or sink `id`, or at the id where that key is not written.
    #[must_use]
    pub fn error_at(&self, id: &str, key: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        self.span_index.error_at(id, key, message, label, help)
    }

    /// What tells later where something stands.
    #[must_use]
    pub fn span_index(&self) -> &SpanIndex {
        &self.span_index
    }
}

impl SpanIndex {
    /// An error at `key` of the source, operator or sink `id`, or at the id where that key is not written; at no place where
    /// the file has neither. With an empty `id` it is at a key of the file, such as `pipeline.name`.
    #[must_use]
    pub fn error_at(&self, id: &str, key: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        self.problem_at(Severity::Error, id, key, message, label, help)
    }

    /// The same, as bad as it is.
    #[must_use]
    pub fn problem_at(
        &self,
        severity: Severity,
        id: &str,
        key: &str,
        message: &str,
        label: &str,
        help: Option<&str>,
    ) -> Diagnostics {
        let problem = Diagnostic {
            severity,
            ..Diagnostic::error(message).help_if(help.map(str::to_owned))
        };
        self.problem(problem, id, self.places.find(id, key), label)
    }

    /// An error that is the key itself, such as one that is misspelt, and not its value.
    #[must_use]
    pub fn error_at_name(&self, id: &str, key: &str, message: &str, label: &str, help: Option<&str>) -> Diagnostics {
        let problem = Diagnostic::error(message).help_if(help.map(str::to_owned));
        self.problem(problem, id, self.places.find_name(id, key), label)
    }

    fn problem(&self, problem: Diagnostic, id: &str, place: Option<Span>, label: &str) -> Diagnostics {
        let place = place.or_else(|| self.places.find(id, "id"));
        let problem = match place {
            Some(place) => problem.at(place, label),
            None => problem,
        };
        Diagnostics::of_one(self.texts.clone(), problem)
    }

    /// Where the value of `key` of the source, operator or sink `id` stands; with an empty `id`, that of a key of the file, such as
    /// `pipeline.name`.
    pub(super) fn place(&self, id: &str, key: &str) -> Option<Span> {
        self.places.find(id, key)
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// Whether the source, operator or sink `id` has this key.
    #[must_use]
    pub fn has(&self, id: &str, key: &str) -> bool {
        self.places.find(id, key).is_some()
    }
}

/// Where the keys of each item stand; under an empty id, those of the tables that the file has once.
#[derive(Clone, Debug, Default)]
struct KeySpans {
    by_id: HashMap<String, HashMap<String, KeySpan>>,
}

/// Where a key stands, and where its value.
#[derive(Clone, Copy, Debug)]
struct KeySpan {
    name: Span,
    value: Span,
}

impl KeySpans {
    fn of(root: &Node) -> Self {
        let mut places = Self::default();
        collect(root, "", places.by_id.entry(String::new()).or_default());
        for list in ["source", "operator", "sink"] {
            let Some(Node {
                value: Value::List(items),
                ..
            }) = member(root, list)
            else {
                continue;
            };
            for item in items {
                if let Some(Node {
                    value: Value::String(id),
                    ..
                }) = member(item, "id")
                {
                    collect(item, "", places.by_id.entry(id.clone()).or_default());
                }
            }
        }
        places
    }

    /// Where the value of a key stands; in the override that changed part of it, where there is one.
    fn find(&self, id: &str, key: &str) -> Option<Span> {
        let keys = self.by_id.get(id)?;
        let is_within = |other: &str| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'));
        let overridden = keys
            .iter()
            .filter(|(other, span)| is_within(other) && span.value.origin != Origin::File)
            .map(|(_, span)| span.value);
        overridden.max().or_else(|| Some(keys.get(key)?.value))
    }

    /// Where the key itself stands.
    fn find_name(&self, id: &str, key: &str) -> Option<Span> {
        Some(self.by_id.get(id)?.get(key)?.name)
    }
}

fn member<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Table(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
        _ => None,
    }
}

fn collect(node: &Node, prefix: &str, places: &mut HashMap<String, KeySpan>) {
    let Value::Table(entries) = &node.value else {
        return;
    };
    for entry in entries {
        let key = format!("{prefix}{}", entry.key);
        collect(&entry.node, &format!("{key}."), places);
        if key == INPUTS
            && let Value::List(inputs) = &entry.node.value
        {
            let of_inputs = inputs.iter().enumerate();
            let name = entry.place;
            places.extend(of_inputs.map(|(index, input)| {
                let value = input.place;
                (format!("{INPUTS}.{index}"), KeySpan { name, value })
            }));
        }
        let (name, value) = (entry.place, entry.node.place);
        places.insert(key, KeySpan { name, value });
    }
}

pub(super) fn texts(file: &Path, text: &str, overrides: &[Override]) -> Texts {
    let overrides = overrides.iter().map(|given| given.text().to_owned()).collect();
    Texts {
        file: file.display().to_string(),
        text: text.to_owned(),
        overrides,
    }
}

fn unreadable(path: &Path, what: Wanted, overrides: &[Override], error: &io::Error) -> Diagnostics {
    let problem = Diagnostic::error(format!("cannot read the {}: {error}", what.named()));
    let help = match error.kind() {
        io::ErrorKind::NotFound => super::suggest::sibling(path).map(|name| format!("did you mean `{name}`?")),
        io::ErrorKind::IsADirectory => super::suggest::pipeline_file_in(path)
            .map(|name| format!("name a file in it, such as `{}`", path.join(name).display())),
        _ => None,
    };
    let problem = problem.help_if(help);
    Diagnostics::of_one(texts(path, "", overrides), problem)
}

fn not_utf8(path: &Path, what: Wanted, overrides: &[Override], error: &std::string::FromUtf8Error) -> Diagnostics {
    let start = error.utf8_error().valid_up_to();
    // What precedes the flaw is valid, so it stands at the same place in the lossy text.
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let end = start + text[start..].chars().next().map_or(0, char::len_utf8);
    let problem = Diagnostic::error(format!("the {} is not UTF-8", what.named()))
        .at(Span::in_file(start..end), "no character")
        .help("save it as UTF-8");
    Diagnostics::of_one(texts(path, &text, overrides), problem)
}

fn empty() -> Diagnostic {
    Diagnostic::error("the pipeline file is empty")
        .help("it needs a `[pipeline]` with a `name`, a `[[source]]` and a `[[sink]]`")
}

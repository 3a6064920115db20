//! The keys of a sink that writes files, and what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dirigo_connect::sink::{Beginning, DeliveryCapability, Error, Offset, Opening, Sink, SinkSpec};
use dirigo_connect::{Facets, Files, Pattern, facets, seen_from};
use dirigo_disk::{Disk, PathKind};
use dirigo_pipeline::keys::{At, Choice, Diagnostic, Lapse, Size, Validation, Word};
use dirigo_pipeline::{IfExists, SinkConnector, section};
use serde_json::json;

use super::line_file::{self, LineFile};
use super::parts::{self, Parts};

section! {
    /// The keys of a sink that writes files.
    pub struct Keys = "[[sink]]" {
        /// For a file: its path, relative to the folder of the pipeline file. `.gz` and `.zst` are compressed. With
        /// `commit = "epoch"` a `*` in the file name stands for the number of a part: "out/averages/*.jsonl".
        path: String,
        /// For a file: whether lines are in it at once, and a crash may take some back, or readers see only what is
        /// committed, in parts.
        #[schemars(extend("default" = "append"))]
        commit: Word<Commit>,
        /// For a file: how events are written. Default: by its ending, "csv" for `.csv` and `.csv.gz`, else "jsonl".
        format: Word<FormatWord>,
        /// For csv: the columns, as members of the events. Default: the members of the first event.
        columns: Vec<At<String>>,
        /// For a file: what becomes of what is there when it is to be begun, and that this pipeline did not write:
        /// "overwrite" or "append". Without it, a run that would lose it is refused.
        if_exists: Word<IfExists>,
        /// With `commit = "epoch"`: how much goes into a part. Default: what comes between two checkpoints.
        roll: RollKeys,
    }
}

section! {
    /// When a part of a sink is full: at the first checkpoint at which it is beyond either bound.
    #[schemars(rename = "Roll")]
    pub struct RollKeys = "`roll`" {
        /// How large a part grows, such as "64MiB".
        size: Size,
        /// For how long a part is written, such as "1m".
        every: Lapse,
    }
}

/// When readers see what a sink wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// At once, and a crash may take some back.
    Append,
    /// Once it is committed.
    Epoch,
}

impl Choice for Commit {
    const WHAT: &'static str = "`commit`";
    const WORDS: &'static [(&'static str, Self)] = &[("append", Self::Append), ("epoch", Self::Epoch)];
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatWord {
    /// Each as it is, on a line of its own.
    Jsonl,
    /// As a record of its members.
    Csv,
}

impl Choice for FormatWord {
    const WHAT: &'static str = "format";
    const WORDS: &'static [(&'static str, Self)] = &[("jsonl", Self::Jsonl), ("csv", Self::Csv)];
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// An event per line, as it is.
    Jsonl,
    /// A header, then a record per event.
    Csv {
        /// The members that become columns; those of the first event where the pipeline file names none.
        columns: Option<Vec<String>>,
    },
}

/// Endings of files whose format is one that is not written here: lines under such a name would mislead their reader.
const OTHER_FORMATS: &[&str] = &[
    "parquet", "avro", "arrow", "feather", "orc", "tsv", "xls", "xlsx", "ods", "xml", "yaml", "yml", "toml", "html",
    "pdf", "db", "sqlite", "pb", "msgpack", "cbor", "bson", "bz2", "xz", "lz4", "br", "sz", "lzma", "zip", "7z", "tar",
];

/// `kind = "file"`: a file, or parts in a folder.
#[derive(Clone, Copy, Debug)]
pub struct FileSink;

impl SinkConnector for FileSink {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "file"
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SinkSpec>> {
        let example = "\"out.jsonl\"";
        let at = keys
            .path
            .required("path", example, keys.place, who, &mut validation.problems)?;
        let commit = keys.commit.map(|Word(commit)| *commit);
        let if_exists = keys.if_exists.map(|Word(if_exists)| *if_exists);
        if commit == Some(Commit::Epoch) {
            let roll = match keys.roll.given() {
                Some(at) => Some(roll(&at.value, validation)?),
                None => None,
            };
            let pattern = validation.written_files(at, who)?;
            let format = format(keys, at, who, validation)?;
            return Some(Arc::new(PartsSpec {
                pattern,
                format,
                roll,
                if_exists,
            }));
        }
        if let Some(place) = keys.roll.key() {
            validation.problems.push(
                Diagnostic::error(format!("{who} has no parts to `roll`"))
                    .at(place, "a sink without `commit = \"epoch\"` writes one file")
                    .help("add `commit = \"epoch\"`, or remove `roll`"),
            );
        }
        if at.value.contains('*') && commit.is_none() {
            validation.problems.push(
                Diagnostic::error(format!("{who} writes one file, and no parts"))
                    .at(at.place, "a `*` stands for the number of a part")
                    .help("add `commit = \"epoch\"`, or name one file"),
            );
            return None;
        }
        let path = validation.written_file(at, "sink file", who)?;
        let format = format(keys, at, who, validation)?;
        Some(Arc::new(LinesSpec {
            path,
            format,
            if_exists,
        }))
    }
}

/// What the keys and the ending of the path say of the format.
fn format(keys: &Keys, path: &At<String>, who: &str, validation: &mut Validation<'_>) -> Option<FileFormat> {
    if keys.format.key().is_none() && !keys.format.is_absent() {
        return None;
    }
    let ending = ending(&path.value);
    let word = match keys.format.map(|Word(word)| *word) {
        Some(word) => word,
        None if ending.as_deref() == Some("csv") => FormatWord::Csv,
        None => {
            if let Some(ending) = ending.filter(|ending| OTHER_FORMATS.contains(&ending.as_str())) {
                let problem = Diagnostic::error(format!("{who} cannot write `.{ending}`"))
                    .at(path.place, "the name of a format that is not written")
                    .help("end the name with `.jsonl` or `.csv`, or add `format = \"jsonl\"` or `\"csv\"`");
                validation.problems.push(problem);
                return None;
            }
            FormatWord::Jsonl
        }
    };
    match word {
        FormatWord::Csv => Some(FileFormat::Csv {
            columns: match keys.columns.given() {
                None if keys.columns.is_absent() => None,
                None => return None,
                Some(at) => Some(columns(at, who, validation)?),
            },
        }),
        FormatWord::Jsonl => {
            if let Some(place) = keys.columns.key() {
                let problem = Diagnostic::error(format!("{who} writes JSON lines, which have no `columns`"));
                let problem = problem.at(place, "columns are for csv");
                let help = "add `format = \"csv\"`, end the path with `.csv`, or remove `columns`";
                validation.problems.push(problem.help(help));
                return None;
            }
            Some(FileFormat::Jsonl)
        }
    }
}

fn columns(at: &At<Vec<At<String>>>, who: &str, validation: &mut Validation<'_>) -> Option<Vec<String>> {
    if at.value.is_empty() {
        let problem = Diagnostic::error(format!("{who} has no columns")).at(at.place, "an empty list");
        let help = "name at least one, or remove `columns`: then they are the members of the first event";
        validation.problems.push(problem.help(help));
        return None;
    }
    for (index, column) in at.value.iter().enumerate() {
        if let Some(first) = at.value[..index].iter().find(|first| first.value == column.value) {
            let problem = Diagnostic::error(format!("{who} has column `{}` twice", column.value))
                .at(column.place, "again here")
                .also(first.place, "first here");
            validation.problems.push(problem);
            return None;
        }
    }
    Some(at.value.iter().map(|column| column.value.clone()).collect())
}

/// What a name ends with, before the ending of a compression.
fn ending(path: &str) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let inner = lower.strip_suffix(".gz").or_else(|| lower.strip_suffix(".zst"));
    let inner = Path::new(inner.unwrap_or(&lower));
    Some(inner.extension()?.to_str()?.to_owned())
}

fn roll(keys: &RollKeys, validation: &mut Validation<'_>) -> Option<Roll> {
    let roll = Roll {
        size: keys.size.map(|Size(size)| *size),
        every: validation.positive("every", &keys.every),
    };
    let problem = match keys.size.given() {
        Some(at) if at.value.0 == 0 => Diagnostic::error("`size` is 0").at(at.place, "nothing fits"),
        None if keys.size.is_absent() && keys.every.is_absent() => {
            Diagnostic::error("`roll` says neither `size` nor `every`").at(keys.place, "a part would never be full")
        }
        _ => return Some(roll),
    };
    let problem = problem.help("write `roll = { size = \"64MiB\", every = \"1m\" }`, or one of them");
    validation.problems.push(problem);
    None
}

/// When a part is full: at the first end of an epoch at which it is beyond either bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// In bytes, as they are in the file.
    pub size: Option<u64>,
    /// Since its first event came.
    pub every: Option<Duration>,
}

impl FileFormat {
    /// The values of `format` and `columns`; null for what is not written of JSON lines, which any file has that says
    /// nothing.
    fn facets(&self) -> (serde_json::Value, serde_json::Value) {
        match self {
            Self::Jsonl => (serde_json::Value::Null, serde_json::Value::Null),
            Self::Csv { columns } => (json!("csv"), json!(columns)),
        }
    }
}

/// A file of events; `.gz` and `.zst` are compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinesSpec {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// How events are written.
    pub format: FileFormat,
    /// What becomes of a file that is there and is not the pipeline's.
    pub if_exists: Option<IfExists>,
}

impl SinkSpec for LinesSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(LineFile::open(
            &self.path,
            &self.format,
            self.if_exists,
            opening.from,
            opening.disk,
        )?))
    }

    fn delivery_capability(&self, disk: &dyn Disk) -> DeliveryCapability {
        line_file::delivery_capability(matches!(disk.look(&self.path), Ok(PathKind::Other)))
    }

    fn facets(&self, file: &Path) -> Option<Facets> {
        let (format, columns) = self.format.facets();
        Some(facets([
            ("kind", json!("file")),
            ("path", json!(seen_from(file, &self.path))),
            ("format", format),
            ("columns", columns),
        ]))
    }

    fn files(&self) -> Vec<Files> {
        vec![Files::One(self.path.clone())]
    }

    fn check(&self, beginning: Beginning<'_>, disk: &dyn Disk) -> Result<Option<String>, Error> {
        Ok(line_file::check(&self.path, self.if_exists, beginning, disk)?)
    }

    fn check_committed(&self, offset: &Offset, resuming: Beginning<'_>, disk: &dyn Disk) -> Result<(), Error> {
        Ok(line_file::check_committed(&self.path, offset, resuming, disk)?)
    }

    fn content(&self, disk: &dyn Disk) -> Option<String> {
        match disk.look(&self.path) {
            Ok(PathKind::File(bytes)) if bytes > 0 => {
                Some(format!("`{}`, which has {bytes} bytes", self.path.display()))
            }
            _ => None,
        }
    }
}

/// The files of a folder; each is shown under its name once all that is in it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsSpec {
    /// Their names; nine digits, counted from 1, stand for the `*`.
    pub pattern: Pattern,
    /// How events are written.
    pub format: FileFormat,
    /// When a part is full; `None` for at the end of each epoch that has events.
    pub roll: Option<Roll>,
    /// What becomes of parts that are there and are not the pipeline's.
    pub if_exists: Option<IfExists>,
}

impl SinkSpec for PartsSpec {
    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Sink>, Error> {
        Ok(Box::new(Parts::open(
            self,
            opening.pipeline,
            opening.from,
            opening.disk,
            opening.clock,
        )?))
    }

    fn delivery_capability(&self, _: &dyn Disk) -> DeliveryCapability {
        DeliveryCapability::Transactional
    }

    fn facets(&self, file: &Path) -> Option<Facets> {
        let (format, columns) = self.format.facets();
        Some(facets([
            ("kind", json!("file")),
            ("commit", json!("epoch")),
            ("path", json!(seen_from(file, Path::new(&self.pattern.to_string())))),
            ("format", format),
            ("columns", columns),
        ]))
    }

    fn files(&self) -> Vec<Files> {
        vec![Files::Matching(self.pattern.clone())]
    }

    fn check(&self, beginning: Beginning<'_>, disk: &dyn Disk) -> Result<Option<String>, Error> {
        Ok(parts::check(self, beginning, disk)?)
    }

    fn check_committed(&self, offset: &Offset, resuming: Beginning<'_>, disk: &dyn Disk) -> Result<(), Error> {
        Ok(parts::check_committed(self, offset, resuming, disk)?)
    }

    fn content(&self, disk: &dyn Disk) -> Option<String> {
        let shown = parts::any(&self.pattern, disk);
        shown.map(|name| format!("`{}`, which holds `{name}`", self.pattern.folder.display()))
    }
}

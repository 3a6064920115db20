//! The keys of a source that reads files, and what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Files, Format, Pattern, facets, seen_from};
use dirigo_disk::{Disk, PathKind};
use dirigo_pipeline::keys::{Diagnostic, Validation, Word};
use dirigo_pipeline::{SourceConnector, section};
use serde_json::json;

use super::folder::FolderReader;
use super::reader::FileReader;
use crate::records::Extract;

section! {
    /// The keys of a source that reads files.
    pub struct Keys = "[[source]]" {
        /// For a file: its path, relative to the folder of the pipeline file. `.gz` and `.zst` are decompressed. With a `*` in
        /// its name, such as "logs/*.jsonl", or for a folder, such as "logs/", all those files in the order of their names.
        path: String,
        /// For a file: how records are told apart. Default: by the extension of the path.
        format: Word<Format>,
    }
}

/// `kind = "file"`: a file, or the files of a folder.
#[derive(Clone, Copy, Debug)]
pub struct FileSource;

impl SourceConnector for FileSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "file"
    }

    fn format(&self, keys: &Keys) -> Option<Format> {
        if keys.format.is_absent() {
            return format_by_extension(&keys.path.given()?.value);
        }
        keys.format.map(|Word(format)| *format)
    }

    fn validate(&self, keys: &Keys, who: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let example = "\"readings.jsonl\"";
        let at = keys
            .path
            .required("path", example, keys.place, who, &mut validation.problems)?;
        let (path, pattern) = if at.value.contains('*') || at.value.ends_with('/') {
            (None, validation.source_files(at, who))
        } else {
            (validation.source_file(at, who), None)
        };
        if keys.format.is_absent() && format_by_extension(&at.value).is_none() {
            validation.problems.push(
                Diagnostic::error(format!("{who} has no `format`"))
                    .at(at.place, "the extension does not tell the format")
                    .help("add `format = \"jsonl\"`, `\"csv\"` or `\"lines\"`"),
            );
        }
        let format = self.format(keys)?;
        match pattern {
            Some(pattern) => Some(Arc::new(FolderSpec { pattern, format })),
            None => Some(Arc::new(FileSpec { path: path?, format })),
        }
    }
}

fn format_by_extension(path: &str) -> Option<Format> {
    let lower = path.to_ascii_lowercase();
    let inner = lower
        .strip_suffix(".gz")
        .or_else(|| lower.strip_suffix(".zst"))
        .unwrap_or(&lower);
    match Path::new(inner).extension()?.to_str()? {
        "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
        "csv" => Some(Format::Csv),
        "txt" | "log" => Some(Format::Lines),
        _ => None,
    }
}

/// A file; `.gz` and `.zst` are decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// How records are told apart.
    pub format: Format,
}

impl SourceSpec for FileSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let extract = Extract::new(opening.key, opening.time);
        let file = FileReader::open(&self.path, self.format, extract, &opening)?;
        Ok(Box::new(file))
    }

    fn can_be_read_again(&self, disk: &dyn Disk) -> bool {
        matches!(disk.look(&self.path), Ok(PathKind::File(_)))
    }

    fn facets(&self, file: &Path) -> Facets {
        facets([
            ("kind", json!("file")),
            ("path", json!(seen_from(file, &self.path))),
            ("format", json!(self.format.to_string())),
        ])
    }

    fn files(&self) -> Vec<Files> {
        vec![Files::One(self.path.clone())]
    }
}

/// The files of a folder, one after another in the order of their names; `.gz` and `.zst` are decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSpec {
    /// Which of them. Those whose names begin with a dot are never among them.
    pub pattern: Pattern,
    /// How records are told apart.
    pub format: Format,
}

impl SourceSpec for FolderSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let extract = Extract::new(opening.key, opening.time);
        let folder = FolderReader::open(&self.pattern, self.format, extract, &opening)?;
        Ok(Box::new(folder))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        true
    }

    fn facets(&self, file: &Path) -> Facets {
        facets([
            ("kind", json!("folder")),
            ("path", json!(seen_from(file, Path::new(&self.pattern.to_string())))),
            ("format", json!(self.format.to_string())),
        ])
    }

    fn files(&self) -> Vec<Files> {
        vec![Files::Matching(self.pattern.clone())]
    }
}

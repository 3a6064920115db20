//! The keys of a source that reads files, and what they come to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Files, Format, Pattern, facets, seen_from};
use dirigo_disk::{Disk, PathKind};
use dirigo_pipeline::keys::{At, Diagnostic, Entries, Size, Validation, Word, shown_size};
use dirigo_pipeline::{SourceConnector, section};
use serde_json::json;

use super::archive::{ZSTD_WINDOW, ZSTD_WINDOW_RANGE};
use super::folder::FolderReader;
use super::followed::FollowedFile;
use super::reader::{FileReader, ReadOptions};
use super::rotation::uncompressed_name;
use crate::records::{CellRules, ColumnType, Reading, validate_cells};

section! {
    /// The keys of a source that reads files.
    pub struct Keys = "[[source]]" {
        /// For a file: its path, relative to the folder of the pipeline file. What is compressed with gzip or zstd is
        /// decompressed. With a `*` in its name, such as "logs/*.jsonl", or for a folder, such as "logs/", all those files in
        /// the order of their names.
        path: String,
        /// For a file: whether to follow it as it grows and is rotated. A rotation may rename it, such as to "app.log.1", "app.log.1.gz" or
        /// "app.log-20240301", or copy and truncate it. It need not be there when the run starts.
        #[schemars(extend("default" = false))]
        follow: bool,
        /// For a file: how records are told apart. Default: by the extension of the path.
        format: Word<Format>,
        /// For csv: the types of columns, by their names, where they are not to be seen cell by cell: "boolean", "s64", "f64",
        /// "text" or "json". A record with a cell of another type is a dead letter.
        fields: Entries<Word<ColumnType>>,
        /// For csv: the cells that stand for null, as they are written: `""` in quotes is another cell than an empty one.
        #[schemars(extend("default" = ["", "\"\""]))]
        nulls: Vec<At<String>>,
        /// For a file: whether it may also be a pipe (FIFO). A pipe is read until all who write to it have closed it; it cannot be
        /// read again.
        #[schemars(extend("default" = false))]
        special: bool,
        /// For a file that zstd compressed with a long window (`--long`, `--ultra`): the memory that its window may take,
        /// a power of two up to "2GiB".
        #[schemars(extend("default" = "128MiB"))]
        zstd_window_max: Size,
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
        let special = keys.special.map(|special| *special).unwrap_or_default();
        let follow = keys.follow.map(|follow| *follow).unwrap_or_default();
        let are_many = at.value.contains('*') || at.value.ends_with('/');
        expect_one_regular(keys, are_many, validation);
        let (path, pattern) = if are_many {
            (None, validation.source_files(at, who))
        } else if follow {
            (validation.followed_file(at, who), None)
        } else {
            (validation.source_file(at, who, special), None)
        };
        if keys.format.is_absent() && format_by_extension(&at.value).is_none() {
            validation.problems.push(
                Diagnostic::error(format!("{who} has no `format`"))
                    .at(at.place, "the extension does not tell the format")
                    .help("add `format = \"jsonl\"`, `\"csv\"` or `\"lines\"`"),
            );
        }
        let zstd_window_max = zstd_window_max(keys, validation);
        let format = self.format(keys)?;
        let cells = validate_cells(&keys.fields, &keys.nulls, format, &mut validation.problems)?;
        match pattern {
            Some(pattern) => Some(Arc::new(FolderSpec {
                pattern,
                format,
                cells,
                zstd_window_max,
            })),
            None => Some(Arc::new(FileSpec {
                path: path?,
                format,
                cells,
                special,
                follow,
                zstd_window_max,
            })),
        }
    }
}

/// Complains of a followed source that is not one regular file.
fn expect_one_regular(keys: &Keys, are_many: bool, validation: &mut Validation<'_>) {
    let Some(at) = keys.follow.given().filter(|at| at.value) else {
        return;
    };
    let special = keys.special.given().filter(|at| at.value);
    let is_compressed = |at: &At<String>| uncompressed_name(&at.value).is_some();
    let (reason, help) = if keys.path.given().is_some_and(is_compressed) {
        let help = "name the log itself; rotated files may be compressed";
        ("`path` names a compressed file, which does not grow", help)
    } else if are_many {
        let help = "name one file; where several are written to, each is a source of its own";
        ("`path` names the files of a folder", help)
    } else if special.is_some() {
        (
            "`special` says that it may be a pipe",
            "remove one of the two: a pipe is read as it is written to anyway",
        )
    } else {
        return;
    };
    let problem = Diagnostic::error("`follow` is for one regular file").at(at.place, reason);
    validation.problems.push(problem.help(help));
}

fn zstd_window_max(keys: &Keys, validation: &mut Validation<'_>) -> u64 {
    let asked = keys.zstd_window_max.given().map(|at| (at.value.0, at.place));
    let window = validation.capped(
        "zstd_window_max",
        asked,
        ZSTD_WINDOW,
        |caps| caps.zstd_window,
        shown_size,
    );
    let Some(at) = keys.zstd_window_max.given() else {
        return window;
    };
    let Size(bytes) = at.value;
    if !bytes.is_power_of_two() || !ZSTD_WINDOW_RANGE.contains(&bytes) {
        validation.problems.push(
            Diagnostic::error("`zstd_window_max` is no window that zstd has")
                .at(at.place, format!("{bytes} bytes"))
                .help("it is a power of two from \"1KiB\" to \"2GiB\", such as \"256MiB\""),
        );
    }
    window
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

/// A file; what is compressed with gzip or zstd is decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute, or relative to the working directory.
    pub path: PathBuf,
    /// How records are told apart.
    pub format: Format,
    /// What the cells of a CSV are.
    pub cells: Arc<CellRules>,
    /// Whether it may also be a pipe.
    pub special: bool,
    /// Whether the source follows it as it grows and is rotated.
    pub follow: bool,
    /// The window that a zstd frame may ask for, in bytes: a power of two.
    pub zstd_window_max: u64,
}

impl SourceSpec for FileSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let options = ReadOptions {
            may_be_pipe: self.special,
            ..ReadOptions::new(
                Reading::new(self.format, &self.cells, &opening),
                self.zstd_window_max,
                &opening,
            )
        };
        if self.follow {
            return Ok(Box::new(FollowedFile::open(&self.path, options, opening.from)?));
        }
        Ok(Box::new(FileReader::open(&self.path, options, opening.from)?))
    }

    fn can_be_read_again(&self, disk: &dyn Disk) -> bool {
        self.follow || matches!(disk.look(&self.path), Ok(PathKind::File(_)))
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

/// The files of a folder, one after another in the order of their names, decompressed as a single one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSpec {
    /// Which of them. Those whose names begin with a dot are never among them.
    pub pattern: Pattern,
    /// How records are told apart.
    pub format: Format,
    /// What the cells of a CSV are.
    pub cells: Arc<CellRules>,
    /// The window that a zstd frame may ask for, in bytes: a power of two.
    pub zstd_window_max: u64,
}

impl SourceSpec for FolderSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let reading = Reading::new(self.format, &self.cells, &opening);
        let options = ReadOptions::new(reading, self.zstd_window_max, &opening);
        Ok(Box::new(FolderReader::open(&self.pattern, options, opening.from)?))
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

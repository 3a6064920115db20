//! Standard input as a source.

mod reader;

use std::path::Path;
use std::sync::Arc;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{At, Entries, Validation, Word};
use dirigo_pipeline::{Exclusive, SourceConnector, section};
use serde_json::json;

use crate::records::{CellRules, ColumnType, Reading, validate_cells};

section! {
    /// The keys of a source that reads standard input.
    pub struct Keys = "[[source]]" {
        /// For stdin: how records are told apart. Default: jsonl.
        format: Word<Format>,
        /// For csv: the types of columns, by their names, where they are not to be seen cell by cell: "boolean", "s64", "f64",
        /// "text" or "json". A record with a cell of another type is a dead letter.
        fields: Entries<Word<ColumnType>>,
        /// For csv: the cells that stand for null, as they are written: `""` in quotes is another cell than an empty one.
        #[schemars(extend("default" = ["", "\"\""]))]
        nulls: Vec<At<String>>,
    }
}

/// `kind = "stdin"`.
#[derive(Clone, Copy, Debug)]
pub struct StdinSource;

impl SourceConnector for StdinSource {
    type Keys = Keys;

    fn kind(&self) -> &'static str {
        "stdin"
    }

    fn format(&self, keys: &Keys) -> Option<Format> {
        if keys.format.is_absent() {
            return Some(Format::Jsonl);
        }
        keys.format.map(|Word(format)| *format)
    }

    fn validate(&self, keys: &Keys, _: &str, validation: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let format = self.format(keys)?;
        let cells = validate_cells(&keys.fields, &keys.nulls, format, &mut validation.problems)?;
        Some(Arc::new(StdinSpec { format, cells }))
    }

    fn exclusive(&self) -> Option<Exclusive> {
        Some(Exclusive {
            medium: "standard input",
            help: "each line goes to one reader: make them one source, and name it in several `inputs`",
        })
    }
}

/// Standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdinSpec {
    /// How records are told apart.
    pub format: Format,
    /// What the cells of a CSV are.
    pub cells: Arc<CellRules>,
}

impl SourceSpec for StdinSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let reading = Reading::new(self.format, &self.cells, &opening);
        Ok(Box::new(reader::Stdin::open(reading, opening.clock)?))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        false
    }

    fn facets(&self, _: &Path) -> Facets {
        facets([("kind", json!("stdin")), ("format", json!(self.format.to_string()))])
    }
}

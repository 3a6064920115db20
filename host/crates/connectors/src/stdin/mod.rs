//! Standard input as a source.

mod reader;

use std::path::Path;
use std::sync::Arc;

use dirigo_connect::source::{Error, Opening, Source, SourceSpec};
use dirigo_connect::{Facets, Format, facets};
use dirigo_disk::Disk;
use dirigo_pipeline::keys::{Validation, Word};
use dirigo_pipeline::{Exclusive, SourceConnector, section};
use serde_json::json;

use crate::records::Extract;

section! {
    /// The keys of a source that reads standard input.
    pub struct Keys = "[[source]]" {
        /// For stdin: how records are told apart. Default: jsonl.
        format: Word<Format>,
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

    fn validate(&self, keys: &Keys, _: &str, _: &mut Validation<'_>) -> Option<Arc<dyn SourceSpec>> {
        let format = self.format(keys)?;
        Some(Arc::new(StdinSpec { format }))
    }

    fn exclusive(&self) -> Option<Exclusive> {
        Some(Exclusive {
            medium: "standard input",
            help: "each line goes to one reader: make them one source, and name it in several `inputs`",
        })
    }
}

/// Standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StdinSpec {
    /// How records are told apart.
    pub format: Format,
}

impl SourceSpec for StdinSpec {
    fn format(&self) -> Format {
        self.format
    }

    fn open(&self, opening: Opening<'_>) -> Result<Box<dyn Source>, Error> {
        let extract = Extract::new(opening.key, opening.time);
        Ok(Box::new(reader::Stdin::open(self.format, extract, opening.clock)?))
    }

    fn can_be_read_again(&self, _: &dyn Disk) -> bool {
        false
    }

    fn facets(&self, _: &Path) -> Facets {
        facets([("kind", json!("stdin")), ("format", json!(self.format.to_string()))])
    }
}

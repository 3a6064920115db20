//! Files: as a source, one or those of a folder; as a sink, one or parts in a folder.

mod archive;
#[cfg(test)]
mod crashes;
mod csv_records;
mod error;
mod folder;
mod followed;
mod line_file;
mod ownership;
mod parts;
mod reader;
mod rotation;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod unsynced;
mod watched;

pub use csv_records::RecordError;
pub use error::Error;
pub use ownership::Origin;
pub use sink::{FileFormat, FileSink, LinesSpec, PartsSpec, Roll};
pub use source::{FileSource, FileSpec, FolderSpec};

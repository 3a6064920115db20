//! A place of the host's own that a source or a sink may use.

use std::path::PathBuf;
use std::sync::Arc;

use dirigo_disk::Disk;

/// A folder of the host's own that belongs to a source or a sink.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The file system that it is on.
    pub disk: Arc<dyn Disk>,
    /// The folder, which need not be there.
    pub folder: PathBuf,
}

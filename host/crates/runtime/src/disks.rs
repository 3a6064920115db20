//! The file systems that a pipeline is opened on: one for each use of files.

use std::sync::Arc;

use dirigo_disk::{self as disk, Disk, Usage};
use dirigo_pipeline::Pipeline;

/// Where files are.
pub(super) struct Disks {
    /// Those of the host itself: state, and dead letters within it.
    pub(super) host: Arc<dyn Disk>,
    /// Those that sinks write, and dead letters whose place the pipeline says.
    pub(super) sinks: Arc<dyn Disk>,
    /// Those that sources read.
    pub(super) sources: Arc<dyn Disk>,
}

impl Disks {
    /// The machine's, as far as the pipeline may use it.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        Self {
            host: Arc::new(disk::Real),
            sinks: pipeline.access.disk(Usage::Write),
            sources: pipeline.access.disk(Usage::Read),
        }
    }

    /// All that is written on `disk`. Sources still read the machine's.
    pub(super) fn written_on(disk: &Arc<dyn Disk>, pipeline: &Pipeline) -> Self {
        Self {
            host: disk.clone(),
            sinks: disk.clone(),
            sources: pipeline.access.disk(Usage::Read),
        }
    }
}

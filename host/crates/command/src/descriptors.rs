//! Threads and file descriptors, of which a process has as many as the system lets it.
//!
//! Owns asking for all that may be had, and telling before a run whether its sources and sinks fit.

use dirigo_pipeline::Pipeline;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most sources and sinks of one host: each has a thread of its own, and beyond some thousands the kernel is busy with
/// nothing but choosing among them.
const ENDS_MAX: usize = 4_096;
/// Descriptors that a sink may have open at once: what it writes, the part before it, and the folder of both.
const PER_SINK: u64 = 3;
/// A source has the file that it reads, and that one's successor.
const PER_SOURCE: u64 = 2;
/// State and dead letters of a pipeline.
const PER_PIPELINE: u64 = 16;
/// Granted folders, the runtime, the cache, standard streams.
const RESERVED: u64 = 64;

/// Lets this process open as many files as it may.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the number of open files stays as it is");
    }
}

/// The sources and sinks of the pipelines that share this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    sources: usize,
    sinks: usize,
    pipelines: u64,
}

impl Ends {
    /// With those of another pipeline.
    ///
    /// # Errors
    /// If this process cannot run as many.
    pub fn with(self, pipeline: &Pipeline) -> Result<Self, String> {
        let ends = Self {
            sources: self.sources + pipeline.sources.len(),
            sinks: self.sinks + pipeline.sinks.len(),
            pipelines: self.pipelines + 1,
        };
        let available = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        match shortage_of(ends.sources, ends.sinks, ends.pipelines, available) {
            Some(shortage) => Err(shortage),
            None => Ok(ends),
        }
    }

    /// Without those of one of the pipelines.
    #[must_use]
    pub fn without(self, pipeline: &Pipeline) -> Self {
        Self {
            sources: self.sources - pipeline.sources.len(),
            sinks: self.sinks - pipeline.sinks.len(),
            pipelines: self.pipelines - 1,
        }
    }
}

fn shortage_of(sources: usize, sinks: usize, pipelines: u64, available: u64) -> Option<String> {
    if sources + sinks > ENDS_MAX {
        return Some(format!(
            "the pipelines have {sources} sources and {sinks} sinks, and one host runs {ENDS_MAX} of both together; divide \
             them among several"
        ));
    }
    let needed = RESERVED + PER_PIPELINE * pipelines + PER_SOURCE * sources as u64 + PER_SINK * sinks as u64;
    (needed > available).then(|| {
        format!(
            "{sources} sources and {sinks} sinks may need {needed} open files, and this process may have {available}; raise \
             that with `ulimit -n {needed}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_the_process_is_refused_with_the_numbers() {
        assert_eq!(shortage_of(100, 100, 10, 1_024), None);
        let files = shortage_of(100, 300, 10, 1_024).unwrap();
        assert!(
            files.contains("may need 1324 open files, and this process may have 1024"),
            "{files}"
        );
        let threads = shortage_of(4_000, 97, 1, u64::MAX).unwrap();
        assert!(threads.contains("4000 sources and 97 sinks"), "{threads}");
        assert_eq!(shortage_of(4_000, 96, 1, u64::MAX), None);
    }

    #[test]
    fn a_process_opens_as_many_files_as_it_may() {
        raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}

//! What it takes to load pipeline files: connectors, what no pipeline may touch, what tenants may do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_disk::HostDirectories;
use dirigo_engine::Cache;
use dirigo_pipeline::{
    self as pipeline, Admission, Diagnostics, Inputs, Loaded, OpenedFile, Override, Registry, Tenants,
};

use super::{Globals, report};

/// The kinds of sources and sinks that the binary knows: those of `dirigo-connectors`, and those that are crates of their own.
#[must_use]
pub fn connectors() -> Registry {
    let registry = dirigo_connectors::builtin();
    #[cfg(feature = "mqtt")]
    let registry = registry
        .with_source(dirigo_mqtt::MqttSource)
        .with_sink(dirigo_mqtt::MqttSink);
    #[cfg(feature = "postgres")]
    let registry = registry.with_sink(dirigo_postgres::PostgresSink);
    registry
}

/// What it takes to load pipeline files.
pub struct PipelineFiles {
    /// The kinds of sources and sinks.
    pub connectors: Registry,
    /// What no pipeline may touch.
    pub host_directories: HostDirectories,
    /// What tenants may do, where the operator of the host says it.
    pub tenants: Option<Arc<Tenants>>,
}

impl PipelineFiles {
    /// Files of the user.
    #[must_use]
    pub fn of_user(globals: &Globals) -> Self {
        Self {
            connectors: connectors(),
            host_directories: host_directories(globals),
            tenants: None,
        }
    }

    /// Files of tenants: they get what the tenants file grants, and nothing of the host's own directories, of which `state` is one.
    /// `None` where the tenants file is refused; that has been reported.
    ///
    /// # Errors
    /// If the report cannot be written.
    pub fn of_tenants(globals: &Globals, tenants: Option<&Path>, state: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let tenants = match tenants.map(Tenants::load).transpose() {
            Ok(tenants) => tenants,
            Err(problems) => {
                report::diagnostics(&problems, globals.format)?;
                return Ok(None);
            }
        };
        let mut files = Self::of_user(globals);
        if let Some(tenants) = &tenants {
            files.host_directories = files.host_directories.with("tenants file", tenants.file());
        }
        if let Some(directory) = state {
            files.host_directories = files.host_directories.with("state directory", directory);
        }
        Ok(Some(Self {
            tenants: tenants.map(Arc::new),
            ..files
        }))
    }

    /// Loads a pipeline file, which may do what its tenant may.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(&self, file: &Path, overrides: &[Override], inputs: Inputs) -> Result<Loaded, Diagnostics> {
        let file = OpenedFile::open(file, overrides)?;
        let admission = match &self.tenants {
            Some(tenants) => tenants.admit(&file, &self.host_directories)?,
            None => Admission::of_user(&self.host_directories),
        };
        pipeline::load_admitted(file, overrides, &self.connectors, inputs, &admission)
    }

    /// What a dead letter in a file of them may do: what its tenant may, which is the one that is named or else the one in whose
    /// folders the file is.
    ///
    /// # Errors
    /// When no tenant has the file.
    pub fn admit_letters(&self, file: &Path, tenant: Option<&str>) -> Result<Admission, Diagnostics> {
        match &self.tenants {
            Some(tenants) => tenants.admit_letters(file, tenant, &self.host_directories),
            None => Ok(Admission::of_user(&self.host_directories)),
        }
    }
}

/// What the host keeps for itself whatever a command does: the caches that it or another host of this user loads code
/// from, and their keys.
fn host_directories(globals: &Globals) -> HostDirectories {
    let named = globals.cache_dir.as_deref().filter(|directory| *directory != "off");
    let caches = named.map(PathBuf::from).into_iter().chain(Cache::default_directory());
    let keys = globals.cache_key.clone().into_iter().chain(Cache::default_key());
    let of_host = |what| move |directories: HostDirectories, path: PathBuf| directories.with(what, &path);
    let directories = caches.fold(HostDirectories::default(), of_host("cache directory"));
    keys.fold(directories, of_host("key of the cache"))
}

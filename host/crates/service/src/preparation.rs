//! What it takes to run a pipeline: its file is loaded, its components are compiled and opened, it is admitted next to the others, and what
//! it is connected to is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dirigo_command::Exit;
use dirigo_command::admission::{Admitted, Refusal, location_in};
use dirigo_pipeline::{self as pipeline, Diagnostics, Loaded, Override, Pipeline, Sent};
use dirigo_runtime::{Job, Patience, Prepared, prepare_with, preview};

use crate::entry::{Entry, Wish};
use crate::pipelines::{Pipelines, is_sha256};
use crate::record::{Key, NewVersion, StoredVersion};
use crate::refused::Refused;
use crate::store::OPERATORS;

/// What came of starting a pipeline.
pub(crate) enum Started {
    /// It runs, and promises this of its sinks.
    Running(Box<Job>, Vec<String>),
    /// Something else is wanted by now.
    NotWanted,
    /// It cannot run.
    Refused(Refusal),
}

impl Pipelines {
    /// Starts a pipeline as it is wished.
    pub(crate) async fn start(self: &Arc<Self>, entry: &Arc<Entry>, wish: Wish) -> Started {
        let _permit = self.starts.acquire().await;
        let (pipelines, entry) = (self.clone(), entry.clone());
        let started = tokio::task::spawn_blocking(move || pipelines.start_now(&entry, wish)).await;
        started.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn start_now(&self, entry: &Entry, wish: Wish) -> Started {
        let Admitted { prepared, location, .. } = match self.admitted_as_wished(entry, wish) {
            Ok(Some(admitted)) => admitted,
            Ok(None) => return Started::NotWanted,
            Err(refusal) => return Started::Refused(refusal),
        };
        match self.host.open(prepared.clone(), &location) {
            Ok(opened) => {
                let delivery = opened.delivery_semantics().iter().map(ToString::to_string).collect();
                Started::Running(Box::new(self.host.launch(opened)), delivery)
            }
            Err(error) => {
                self.left(&prepared.pipeline);
                Started::Refused(Refusal::of_start(&prepared, &error))
            }
        }
    }

    /// The version that is wished, admitted next to the other pipelines: the caller gives it back with [`left`](Self::left). `None` where
    /// something else is wanted by now.
    pub(crate) fn admitted_as_wished(&self, entry: &Entry, wish: Wish) -> Result<Option<Admitted>, Refusal> {
        let is_wanted = || entry.wish.borrow().is_as(wish) && self.closing.borrow().is_none();
        let admitted = if let Some(admitted) = self.take_admitted(entry, wish.version) {
            admitted
        } else {
            let Some(stored) = entry.record.lock().version(wish.version).cloned() else {
                return Ok(None);
            };
            if !is_wanted() {
                return Ok(None);
            }
            self.admit(self.prepare_stored(&entry.key, &stored)?)?
        };
        let pipeline = &admitted.prepared.pipeline;
        if !is_wanted() {
            self.left(pipeline);
            return Ok(None);
        }
        if let Some(budget) = self.admission.lock().neighbours().budgets().get(&pipeline.account) {
            self.host.set_budget(&pipeline.account, *budget);
        }
        Ok(Some(admitted))
    }

    /// The pipeline as it was looked at when this version was deployed. What another version had is given back.
    fn take_admitted(&self, entry: &Entry, version: u64) -> Option<Admitted> {
        let (of_version, admitted) = entry.admitted.lock().take()?;
        if of_version == version {
            return Some(*admitted);
        }
        self.left(&admitted.prepared.pipeline);
        None
    }

    /// Gives back what a pipeline had that was deployed and never started.
    pub(crate) fn drop_admitted(&self, entry: &Entry) {
        let admitted = entry.admitted.lock().take();
        if let Some((_, admitted)) = admitted {
            self.left(&admitted.prepared.pipeline);
        }
    }

    /// Gives back what a pipeline had.
    pub(crate) fn left(&self, pipeline: &Pipeline) {
        self.admission.lock().leave(pipeline);
    }

    pub(crate) fn admit(&self, prepared: Prepared) -> Result<Admitted, Refusal> {
        let state = self.store.state_of(&prepared.pipeline.tenant);
        let location = location_in(Some(&state), false, &prepared.pipeline);
        self.admission.lock().admit(prepared, location, true)
    }

    pub(crate) fn warnings_of(&self, prepared: &Prepared) -> Diagnostics {
        let mut warnings = prepared.warnings.clone();
        warnings.append(preview(prepared, &self.clock, pipeline::Severity::Warning));
        warnings
    }

    pub(crate) fn prepare(&self, key: &Key, new: &NewVersion) -> Result<Prepared, Refused> {
        let stored = StoredVersion {
            version: 0,
            deployed_ms: new.deployed_ms,
            by: new.by.clone(),
            by_operator: new.by_operator,
            deployment: new.deployment.clone(),
        };
        self.prepare_stored(key, &stored)
            .map_err(|refusal| Refused::of_file(&refusal.problems))
    }

    /// Loads a pipeline and its components.
    fn prepare_stored(&self, key: &Key, stored: &StoredVersion) -> Result<Prepared, Refusal> {
        let loaded = self.load_stored(key, stored)?;
        let patience = Patience::of_run();
        let prepared = prepare_with(self.host.engine(), loaded, &self.clock, &patience);
        Ok(self.guests.block_on(prepared)?)
    }

    /// Loads the file of a pipeline.
    pub(crate) fn load_stored(&self, key: &Key, stored: &StoredVersion) -> Result<Loaded, Refusal> {
        let deployment = &stored.deployment;
        let called = Path::new(&deployment.file);
        let refuse = |message: String, help: Option<String>| {
            Refusal::from(pipeline::refused(called, &deployment.pipeline, message, help))
        };
        let overrides: Result<Vec<Override>, _> = deployment.set.iter().map(|text| text.parse()).collect();
        let overrides = overrides.map_err(|error: pipeline::overrides::Error| refuse(error.to_string(), None))?;
        let own = self.store.folder_of(key).map_err(|error| Refusal {
            exit: Exit::Failure,
            ..refuse(error.to_string(), None)
        })?;
        let folder = match &deployment.folder {
            None => own,
            Some(_) if !stored.by_operator => {
                let help =
                    "leave `folder` out: relative paths start from a folder that the service keeps for the pipeline";
                return Err(refuse(
                    "only an operator of the host may name the folder of a pipeline".to_owned(),
                    Some(help.to_owned()),
                ));
            }
            Some(folder) if !Path::new(folder).is_absolute() => {
                return Err(refuse(format!("the folder {folder:?} is no absolute path"), None));
            }
            Some(folder) => PathBuf::from(folder),
        };
        let mut components = BTreeMap::new();
        for (written, sha256) in &deployment.components {
            let path = self.find_component(key, stored.by_operator, sha256).ok_or_else(|| {
                let help = "upload it first: PUT /api/v1/components/SHA256";
                refuse(
                    format!("the component {written:?} with the SHA-256 {sha256} was not uploaded"),
                    Some(help.to_owned()),
                )
            })?;
            components.insert(written.clone(), path);
        }
        let admission = match &self.tenants {
            Some(tenants) => {
                let files = self.store.files_of(&key.tenant);
                tenants.admit_sent(&key.tenant, called, &files, &self.host_directories)?
            }
            None => pipeline::Admission::of_user(&self.host_directories),
        };
        let file_name = called.file_name().unwrap_or(called.as_os_str());
        let sent = Sent {
            text: &deployment.pipeline,
            called,
            file: &folder.join(file_name),
            stored: &components,
        };
        let loaded = pipeline::load_sent(sent, &overrides, &self.connectors, &admission)?;
        let found = &loaded.pipeline;
        if (&found.tenant, &found.name) != (&key.tenant, &key.name) {
            let message = format!(
                "the pipeline is `{}` of tenant `{}`, and is deployed as `{}` of tenant `{}`",
                found.name, found.tenant, key.name, key.tenant
            );
            let help = "the name and the tenant of a pipeline that is deployed stand in its file, not among the values that replace others";
            return Err(loaded
                .error_at("", "pipeline.tenant", &message, "another one", Some(help))
                .into());
        }
        if found.budget.is_some() {
            let message = "a pipeline that is deployed does not say what its tenant may use";
            let help = "remove `[tenant]`: the operator of the host says it in the tenants file";
            return Err(loaded.error_at("", "tenant", message, "not here", Some(help)).into());
        }
        Ok(loaded)
    }

    /// Where a component is that a deployment names: among those of its tenant, or of operators where one of them deployed it.
    pub(crate) fn find_component(&self, key: &Key, by_operator: bool, sha256: &str) -> Option<PathBuf> {
        if !is_sha256(sha256) {
            return None;
        }
        let own = self.store.component(&key.tenant, sha256);
        own.or_else(|| self.store.component(OPERATORS, sha256).filter(|_| by_operator))
    }
}

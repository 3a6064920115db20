//! The pipelines of the service, and what can be done with them.
//!
//! Owns the rule that what is acknowledged is on disk. What a pipeline does follows from its record; its task (`supervisor`) brings it about.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dirigo_api::{self as api, Deployed, Deployment, State, Version};
use dirigo_command::admission::{Admission, Admitted};
use dirigo_disk::HostDirectories;
use dirigo_ground::clock::Clock;
use dirigo_ground::sync::Mutex;
use dirigo_pipeline::{self as pipeline, Diagnostics, Names, Registry, Tenants};
use dirigo_runtime::Host;
use tokio::sync::{Semaphore, watch};

use crate::access::Caller;
use crate::entry::{Entry, Wish};
use crate::findings::findings_of;
use crate::record::{Key, NewVersion, Record, Wanted};
use crate::refused::Refused;
use crate::store::{OPERATORS, Store};

/// Pipelines that are prepared at the same time: each may compile its components.
const STARTS_MAX: usize = 4;
/// Pipelines of one tenant, in whatever state.
const PIPELINES_MAX: usize = 1_000;

/// Makes the task of a pipeline, which brings about what is wanted of it.
pub(crate) type Task = fn(Arc<Pipelines>, Arc<Entry>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the service runs on.
pub(crate) struct Pipelines {
    task: Task,
    pub(crate) host: Host,
    pub(crate) store: Store,
    pub(crate) tenants: Option<Arc<Tenants>>,
    pub(crate) connectors: Registry,
    pub(crate) host_directories: HostDirectories,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where guests run that are no actors.
    pub(crate) guests: tokio::runtime::Handle,
    pub(crate) admission: Mutex<Admission>,
    entries: Mutex<BTreeMap<Key, Arc<Entry>>>,
    pub(crate) starts: Semaphore,
    /// For how long pipelines may drain, once the service ends.
    pub(crate) closing: watch::Sender<Option<Duration>>,
    /// Whether pipelines that are to run were started.
    is_ready: AtomicBool,
}

/// What [`Pipelines`] are made of.
pub(crate) struct Parts {
    pub(crate) task: Task,
    pub(crate) host: Host,
    pub(crate) store: Store,
    pub(crate) tenants: Option<Arc<Tenants>>,
    pub(crate) connectors: Registry,
    pub(crate) host_directories: HostDirectories,
    pub(crate) guests: tokio::runtime::Handle,
}

/// What of a pipeline file is read before it is known what the file may do.
#[derive(Default, serde::Deserialize)]
struct Peeked {
    #[serde(default)]
    pipeline: PeekedHeader,
}

#[derive(Default, serde::Deserialize)]
struct PeekedHeader {
    name: Option<String>,
    tenant: Option<String>,
}

impl Pipelines {
    /// Takes up what was deployed. Needs a runtime around it, on which the tasks of the pipelines run.
    pub(crate) fn resume(parts: Parts) -> Result<Arc<Self>, crate::store::Error> {
        let Parts {
            task,
            host,
            store,
            tenants,
            connectors,
            host_directories,
            guests,
        } = parts;
        let records = store.records()?;
        let clock = host.clock().clone();
        let pipelines = Arc::new(Self {
            task,
            admission: Mutex::new(Admission::new(tenants.as_ref(), Names::OfTenant)),
            host_directories: store.protect(host_directories),
            host,
            store,
            tenants,
            connectors,
            guests,
            entries: Mutex::default(),
            starts: Semaphore::new(STARTS_MAX),
            closing: watch::Sender::new(None),
            is_ready: AtomicBool::new(false),
            clock,
        });
        for record in records {
            pipelines.add(record, None);
        }
        Ok(pipelines)
    }

    /// The time, in ms since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// Whether all pipelines that are to run were given a chance to start.
    pub(crate) fn is_ready(&self) -> bool {
        if !self.is_ready.load(Ordering::Relaxed) {
            let is_starting = |entry: &Arc<Entry>| entry.state() == State::Starting;
            let is_ready = !self.entries.lock().values().any(is_starting);
            self.is_ready.store(is_ready, Ordering::Relaxed);
        }
        self.is_ready.load(Ordering::Relaxed) && self.closing.borrow().is_none()
    }

    fn add(self: &Arc<Self>, record: Record, admitted: Option<(u64, Box<Admitted>)>) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(record, self.clock.clone()));
        *entry.admitted.lock() = admitted;
        self.entries.lock().insert(entry.key.clone(), entry.clone());
        tokio::spawn((self.task)(self.clone(), entry.clone()));
        entry
    }

    /// The pipelines that a caller may see, of one tenant or of all.
    pub(crate) fn list(&self, caller: &Caller, tenant: Option<&str>) -> Vec<api::Pipeline> {
        let is_visible = |key: &Key| caller.may_see(&key.tenant) && tenant.is_none_or(|tenant| tenant == key.tenant);
        let entries: Vec<Arc<Entry>> = {
            let entries = self.entries.lock();
            entries
                .iter()
                .filter(|(key, _)| is_visible(key))
                .map(|(_, entry)| entry.clone())
                .collect()
        };
        entries.iter().map(|entry| entry.listed()).collect()
    }

    /// The same, to look at each.
    pub(crate) fn visible(&self, caller: &Caller) -> Vec<Arc<Entry>> {
        let entries = self.entries.lock();
        let visible = entries.iter().filter(|(key, _)| caller.may_see(&key.tenant));
        visible.map(|(_, entry)| entry.clone()).collect()
    }

    /// Notes how each is doing.
    pub(crate) fn look(&self) {
        let entries: Vec<Arc<Entry>> = self.entries.lock().values().cloned().collect();
        for entry in entries {
            entry.look();
        }
    }

    /// The tenants that a caller may see.
    pub(crate) fn tenants(&self, caller: &Caller) -> Vec<api::Tenant> {
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        for name in self.tenants.iter().flat_map(|tenants| tenants.names()) {
            names.insert(name.to_owned(), 0);
        }
        for key in self.entries.lock().keys() {
            *names.entry(key.tenant.clone()).or_default() += 1;
        }
        let used = self.host.tenants();
        let tenant = |(name, pipelines): (String, u64)| {
            let usage = used.iter().find(|used| used.name == name);
            let usage = usage.map(|usage| serde_json::to_value(usage).expect("a summary is plain JSON"));
            api::Tenant { name, pipelines, usage }
        };
        names
            .into_iter()
            .filter(|(name, _)| caller.may_see(name))
            .map(tenant)
            .collect()
    }

    /// A pipeline.
    pub(crate) fn entry(&self, key: &Key) -> Result<Arc<Entry>, Refused> {
        let entry = self.entries.lock().get(key).cloned();
        entry.ok_or_else(|| {
            let Key { tenant, name } = key;
            let names: Vec<String> = self
                .entries
                .lock()
                .keys()
                .filter(|key| key.tenant == *tenant)
                .map(|key| key.name.clone())
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let help = (!names.is_empty()).then(|| pipeline::suggestion(name, &names, "there are"));
            Refused::not_found(format!("tenant `{tenant}` has no pipeline `{name}`")).help_if(help)
        })
    }

    /// What is wrong with a pipeline, found out without running it.
    pub(crate) fn check(
        &self,
        caller: &Caller,
        tenant: Option<&str>,
        deployment: &Deployment,
    ) -> Result<(Key, Diagnostics), Refused> {
        let key = Self::key_of(caller, tenant, deployment)?;
        let version = version_of(caller, deployment.clone(), self.clock.wall_ms());
        let prepared = self.prepare(&key, &version);
        if self.entries.lock().get(&key).is_none() {
            self.store.give_up_folder(&key);
        }
        Ok((key, self.warnings_of(&prepared?)))
    }

    /// Deploys a pipeline that is not there yet.
    pub(crate) fn deploy(
        self: &Arc<Self>,
        caller: &Caller,
        tenant: Option<&str>,
        deployment: Deployment,
    ) -> Result<Deployed, Refused> {
        let key = Self::key_of(caller, tenant, &deployment)?;
        self.expect_new(&key)?;
        let new = version_of(caller, deployment, self.clock.wall_ms());
        let prepared = match self.prepare(&key, &new) {
            Ok(prepared) => prepared,
            Err(refused) => {
                self.store.give_up_folder(&key);
                return Err(refused);
            }
        };
        let admitted = self
            .admit(prepared)
            .map_err(|refusal| Refused::of_file(&refusal.problems))?;
        let warnings = self.warnings_of(&admitted.prepared);
        let pipeline = admitted.prepared.pipeline.clone();
        let record = Record::new(&key, new);
        let deployed = || {
            // Another may have come in between.
            self.expect_new(&key)?;
            self.expect_components(&record)?;
            self.store.keep(&record)?;
            let version = record.current;
            Ok(self.add(record.clone(), Some((version, Box::new(admitted)))))
        };
        match deployed() {
            Ok(entry) => Ok(deployed_as(&entry, &warnings)),
            Err(refused) => {
                self.left(&pipeline);
                Err(refused)
            }
        }
    }

    fn expect_new(&self, key: &Key) -> Result<(), Refused> {
        let entries = self.entries.lock();
        if let Some(entry) = entries.get(key) {
            let (name, tenant) = (&key.name, &key.tenant);
            return Err(match entry.state() {
                State::Deleting => {
                    Refused::conflict(format!("pipeline `{name}` of tenant `{tenant}` is being deleted"))
                        .help("try again once it is gone")
                }
                _ => Refused::conflict(format!("tenant `{tenant}` has a pipeline `{name}`"))
                    .help("upgrade it, or delete it first"),
            });
        }
        if entries.keys().filter(|other| other.tenant == key.tenant).count() >= PIPELINES_MAX {
            let tenant = &key.tenant;
            return Err(Refused::quota(format!(
                "tenant `{tenant}` has {PIPELINES_MAX} pipelines, the most that one may have"
            )));
        }
        Ok(())
    }

    /// Has another version of a pipeline run.
    pub(crate) fn upgrade(&self, caller: &Caller, key: &Key, deployment: Deployment) -> Result<Deployed, Refused> {
        let entry = self.entry(key)?;
        let found = Self::key_of(caller, Some(&key.tenant), &deployment)?;
        if found != *key {
            let message = format!(
                "the pipeline file names its pipeline `{}`, and `{}` is to be upgraded",
                found.name, key.name
            );
            return Err(Refused::invalid(message).help("give it the name of the pipeline, or deploy it as another one"));
        }
        let new = version_of(caller, deployment, self.clock.wall_ms());
        let warnings = self.warnings_of(&self.prepare(key, &new)?);
        self.change(&entry, |record| {
            record.upgrade(new);
            Ok(())
        })?;
        Ok(deployed_as(&entry, &warnings))
    }

    /// Has an earlier version of a pipeline run: the one before, or the one that is named.
    pub(crate) fn roll_back(&self, key: &Key, to: Option<u64>) -> Result<api::Pipeline, Refused> {
        let entry = self.entry(key)?;
        self.change(&entry, |record| {
            let before = record
                .versions
                .iter()
                .rev()
                .map(|stored| stored.version)
                .find(|version| *version < record.current);
            let Some(version) = to.or(before) else {
                return Err(Refused::conflict(format!(
                    "pipeline `{}` has no earlier version",
                    record.name
                )));
            };
            if record.version(version).is_none() {
                let kept: Vec<String> = record
                    .versions
                    .iter()
                    .map(|stored| stored.version.to_string())
                    .collect();
                let message = format!("pipeline `{}` has no version {version}", record.name);
                return Err(Refused::not_found(message).help(format!("these are kept: {}", kept.join(", "))));
            }
            record.return_to(version);
            Ok(())
        })?;
        Ok(entry.listed())
    }

    /// The versions of a pipeline.
    pub(crate) fn versions(&self, key: &Key) -> Result<Vec<Version>, Refused> {
        Ok(self.entry(key)?.record.lock().listed())
    }

    /// Has a pipeline run that was stopped, has finished or has failed.
    pub(crate) fn run(&self, key: &Key) -> Result<api::Pipeline, Refused> {
        let entry = self.entry(key)?;
        self.change(&entry, |record| {
            record.wanted = Wanted::Run;
            Ok(())
        })?;
        if matches!(entry.state(), State::Failed) {
            entry.wish.send_modify(|wish| {
                entry.is_told(Wanted::Run);
                wish.start += 1;
            });
        }
        Ok(entry.listed())
    }

    /// Has a pipeline stop, after it has drained or after this time.
    pub(crate) fn stop(&self, key: &Key, drain: Duration) -> Result<api::Pipeline, Refused> {
        let entry = self.entry(key)?;
        entry.wish.send_if_modified(|wish| {
            wish.drain = drain;
            false
        });
        self.change(&entry, |record| {
            record.wanted = Wanted::Stop;
            Ok(())
        })?;
        // One of a pipeline that is stopped anyway ends, too.
        entry.interrupt_retry();
        Ok(entry.listed())
    }

    /// Has a pipeline go, with its state.
    pub(crate) fn delete(&self, key: &Key) -> Result<api::Pipeline, Refused> {
        let entry = self.entry(key)?;
        {
            let mut record = entry.record.lock();
            let deleted = Record {
                wanted: Wanted::Delete,
                ..record.clone()
            };
            self.store.keep(&deleted)?;
            *record = deleted;
            tell(&entry, &record);
        }
        Ok(entry.listed())
    }

    /// Changes what is kept of a pipeline, on disk first.
    fn change(&self, entry: &Entry, change: impl FnOnce(&mut Record) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut record = entry.record.lock();
        if record.wanted == Wanted::Delete {
            let Key { tenant, name } = &entry.key;
            return Err(Refused::not_found(format!(
                "pipeline `{name}` of tenant `{tenant}` is being deleted"
            )));
        }
        let mut changed = record.clone();
        change(&mut changed)?;
        if changed != *record {
            self.expect_components(&changed)?;
            self.store.keep(&changed)?;
            *record = changed;
        }
        tell(entry, &record);
        Ok(())
    }

    /// Notes that the sources of a pipeline came to their end, unless something else is wanted by now.
    pub(crate) fn finished(&self, entry: &Entry, run: Wish) {
        let noted = self.change(entry, |record| {
            if record.wanted == Wanted::Run && record.current == run.version {
                record.wanted = Wanted::Finished;
                record.trial = None;
            }
            Ok(())
        });
        if let Err(refused) = noted {
            // It is started again, finds nothing new, and comes to its end once more.
            entry.say(tracing::Level::WARN, &refused.problem.error);
        }
    }

    /// Returns to the version before, where the one that failed is an upgrade on trial.
    pub(crate) fn fall_back(&self, entry: &Entry, failed: u64, reason: &str) -> bool {
        let mut has_returned = false;
        let changed = self.change(entry, |record| {
            if let Some(trial) = record.trial
                && record.current == failed
                && record.version(trial.before).is_some()
            {
                record.return_to(trial.before);
                has_returned = true;
            }
            Ok(())
        });
        if let (true, Ok(())) = (has_returned, &changed) {
            let before = entry.record.lock().current;
            let message = format!("version {failed} was rolled back to version {before}: {reason}");
            entry.say(tracing::Level::ERROR, &message);
        }
        has_returned && changed.is_ok()
    }

    /// Ends the trial of an upgrade: it stays.
    pub(crate) fn settle(&self, entry: &Entry, version: u64) {
        let settled = self.change(entry, |record| {
            if record.current == version {
                record.trial = None;
            }
            Ok(())
        });
        if let Err(refused) = settled {
            entry.say(tracing::Level::WARN, &refused.problem.error);
        }
    }

    /// Removes what there is of a pipeline that is to go; `false` if that cannot be done now.
    pub(crate) async fn forget(self: &Arc<Self>, entry: &Arc<Entry>) -> bool {
        self.drop_admitted(entry);
        let (pipelines, key) = (self.clone(), entry.key.clone());
        let forgotten = tokio::task::spawn_blocking(move || pipelines.store.forget(&key)).await;
        match forgotten.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
            Ok(()) => {
                self.entries.lock().remove(&entry.key);
                true
            }
            Err(error) => {
                entry.enter(State::Deleting, Some(error.to_string()));
                false
            }
        }
    }

    /// Which pipeline is deployed. What the file says of its tenant counts where an operator of the host deploys it and says nothing else.
    fn key_of(caller: &Caller, tenant: Option<&str>, deployment: &Deployment) -> Result<Key, Refused> {
        let peeked: Peeked = toml::from_str(&deployment.pipeline).unwrap_or_default();
        let said = peeked.pipeline.tenant.as_deref();
        let tenant = tenant.or(caller.tenant.as_deref()).or(said).unwrap_or("default");
        caller.expect_change(tenant)?;
        let key = Key {
            tenant: tenant.to_owned(),
            name: peeked.pipeline.name.unwrap_or_else(|| "unnamed".to_owned()),
        };
        if !is_name(&key.tenant) {
            return Err(Refused::invalid(format!(
                "{:?} cannot be the name of a tenant",
                key.tenant
            )));
        }
        if !is_name(&key.name) {
            // The file is refused for it, with the place.
            return Ok(Key {
                name: "unnamed".to_owned(),
                ..key
            });
        }
        Ok(key)
    }

    /// Looks whether all components that a record names are there, so that a later start finds them.
    fn expect_components(&self, record: &Record) -> Result<(), Refused> {
        let stored = record.current();
        for (written, sha256) in &stored.deployment.components {
            if self.find_component(&record.key(), stored.by_operator, sha256).is_none() {
                return Err(Refused::conflict(format!(
                    "the component {written:?} was removed meanwhile"
                )));
            }
        }
        Ok(())
    }

    /// The pipelines that need a component of a scope, in any version that is kept of them.
    pub(crate) fn users_of(&self, scope: &str, sha256: &str) -> Vec<String> {
        let entries: Vec<Arc<Entry>> = self.entries.lock().values().cloned().collect();
        let uses = |entry: &&Arc<Entry>| {
            let record = entry.record.lock();
            let mut versions = record.versions.iter();
            (scope == OPERATORS || scope == record.tenant)
                && versions.any(|stored| stored.deployment.components.values().any(|used| used == sha256))
        };
        entries
            .iter()
            .filter(uses)
            .map(|entry| entry.key.name.clone())
            .collect()
    }

    /// Has all pipelines drain, and waits until they have ended; those that do not are told.
    pub(crate) async fn close(&self, drain: Duration) -> Vec<String> {
        /// After the drain, for last checkpoints.
        const PATIENCE: Duration = Duration::from_secs(6);
        const LOOK_INTERVAL: Duration = Duration::from_millis(10);
        self.closing.send_replace(Some(drain));
        let is_open = |entry: &&Arc<Entry>| matches!(entry.state(), State::Starting | State::Running | State::Stopping);
        let open = || -> Vec<String> {
            self.entries
                .lock()
                .values()
                .filter(is_open)
                .map(|entry| entry.key.to_string())
                .collect()
        };
        let wait = async {
            while !open().is_empty() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        // What is left then is told.
        let _ = tokio::time::timeout(drain + PATIENCE, wait).await;
        open()
    }
}

/// Tells the task of a pipeline what is wanted of it by now. Its record stays locked meanwhile, so that no caller sees a new version with the state
/// of the one before.
fn tell(entry: &Entry, record: &Record) {
    entry.wish.send_if_modified(|wish| {
        let is_new = (wish.wanted, wish.version) != (record.wanted, record.current);
        if is_new {
            entry.is_told(record.wanted);
            (wish.wanted, wish.version) = (record.wanted, record.current);
        }
        is_new
    });
}

fn version_of(caller: &Caller, deployment: Deployment, now_ms: i64) -> NewVersion {
    NewVersion {
        deployed_ms: now_ms,
        by: caller.name.clone(),
        by_operator: caller.is_operator(),
        deployment,
    }
}

fn deployed_as(entry: &Entry, warnings: &Diagnostics) -> Deployed {
    Deployed {
        pipeline: entry.listed(),
        findings: findings_of(warnings),
        rendered: warnings.render(false),
    }
}

/// Whether a text can be the name of a pipeline or a tenant, and so the name of a file.
pub(crate) fn is_name(text: &str) -> bool {
    pipeline::is_name(text)
}

/// Whether a text is a SHA-256 as components are named by it.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

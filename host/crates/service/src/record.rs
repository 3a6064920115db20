//! What is kept of a pipeline that was deployed, whether it runs or not.

use dirigo_api::{Deployment, Version};
use serde::{Deserialize, Serialize};

/// The versions that are kept of a pipeline: the last ones.
const VERSIONS_MAX: usize = 10;

/// What tells a pipeline from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: String,
    pub(crate) name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.tenant, self.name)
    }
}

/// What is kept of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) tenant: String,
    pub(crate) name: String,
    /// What it is to do.
    pub(crate) wanted: Wanted,
    /// The version that runs, or would.
    pub(crate) current: u64,
    /// The last versions, in their order; the current one is among them.
    pub(crate) versions: Vec<StoredVersion>,
    /// The upgrade to the current version, while that is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trial: Option<Trial>,
}

/// An upgrade that is taken back if the new version does worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// The version that ran before.
    pub(crate) before: u64,
}

/// What a pipeline is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wanted {
    /// Run.
    Run,
    /// Nothing, until it is started again.
    Stop,
    /// Nothing: its sources came to their end.
    Finished,
    /// Go, with its state.
    Delete,
}

/// A version of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredVersion {
    pub(crate) version: u64,
    pub(crate) deployed_ms: i64,
    pub(crate) by: String,
    /// Whether an operator of the host deployed it, and so may name a folder and use the components of operators.
    pub(crate) by_operator: bool,
    pub(crate) deployment: Deployment,
}

impl Record {
    /// Of a pipeline with its first version.
    pub(crate) fn new(key: &Key, first: NewVersion) -> Self {
        let mut record = Self {
            tenant: key.tenant.clone(),
            name: key.name.clone(),
            wanted: Wanted::Run,
            current: 0,
            versions: Vec::new(),
            trial: None,
        };
        record.add(first);
        record
    }

    pub(crate) fn key(&self) -> Key {
        Key {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
        }
    }

    /// The version that runs, or would.
    pub(crate) fn current(&self) -> &StoredVersion {
        self.version(self.current).expect("the current version is kept")
    }

    pub(crate) fn version(&self, version: u64) -> Option<&StoredVersion> {
        self.versions.iter().find(|stored| stored.version == version)
    }

    /// Makes a version the current one, on trial.
    pub(crate) fn upgrade(&mut self, new: NewVersion) {
        // Of several upgrades one after the other, none of which has proved itself, all are taken back.
        let before = self.trial.map_or(self.current, |trial| trial.before);
        self.add(new);
        self.trial = self.version(before).map(|before| Trial { before: before.version });
        self.wanted = Wanted::Run;
    }

    /// Makes a version that is kept the current one again.
    pub(crate) fn return_to(&mut self, version: u64) {
        self.current = version;
        self.trial = None;
    }

    /// Makes a version the current one.
    fn add(&mut self, new: NewVersion) {
        let version = self.versions.last().map_or(1, |last| last.version + 1);
        let NewVersion {
            deployed_ms,
            by,
            by_operator,
            deployment,
        } = new;
        self.versions.push(StoredVersion {
            version,
            deployed_ms,
            by,
            by_operator,
            deployment,
        });
        self.current = version;
        let surplus = self.versions.len().saturating_sub(VERSIONS_MAX);
        self.versions.drain(..surplus);
    }

    /// As clients get them, the latest first.
    pub(crate) fn listed(&self) -> Vec<Version> {
        let listed = |stored: &StoredVersion| Version {
            version: stored.version,
            deployed_ms: stored.deployed_ms,
            by: stored.by.clone(),
            deployment: stored.deployment.clone(),
            is_current: stored.version == self.current,
        };
        self.versions.iter().rev().map(listed).collect()
    }
}

/// A version that is to become the current one.
pub(crate) struct NewVersion {
    pub(crate) deployed_ms: i64,
    pub(crate) by: String,
    pub(crate) by_operator: bool,
    pub(crate) deployment: Deployment,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(at: i64) -> NewVersion {
        NewVersion {
            deployed_ms: at,
            by: "ci".to_owned(),
            by_operator: false,
            deployment: Deployment::default(),
        }
    }

    #[test]
    fn the_last_versions_are_kept_and_their_numbers_are_not_used_twice() {
        let key = Key {
            tenant: "acme".to_owned(),
            name: "p".to_owned(),
        };
        let mut record = Record::new(&key, new(1));
        (2..=12).for_each(|at| record.add(new(at)));
        assert_eq!(record.current().version, 12);
        let numbers: Vec<u64> = record.listed().iter().map(|version| version.version).collect();
        assert_eq!(numbers, (3..=12).rev().collect::<Vec<_>>());
        // An earlier one that runs again stays the one that runs.
        record.current = 11;
        assert_eq!(record.current().deployed_ms, 11);
        record.add(new(13));
        assert_eq!((record.current, record.versions.len()), (13, 10));
    }
}

//! Folders that have new entries which a power cut would take away.
//!
//! Owns which of them the next commit waits for: entries come while an epoch is on its way to being committed, and those
//! belong to the one after it.

use std::path::{Path, PathBuf};

use crate::disk::{Disk, Entry};

/// What is still to be synchronised.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Since the last epoch ended.
    new: Vec<PathBuf>,
    /// Of the epochs that ended and are not known to be committed.
    prepared: Vec<PathBuf>,
}

impl Unsynced {
    /// Notes that a folder has a new entry, or one less.
    pub(super) fn add(&mut self, folder: &Path) {
        if !self.new.iter().any(|known| known == folder) {
            self.new.push(folder.to_owned());
        }
    }

    /// Notes the folders that get an entry when something is made at `path`.
    pub(super) fn add_entries_to(&mut self, path: &Path, disk: &dyn Disk) {
        let is_new = |entry: &&Path| !entry.as_os_str().is_empty() && matches!(disk.look(entry), Ok(Entry::Missing));
        path.ancestors()
            .take_while(is_new)
            .for_each(|entry| self.add(parent(entry)));
    }

    /// What the commit of the epoch that ends now waits for.
    pub(super) fn prepare(&mut self) -> Vec<PathBuf> {
        self.prepared.append(&mut self.new);
        self.prepared.clone()
    }

    /// The epoch that ended last is committed.
    pub(super) fn committed(&mut self) {
        self.prepared.clear();
    }
}

/// The folder that something at `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_while_an_epoch_is_committed_belongs_to_the_next_one() {
        let mut unsynced = Unsynced::default();
        unsynced.add(Path::new("a"));
        unsynced.add(Path::new("a"));
        assert_eq!(unsynced.prepare(), [Path::new("a")]);
        unsynced.add(Path::new("b"));
        unsynced.committed();
        assert_eq!(unsynced.prepare(), [Path::new("b")]);
    }

    #[test]
    fn what_was_not_committed_is_waited_for_again() {
        let mut unsynced = Unsynced::default();
        unsynced.add(Path::new("a"));
        unsynced.prepare();
        assert_eq!(unsynced.prepare(), [Path::new("a")]);
    }
}

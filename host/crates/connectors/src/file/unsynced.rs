//! Folders that have new entries which a power cut would take away.
//!
//! Owns which of them the next commit waits for: entries come while an epoch is on its way to being committed, and those
//! belong to the one after it.

use std::io;
use std::path::{Path, PathBuf};

use dirigo_disk::{Disk, PathKind};

/// What is still to be synchronised.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    /// Since the last epoch ended.
    new: Vec<UnsyncedFolder>,
    /// Of the epochs that ended and are not known to be committed.
    prepared: Vec<UnsyncedFolder>,
}

/// A folder to be synchronised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnsyncedFolder {
    path: PathBuf,
    /// Whether this run changed it.
    is_changed: bool,
}

impl Unsynced {
    /// Notes that a folder has a new entry, or one less.
    pub(super) fn add(&mut self, folder: &Path) {
        self.note(folder, true);
    }

    /// Notes the folders that get an entry when something is made at `path`.
    pub(super) fn add_entries_to(&mut self, path: &Path, disk: &dyn Disk) {
        let is_new = |entry: &&Path| is_path(entry) && matches!(disk.look(entry), Ok(PathKind::Missing));
        path.ancestors()
            .take_while(is_new)
            .for_each(|entry| self.add(parent(entry)));
    }

    /// Notes all folders on the way to `path`: of what is there, nobody knows whether a run that was killed has made it, and
    /// then it would not outlast a power cut.
    pub(super) fn add_way_to(&mut self, path: &Path, disk: &dyn Disk) {
        self.add_entries_to(path, disk);
        let folders = path
            .ancestors()
            .skip(1)
            .map(|folder| if is_path(folder) { folder } else { Path::new(".") });
        folders.for_each(|folder| self.note(folder, false));
    }

    fn note(&mut self, path: &Path, is_changed: bool) {
        match self.new.iter_mut().find(|known| known.path == path) {
            Some(known) => known.is_changed |= is_changed,
            None => self.new.push(UnsyncedFolder {
                path: path.to_owned(),
                is_changed,
            }),
        }
    }

    /// What the commit of the epoch that ends now waits for.
    pub(super) fn prepare(&mut self) -> Vec<UnsyncedFolder> {
        self.prepared.append(&mut self.new);
        self.prepared.clone()
    }

    /// The epoch that ended last is committed.
    pub(super) fn committed(&mut self) {
        self.prepared.clear();
    }
}

impl UnsyncedFolder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes its entries durable. One that is not ours to read is not ours to have made.
    pub(super) fn sync(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.sync_folder(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.is_changed => Ok(()),
            result => result,
        }
    }
}

/// The folder that something at `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if is_path(parent) => parent,
        _ => Path::new("."),
    }
}

fn is_path(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(unsynced: &mut Unsynced) -> Vec<PathBuf> {
        unsynced.prepare().into_iter().map(|folder| folder.path).collect()
    }

    #[test]
    fn what_comes_while_an_epoch_is_committed_belongs_to_the_next_one() {
        let mut unsynced = Unsynced::default();
        unsynced.add(Path::new("a"));
        unsynced.add(Path::new("a"));
        assert_eq!(prepared(&mut unsynced), [Path::new("a")]);
        unsynced.add(Path::new("b"));
        unsynced.committed();
        assert_eq!(prepared(&mut unsynced), [Path::new("b")]);
    }

    #[test]
    fn what_was_not_committed_is_waited_for_again() {
        let mut unsynced = Unsynced::default();
        unsynced.add(Path::new("a"));
        unsynced.prepare();
        assert_eq!(prepared(&mut unsynced), [Path::new("a")]);
    }

    #[test]
    fn the_way_to_a_file_is_all_folders_above_it() {
        let mut unsynced = Unsynced::default();
        unsynced.add_way_to(Path::new("/usr/no/file"), &dirigo_disk::Real);
        assert_eq!(prepared(&mut unsynced), ["/usr/no", "/usr", "/"].map(Path::new));
        unsynced.committed();
        unsynced.add_way_to(Path::new("no/file"), &dirigo_disk::Real);
        assert_eq!(prepared(&mut unsynced), ["no", "."].map(Path::new));
    }
}

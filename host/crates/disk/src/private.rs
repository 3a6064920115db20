//! Directories that only the user of this process can write to.
//!
//! Owns the two questions that are asked of a directory before its content is trusted: whose is it, and who else may
//! change it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Why a directory is not trusted. `what` names it: "cache directory".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotPrivate {
    /// It cannot be made or looked at.
    #[error("cannot use the {what} {}: {source}", .path.display())]
    Io {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another user could change what is in it.
    #[error(
        "the {what} {} belongs to user {owner}, and this process runs as user {user}; \
         `chown {user} {}`, or use another directory", .path.display(), .path.display()
    )]
    Foreign {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// The user whose it is.
        owner: u32,
        /// The user of this process.
        user: u32,
    },
    /// Users of its group, or all, could change what is in it.
    #[error(
        "the {what} {} can be written by others (its mode is {mode:o}); `chmod go-w {}`",
        .path.display(), .path.display()
    )]
    Shared {
        /// What it is for.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Makes a directory that only this user can enter, where it is missing.
///
/// # Errors
/// When it cannot be made, belongs to another user, or others may write to it.
pub fn make_private_directory(path: &Path, what: &'static str) -> Result<(), NotPrivate> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| NotPrivate::Io {
        what,
        path: path.to_owned(),
        source,
    })?;
    expect_private_directory(path, what)
}

/// Looks whether a directory is this user's, and no other may write to it.
///
/// # Errors
/// When it cannot be looked at, belongs to another user, or others may write to it.
pub fn expect_private_directory(path: &Path, what: &'static str) -> Result<(), NotPrivate> {
    let path = path.to_owned();
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(source) => return Err(NotPrivate::Io { what, path, source }),
    };
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    let mode = metadata.mode() & 0o7777;
    if owner != user {
        return Err(NotPrivate::Foreign {
            what,
            path,
            owner,
            user,
        });
    }
    if mode & 0o022 != 0 {
        return Err(NotPrivate::Shared { what, path, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_directory_is_made_for_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_private_directory(&path, "state directory").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_what_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o777, 0o770, 0o707] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = make_private_directory(folder.path(), "state directory").unwrap_err();
            let mended = format!("`chmod go-w {}`", folder.path().display());
            assert!(error.to_string().contains(&mended), "{error}");
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        make_private_directory(folder.path(), "state directory").unwrap();
    }

    #[test]
    fn a_directory_of_another_user_is_refused_with_both_users() {
        let user = rustix::process::geteuid().as_raw();
        // That of root, or where root runs this one that is given away.
        let folder = tempfile::tempdir().unwrap();
        let (path, owner) = if user == 0 {
            std::os::unix::fs::chown(folder.path(), Some(65_534), None).unwrap();
            (folder.path(), 65_534)
        } else {
            (Path::new("/"), 0)
        };
        let error = expect_private_directory(path, "state directory")
            .unwrap_err()
            .to_string();
        let words = format!("belongs to user {owner}, and this process runs as user {user}; `chown {user} ");
        assert!(error.contains(&words), "{error}");
    }
}

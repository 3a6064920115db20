//! Which files a pipeline may open.
//!
//! Owns the two rules about where a path of a pipeline file may lead. Never into a directory of the host's own. And where
//! a tenants file grants folders: only beneath one of them, seen from the folder as it was opened at the start, so that no
//! `..` and no symbolic link leads out of it, even if another process changes the file system meanwhile.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To be read.
    Read,
    /// To be made or written.
    Write,
}

impl fmt::Display for Usage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// Why a path is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// It leads to what the host keeps for itself.
    #[error("it leads into the {what} of the host, {}", .path.display())]
    Host {
        /// What that is: "cache directory".
        what: &'static str,
        /// Where it is.
        path: PathBuf,
    },
    /// It leads into a file system by which the kernel shows the machine and its processes.
    #[error("it leads to {}, where the kernel shows the machine and its processes", .path.display())]
    Kernel {
        /// Where it leads.
        path: PathBuf,
    },
    /// It is in no folder that was granted.
    #[error("it is in no folder that its tenant may {usage}; {}", granted(*.usage, .folders))]
    NotGranted {
        /// What for.
        usage: Usage,
        /// What was granted.
        folders: Vec<PathBuf>,
    },
    /// It leads out of the folder that was granted.
    #[error("a symbolic link on the way leads out of {}, the folder that its tenant may {usage}", .folder.display())]
    Escapes {
        /// What for.
        usage: Usage,
        /// The folder.
        folder: PathBuf,
    },
    /// Where it leads cannot be found out.
    #[error("where it leads cannot be found out: {source}")]
    Unknown {
        /// Why.
        source: io::Error,
    },
}

fn granted(usage: Usage, folders: &[PathBuf]) -> String {
    match folders {
        [] => format!("its list `{usage}` is empty"),
        folders => {
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            format!("its list `{usage}` has {}", folders.join(", "))
        }
    }
}

impl From<Denied> for io::Error {
    fn from(denied: Denied) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, denied)
    }
}

/// Directories and files that the host keeps for itself.
#[derive(Clone, Debug, Default)]
pub struct HostDirectories(Vec<HostDirectory>);

#[derive(Clone, Debug)]
struct HostDirectory {
    what: &'static str,
    /// Without symbolic links, as far as it exists.
    path: PathBuf,
}

impl HostDirectories {
    /// With the directory at `path`, which is called `what`: "cache directory".
    #[must_use]
    pub fn with(mut self, what: &'static str, path: &Path) -> Self {
        let [path, _] = real_paths(path);
        self.0.push(HostDirectory { what, path });
        self
    }

    /// Refuses a path without symbolic links that is one of these, or within one.
    fn refuse(&self, real: &Path) -> Result<(), Denied> {
        match self.0.iter().find(|own| real.starts_with(&own.path)) {
            Some(HostDirectory { what, path }) => Err(Denied::Host {
                what,
                path: path.clone(),
            }),
            None => Ok(()),
        }
    }
}

/// The folders of a tenant, opened.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// What it may read.
    pub read: Vec<Grant>,
    /// What it may write.
    pub write: Vec<Grant>,
}

/// A folder that was granted, opened.
#[derive(Clone, Debug)]
pub struct Grant {
    /// As it was named; absolute.
    path: PathBuf,
    /// Without symbolic links.
    real: PathBuf,
    handle: Arc<OwnedFd>,
}

impl Grant {
    /// Opens a folder that is to be granted.
    ///
    /// # Errors
    /// When it is not there, is no folder, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: plain(&std::path::absolute(path)?),
            real: real_path(&handle)?,
            handle: Arc::new(handle),
        })
    }

    /// Opens a folder whose path has no symbolic links, and is to have none when it is opened.
    ///
    /// # Errors
    /// As [`open`](Self::open), or when the path leads elsewhere by now.
    pub fn open_real(path: &Path) -> io::Result<Self> {
        let grant = Self::open(path)?;
        if grant.real != path {
            let message = format!("it was exchanged, and is a link to {} now", grant.real.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(grant)
    }

    /// The way from this folder to an absolute path without `.` and `..`, if the path is beneath it.
    fn beneath(&self, path: &Path) -> Option<PathBuf> {
        let rest = path
            .strip_prefix(&self.path)
            .or_else(|_| path.strip_prefix(&self.real))
            .ok()?;
        Some(here_or(rest).to_owned())
    }
}

/// Which files a pipeline may open.
#[derive(Clone, Debug, Default)]
pub struct FileAccess {
    host: HostDirectories,
    /// `None` for whatever the user of this process may open.
    grants: Option<Grants>,
}

/// A path beneath a folder that was granted.
pub(crate) struct Beneath<'a> {
    pub(crate) grant: &'a Grant,
    pub(crate) rest: PathBuf,
}

impl FileAccess {
    /// What the user of this process may open, but for what the host keeps for itself.
    #[must_use]
    pub fn of_user(host: HostDirectories) -> Self {
        Self { host, grants: None }
    }

    /// Only what is beneath `grants`, and that but for what the host keeps for itself.
    #[must_use]
    pub fn granted(host: HostDirectories, grants: Grants) -> Self {
        Self {
            host,
            grants: Some(grants),
        }
    }

    /// Whether only folders that were granted may be used.
    #[must_use]
    pub fn is_confined(&self) -> bool {
        self.grants.is_some()
    }

    /// Where files go whose place the pipeline leaves to the host: the working directory, or the first folder that its
    /// tenant may write.
    #[must_use]
    pub fn default_folder(&self) -> &Path {
        let first = self.grants.as_ref().and_then(|grants| grants.write.first());
        first.map_or(Path::new(""), |grant| &grant.path)
    }

    /// Looks whether a path may be used. What it leads to need not exist.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, path: &Path, usage: Usage) -> Result<(), Denied> {
        if self.is_confined() {
            let beneath = self.beneath(path, usage)?;
            return self.check_beneath(&beneath, usage);
        }
        for real in real_paths(path) {
            self.host.refuse(&real)?;
            refuse_kernel(&real, usage)?;
        }
        Ok(())
    }

    /// The folder that a path is beneath, of those that were granted: the innermost.
    pub(crate) fn beneath(&self, path: &Path, usage: Usage) -> Result<Beneath<'_>, Denied> {
        let grants: &[Grant] = match (&self.grants, usage) {
            (Some(grants), Usage::Read) => &grants.read,
            (Some(grants), Usage::Write) => &grants.write,
            (None, _) => &[],
        };
        let absolute = std::path::absolute(path).map_err(|source| Denied::Unknown { source })?;
        let path = plain(&absolute);
        let ways = grants.iter().filter_map(|grant| Some((grant, grant.beneath(&path)?)));
        let innermost = ways.min_by_key(|(_, rest)| rest.components().count());
        innermost
            .map(|(grant, rest)| Beneath { grant, rest })
            .ok_or_else(|| Denied::NotGranted {
                usage,
                folders: grants.iter().map(|grant| grant.path.clone()).collect(),
            })
    }

    fn check_beneath(&self, beneath: &Beneath<'_>, usage: Usage) -> Result<(), Denied> {
        for there in beneath.rest.ancestors() {
            match beneath.open(here_or(there), OFlags::PATH, Mode::empty()) {
                Ok(handle) => {
                    let missing = beneath.rest.strip_prefix(there).unwrap_or(Path::new(""));
                    let real = real_path(&handle).map_err(|source| Denied::Unknown { source })?;
                    return self.host.refuse(&real.join(missing));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(beneath.denied(error, usage)),
            }
        }
        Ok(())
    }

    /// Refuses what was opened if it is the host's own.
    pub(crate) fn check_opened(&self, handle: &impl AsFd) -> io::Result<()> {
        Ok(self.host.refuse(&real_path(handle)?)?)
    }

    /// Refuses an entry of a folder that was opened if it is, or would be, the host's own.
    pub(crate) fn check_entry(&self, folder: &impl AsFd, name: &Path) -> io::Result<()> {
        Ok(self.host.refuse(&real_path(folder)?.join(name))?)
    }
}

impl Beneath<'_> {
    /// Opens `path`, which is relative to the folder and does not leave it.
    pub(crate) fn open(&self, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        open_beneath(&self.grant.handle, path, flags, mode)
    }

    /// Opens the folder that the path is in; with the name that it has there.
    pub(crate) fn parent(&self) -> rustix::io::Result<(OwnedFd, &Path)> {
        let name = self.rest.file_name().ok_or(Errno::ISDIR)?;
        let parent = here_or(self.rest.parent().unwrap_or(Path::new("")));
        let handle = self.open(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((handle, Path::new(name)))
    }

    /// What an error of the system amounts to.
    pub(crate) fn denied(&self, error: Errno, usage: Usage) -> Denied {
        if error == Errno::XDEV {
            Denied::Escapes {
                usage,
                folder: self.grant.path.clone(),
            }
        } else {
            Denied::Unknown { source: error.into() }
        }
    }
}

/// Opens what is beneath a folder.
pub(crate) fn open_beneath(folder: &impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    /// The kernel asks for another try when something on the way was renamed meanwhile.
    const TRIES: usize = 128;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut opened = Err(Errno::AGAIN);
    for _ in 0..TRIES {
        opened = rustix::fs::openat2(folder, path, flags | OFlags::CLOEXEC, mode, resolve);
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
    }
    opened
}

/// Where an open file is, without symbolic links.
///
/// # Errors
/// When the system does not say.
pub fn real_path(handle: &impl AsFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()))
}

/// Where a path leads, without symbolic links as far as it exists: as the kernel reads it today, and as it is read once
/// the folders on the way exist that do not yet.
fn real_paths(path: &Path) -> [PathBuf; 2] {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let today = led(&absolute, LINKS_MAX);
    let once_made = plain(&absolute);
    if once_made == absolute {
        return [today.clone(), today];
    }
    [today, led(&once_made, LINKS_MAX)]
}

/// Links to what is not there that are followed, as many as the kernel follows of others.
const LINKS_MAX: u32 = 40;

/// Where an absolute path leads, also over links whose targets are yet to be made.
fn led(path: &Path, links: u32) -> PathBuf {
    let known = |there: &Path| Some((there.canonicalize().ok()?, path.strip_prefix(there).ok()?));
    let Some((real, missing)) = path.ancestors().find_map(known) else {
        return plain(path);
    };
    let mut names = missing.components();
    if let Some(first) = names.next()
        && links > 0
        && let Ok(target) = real.join(first).read_link()
    {
        return led(&real.join(target).join(names.as_path()), links - 1);
    }
    plain(&real.join(missing))
}

/// Refuses file systems by which the kernel shows itself. Devices and pipes may be written to: `/dev/stdout` is one.
fn refuse_kernel(real: &Path, usage: Usage) -> Result<(), Denied> {
    let within = |folder: &str| real.starts_with(folder);
    let is_device = usage == Usage::Read && within("/dev") && !within("/dev/shm");
    if within("/proc") || within("/sys") || is_device {
        return Err(Denied::Kernel { path: real.to_owned() });
    }
    Ok(())
}

/// An absolute path with `.` and `..` taken out.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// A folder seen from itself has a name too.
pub(crate) fn here_or(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests;

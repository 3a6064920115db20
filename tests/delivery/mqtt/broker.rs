//! A real MQTT broker, and clients that publish and subscribe.
//!
//! They are Mosquitto, as Debian packages it: `apt-get download` brings the packages into the target directory when a test first wants them, without root.
//! `DIRIGO_MOSQUITTO` names a folder that has `mosquitto`, `mosquitto_passwd`, `mosquitto_pub` and `mosquitto_sub` in place of that.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::nats::server::free_port;
use crate::support::{Folder, target_directory};

/// The broker, its clients, and the libraries that a small system lacks.
const PACKAGES: [&str; 6] = [
    "mosquitto",
    "mosquitto-clients",
    "libmosquitto1",
    "libcjson1",
    "libdlt2",
    "libwrap0",
];
/// A session that outlasts its connections, at `QoS` 1. More than the client takes at once by default may be in flight as it comes back.
const SUBSCRIBER: [&str; 11] = [
    "-c",
    "-x",
    "100000",
    "-q",
    "1",
    "-i",
    "reader",
    "-D",
    "connect",
    "receive-maximum",
    "65535",
];
const PAUSE: Duration = Duration::from_millis(5);
/// A minute of attempts: far more than a broker takes, so that only one that hangs is given up.
const ATTEMPTS: u32 = 12_000;

/// Where the programs are, and the libraries that come with them.
struct Programs {
    folders: Vec<PathBuf>,
    libraries: OsString,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        if let Some(folder) = env::var_os("DIRIGO_MOSQUITTO") {
            return Programs {
                folders: vec![folder.into()],
                libraries: OsString::new(),
            };
        }
        let folder = target_directory().join("mosquitto");
        if !folder.exists() {
            download(&folder);
        }
        let libraries = ["usr/lib", "lib"].map(|libraries| folder.join(libraries));
        // Debian has a folder for each architecture within.
        let within = libraries.iter().filter_map(|libraries| fs::read_dir(libraries).ok());
        let within = within.flatten().map(|entry| entry.unwrap().path());
        Programs {
            folders: ["usr/sbin", "usr/bin"].map(|programs| folder.join(programs)).into(),
            libraries: env::join_paths(within).unwrap(),
        }
    })
}

fn download(folder: &Path) {
    // Into a folder of its own first: another process may be at it, too.
    let unfinished = folder.with_extension(std::process::id().to_string());
    fs::create_dir_all(&unfinished).unwrap();
    if let Err(said) = apt_get(&unfinished, "download", &PACKAGES) {
        // The lists of packages may be missing, or older than what the archive has: into a place of our own, no root is needed for them.
        for lists in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(unfinished.join(lists)).unwrap();
        }
        let own = ["-o", "Dir::State::lists=lists", "-o", "Dir::Cache=cache"];
        let downloaded = apt_get(&unfinished, "update", &own)
            .and_then(|()| apt_get(&unfinished, "download", &[&own[..], &PACKAGES[..]].concat()));
        if let Err(then) = downloaded {
            panic!(
                "`apt-get download` of Mosquitto: {said}, and with new lists: {then}; DIRIGO_MOSQUITTO names a folder that has it"
            );
        }
    }
    for file in fs::read_dir(&unfinished).unwrap() {
        let file = file.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            let unpacked = Command::new("dpkg").arg("-x").arg(&file).arg(&unfinished).status();
            assert!(unpacked.unwrap().success(), "unpacking {}", file.display());
        }
    }
    if fs::rename(&unfinished, folder).is_err() {
        assert!(folder.exists(), "{} cannot be put in place", folder.display());
        fs::remove_dir_all(&unfinished).unwrap();
    }
}

/// What it said where it failed.
fn apt_get(folder: &Path, command: &str, arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("apt-get")
        .arg(command)
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| format!("starting `apt-get`: {error}"))?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    if ran.status.success() { Ok(()) } else { Err(said) }
}

fn program(name: &str) -> Command {
    let programs = programs();
    let path = programs
        .folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    let mut command = Command::new(path.unwrap_or_else(|| panic!("Mosquitto has no `{name}`")));
    if !programs.libraries.is_empty() {
        command.env("LD_LIBRARY_PATH", &programs.libraries);
    }
    command
}

/// A broker that keeps its sessions in the folder of a test. It is killed when the test ends.
pub(crate) struct Broker {
    child: Option<Child>,
    port: u16,
    config: PathBuf,
    log: PathBuf,
    store: PathBuf,
    login: Option<(&'static str, &'static str)>,
}

impl Broker {
    pub(crate) fn start(folder: &Folder) -> Self {
        let mut broker = Self::away(folder, "allow_anonymous true");
        broker.restart();
        broker
    }

    /// One that lets in who has a login only, and may do what a list says.
    pub(crate) fn with_login(folder: &Folder, user: &'static str, password: &'static str, rules: &str) -> Self {
        let (passwords, list) = (folder.path("passwords"), folder.write("rules", rules));
        let made = program("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&passwords)
            .args([user, password])
            .status();
        assert!(made.unwrap().success());
        let more = format!(
            "allow_anonymous false\npassword_file {}\nacl_file {}",
            passwords.display(),
            list.display()
        );
        let mut broker = Self::away(folder, &more);
        broker.login = Some((user, password));
        broker.restart();
        broker
    }

    /// One that is not there yet, whose address is known, with more in its configuration.
    pub(crate) fn away(folder: &Folder, more: &str) -> Self {
        let (port, store) = (free_port(), folder.path("mosquitto"));
        fs::create_dir(&store).unwrap();
        // It is saved where a test says so, and at the end: never in between, so that a kill finds what the test knows.
        let config = format!(
            "listener {port} 127.0.0.1\nuser root\npersistence true\npersistence_location {}/\nautosave_interval 0\n\
             max_queued_messages 0\nmax_inflight_messages 100\n{more}\n",
            store.display()
        );
        Self {
            child: None,
            port,
            config: folder.write("mosquitto.conf", config),
            log: folder.path("mosquitto.log"),
            store,
            login: None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, with what it had, and waits until it answers.
    pub(crate) fn restart(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let child = program("mosquitto")
            .arg("-c")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        for _ in 0..ATTEMPTS {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the broker does not answer: {}", self.said());
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, as nothing can prevent.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Has it save its sessions and messages, and waits until it has.
    pub(crate) fn save(&self) {
        let file = self.store.join("mosquitto.db");
        let saved = || fs::metadata(&file).and_then(|file| file.modified()).ok();
        let before = saved();
        let child = self.child.as_ref().unwrap();
        let id = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(id, rustix::process::Signal::USR1).unwrap();
        for _ in 0..ATTEMPTS {
            // It is renamed into place, once whole.
            if saved() != before {
                return;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("the broker does not save: {}", self.said());
    }

    fn client(&self, name: &str) -> Command {
        let mut client = program(name);
        client.args(["-V", "5", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some((user, password)) = self.login {
            client.args(["-u", user, "-P", password]);
        }
        client
    }

    /// Publishes messages in order, at `QoS` 1, and waits until the broker has all of them.
    pub(crate) fn publish(&self, topic: &str, messages: impl IntoIterator<Item = String>) {
        self.publish_at(1, topic, messages);
    }

    /// The same, at another `QoS`.
    pub(crate) fn publish_at(&self, qos: u8, topic: &str, messages: impl IntoIterator<Item = String>) {
        let mut publisher = self
            .client("mosquitto_pub")
            .args(["-q", &qos.to_string(), "-l", "-t", topic])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = publisher.stdin.take().unwrap();
        for message in messages {
            writeln!(input, "{message}").unwrap();
        }
        drop(input);
        assert!(publisher.wait().unwrap().success(), "{}", self.said());
    }

    /// Publishes one message as it is, with more options.
    pub(crate) fn publish_one(&self, topic: &str, message: &[u8], options: &[&str]) {
        let mut publisher = self
            .client("mosquitto_pub")
            .args(["-q", "1", "-s", "-t", topic])
            .args(options)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        publisher.stdin.take().unwrap().write_all(message).unwrap();
        assert!(publisher.wait().unwrap().success(), "{}", self.said());
    }

    /// Writes what comes to a topic to a file, a line for each message, from now until the test ends and through restarts of the broker.
    pub(crate) fn read(&self, topic: &str, file: &Path) -> Reader {
        let subscriber = |more: &[&str]| {
            let mut subscriber = self.client("mosquitto_sub");
            subscriber.args(SUBSCRIBER).args(["-t", topic]).args(more);
            subscriber
        };
        // It has a session before anything comes.
        assert!(subscriber(&["-E"]).status().unwrap().success(), "{}", self.said());
        let child = subscriber(&[])
            .stdout(File::create(file).unwrap())
            .stderr(Stdio::null())
            .spawn();
        Reader(child.unwrap())
    }
}

/// A subscriber that writes to a file. It is killed when the test ends.
pub(crate) struct Reader(Child);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

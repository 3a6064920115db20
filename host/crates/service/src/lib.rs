//! The multi-tenant service: pipelines that come and go, and the HTTP API to them.
//!
//! A [`Service`] runs the same [`Host`] as `dirigo run`, keeps what was deployed in its state directory, and gives each
//! pipeline a task of its own. Knows nothing of the command line; what requests and answers are made of is `dirigo_api`.

mod access;
mod entry;
mod findings;
mod history;
mod letters;
mod pipelines;
mod preparation;
mod record;
mod refused;
mod running;
mod server;
mod store;
mod supervisor;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use dirigo_disk::{HostDirectories, Real};
use dirigo_pipeline::{Registry, Tenants};
use dirigo_runtime::Host;
pub use server::openapi;
pub use store::Error;
use tokio::net::TcpListener;

use access::Access;
use pipelines::{Parts, Pipelines};
use store::Store;

/// A state directory that this process uses.
pub struct Directory(Store);

/// What a service runs on.
pub struct Setup {
    /// Runs the pipelines.
    pub host: Host,
    /// What tenants may do, and who may ask, where the operator of the host says it.
    pub tenants: Option<Arc<Tenants>>,
    /// The kinds of sources and sinks.
    pub connectors: Registry,
    /// What no pipeline may touch, besides what the service keeps.
    pub host_directories: HostDirectories,
    /// Where guests run that are no actors.
    pub guests: tokio::runtime::Handle,
}

/// Pipelines that come and go, and the API to them.
pub struct Service {
    pipelines: Arc<Pipelines>,
    access: Arc<Access>,
}

/// Has the histories of the pipelines grow for as long as these are there.
async fn watch(pipelines: Weak<Pipelines>) {
    let mut looks = tokio::time::interval(Duration::from_millis(history::INTERVAL_MS.unsigned_abs()));
    // Looks that were missed show nothing that the next one does not.
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(pipelines) = pipelines.upgrade() else {
            return;
        };
        pipelines.look();
    }
}

/// Where a service keeps everything, unless its operator says otherwise.
#[must_use]
pub fn default_directory() -> Option<PathBuf> {
    let absolute = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let folder = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(folder.join("dirigo/service"))
}

impl Directory {
    /// Uses a directory, which is made where it is missing, until this is dropped.
    ///
    /// # Errors
    /// When another process uses it, others may write to it, or it cannot be made.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Store::open(Arc::new(Real), path).map(Self)
    }

    /// The token of operators of the host, and the file that it is in; made where there is none.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn operator_token(&self) -> Result<(String, PathBuf), Error> {
        self.0.operator_token()
    }
}

impl Service {
    /// Takes up what was deployed. Needs a runtime around it, which serves requests.
    ///
    /// # Errors
    /// When the directory cannot be read, or what is in it is damaged.
    pub fn resume(directory: Directory, setup: Setup) -> Result<Self, Error> {
        let Directory(store) = directory;
        let (token, _) = store.operator_token()?;
        let Setup {
            host,
            tenants,
            connectors,
            host_directories,
            guests,
        } = setup;
        let access = Arc::new(Access::new(&token, tenants.as_ref()));
        let pipelines = Pipelines::resume(Parts {
            task: |pipelines, entry| Box::pin(supervisor::supervise(pipelines, entry)),
            host,
            store,
            tenants,
            connectors,
            host_directories,
            guests,
        })?;
        tokio::spawn(watch(Arc::downgrade(&pipelines)));
        Ok(Self { pipelines, access })
    }

    /// Serves requests that come to a socket, until this is dropped.
    ///
    /// # Errors
    /// When the socket is none of this runtime.
    pub fn listen(&self, socket: std::net::TcpListener) -> io::Result<SocketAddr> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let socket = TcpListener::from_std(socket)?;
        let router = server::router(self.pipelines.clone(), self.access.clone());
        tokio::spawn(server::accept(socket, router));
        Ok(address)
    }

    /// Has all pipelines drain for at most this time, and then stop. Gives those that have not ended by then.
    pub async fn close(&self, drain: Duration) -> Vec<String> {
        self.pipelines.close(drain).await
    }
}

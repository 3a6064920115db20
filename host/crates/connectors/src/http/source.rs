//! What takes the requests of a route to the journal of its source.

use std::net::SocketAddr;
use std::sync::Arc;

use dirigo_connect::source::Error;

use super::HttpSpec;
use super::endpoint::Endpoint;
use super::server::{self, Route};
use crate::pushed::{Inbox, Receiver};

/// Takes what is sent to a route.
pub(super) struct Requests {
    spec: HttpSpec,
    id: String,
    /// The path of its URL.
    path: String,
    taken: Option<(Arc<Endpoint>, Route)>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {reason}")]
struct Unlistened {
    address: SocketAddr,
    reason: std::io::Error,
}

impl Requests {
    pub(super) fn new(spec: HttpSpec, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            path: spec.route.clone().unwrap_or_else(|| format!("/{id}")),
            spec,
            taken: None,
        }
    }

    /// The path of its URL.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl Receiver for Requests {
    fn start(&mut self, inbox: Inbox) -> Result<(), Error> {
        let endpoint = Arc::new(Endpoint::new(&self.spec, inbox));
        let address = self.spec.address;
        let route = server::listen(address, &self.path, endpoint.clone())
            .map_err(|reason| Error::fatal(Unlistened { address, reason }))?;
        tracing::info!(source = self.id, "listens at http://{}{}", route.address, self.path);
        self.taken = Some((endpoint, route));
        Ok(())
    }

    fn stop(&mut self) {
        if let Some((endpoint, _)) = &self.taken {
            endpoint.close();
        }
    }
}

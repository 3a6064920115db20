//! Whom encrypted connections trust, of all connectors that bring no TLS of their own.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

/// Why there are no authorities to verify a receiver's certificate with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine names none.
    #[error("no certificates of authorities are found on this machine{reason}: name those to trust as `ca`")]
    NoRoots {
        /// Why they cannot be read, if that is it.
        reason: String,
    },
    /// The authorities cannot be used.
    #[error("setting up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates in a PEM file, or `None` where it has none that can be read.
#[must_use]
pub fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    let mut roots = RootCertStore::empty();
    let are_roots = certificates
        .iter()
        .all(|certificate| roots.add(certificate.clone()).is_ok());
    (are_roots && !certificates.is_empty()).then_some(certificates)
}

/// Connects to those whom one of these authorities vouches for; without any, those of the machine. `protocols` are those that are spoken within the
/// connection, where that is negotiated.
///
/// # Errors
/// When there is no authority to trust.
pub fn connector(authorities: Option<&[CertificateDer<'static>]>, protocols: &[&[u8]]) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(certificates) = authorities {
        for certificate in certificates {
            roots.add(certificate.clone())?;
        }
    } else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reason = found.errors.first().map(|error| format!(" ({error})"));
            return Err(Error::NoRoots {
                reason: reason.unwrap_or_default(),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What is wrong with the certificate of a server, if that is the cause of an error.
#[must_use]
pub fn certificate_flaw(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref())
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner.or_else(|| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(reason)) => return Some(format!("{reason:?}")),
            _ => cause = error.source(),
        }
    }
    None
}

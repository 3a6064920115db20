//! The client, and a receiver that speaks TLS.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dirigo_ground::clock::ManualClock;
use hyper::Method;
use hyper::header::HeaderMap;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::client::Client;
use super::target::Target;
use super::{BATCH_RECORDS, BodyFormat, HttpSpec, tls};
use crate::outbox::{BACKLOG_BYTES, Batch, Deliver as _, Options, Undelivered};

/// Vouches for the certificate of the server, which is for `localhost` and 127.0.0.1.
const AUTHORITY: &str = include_str!("certificates/authority.pem");
const OTHER_AUTHORITY: &str = include_str!("certificates/other.pem");

/// A server that answers one connection's request, and gives what came.
fn serve() -> (SocketAddr, JoinHandle<Option<String>>) {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("certificates/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
        let mut request = Vec::new();
        while !request.ends_with(b"{}\n") {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
            request.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
        String::from_utf8(request).ok()
    });
    (address, serving)
}

/// What becomes of a batch that is sent to a URL by one who trusts that authority.
fn sent(url: &str, authority: &str) -> Result<(), Undelivered> {
    let spec = HttpSpec {
        target: Target::parse(url).unwrap(),
        method: Method::POST,
        format: BodyFormat::Jsonl,
        token: None,
        headers: HeaderMap::new(),
        authorities: Some(tls::certificates(authority).unwrap()),
        options: Options {
            batch_records: BATCH_RECORDS,
            batch_bytes: 1,
            retry_for: None,
            backlog_bytes: BACKLOG_BYTES,
            delivery_capability: crate::outbox::DELIVERY_CAPABILITY,
        },
        timeout: Duration::from_mins(1),
        allow_private: true,
    };
    let connector = tls::connector(spec.authorities.as_deref(), &[b"http/1.1"]).unwrap();
    let mut client = Client::new(&spec, Some(connector), Arc::new(ManualClock::new(0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .unwrap()
        .block_on(client.deliver(&Batch::of("p/s/l", 1, &["{}"])))
}

#[test]
fn a_receiver_is_trusted_whom_the_authority_vouches_for() {
    for host in ["localhost", "127.0.0.1"] {
        let (address, serving) = serve();
        let url = format!("https://{host}:{}/hook", address.port());
        assert_eq!(sent(&url, AUTHORITY), Ok(()));
        let request = serving.join().unwrap().unwrap();
        assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nidempotency-key: p/s/l/1\r\n"), "{request}");
    }
}

#[test]
fn nothing_is_sent_to_a_receiver_for_whom_another_authority_vouches() {
    let (address, serving) = serve();
    let url = format!("https://localhost:{}/hook", address.port());
    let Err(Undelivered::Later { reason, .. }) = sent(&url, OTHER_AUTHORITY) else {
        panic!("it was sent");
    };
    assert!(reason.contains("invalid peer certificate"), "{reason}");
    assert_eq!(serving.join().unwrap(), None);
}

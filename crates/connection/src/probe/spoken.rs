//! Whether a server uses TLS on a port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// The types of TLS records: change of cipher, alert, handshake, data.
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=23;

/// The first byte of the version of all records since SSL 3.
const MAJOR_VERSION: u8 = 3;

/// Whether the server answers a TLS hello by a TLS record, be it an alert. The timeouts of the stream limit the wait.
pub fn speaks_tls(mut stream: &TcpStream, host: &str) -> bool {
    let Some(hello) = hello(host) else { return false };
    let mut head = [0; 2];
    let answered = stream.write_all(&hello).and_then(|()| stream.read_exact(&mut head));
    answered.is_ok() && RECORD_TYPES.contains(&head[0]) && head[1] == MAJOR_VERSION
}

/// The first message of a handshake. Its answer is not read further, so that no authority is needed.
fn hello(host: &str) -> Option<Vec<u8>> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).ok()?;
    Some(hello)
}

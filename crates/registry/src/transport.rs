//! One request: a connection of its own, deadlines, and a bounded answer.
//!
//! A program asks for each schema once, so that keeping connections open gains nothing.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use retail_connection::{CertificateError, ErrorKind};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::connection::{Login, RegistryConnection};
use crate::error::RegistryError;

/// Maximum size of an answer in bytes. A schema of [`crate::MAX_TEXT`] is longer in JSON, which escapes its quotes.
pub(crate) const MAX_ANSWER: usize = 4 << 20;

/// Maximum size of the head of an answer in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What to ask a registry. Shown as method and path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    /// Begins with `/` and continues the path of the address.
    pub(crate) path: String,
    /// The JSON of a POST request; `None` for GET.
    pub(crate) body: Option<Bytes>,
}

impl Query {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { path: path.into(), body: None }
    }

    pub(crate) fn post(path: String, body: Vec<u8>) -> Self {
        Self { path, body: Some(body.into()) }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.body.is_some() { "POST" } else { "GET" }, self.path)
    }
}

/// An answer, of any status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The header `Location`, if it is a text.
    pub(crate) location: Option<String>,
    pub(crate) body: Bytes,
}

/// Sends requests to the addresses of one registry.
#[derive(Clone)]
pub(crate) struct Transport {
    tls: TlsConnector,
    authorization: Option<HeaderValue>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Ends the task of a connection when its request is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport {
    pub(crate) fn new(connection: &RegistryConnection) -> Result<Self, CertificateError> {
        let is_tls = connection.addresses.iter().any(|address| address.is_tls);
        // A system without certificate authorities can use a registry without TLS.
        let roots = if is_tls { connection.certificates.roots()? } else { rustls::RootCertStore::empty() };
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let authorization = connection.login.as_ref().map(basic);
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), authorization })
    }

    /// The answer to a request.
    pub(crate) async fn send(
        &self,
        connection: &RegistryConnection,
        address: &Address,
        query: &Query,
    ) -> Result<Answer, RegistryError> {
        let deadlines = connection.deadlines;
        let stream = timeout(deadlines.connect, self.connect(address))
            .await
            .map_err(|_| RegistryError::timed_out(address, "did not accept a connection"))??;
        timeout(deadlines.answer, self.request(address, query, stream))
            .await
            .map_err(|_| RegistryError::timed_out(address, &format!("did not answer {query}")))?
    }

    async fn connect(&self, address: &Address) -> Result<Box<dyn Stream>, RegistryError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|error| RegistryError::unreachable(address, &error))?;
        if !address.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(address.host.clone()).map_err(|_| {
            RegistryError::new(
                address,
                ErrorKind::NoTls,
                "has a host name that no certificate can have: correct the URL",
            )
        })?;
        let stream = self.tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|error| RegistryError::handshake(address, &error))?))
    }

    async fn request(
        &self,
        address: &Address,
        query: &Query,
        stream: Box<dyn Stream>,
    ) -> Result<Answer, RegistryError> {
        let (method, sent) = match &query.body {
            None => (Method::GET, Bytes::new()),
            Some(body) => (Method::POST, body.clone()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", address.path, query.path))
            .header(header::HOST, address.authority())
            .header(header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json")
            .header(header::USER_AGENT, concat!("retail-pipeline/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if query.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/vnd.schemaregistry.v1+json");
        }
        let request = request.body(Full::new(sent)).map_err(|error| not_http(address, &error))?;
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| not_http(address, &error))?;
        let _connection = Connection(
            tokio::spawn(async {
                // Its error is that of the request.
                let _ended = connection.await;
            })
            .abort_handle(),
        );
        let answer = sender.send_request(request).await.map_err(|error| broken(address, &error))?;
        let location = answer.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        Ok(Answer { status, location, body: body(address, answer.into_body()).await? })
    }
}

async fn body(address: &Address, mut body: Incoming) -> Result<Bytes, RegistryError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(address, &error))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > MAX_ANSWER {
            let what = format!("answered with more than {} MiB: check events.format.registry.url", MAX_ANSWER >> 20);
            return Err(RegistryError::new(address, ErrorKind::Other, &what));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// A connection that broke, or an answer that is not HTTP.
fn broken(address: &Address, error: &hyper::Error) -> RegistryError {
    if error.is_parse() || error.is_parse_too_large() {
        not_http(address, error)
    } else {
        RegistryError::unreachable(address, error)
    }
}

fn not_http(address: &Address, error: &dyn std::error::Error) -> RegistryError {
    let tls = if address.is_tls { "" } else { ", and use https:// if it requires TLS" };
    let what = format!("does not answer in HTTP: check host and port of events.format.registry.url{tls} ({error})");
    RegistryError::new(address, ErrorKind::Other, &what)
}

fn basic(Login { username, password }: &Login) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is valid in a header");
    value.set_sensitive(true);
    value
}

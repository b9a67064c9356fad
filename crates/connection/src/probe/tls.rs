//! A TLS handshake that accepts every certificate, to look at it. The connection is closed after it and carries no data.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificates::Certificates;
use crate::text::foreign;

/// Time in which a server refuses a client certificate: in TLS 1.3, it does so after the handshake of the client has ended.
const REFUSAL: Duration = Duration::from_millis(500);

/// The certificate of a server with its chain, as the server presents it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presented {
    /// The certificate of the server first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether the server requested a client certificate.
    pub requests_certificate: bool,
}

/// A handshake without a connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The answer is not TLS.
    #[error("does not use TLS on this port")]
    NotTls,
    /// The server closed the connection without an answer.
    #[error("closes the connection at the TLS handshake: it starts or stops, or does not use TLS on this port")]
    Closed,
    /// The server requires a client certificate.
    #[error("requires a client certificate")]
    CertificateRequired,
    /// The server refused the client certificate.
    #[error("refuses the client certificate ({0:?})")]
    CertificateRefused(AlertDescription),
    /// No answer arrived in time.
    #[error("does not answer the TLS handshake within {0} s")]
    Silent(u64),
    /// Any other failure, such as a version of TLS before 1.2.
    #[error("fails the TLS handshake ({0})")]
    Other(String),
}

/// Performs a handshake with `host`, with the client certificate of `certificates`.
pub async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: &str,
    certificates: &Certificates,
    deadline: Duration,
) -> Result<Presented, HandshakeError> {
    let other = |error: &dyn std::error::Error| HandshakeError::Other(foreign(&error.to_string()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let identity = match certificates.identity().map_err(|error| other(&error))? {
        Some((chain, key)) => {
            let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| other(&error))?;
            Some(Arc::new(key))
        }
        None => None,
    };
    let client = Arc::new(Client { identity, requested: AtomicBool::new(false) });
    let accepting = Arc::new(AcceptsAll { chain: Mutex::new(Vec::new()), provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::<AcceptsAll>::clone(&accepting))
        .with_client_cert_resolver(Arc::<Client>::clone(&client));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| other(&error))?;
    let connected = timeout(deadline, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let mut connection = match connected {
        Ok(connected) => connected.map_err(|error| explain(&error, &client))?,
        Err(_) => return Err(HandshakeError::Silent(deadline.as_secs())),
    };
    let requests_certificate = client.requested.load(Ordering::Relaxed);
    if requests_certificate && let Ok(Err(error)) = timeout(REFUSAL, connection.read_u8()).await {
        return Err(explain(&error, &client));
    }
    let chain = std::mem::take(&mut *accepting.chain.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Presented { chain, requests_certificate })
}

fn explain(error: &io::Error, client: &Client) -> HandshakeError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => HandshakeError::NotTls,
        Some(rustls::Error::AlertReceived(alert)) if client.requested.load(Ordering::Relaxed) => {
            match client.identity.is_some() {
                true => HandshakeError::CertificateRefused(*alert),
                false => HandshakeError::CertificateRequired,
            }
        }
        Some(error) => HandshakeError::Other(foreign(&error.to_string())),
        None => HandshakeError::Closed,
    }
}

/// The certificate of the client, and whether a server asked for it.
#[derive(Debug)]
struct Client {
    identity: Option<Arc<CertifiedKey>>,
    requested: AtomicBool,
}

impl ResolvesClientCert for Client {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.requested.store(true, Ordering::Relaxed);
        self.identity.clone()
    }

    /// rustls asks the resolver only then.
    fn has_certs(&self) -> bool {
        true
    }
}

/// Keeps the certificates, and accepts them.
#[derive(Debug)]
struct AcceptsAll {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptsAll {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(certificate).chain(intermediates).map(|one| one.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

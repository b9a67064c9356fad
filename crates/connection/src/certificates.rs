//! Certificates in PEM, for Kafka and Postgres: the trusted authorities, and the client certificate with its key.

use std::sync::OnceLock;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A text in PEM, and its origin, for messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The text.
    pub text: String,
    /// An environment variable and its file, or a Secret and its key.
    pub origin: String,
}

impl std::fmt::Debug for Pem {
    /// Without the text, which may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pem({})", self.origin)
    }
}

/// Checked certificates of a connection.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Certificates {
    /// The trusted authorities; `None`: those of the system.
    ca: Option<Pem>,
    /// The client certificate, with its chain to an authority, and its private key.
    client: Option<(Pem, Pem)>,
}

/// An unusable certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text contains no certificate.
    #[error("{0} contains no certificate in PEM format (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(String),
    /// The text contains no private key.
    #[error("{0} contains no private key in PEM format without a passphrase (-----BEGIN PRIVATE KEY-----)")]
    NoKey(String),
    /// The private key belongs to another certificate.
    #[error("the private key in {1} does not belong to the certificate in {0}")]
    Mismatch(String, String),
    /// A certificate without a key, or a key without a certificate.
    #[error("{0} is set, but the {1} for it is not: set both or neither")]
    Half(String, &'static str),
    /// The system has no certificate authorities.
    #[error("this system has no certificate authorities: specify the authority to trust")]
    NoSystemRoots,
    /// rustls does not support the certificate or key.
    #[error("cannot use {0}: {1}")]
    Unusable(String, String),
}

impl Certificates {
    /// Checks each text, and that certificate and key belong together.
    pub fn new(ca: Option<Pem>, certificate: Option<Pem>, key: Option<Pem>) -> Result<Self, CertificateError> {
        if let Some(ca) = &ca {
            certificates(ca)?;
        }
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), None) => return Err(CertificateError::Half(certificate.origin, "private key")),
            (None, Some(key)) => return Err(CertificateError::Half(key.origin, "certificate")),
            (Some(certificate), Some(key)) => {
                pair(&certificate, &key)?;
                Some((certificate, key))
            }
        };
        Ok(Self { ca, client })
    }

    /// The authorities in PEM; `None`: those of the system.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_ref().map(|ca| ca.text.as_str())
    }

    /// The client certificate and its key in PEM.
    pub fn client(&self) -> Option<(&str, &str)> {
        self.client.as_ref().map(|(certificate, key)| (certificate.text.as_str(), key.text.as_str()))
    }

    /// The authorities for rustls.
    pub fn roots(&self) -> Result<RootCertStore, CertificateError> {
        let Some(ca) = &self.ca else { return system_roots() };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
        if added == 0 { Err(CertificateError::NoCertificate(ca.origin.clone())) } else { Ok(roots) }
    }

    /// The given authorities; `None`: those of the system.
    pub(crate) fn authorities(&self) -> Option<Vec<CertificateDer<'static>>> {
        certificates(self.ca.as_ref()?).ok()
    }

    /// The client certificate and its key for rustls.
    pub fn identity(&self) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, CertificateError> {
        let Some((certificate, key)) = &self.client else { return Ok(None) };
        Ok(Some((certificates(certificate)?, private_key(key)?)))
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(CertificateError::NoCertificate(pem.origin.clone())),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(pem.text.as_bytes()).map_err(|_| CertificateError::NoKey(pem.origin.clone()))
}

/// Checks that certificate and key belong together. Kinds of keys that only OpenSSL supports are not checked.
fn pair(certificate: &Pem, key: &Pem) -> Result<(), CertificateError> {
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, &provider) {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::Mismatch(certificate.origin.clone(), key.origin.clone()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The authorities of the system, read once: there are more than a hundred. SSL_CERT_FILE and SSL_CERT_DIR override them.
fn system_roots() -> Result<RootCertStore, CertificateError> {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    if roots.is_empty() { Err(CertificateError::NoSystemRoots) } else { Ok(roots.clone()) }
}

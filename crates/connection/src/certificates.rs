//! Certificates in PEM: whom we trust, and who we say we are. The same for Kafka and Postgres.

use std::sync::OnceLock;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A text in PEM, and where it came from, for messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The text.
    pub text: String,
    /// A variable and its file, or a key and its Secret.
    pub origin: String,
}

impl std::fmt::Debug for Pem {
    /// Without the text, which may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pem({})", self.origin)
    }
}

/// What a connection needs to know of certificates, checked to be some.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Certificates {
    /// The authorities that we trust; the system's if there are none.
    ca: Option<Pem>,
    /// Our own certificate, with those that lead from it to an authority, and its private key.
    client: Option<(Pem, Pem)>,
}

/// Why these are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// No certificate where one should be.
    #[error("{0} has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate(String),
    /// No private key where one should be.
    #[error("{0} has no private key in PEM without a passphrase, which begins with -----BEGIN PRIVATE KEY-----")]
    NoKey(String),
    /// Certificate and key are of two pairs.
    #[error("{1} is not the private key of the certificate in {0}")]
    Mismatch(String, String),
    /// One without the other.
    #[error("{0} is given, and the {1} that goes with it is not")]
    Half(String, &'static str),
    /// Nobody to trust.
    #[error("this system has no certificate authorities of its own: name the one to trust")]
    NoSystemRoots,
    /// The key is of a kind that we cannot use.
    #[error("{0} cannot be used: {1}")]
    Unusable(String, String),
}

impl Certificates {
    /// Checks that each text is what it is given for.
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

    /// The authorities in PEM, if they are not the system's.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_ref().map(|ca| ca.text.as_str())
    }

    /// Our certificate and its key in PEM.
    pub fn client(&self) -> Option<(&str, &str)> {
        self.client.as_ref().map(|(certificate, key)| (certificate.text.as_str(), key.text.as_str()))
    }

    /// The authorities as rustls wants them.
    pub fn roots(&self) -> Result<RootCertStore, CertificateError> {
        let Some(ca) = &self.ca else { return system_roots() };
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates(ca)?);
        if added == 0 { Err(CertificateError::NoCertificate(ca.origin.clone())) } else { Ok(roots) }
    }

    /// Our certificate and its key as rustls wants them.
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

/// Whether the two belong together. Kinds of keys that only OpenSSL knows are left to it.
fn pair(certificate: &Pem, key: &Pem) -> Result<(), CertificateError> {
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(certificates(certificate)?, private_key(key)?, &provider) {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(CertificateError::Mismatch(certificate.origin.clone(), key.origin.clone()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The system's authorities, read once: there are more than a hundred. SSL_CERT_FILE and SSL_CERT_DIR choose others.
fn system_roots() -> Result<RootCertStore, CertificateError> {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    if roots.is_empty() { Err(CertificateError::NoSystemRoots) } else { Ok(roots.clone()) }
}

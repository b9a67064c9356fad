//! What the certificates of a server say, and why a client refuses them.

use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError as Refused;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::certificates::{CertificateError, Certificates};
use crate::text::{foreign, shortened};

/// Maximum length of a list of names in a message, in bytes.
const MAX_NAMES: usize = 200;

/// The facts about a certificate with its chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// The name of its owner, such as `CN=kafka`.
    pub subject: String,
    /// The name of the authority that signed it.
    pub issuer: String,
    /// The end of the validity of the certificate that expires first, such as `2027-01-31T00:00:00Z`.
    pub not_after: String,
    /// The same time since 1970.
    ends: Duration,
}

impl CertificateFacts {
    /// The facts about a chain; `None` if a certificate is not X.509.
    pub fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let parsed: Result<Vec<Certificate>, _> = chain.iter().map(|one| Certificate::from_der(one)).collect();
        let parsed = parsed.ok()?;
        let own = &parsed.first()?.tbs_certificate;
        let ends = parsed.iter().map(|one| one.tbs_certificate.validity.not_after);
        let first = ends.min_by_key(|end| end.to_unix_duration())?;
        Some(Self {
            subject: name(&own.subject),
            issuer: name(&own.issuer),
            not_after: first.to_string(),
            ends: first.to_unix_duration(),
        })
    }

    /// Time from `now` until a certificate of the chain expires; zero if one has expired.
    pub fn remaining(&self, now: Duration) -> Duration {
        self.ends.saturating_sub(now)
    }
}

/// Why a client refuses a certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateProblem {
    /// The host is not among the names of the certificate.
    #[error("the certificate is valid for {0}, not for {1}")]
    OtherHost(String, String),
    /// The authority that signed it is not trusted.
    #[error("the certificate is signed by {issuer}, and the trusted authority is {trusted}")]
    UnknownIssuer {
        /// The name of the authority that signed the last certificate of the chain.
        issuer: String,
        /// The names of the trusted authorities.
        trusted: String,
    },
    /// It, or its authority, has expired.
    #[error("the certificate expired at {0}")]
    Expired(String),
    /// It is not valid yet.
    #[error(
        "the certificate is valid only from {0}: the clock of this machine, or the date of the certificate, is wrong"
    )]
    NotYetValid(String),
    /// Another rule of X.509.
    #[error("the certificate is not accepted ({0})")]
    Other(String),
}

/// Verifies a chain as rustls does, with the authorities of `certificates`. Without `is_named`, any host name is accepted.
pub fn judge(
    chain: &[CertificateDer<'static>],
    host: &str,
    certificates: &Certificates,
    is_named: bool,
) -> Result<Result<(), CertificateProblem>, CertificateError> {
    let other = |error: String| Ok(Err(CertificateProblem::Other(foreign(&error))));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = match WebPkiServerVerifier::builder_with_provider(Arc::new(certificates.roots()?), provider).build()
    {
        Ok(verifier) => verifier,
        Err(error) => return other(error.to_string()),
    };
    let Some((own, intermediates)) = chain.split_first() else { return other("the server has none".to_owned()) };
    let server = match ServerName::try_from(host.to_owned()) {
        Ok(server) => server,
        Err(error) => return other(error.to_string()),
    };
    let refused = match verifier.verify_server_cert(own, intermediates, &server, &[], UnixTime::now()) {
        Ok(_) => return Ok(Ok(())),
        Err(rustls::Error::InvalidCertificate(refused)) => refused,
        Err(error) => return other(error.to_string()),
    };
    let facts = |show: fn(&Certificate) -> String| {
        let shown = chain.iter().filter_map(|one| Certificate::from_der(one).ok()).map(|one| show(&one));
        shown.collect::<Vec<_>>()
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "rustls has twenty causes, most of which no server of ours shows"
    )]
    Ok(match refused {
        // The verifier checks the name last, so that the authority is valid here.
        Refused::NotValidForName | Refused::NotValidForNameContext { .. } if !is_named => Ok(()),
        Refused::NotValidForNameContext { presented, .. } => {
            let presented: Vec<&str> = presented.iter().map(|name| plain_name(name)).collect();
            let presented = if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
            Err(CertificateProblem::OtherHost(shortened(&presented, MAX_NAMES), host.to_owned()))
        }
        Refused::UnknownIssuer => {
            let issuer = facts(|one| name(&one.tbs_certificate.issuer)).pop().unwrap_or_default();
            Err(CertificateProblem::UnknownIssuer { issuer, trusted: trusted(certificates) })
        }
        Refused::Expired | Refused::ExpiredContext { .. } => {
            let ends = facts(|one| one.tbs_certificate.validity.not_after.to_string());
            Err(CertificateProblem::Expired(ends.into_iter().min().unwrap_or_default()))
        }
        Refused::NotValidYet | Refused::NotValidYetContext { .. } => {
            let starts = facts(|one| one.tbs_certificate.validity.not_before.to_string());
            Err(CertificateProblem::NotYetValid(starts.into_iter().max().unwrap_or_default()))
        }
        refused => Err(CertificateProblem::Other(foreign(&format!("{refused:?}")))),
    })
}

/// The facts about the client certificate; `None` without one.
pub fn client_certificate(certificates: &Certificates) -> Option<CertificateFacts> {
    let (chain, _) = certificates.identity().ok()??;
    CertificateFacts::of(&chain)
}

/// The names of the trusted authorities.
fn trusted(certificates: &Certificates) -> String {
    let Some(authorities) = certificates.authorities() else {
        return "one of this system".to_owned();
    };
    let names: Vec<String> = authorities
        .iter()
        .filter_map(|one| Certificate::from_der(one).ok())
        .map(|one| name(&one.tbs_certificate.subject))
        .collect();
    shortened(&names.join(" or "), MAX_NAMES)
}

fn name(name: &x509_cert::name::Name) -> String {
    let name = name.to_string();
    if name.is_empty() { "(without a name)".to_owned() } else { shortened(&name, MAX_NAMES) }
}

/// rustls shows a name of a certificate as `DnsName("host")` or `IpAddress(address)`.
fn plain_name(shown: &str) -> &str {
    let inner = shown.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(shown);
    inner.trim_matches('"')
}

//! TLS: the handshakes with all servers of a kind, and the causes of a failure of their client.
//!
//! The client decides whether a certificate suits, because OpenSSL and rustls differ. The look explains its failure.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retail_api::duration;
use retail_connection::probe::{self, CertificateFacts, CertificateProblem, HandshakeError, Presented};
use retail_connection::{Certificates, ErrorKind};

use super::check::Check;
use super::kind::Kind;
use super::layers::{Resolved, STEP, all};
use super::server::Server;

/// A certificate that expires within this time deserves a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A client that failed, for the decision which layer is at fault.
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

/// The certificate of a server, and why it is refused.
#[derive(PartialEq, Eq)]
pub(super) struct Look {
    pub(super) facts: Option<CertificateFacts>,
    pub(super) problem: Option<CertificateProblem>,
}

/// The results of the handshakes with all open servers; `None` without declared TLS.
pub(super) type Looks = Option<Vec<(Server, Result<Look, HandshakeError>)>>;

/// Performs a handshake with each server, and judges its certificate with `certificates`; `judged` is false if the client accepts every
/// certificate, `named` if it requires the name of the host.
pub(super) async fn look_at<F>(
    open: Vec<Resolved>,
    certificates: &Certificates,
    (judged, named): (bool, bool),
    handshake: impl Fn(tokio::net::TcpStream, String) -> F + Clone + Send + 'static,
) -> Looks
where
    F: Future<Output = Result<Presented, HandshakeError>> + Send,
{
    let certificates = certificates.clone();
    let looks = all(open, move |(server, addresses): Resolved| {
        let (certificates, handshake) = (certificates.clone(), handshake.clone());
        async move {
            let presented = match probe::connect(&addresses, STEP).await {
                Ok(stream) => handshake(stream, server.host.clone()).await,
                Err(_) => Err(HandshakeError::Closed),
            };
            let look = presented.map(|Presented { chain, requests_certificate: _ }| {
                let verdict = judged.then(|| probe::judge(&chain, &server.host, &certificates, named));
                Look { facts: CertificateFacts::of(&chain), problem: verdict.and_then(|verdict| verdict.ok()?.err()) }
            });
            (server, look)
        }
    });
    Some(looks.await)
}

/// The check of TLS, and whether the failure of the client is explained by it.
pub(super) fn of_tls(
    kind: &Kind,
    looks: &Looks,
    client: Option<&CertificateFacts>,
    failure: Option<&Failure>,
) -> (Check, bool) {
    let failed_tls = failure.filter(|failure| failure.kind == ErrorKind::NoTls);
    let Some(looks) = looks else {
        return match failed_tls {
            Some(failure) => (Check::fail(kind.tls, &failure.message), true),
            None => (Check::ok(kind.tls, format_args!("not declared by {}", kind.tls_field)), false),
        };
    };
    let explaining = looks.iter().filter(|(_, look)| failure.is_some_and(|failure| explains(look, failure.kind)));
    let problems: Vec<Check> = explaining.filter_map(|(server, look)| problem(kind, server, look)).collect();
    let are_all = problems.len() == looks.len();
    if let Some(first) = problems.into_iter().next().filter(|_| are_all || failed_tls.is_some()) {
        return (first, true);
    }
    if let Some(failure) = failed_tls {
        return (Check::fail(kind.tls, &failure.message), true);
    }
    if looks.iter().all(|(_, look)| *look == Err(HandshakeError::NotTls)) {
        return (Check::ok(kind.tls, "the server does not use TLS, which is optional"), false);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let facts = looks.iter().filter_map(|(_, look)| look.as_ref().ok()?.facts.as_ref());
    (of_dates(kind, facts.min_by_key(|facts| facts.remaining(now)), client, now), false)
}

/// Whether the result of a handshake can be the cause of a failure of the client.
fn explains(look: &Result<Look, HandshakeError>, failure: ErrorKind) -> bool {
    match look {
        Ok(Look { problem: None, .. }) => false,
        Err(HandshakeError::CertificateRequired | HandshakeError::CertificateRefused(_)) => {
            [ErrorKind::WrongCredentials, ErrorKind::NoTls, ErrorKind::Unreachable].contains(&failure)
        }
        // A rule that OpenSSL may not have.
        Ok(Look { problem: Some(CertificateProblem::Other(_)), .. }) => failure == ErrorKind::NoTls,
        Ok(_) | Err(_) => [ErrorKind::NoTls, ErrorKind::Unreachable].contains(&failure),
    }
}

/// The certificate that expires first, and the client certificate.
fn of_dates(kind: &Kind, server: Option<&CertificateFacts>, client: Option<&CertificateFacts>, now: Duration) -> Check {
    let expires = |owner: &str, facts: &CertificateFacts| {
        let (left, CertificateFacts { subject, not_after, .. }) = (facts.remaining(now), facts);
        (left < SOON).then(|| {
            let left = duration::approximate(left);
            Check::warn(kind.tls, format_args!("the {owner} certificate {subject} expires in {left}, at {not_after}"))
                .fixed_by("renew the certificate")
        })
    };
    let soon = server
        .and_then(|facts| expires("server's", facts))
        .or_else(|| client.and_then(|facts| expires("client", facts)));
    soon.unwrap_or_else(|| match server {
        Some(CertificateFacts { subject, issuer, not_after, .. }) => {
            let client = client.map_or_else(String::new, |facts| format!("; client certificate {}", facts.subject));
            Check::ok(kind.tls, format_args!("certificate {subject}, signed by {issuer}, until {not_after}{client}"))
        }
        None => Check::ok(kind.tls, "the client accepts the server"),
    })
}

/// The check of a server whose certificate or handshake does not suit.
fn problem(kind: &Kind, server: &Server, look: &Result<Look, HandshakeError>) -> Option<Check> {
    let (detail, fix) = match look {
        Ok(Look { problem: None, .. }) => return None,
        Ok(Look { problem: Some(problem), .. }) => {
            let fix = match problem {
                CertificateProblem::OtherHost(..) => format!(
                    "use a host name of the certificate in {}, or install a certificate for {}",
                    kind.servers, server.host
                ),
                CertificateProblem::UnknownIssuer { issuer, .. } => {
                    format!("set {} to the certificate of {issuer}, or to another that signed it", kind.ca)
                }
                CertificateProblem::Expired(_) => "renew the certificate of the server, or of its authority".to_owned(),
                CertificateProblem::NotYetValid(_) => "synchronise the clocks with NTP, or wait".to_owned(),
                CertificateProblem::Other(_) => {
                    format!("install a certificate that {} has signed", kind.ca)
                }
            };
            (problem.to_string(), fix)
        }
        Err(error) => {
            let fix = match error {
                HandshakeError::NotTls | HandshakeError::Closed => {
                    format!("correct the port in {}, or remove {}", kind.servers, kind.tls_field)
                }
                HandshakeError::CertificateRequired => format!("set {}", kind.client),
                HandshakeError::CertificateRefused(_) => {
                    format!("set {} to a certificate that the server accepts", kind.client)
                }
                HandshakeError::Silent(_) | HandshakeError::Other(_) => format!("check {}", kind.servers),
            };
            (error.to_string(), fix)
        }
    };
    Some(Check::fail(kind.tls, format_args!("{server}: {detail}")).fixed_by(fix))
}

#[cfg(test)]
mod tests {
    use retail_connection::Pem;
    use retail_testbed::Authority;

    use super::super::check::Outcome;
    use super::super::kind::KAFKA;
    use super::*;

    #[test]
    fn tls_is_blamed_only_for_failures_that_it_explains() {
        let looks = |looks: Vec<Result<Look, HandshakeError>>| -> Looks {
            Some(looks.into_iter().map(|look| (Server::parse("k:1").unwrap(), look)).collect())
        };
        let refused = || {
            let problem = CertificateProblem::OtherHost("a".to_owned(), "k".to_owned());
            Ok(Look { facts: None, problem: Some(problem) })
        };
        let good = || Ok(Look { facts: None, problem: None });
        let failure = |kind| Failure { kind, message: "the client says".to_owned() };
        let check = |looks: &Looks, failure: Option<&Failure>| {
            let (check, is_blamed) = of_tls(&KAFKA, looks, None, failure);
            (check.outcome, is_blamed)
        };
        use Outcome::{Fail, Ok as Good};
        let (away, no_tls) = (failure(ErrorKind::Unreachable), failure(ErrorKind::NoTls));
        // OpenSSL accepts certificates that the look refuses: the client decides.
        assert_eq!(check(&looks(vec![refused()]), None), (Good, false));
        assert_eq!(check(&looks(vec![refused()]), Some(&away)), (Fail, true));
        assert_eq!(check(&looks(vec![good(), refused()]), Some(&away)), (Good, false));
        assert_eq!(check(&looks(vec![good(), refused()]), Some(&no_tls)), (Fail, true));
        assert_eq!(check(&looks(vec![good()]), Some(&failure(ErrorKind::WrongCredentials))), (Good, false));
        let required = looks(vec![Err(HandshakeError::CertificateRequired)]);
        assert_eq!(check(&required, Some(&failure(ErrorKind::WrongCredentials))), (Fail, true));
        let wrong_password = failure(ErrorKind::WrongCredentials);
        assert_eq!(check(&looks(vec![refused()]), Some(&wrong_password)), (Good, false), "TLS came before the log-in");
        let strict = || {
            let problem = CertificateProblem::Other("CaUsedAsEndEntity".to_owned());
            looks(vec![Ok(Look { facts: None, problem: Some(problem) })])
        };
        assert_eq!(check(&strict(), Some(&away)), (Good, false));
        assert_eq!(check(&strict(), Some(&no_tls)), (Fail, true));
        assert_eq!(check(&looks(vec![Err(HandshakeError::NotTls)]), None), (Good, false), "sslmode=prefer");
        assert_eq!(check(&None, Some(&no_tls)), (Fail, true));
        assert_eq!(check(&None, None), (Good, false));
    }

    #[test]
    fn certificate_that_ends_within_two_weeks_is_a_warning() {
        let ca = Authority::new("ca");
        let facts = |name: &str, day| {
            let issued = ca.issue_until(name, &["k"], Some((2033, 5, day)));
            let pem = |text| Some(Pem { text, origin: "here".to_owned() });
            let certificates = Certificates::new(None, pem(issued.certificate), pem(issued.key)).unwrap();
            probe::client_certificate(&certificates).unwrap()
        };
        let (early, late) = (facts("early", 18), facts("late", 31));
        // 2033-05-18T03:33:20Z is 2,000,000,000 seconds after 1970.
        let before = |days: u64| Duration::from_secs(2_000_000_000 - 12_800 - days * 86_400);
        let check = |server, client, days| {
            let check = of_dates(&KAFKA, Some(server), client, before(days));
            (check.outcome, check.detail)
        };
        let ends = "certificate CN=early expires in 13d, at 2033-05-18T00:00:00Z";
        assert_eq!(check(&early, Some(&late), 13), (Outcome::Warn, format!("the server's {ends}")));
        assert_eq!(check(&late, Some(&early), 13), (Outcome::Warn, format!("the client {ends}")));
        let detail = "certificate CN=early, signed by CN=ca, until 2033-05-18T00:00:00Z";
        assert_eq!(check(&early, None, 14), (Outcome::Ok, detail.to_owned()));
    }
}

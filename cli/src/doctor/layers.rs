//! The layers below every server: host names, TCP and TLS. The first layer that fails ends the look at a server.
//!
//! A client reports one error for all its layers. It decides whether the server can be used; the look at the layers finds the cause.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use retail_api::duration;
use retail_connection::probe::{
    self, CertificateFacts, CertificateProblem, HandshakeError, Presented, Unreached, Unresolved,
};
use retail_connection::{Certificates, ErrorKind};
use tokio::task::JoinSet;

use super::check::Check;
use super::hints::{Surroundings, hint};
use super::server::Server;

/// Deadline of one layer. A lookup, a connection and a handshake take milliseconds, and seconds over a bad network.
pub(super) const STEP: Duration = Duration::from_secs(5);

/// A certificate that expires within this time deserves a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A kind of server: the names of its checks, and the fields that correct it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    dns: &'static str,
    tcp: &'static str,
    pub(super) tls: &'static str,
    /// The field of the addresses.
    servers: &'static str,
    /// The field of TLS, of its authority and of the client certificate.
    tls_field: &'static str,
    ca: &'static str,
    client: &'static str,
    /// The checks after those of the layers.
    rest: &'static str,
}

pub(super) const KAFKA: Kind = Kind {
    name: "kafka",
    dns: "kafka dns",
    tcp: "kafka tcp",
    tls: "kafka tls",
    servers: "kafka.bootstrapServers (or RETAIL_BOOTSTRAP_SERVERS)",
    tls_field: "kafka.tls",
    ca: "kafka.tls.caSecret (or RETAIL_KAFKA_CA)",
    client: "kafka.tls.clientSecret (or RETAIL_KAFKA_CERTIFICATE and RETAIL_KAFKA_KEY)",
    rest: "log-in, brokers, ACLs, topic, records",
};

pub(super) const POSTGRES: Kind = Kind {
    name: "postgres",
    dns: "postgres dns",
    tcp: "postgres tcp",
    tls: "postgres tls",
    servers: "database.host and database.port (or RETAIL_DATABASE_URL)",
    tls_field: "database.tls",
    ca: "database.tls.caSecret (or PGSSLROOTCERT)",
    client: "database.tls.clientSecret (or PGSSLCERT and PGSSLKEY)",
    rest: "log-in, schema, rights, settings",
};

pub(super) const REGISTRY: Kind = Kind {
    name: "registry",
    dns: "registry dns",
    tcp: "registry tcp",
    tls: "registry tls",
    servers: "events.format.registry.url (or RETAIL_REGISTRY_URL)",
    tls_field: "https:// in events.format.registry.url",
    ca: "events.format.registry.tls.caSecret (or RETAIL_REGISTRY_CA)",
    client: "a registry without client certificates",
    rest: "log-in, subject",
};

/// A server with its addresses.
pub(super) type Resolved = (Server, Vec<SocketAddr>);

/// A server with its addresses, or why it has none.
type Lookup = (Server, Result<Vec<SocketAddr>, Unresolved>);

/// A client that failed, for the decision which layer is at fault.
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
}

/// The certificate of a server, and why it is refused.
pub(super) struct Look {
    pub(super) facts: Option<CertificateFacts>,
    pub(super) problem: Option<CertificateProblem>,
}

/// The results of the handshakes with all open servers; `None` without declared TLS.
pub(super) type Looks = Option<Vec<(Server, Result<Look, HandshakeError>)>>;

/// Looks up and connects to all servers. Returns the servers that accept connections; without one, the rest is reported as not looked at.
pub(super) async fn reach(kind: &Kind, servers: Vec<Server>, found: &mut Vec<Check>) -> Option<Vec<Resolved>> {
    let results = resolve(servers).await;
    let surroundings = Surroundings::read(&results);
    found.push(of_names(kind, &results, &surroundings));
    let resolved: Vec<Resolved> =
        results.into_iter().filter_map(|(server, result)| Some((server, result.ok()?))).collect();
    if resolved.is_empty() {
        found.push(not_looked_at(kind, kind.dns, "TCP, TLS, "));
        return None;
    }
    let results = connect(resolved).await;
    found.push(of_connections(kind, &results));
    let open: Vec<Resolved> =
        results.into_iter().filter_map(|(resolved, result)| result.is_ok().then_some(resolved)).collect();
    if open.is_empty() {
        found.push(not_looked_at(kind, kind.tcp, "TLS, "));
        return None;
    }
    Some(open)
}

pub(super) async fn resolve(servers: Vec<Server>) -> Vec<Lookup> {
    all(servers, async |server| {
        let addresses = probe::resolve(&server.host, server.port, STEP).await;
        (server, addresses)
    })
    .await
}

pub(super) async fn connect(servers: Vec<Resolved>) -> Vec<(Resolved, Result<(), Unreached>)> {
    all(servers, async |(server, addresses)| {
        let connected = probe::connect(&addresses, STEP).await.map(drop);
        ((server, addresses), connected)
    })
    .await
}

/// Performs a handshake with each server, and judges its certificate with `certificates`; `judged` is false if the client accepts every
/// certificate, `named` if it requires the name of the host.
pub(super) async fn look_at_tls<F>(
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

/// Runs a step for all items at once. Returns the results in the order of the items.
async fn all<T: Send + 'static, R: Send + 'static, F: Future<Output = R> + Send + 'static>(
    items: Vec<T>,
    step: impl Fn(T) -> F,
) -> Vec<R> {
    let mut tasks = JoinSet::new();
    for (at, item) in items.into_iter().enumerate() {
        let step = step(item);
        tasks.spawn(async move { (at, step.await) });
    }
    let mut results = tasks.join_all().await;
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The line for the checks that a failed one makes useless.
pub(super) fn not_looked_at(kind: &Kind, failed: &str, before: &str) -> Check {
    Check::skip(kind.name, format_args!("not looked at, because {failed} failed: {before}{}", kind.rest))
}

fn of_names(kind: &Kind, results: &[Lookup], surroundings: &Surroundings) -> Check {
    let line = |(server, result): &Lookup| match result {
        Ok(addresses) => format!("{} is {}", server.host, shown(addresses)),
        Err(error) => format!("{} {error}", server.host),
    };
    let failed = results.iter().filter(|(_, result)| result.is_err());
    let lines = |results: &mut dyn Iterator<Item = &Lookup>| results.map(line).collect::<Vec<_>>().join("; ");
    let Some((first, Err(error))) = failed.clone().next() else {
        return Check::ok(kind.dns, lines(&mut results.iter()));
    };
    let fix = hint(&first.host, error, surroundings).unwrap_or_else(|| format!("correct {}", kind.servers));
    let detail = lines(&mut failed.clone());
    let check = match failed.count() == results.len() {
        true => Check::fail(kind.dns, detail),
        false => Check::warn(kind.dns, detail),
    };
    check.fixed_by(fix)
}

/// Different addresses, without their port.
fn shown(addresses: &[SocketAddr]) -> String {
    let mut addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    addresses.join(", ")
}

fn of_connections(kind: &Kind, results: &[(Resolved, Result<(), Unreached>)]) -> Check {
    let failed: Vec<String> = results
        .iter()
        .filter_map(|((server, _), result)| result.as_ref().err().map(|error| format!("{server} {error}")))
        .collect();
    if failed.is_empty() {
        let servers: Vec<String> = results.iter().map(|((server, _), _)| server.to_string()).collect();
        return Check::ok(kind.tcp, format_args!("{} accepts connections", servers.join(", ")));
    }
    let check = match failed.len() == results.len() {
        true => Check::fail(kind.tcp, failed.join("; ")),
        false => Check::warn(kind.tcp, failed.join("; ")),
    };
    check.fixed_by(format_args!("start the server, or correct {}", kind.servers))
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
    let problems: Vec<Check> = looks.iter().filter_map(|(server, look)| problem(kind, server, look)).collect();
    let is_blamed = failure.is_some() && problems.len() == looks.len();
    if let Some(first) = problems.into_iter().next().filter(|_| is_blamed || failed_tls.is_some()) {
        return (first, true);
    }
    if let Some(failure) = failed_tls {
        return (Check::fail(kind.tls, &failure.message), true);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let facts = looks.iter().filter_map(|(_, look)| look.as_ref().ok()?.facts.as_ref());
    (of_dates(kind, facts.min_by_key(|facts| facts.remaining(now)), client, now), false)
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
    use super::super::check::Outcome;
    use super::*;

    fn server(address: &str) -> Server {
        Server::parse(address).unwrap()
    }

    #[test]
    fn one_of_several_servers_suffices() {
        let open = ((server("a:1"), Vec::new()), Ok(()));
        let closed = ((server("[::1]:2"), Vec::new()), Err(Unreached::Refused));
        let one = of_connections(&KAFKA, &[open, closed.clone()]);
        assert_eq!((one.name, one.outcome), ("kafka tcp", Outcome::Warn));
        assert_eq!(one.detail, "[::1]:2 refuses connections: no server listens on this port");
        assert_eq!(of_connections(&KAFKA, &[closed]).outcome, Outcome::Fail);
    }

    #[test]
    fn tls_is_blamed_only_for_failures_that_it_explains() {
        let looks = |looks: Vec<Result<Look, HandshakeError>>| -> Looks {
            Some(looks.into_iter().map(|look| (server("k:1"), look)).collect())
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
        assert_eq!(check(&None, Some(&no_tls)), (Fail, true));
        assert_eq!(check(&None, None), (Good, false));
    }
}

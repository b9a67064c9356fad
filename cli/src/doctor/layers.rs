//! The first layers of every server: host names and TCP. The first layer that fails ends the look at a server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use retail_connection::probe::{self, Unreached, Unresolved};
use tokio::task::JoinSet;

use super::check::Check;
use super::hints::{Surroundings, hint};
use super::kind::Kind;
use super::server::Server;

/// Deadline of one layer. A lookup, a connection and a handshake take milliseconds, and seconds over a bad network.
pub(super) const STEP: Duration = Duration::from_secs(5);

/// A server with its addresses.
pub(super) type Resolved = (Server, Vec<SocketAddr>);

/// A server with its addresses, or why it has none.
type Lookup = (Server, Result<Vec<SocketAddr>, Unresolved>);

/// Looks up and connects to all servers. Returns the servers that accept connections; without one, the rest is reported as not looked at.
pub(super) async fn reach(kind: &Kind, servers: Vec<Server>, found: &mut Vec<Check>) -> Option<Vec<Resolved>> {
    let results = resolve(servers).await;
    let surroundings = Surroundings::read(&results);
    found.push(of_names(kind, &results, &surroundings));
    let resolved: Vec<Resolved> =
        results.into_iter().filter_map(|(server, result)| Some((server, result.ok()?))).collect();
    if resolved.is_empty() {
        found.push(kind.not_looked_at(kind.dns, "TCP, TLS, "));
        return None;
    }
    let results = connect(resolved).await;
    found.push(of_connections(kind, &results));
    let open: Vec<Resolved> =
        results.into_iter().filter_map(|(resolved, result)| result.is_ok().then_some(resolved)).collect();
    if open.is_empty() {
        found.push(kind.not_looked_at(kind.tcp, "TLS, "));
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

/// Runs a step for all items at once. Returns the results in the order of the items.
pub(super) async fn all<T: Send + 'static, R: Send + 'static, F: Future<Output = R> + Send + 'static>(
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

fn of_names(kind: &Kind, results: &[Lookup], surroundings: &Surroundings) -> Check {
    let line = |(server, result): &Lookup| match result {
        Ok(_) if server.host.parse::<IpAddr>().is_ok() => format!("{} is an address", server.host),
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

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::super::kind::KAFKA;
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
}

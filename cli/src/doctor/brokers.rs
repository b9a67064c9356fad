//! The addresses that the brokers advertise. Clients connect to them after their first request.

use retail_kafka::Broker;

use super::check::Check;
use super::layers::{self, Resolved};
use super::server::Server;

/// Looks up and connects to each broker whose address is not one of the open bootstrap servers.
pub(super) async fn check(brokers: Vec<Broker>, open: &[Resolved]) -> Check {
    let count = brokers.len();
    let server = |broker: Broker| (broker.id, Server { host: broker.host, port: broker.port });
    let others = brokers.into_iter().map(server).filter(|(_, server)| !open.iter().any(|(other, _)| other == server));
    let (ids, servers): (Vec<i32>, Vec<Server>) = others.unzip();
    let results = layers::resolve(servers.clone()).await;
    let mut problems: Vec<(i32, String)> = Vec::new();
    let mut resolved = Vec::new();
    for (server, result) in results {
        match result {
            Ok(addresses) => resolved.push((server, addresses)),
            Err(error) => {
                problems.push((id(&ids, &servers, &server), format!("{server}, and {} {error}", server.host)));
            }
        }
    }
    for ((server, _), result) in layers::connect(resolved).await {
        if let Err(error) = result {
            problems.push((id(&ids, &servers, &server), format!("{server}, which {error}")));
        }
    }
    problems.sort();
    of_problems(count, &problems)
}

fn id(ids: &[i32], servers: &[Server], server: &Server) -> i32 {
    let at = servers.iter().position(|other| other == server);
    at.map_or(-1, |at| ids[at])
}

fn of_problems(count: usize, problems: &[(i32, String)]) -> Check {
    if problems.is_empty() {
        let who =
            if count == 1 { "the broker advertises".to_owned() } else { format!("all {count} brokers advertise") };
        return Check::ok("brokers", format_args!("{who} an address that this machine reaches"));
    }
    let lines: Vec<String> = problems.iter().map(|(id, problem)| format!("broker {id} advertises {problem}")).collect();
    Check::fail("brokers", lines.join("; ")).fixed_by(
        "set advertised.listeners of the brokers to addresses that this machine reaches, or use bootstrap servers of a listener with such \
         addresses",
    )
}

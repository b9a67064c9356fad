//! Causes of a host name without an address. A hint states facts only.

use std::net::SocketAddr;

use retail_connection::probe::Unresolved;

use super::server::Server;

/// Maximum number of typing errors in a name that is taken for another one, and the shortest such name.
const TYPING_ERRORS: usize = 2;
const SHORTEST: usize = 5;

/// What this machine knows about names.
#[derive(Default)]
pub(super) struct Surroundings {
    /// Whether this process runs in a pod.
    in_cluster: bool,
    /// The search domains of the resolver.
    search: Vec<String>,
    /// Names that have an address.
    known: Vec<String>,
}

impl Surroundings {
    pub(super) fn read(results: &[(Server, Result<Vec<SocketAddr>, Unresolved>)]) -> Self {
        let text = |file| std::fs::read_to_string(file).unwrap_or_default();
        let resolved = results.iter().filter(|(_, result)| result.is_ok()).map(|(server, _)| server.host.clone());
        Self {
            in_cluster: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            search: search_domains(&text("/etc/resolv.conf")),
            known: resolved.chain(host_names(&text("/etc/hosts"))).collect(),
        }
    }
}

/// The last line `search` counts.
fn search_domains(resolv_conf: &str) -> Vec<String> {
    let mut lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("search "));
    lines.next_back().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn host_names(hosts: &str) -> Vec<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split_whitespace().skip(1)).map(str::to_owned).collect()
}

/// What helps with a name that has no address.
pub(super) fn hint(host: &str, error: &Unresolved, surroundings: &Surroundings) -> Option<String> {
    let Surroundings { in_cluster, search, known } = surroundings;
    let is_service = host.ends_with(".svc") || host.ends_with(".cluster.local");
    if is_service && !in_cluster {
        return Some(
            "names of Services exist only inside of the cluster: run `kubectl retail doctor NAME`, or use an address outside of it".to_owned(),
        );
    }
    if let Some(known) = known.iter().find(|known| is_similar(host, known)) {
        return Some(format!("write {known}, which has an address, if you mean it"));
    }
    match error {
        Unresolved::NoAnswer(_) => {
            Some("check the nameserver in /etc/resolv.conf, and that the network lets DNS (port 53) through".to_owned())
        }
        Unresolved::Unknown(_) if !host.contains('.') && *in_cluster => Some(format!(
            "write SERVICE.NAMESPACE.svc for a Service of another namespace; searched in {}",
            search.join(", ")
        )),
        Unresolved::Unknown(_) => None,
    }
}

fn is_similar(host: &str, known: &str) -> bool {
    host != known
        && host.len() >= SHORTEST
        && !host.starts_with(|c: char| c.is_ascii_digit())
        && strsim::damerau_levenshtein(host, known) <= TYPING_ERRORS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_names_only_facts() {
        let here = |in_cluster| Surroundings {
            in_cluster,
            search: search_domains(
                "search old\nnameserver 10.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local\n",
            ),
            known: host_names("127.0.0.1 localhost # me\n10.1.1.1\tbroker-1.example broker-1\n"),
        };
        let unknown = Unresolved::Unknown(String::new());
        let said = |host, in_cluster| hint(host, &unknown, &here(in_cluster)).unwrap_or_default();
        assert!(said("kafka.shop.svc", false).contains("only inside of the cluster"));
        assert_eq!(said("kafka.shop.svc", true), "");
        assert!(said("locahost", false).starts_with("write localhost,"));
        assert!(said("broker-1.exmaple", false).starts_with("write broker-1.example,"));
        assert!(said("kafka", true).ends_with("searched in shop.svc.cluster.local, svc.cluster.local"));
        assert_eq!([said("kafka", false), said("kafka.example", true)], ["", ""]);
        let silent = hint("kafka.example", &Unresolved::NoAnswer(String::new()), &here(false));
        assert!(silent.unwrap().contains("nameserver"));
    }
}

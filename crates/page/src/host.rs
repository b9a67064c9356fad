//! The hosts whose requests are answered.

use std::net::IpAddr;

/// Whether a page of another site cannot have caused a request with this Host.
///
/// A site can let its own name resolve to a loopback address, and its scripts then read answers as those of its own origin. Addresses
/// and localhost belong to no such site.
pub(crate) fn is_allowed(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(address, port)| is_address(address) && is_port(port)),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    is_port(&host[name.len()..]) && (is_address(name) || name.eq_ignore_ascii_case("localhost"))
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// Whether a text is empty, or a colon with a port.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_allowed() {
        for host in ["127.0.0.1", "127.0.0.1:8081", "localhost:8081", "LOCALHOST", "[::1]", "[::1]:8081", "10.1.2.3:80"]
        {
            assert!(is_allowed(host), "{host}");
        }
    }

    #[test]
    fn names_are_refused() {
        for host in [
            "",
            "evil.example",
            "evil.example:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8081",
            "[::1].evil.example",
            "[evil.example]:80",
            "localhost:80:evil.example",
            "localhost:99999",
            "user@localhost",
        ] {
            assert!(!is_allowed(host), "{host}");
        }
    }
}

//! Host and port of a server.

/// Host and port of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Server {
    /// Reads `host:port`; an IPv6 address is in brackets.
    pub(super) fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.trim().rsplit_once(':')?;
        Some(Self { host: host.trim_matches(['[', ']']).to_owned(), port: port.parse().ok()? })
    }

    /// The servers of a list that is separated by commas, without Unix sockets, which begin with `/`.
    pub(super) fn parse_list(addresses: &str) -> Vec<Self> {
        addresses.split(',').filter(|address| !address.starts_with('/')).filter_map(Self::parse).collect()
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

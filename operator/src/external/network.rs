//! Whether an address can be reached: name resolution and TCP, without TLS and log-in.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Deadline for one server.
const DEADLINE: Duration = Duration::from_secs(5);

/// Connects to one of the servers, `HOST:PORT` separated by commas. The error is that of the last one.
pub(super) async fn reach(servers: &str) -> Result<(), String> {
    let mut last = Ok(());
    for server in servers.split(',').map(str::trim) {
        // The clients report what this cannot read. A path is a local socket.
        let Some((host, port)) = server.rsplit_once(':').filter(|_| !server.starts_with('/')) else { return Ok(()) };
        let Ok(port) = port.parse::<u16>() else { return Ok(()) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        last = match timeout(DEADLINE, TcpStream::connect((host, port))).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Err(format!("{server}: {error}")),
            Err(_) => Err(format!("{server}: no connection within {} s", DEADLINE.as_secs())),
        };
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_reachable_server_is_enough() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let closed = "127.0.0.1:1";
        assert_eq!(reach(&open).await, Ok(()));
        assert_eq!(reach(&format!("{closed}, {open}")).await, Ok(()));
        let error = reach(closed).await.unwrap_err();
        assert!(error.contains("127.0.0.1:1: Connection refused"), "{error}");
        assert_eq!(reach("/run/postgresql:5432").await, Ok(()));
    }
}

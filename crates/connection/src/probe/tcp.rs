//! Opens connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// An address that accepts no connection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreached {
    /// The host answers that the port is closed.
    #[error("refuses connections: no server listens on this port")]
    Refused,
    /// No packet came back.
    #[error("does not answer within {0} s: the host is down, or a firewall or NetworkPolicy drops the packets")]
    Silent(u64),
    /// The operating system cannot send to the address.
    #[error("cannot be reached ({0})")]
    Other(String),
}

/// Connects with the first of these addresses that accepts a connection. Returns the error of the last one.
pub async fn connect(addresses: &[SocketAddr], deadline: Duration) -> Result<TcpStream, Unreached> {
    let mut failure = Unreached::Other("the host has no address".to_owned());
    let share = deadline / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Unreached::Refused,
            Ok(Err(error)) => Unreached::Other(error.to_string()),
            Err(_) => Unreached::Silent(share.as_secs()),
        };
    }
    Err(failure)
}

//! Resolves host names, as all clients of this process do.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::text::foreign;

/// A host name without an address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unresolved {
    /// The resolver answered that the name has no address.
    #[error("has no address ({0})")]
    Unknown(String),
    /// The name servers did not answer, or only that they cannot answer now.
    #[error("cannot be looked up: the name servers of this machine do not answer ({0})")]
    NoAnswer(String),
}

/// The addresses of a host name. The resolver of the operating system has timeouts of its own, which can be longer than `deadline`:
/// its thread is left behind then.
pub async fn resolve(host: &str, port: u16, deadline: Duration) -> Result<Vec<SocketAddr>, Unresolved> {
    let (send, answer) = oneshot::channel();
    let host = host.to_owned();
    std::thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let _receiver_has_given_up = send.send(found);
    });
    match timeout(deadline, answer).await {
        Ok(Ok(Ok(addresses))) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(Err(error))) => Err(explain(&error.to_string())),
        Ok(Ok(Ok(_)) | Err(_)) => Err(Unresolved::Unknown("the answer is empty".to_owned())),
        Err(_) => Err(Unresolved::NoAnswer(format!("no answer within {} s", deadline.as_secs()))),
    }
}

/// The cause is only in the text of getaddrinfo: that of glibc or of musl.
fn explain(error: &str) -> Unresolved {
    let cause = error.rsplit_once(": ").map_or(error, |(_, cause)| cause);
    let is_temporary = ["Temporary failure in name resolution", "Try again"].contains(&cause);
    if is_temporary { Unresolved::NoAnswer(foreign(cause)) } else { Unresolved::Unknown(foreign(cause)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn name_server_without_an_answer_differs_from_a_missing_name() {
        let prefix = "failed to lookup address information: ";
        let missing = explain(&format!("{prefix}Name or service not known"));
        assert_eq!(missing.to_string(), "has no address (Name or service not known)");
        let silent = explain(&format!("{prefix}Temporary failure in name resolution"));
        assert!(matches!(silent, Unresolved::NoAnswer(_)), "{silent}");
        assert_eq!(
            resolve("127.0.0.1", 7, Duration::from_secs(5)).await,
            Ok(vec![SocketAddr::from(([127, 0, 0, 1], 7))])
        );
    }
}

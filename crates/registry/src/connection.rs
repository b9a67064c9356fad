//! Addresses, TLS and log-in of a registry.

use std::fmt;
use std::time::Duration;

use retail_connection::Certificates;

use crate::address::{Address, AddressError};

/// Addresses, TLS and log-in of a registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegistryConnection {
    /// The addresses of one registry, which are tried in turn.
    pub addresses: Vec<Address>,
    /// The log-in, by HTTP basic authentication.
    pub login: Option<Login>,
    /// The trusted authorities.
    pub certificates: Certificates,
    /// Deadlines of requests.
    pub deadlines: Deadlines,
}

/// The log-in of a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Deadlines of requests to a registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// A connection attempt: host name, TCP and TLS.
    pub connect: Duration,
    /// A request with its complete answer, after the connection.
    pub answer: Duration,
    /// A schema with all its references from one address.
    pub schema: Duration,
}

impl Default for Deadlines {
    /// A registry answers within milliseconds, and within seconds while it starts.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(10), schema: Duration::from_secs(30) }
    }
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.username)
    }
}

impl RegistryConnection {
    /// A connection to the registry at these URLs, separated by commas.
    pub fn new(urls: &str, login: Option<Login>, certificates: Certificates) -> Result<Self, AddressError> {
        let addresses = Address::parse_list(urls)?;
        Ok(Self { addresses, login, certificates, deadlines: Deadlines::default() })
    }

    /// Whether the log-in sends the password over a connection without TLS.
    pub fn sends_clear_password(&self) -> bool {
        self.login.is_some() && self.addresses.iter().any(|address| !address.is_tls)
    }
}

impl fmt::Display for RegistryConnection {
    /// The addresses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

//! Deadlines of conversations with Postgres.

use std::time::Duration;

/// Deadlines of conversations with Postgres.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// A connection attempt: host name, TCP, TLS, start-up and log-in.
    pub connect: Duration,
    /// A statement.
    pub statement: Duration,
    /// After this time without traffic, a second connection asks whether the server still executes the statement.
    pub silence: Duration,
    /// Cancelling a statement: the request, and the response to the statement.
    pub cancel: Duration,
}

impl Default for Deadlines {
    /// A silent server is reported after the sum of `silence`, `connect` and `cancel`. A one-shot command adds one more
    /// `connect` and ends in less than a minute. A commit of the largest batch takes seconds on a slow disk.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            statement: Duration::from_secs(60),
            silence: Duration::from_secs(10),
            cancel: Duration::from_secs(2),
        }
    }
}

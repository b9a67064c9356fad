//! Errors of Postgres, as one sentence that contains the fix.

use retail_connection::ErrorKind;
use retail_connection::text::bounded;

use crate::connection::DatabaseConnection;

/// A failed connection or statement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// One sentence, with the fix.
    pub message: String,
}

/// Maximum length of a message in bytes. Conditions and log lines contain it.
const MAX_MESSAGE: usize = 4 << 10;

impl DatabaseError {
    /// Texts of servers are in the message: it is one line and has a bounded length.
    pub(super) fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message: bounded(message, MAX_MESSAGE) }
    }

    /// No answer arrived in time.
    pub(crate) fn timed_out(connection: &DatabaseConnection) -> Self {
        Self::new(ErrorKind::Unreachable, format!("postgres at {} did not answer in time", connection.address()))
    }

    /// No connection was opened, or it broke.
    pub(crate) fn unreachable(connection: &DatabaseConnection, error: &std::io::Error) -> Self {
        let address = connection.address();
        let message =
            format!("cannot reach postgres at {address}: check that it is running, and host and port ({error})");
        Self::new(ErrorKind::Unreachable, message)
    }

    /// The server is not one that target_session_attrs allows.
    pub(crate) fn wrong_server(connection: &DatabaseConnection, reads_only: bool) -> Self {
        let does = if reads_only { "only reads (a standby)" } else { "also writes (a primary)" };
        let address = connection.address();
        let message = format!("postgres at {address} {does}, which target_session_attrs of the URL does not allow");
        Self::new(ErrorKind::Busy, message)
    }

    pub(crate) fn missing_schema(connection: &DatabaseConnection) -> Self {
        let (schema, address) = (&connection.schema, connection.address());
        let message = format!("schema \"{schema}\" is not set up in postgres at {address}: run `retail apply-schema`");
        Self::new(ErrorKind::MissingSchema, message)
    }
}

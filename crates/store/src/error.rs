//! Errors of Postgres, as one sentence that contains the fix.

use retail_connection::ErrorKind;

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

/// Maximum length of a text of a server in bytes.
const MAX_SAID: usize = 1 << 10;

/// A text of a server, for a message.
pub(crate) fn said(text: &str) -> String {
    one_line(text.to_owned(), MAX_SAID)
}

/// Cuts a text, and replaces its control characters.
fn one_line(text: String, most: usize) -> String {
    if text.len() <= most && !text.contains(char::is_control) {
        return text;
    }
    let end = text.floor_char_boundary(most);
    let line = text[..end].replace(char::is_control, " ");
    if end < text.len() { line + "…" } else { line }
}

impl DatabaseError {
    /// Texts of servers are in the message: it is one line and has a bounded length.
    pub(super) fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message: one_line(message, MAX_MESSAGE) }
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

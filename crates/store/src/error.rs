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

impl DatabaseError {
    pub(super) fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message }
    }

    /// No answer arrived in time.
    pub(crate) fn timed_out(connection: &DatabaseConnection) -> Self {
        Self::new(ErrorKind::Unreachable, format!("postgres at {} did not answer in time", connection.address()))
    }

    pub(crate) fn missing_schema(connection: &DatabaseConnection) -> Self {
        let (schema, address) = (&connection.schema, connection.address());
        let message = format!("schema \"{schema}\" is not set up in postgres at {address}: run `retail apply-schema`");
        Self::new(ErrorKind::MissingSchema, message)
    }
}

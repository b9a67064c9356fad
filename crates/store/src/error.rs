//! What went wrong with Postgres, in a sentence that says what to do.

use std::error::Error as _;

use retail_connection::ErrorKind;
use tokio_postgres::error::SqlState;

use super::{DatabaseConnection, handshake};

/// What `fence` raises: the batch's worker is not the partitions' owner any more, or a floor was raised.
const FENCED: &str = "RP001";

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

    /// Nothing came back in time.
    pub fn timed_out(connection: &DatabaseConnection) -> Self {
        Self::new(ErrorKind::Unreachable, format!("postgres at {} does not answer", connection.address()))
    }

    /// Explains what a connection or a statement failed with.
    pub fn explain(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Self {
        let address = connection.address();
        let Some(db) = error.as_db_error() else {
            if let Some(explained) = handshake::explain(connection, error) {
                return explained;
            }
            // tokio-postgres's own words ("error connecting to server") say less than their cause.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            return if error.source().is_some_and(|source| source.is::<std::io::Error>()) || error.is_closed() {
                let message = format!(
                    "cannot reach postgres at {address}: is it running, and are host and port right? ({reason})"
                );
                Self::new(ErrorKind::Unreachable, message)
            } else if reason.contains("password") {
                Self::new(ErrorKind::WrongCredentials, Self::credentials(connection, "wants a password"))
            } else {
                Self::new(ErrorKind::Other, format!("postgres at {address} failed: {reason}"))
            };
        };
        if let Some(explained) = handshake::explain_refusal(connection, db) {
            return explained;
        }
        let said = db.message();
        let user = connection.user();
        let schema = &connection.schema;
        let state = db.code();
        let (kind, message) = if state.code() == FENCED {
            (ErrorKind::Fenced, said.to_owned())
        } else if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) {
            (ErrorKind::WrongCredentials, Self::credentials(connection, &format!("refused user \"{user}\": {said}")))
        } else if *state == SqlState::INVALID_CATALOG_NAME {
            let database = connection.database();
            let message = format!("{said}: create it with `CREATE DATABASE \"{database}\"`, or correct database.name");
            (ErrorKind::MissingDatabase, message)
        } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            let message = format!(
                "user \"{user}\" lacks a right in postgres at {address} ({said}): GRANT CREATE ON DATABASE to apply the schema, and \
                 USAGE on schema \"{schema}\" and SELECT, INSERT, UPDATE, DELETE on its tables to process"
            );
            (ErrorKind::Forbidden, message)
        } else if [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_COLUMN,
            SqlState::INVALID_SCHEMA_NAME,
        ]
        .contains(state)
        {
            return Self::missing_schema(connection);
        } else if [SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY, SqlState::TOO_MANY_CONNECTIONS].contains(state) {
            (ErrorKind::Busy, format!("postgres at {address} has no room: {said}"))
        } else if state.code().starts_with("57P") || state.code().starts_with("40") || state.code().starts_with("53") {
            (ErrorKind::Busy, format!("postgres at {address} cannot do it now: {said}"))
        } else {
            (ErrorKind::Other, format!("postgres at {address} failed: {said} ({})", state.code()))
        };
        Self::new(kind, message)
    }

    pub(super) fn missing_schema(connection: &DatabaseConnection) -> Self {
        let (schema, address) = (&connection.schema, connection.address());
        let message = format!("schema \"{schema}\" is not set up in postgres at {address}: run `retail apply-schema`");
        Self::new(ErrorKind::MissingSchema, message)
    }

    fn credentials(connection: &DatabaseConnection, what: &str) -> String {
        let address = connection.address();
        format!("postgres at {address} {what}: check RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD, or database.secret")
    }
}

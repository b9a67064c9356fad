//! Explains the errors of tokio-postgres.

use std::error::Error as _;

use retail_connection::ErrorKind;
use tokio_postgres::error::SqlState;

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::handshake;

/// The SQLSTATEs that functions.sql raises.
const FENCED: &str = "RP001";
const FOREIGN: &str = "RP002";
const SERVER_REPLACED: &str = "RP003";

impl DatabaseError {
    /// Explains the error of a connection or a statement.
    pub(crate) fn explain(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Self {
        let address = connection.address();
        let Some(db) = error.as_db_error() else {
            if let Some(explained) = handshake::explain(connection, error) {
                return explained;
            }
            // The message of tokio-postgres ("error connecting to server") contains less than its cause.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            return if error.source().is_some_and(|source| source.is::<std::io::Error>()) || error.is_closed() {
                let message = format!(
                    "cannot reach postgres at {address}: check that it is running, and host and port ({reason})"
                );
                Self::new(ErrorKind::Unreachable, message)
            } else if reason.contains("password") {
                Self::new(ErrorKind::WrongCredentials, credentials(connection, "requires a password"))
            } else {
                Self::new(ErrorKind::Other, format!("the connection to postgres at {address} failed: {reason}"))
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
        } else if state.code() == FOREIGN {
            let message =
                format!("schema \"{schema}\" in postgres at {address} was replaced: {said}; restart this program");
            (ErrorKind::Foreign, message)
        } else if state.code() == SERVER_REPLACED {
            (ErrorKind::ServerReplaced, format!("postgres at {address}: {said}"))
        } else if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) {
            (ErrorKind::WrongCredentials, credentials(connection, &format!("refused user \"{user}\": {said}")))
        } else if *state == SqlState::INVALID_CATALOG_NAME {
            let database = connection.database();
            let message = format!("{said}: create it with `CREATE DATABASE \"{database}\"`, or correct database.name");
            (ErrorKind::MissingDatabase, message)
        } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            let message = format!(
                "user \"{user}\" lacks a permission in postgres at {address} ({said}): to apply the schema, GRANT CREATE ON DATABASE; \
                 to process, GRANT USAGE ON SCHEMA \"{schema}\" and SELECT, INSERT, UPDATE, DELETE on its tables"
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
            (ErrorKind::Busy, format!("postgres at {address} is out of disk, memory or connections: {said}"))
        } else if *state == SqlState::LOCK_NOT_AVAILABLE {
            let message = format!("another session in postgres at {address} holds a lock for too long: {said}");
            (ErrorKind::Busy, message)
        } else if state.code().starts_with("57P") || state.code().starts_with("40") || state.code().starts_with("53") {
            (ErrorKind::Busy, format!("postgres at {address} cannot serve the request now: {said}"))
        } else {
            (ErrorKind::Other, format!("a statement failed in postgres at {address}: {said} ({})", state.code()))
        };
        Self::new(kind, message)
    }
}

fn credentials(connection: &DatabaseConnection, what: &str) -> String {
    let address = connection.address();
    format!("postgres at {address} {what}: check RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD, or database.secret")
}

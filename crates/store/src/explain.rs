//! Explains the errors of tokio-postgres.

use std::error::Error as _;

use retail_connection::ErrorKind;
use retail_connection::text::foreign;
use tokio_postgres::error::SqlState;

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::guard::Refusal;
use crate::handshake;

/// The SQLSTATEs that functions.sql raises.
const FENCED: &str = "RP001";
const FOREIGN: &str = "RP002";
const SERVER_REPLACED: &str = "RP003";
const IN_USE: &str = "RP004";
const SCHEMA_LOST: &str = "RP005";

impl DatabaseError {
    /// Explains the error of a connection or a statement.
    pub(crate) fn explain(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Self {
        let address = connection.address();
        let Some(db) = error.as_db_error() else { return Self::explain_connection(connection, error) };
        if let Some(explained) = handshake::explain_refusal(connection, db) {
            return explained;
        }
        let said = &foreign(db.message());
        let user = connection.user();
        let schema = &connection.schema;
        let state = db.code();
        let (kind, message) = if [FENCED, SCHEMA_LOST].contains(&state.code()) {
            (ErrorKind::Fenced, said.clone())
        } else if state.code() == FOREIGN {
            let message =
                format!("schema \"{schema}\" in postgres at {address} was replaced: {said}; restart this program");
            (ErrorKind::Foreign, message)
        } else if state.code() == IN_USE {
            (ErrorKind::InUse, format!("schema \"{schema}\" in postgres at {address} is in use: {said}"))
        } else if state.code() == SERVER_REPLACED {
            (ErrorKind::ServerReplaced, format!("postgres at {address}: {said}"))
        } else if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) {
            (ErrorKind::WrongCredentials, credentials(connection, &format!("refused user \"{user}\": {said}")))
        } else if *state == SqlState::INVALID_CATALOG_NAME {
            let database = connection.database();
            let message = format!("{said}: create it with `CREATE DATABASE \"{database}\"`, or correct database.name");
            (ErrorKind::MissingDatabase, message)
        } else if *state == SqlState::INSUFFICIENT_PRIVILEGE && said.starts_with("permission denied for database") {
            let database = connection.database();
            let message = format!(
                "user \"{user}\" lacks a permission in postgres at {address} ({said}): to log in, GRANT CONNECT ON DATABASE \
                 \"{database}\"; to apply the schema, GRANT CREATE ON DATABASE \"{database}\" TO \"{user}\""
            );
            (ErrorKind::Forbidden, message)
        } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            let message = format!(
                "user \"{user}\" lacks a permission in postgres at {address} ({said}): to apply the schema, GRANT CREATE ON DATABASE; \
                 to process, GRANT USAGE ON SCHEMA \"{schema}\", SELECT, INSERT, UPDATE, DELETE on its tables, and EXECUTE on its functions"
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
            (ErrorKind::Locked, format!("another session holds a lock in postgres at {address}: {said}"))
        } else if said.contains("statement pooling mode") {
            let message = format!(
                "the pooler at {address} pools statements, and the pipeline needs transactions: use pool_mode transaction or \
                 session ({said})"
            );
            (ErrorKind::Other, message)
        } else if said.contains("unsupported startup parameter") {
            let message = format!(
                "the pooler at {address} refuses an option of the database URL: remove it, or add it to ignore_startup_parameters \
                 of the pooler ({said})"
            );
            (ErrorKind::Other, message)
        } else if state.code().starts_with("08") {
            (ErrorKind::Busy, format!("postgres or the pooler at {address} ended the connection: {said}"))
        } else if *state == SqlState::QUERY_CANCELED {
            (
                ErrorKind::Stopped,
                format!("a statement took too long in postgres at {address} and was cancelled: {said}"),
            )
        } else if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
            let message = format!(
                "postgres at {address} only reads: connect to the primary, or set target_session_attrs=read-write in a URL with \
                 several hosts ({said})"
            );
            (ErrorKind::Busy, message)
        } else if state.code().starts_with("57P") || state.code().starts_with("40") || state.code().starts_with("53") {
            (ErrorKind::Busy, format!("postgres at {address} cannot serve the request now: {said}"))
        } else {
            (ErrorKind::Other, format!("a statement failed in postgres at {address}: {said} ({})", state.code()))
        };
        Self::new(kind, message)
    }

    /// Explains an error that is not a response of the server.
    fn explain_connection(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Self {
        let address = connection.address();
        if let Some(refusal) = refusal(error) {
            let kind = match refusal {
                Refusal::ClearText(_) => ErrorKind::NoTls,
                Refusal::LogIn(_) => ErrorKind::WrongCredentials,
                Refusal::Length { .. } | Refusal::Answer(_) | Refusal::Settings => ErrorKind::Other,
            };
            return Self::new(kind, format!("postgres at {address} {refusal}"));
        }
        if let Some(explained) = handshake::explain_source(connection, error) {
            return explained;
        }
        if let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
            return Self::unreachable(connection, io);
        }
        if error.is_closed() {
            return Self::unreachable(connection, &std::io::ErrorKind::ConnectionReset.into());
        }
        // The message of tokio-postgres ("authentication error") contains less than its cause.
        let reason = foreign(&error.source().map_or_else(|| error.to_string(), ToString::to_string));
        if reason.contains("password missing") {
            return Self::new(ErrorKind::WrongCredentials, credentials(connection, "requires a password"));
        }
        if reason.contains("channel binding") {
            let message = format!(
                "the log-in to postgres at {address} did not use channel binding, which channel_binding=require demands: use TLS \
                 and scram-sha-256 without a pooler that ends TLS ({reason})"
            );
            return Self::new(ErrorKind::WrongCredentials, message);
        }
        Self::new(ErrorKind::Other, format!("the connection to postgres at {address} failed: {reason}"))
    }
}

/// The refusal of the guard among the causes of an error.
fn refusal(error: &tokio_postgres::Error) -> Option<&Refusal> {
    let io = error.source()?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref::<Refusal>()
}

fn credentials(connection: &DatabaseConnection, what: &str) -> String {
    let address = connection.address();
    format!("postgres at {address} {what}: check RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD, or database.secret")
}

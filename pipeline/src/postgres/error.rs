//! What went wrong with Postgres, in a sentence that says what to do.

use std::error::Error as _;

use tokio_postgres::error::SqlState;

use super::{DatabaseConnection, handshake};

/// What `fence` raises: the batch's worker is not the partitions' owner any more, or a floor was raised.
const FENCED: &str = "RP001";

/// What kind of trouble it is: who can do something about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nobody answers, or the connection broke. May pass by itself.
    Unreachable,
    /// The server answers, and cannot do it now: starting, stopping, full, out of memory, deadlock. May pass by itself.
    Busy,
    /// Wrong user name, password or client certificate.
    WrongCredentials,
    /// No encryption that both sides agree on: a certificate is not to be trusted, or one side speaks no TLS.
    NoTls,
    /// There is no such database.
    MissingDatabase,
    /// The user may not do this.
    Forbidden,
    /// The schema is not there, or not the one this program knows.
    MissingSchema,
    /// Somebody changed the schema in a way that cannot be undone here.
    Changed,
    /// The schema belongs to another pipeline, or to this one with another window, delay or topic.
    Foreign,
    /// The batch is not to be counted: somebody else owns its partitions, or a floor was raised.
    Fenced,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Whether trying again may help without anybody doing anything.
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy)
    }
}

/// A failed connection or statement.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    /// What kind of trouble it is.
    pub trouble: Trouble,
    /// One sentence, with the fix.
    pub message: String,
}

impl DatabaseError {
    pub(super) fn new(trouble: Trouble, message: String) -> Self {
        Self { trouble, message }
    }

    /// Nothing came back in time.
    pub fn timed_out(connection: &DatabaseConnection) -> Self {
        Self::new(Trouble::Unreachable, format!("postgres at {} does not answer", connection.address()))
    }

    /// Explains what a connection or a statement failed with.
    pub(crate) fn explain(connection: &DatabaseConnection, error: &tokio_postgres::Error) -> Self {
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
                Self::new(Trouble::Unreachable, message)
            } else if reason.contains("password") {
                Self::new(Trouble::WrongCredentials, Self::credentials(connection, "wants a password"))
            } else {
                Self::new(Trouble::Other, format!("postgres at {address} failed: {reason}"))
            };
        };
        if let Some(explained) = handshake::explain_refusal(connection, db) {
            return explained;
        }
        let said = db.message();
        let user = connection.user();
        let schema = &connection.schema;
        let state = db.code();
        let (trouble, message) = if state.code() == FENCED {
            (Trouble::Fenced, said.to_owned())
        } else if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(state) {
            (Trouble::WrongCredentials, Self::credentials(connection, &format!("refused user \"{user}\": {said}")))
        } else if *state == SqlState::INVALID_CATALOG_NAME {
            let database = connection.database();
            let message = format!("{said}: create it with `CREATE DATABASE \"{database}\"`, or correct database.name");
            (Trouble::MissingDatabase, message)
        } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            let message = format!(
                "user \"{user}\" lacks a right in postgres at {address} ({said}): GRANT CREATE ON DATABASE to apply the schema, and \
                 USAGE on schema \"{schema}\" and SELECT, INSERT, UPDATE, DELETE on its tables to process"
            );
            (Trouble::Forbidden, message)
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
            (Trouble::Busy, format!("postgres at {address} has no room: {said}"))
        } else if state.code().starts_with("57P") || state.code().starts_with("40") || state.code().starts_with("53") {
            (Trouble::Busy, format!("postgres at {address} cannot do it now: {said}"))
        } else {
            (Trouble::Other, format!("postgres at {address} failed: {said} ({})", state.code()))
        };
        Self::new(trouble, message)
    }

    pub(super) fn missing_schema(connection: &DatabaseConnection) -> Self {
        let (schema, address) = (&connection.schema, connection.address());
        let message = format!("schema \"{schema}\" is not set up in postgres at {address}: run `retail apply-schema`");
        Self::new(Trouble::MissingSchema, message)
    }

    fn credentials(connection: &DatabaseConnection, what: &str) -> String {
        let address = connection.address();
        format!("postgres at {address} {what}: check RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD, or database.secret")
    }
}

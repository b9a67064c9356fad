//! Sessions: every conversation with Postgres.
//!
//! A connection pooler in transaction mode executes each transaction in another session of the server. Therefore no statement
//! is prepared by name, nothing is set for the session, and the texts name their schema: `{schema}` in a statement stands for
//! the quoted schema of the pipeline.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, RowStream, Socket};

use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;

/// Deadline of a connection attempt: TCP, TLS, start-up and log-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Deadline of a statement. A commit of the largest batch takes seconds on a slow disk; a stopped server never answers.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// The parameters of a statement, with their types in Postgres.
pub type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// A session with Postgres, for the statements of one pipeline. Dropping it closes the connection.
///
/// Each statement has a deadline, and its errors are explained.
pub struct Session {
    client: Client,
    connection: DatabaseConnection,
    statement_timeout: Duration,
    task: AbortHandle,
}

impl Drop for Session {
    /// The task of the connection waits for the answers to all statements, even after the client is gone.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl DatabaseConnection {
    /// Opens a session. `application` is its name in pg_stat_activity.
    pub async fn connect(&self, application: &str) -> Result<Session, DatabaseError> {
        let mut config = self.config.clone();
        config.application_name(application);
        let opened = timeout(CONNECT_TIMEOUT, async {
            match self.connector() {
                None => open(&config, NoTls).await,
                Some(connector) => open(&config, connector).await,
            }
        });
        match opened.await {
            Ok(Ok((client, task))) => {
                Ok(Session { client, connection: self.clone(), statement_timeout: STATEMENT_TIMEOUT, task })
            }
            Ok(Err(error)) => Err(DatabaseError::explain(self, &error)),
            Err(_) => Err(DatabaseError::timed_out(self)),
        }
    }
}

/// Connects, and spawns a task for the traffic of the connection.
async fn open<T>(config: &Config, tls: T) -> Result<(Client, AbortHandle), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    let task = tokio::spawn(async move {
        // The user of the client receives the same error, and reports it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to postgres ended");
        }
    });
    Ok((client, task.abort_handle()))
}

impl Session {
    /// The session with another deadline for each statement.
    #[must_use]
    pub fn with_statement_timeout(mut self, statement_timeout: Duration) -> Self {
        self.statement_timeout = statement_timeout;
        self
    }

    /// The session for the statements of another schema in the same database.
    #[must_use]
    pub fn on_schema(mut self, schema: &str) -> Self {
        schema.clone_into(&mut self.connection.schema);
        self
    }

    /// The settings of the connection, with the schema of the statements.
    pub const fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Executes a query, and returns its rows.
    pub async fn query(&self, statement: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, DatabaseError> {
        self.within(self.client.query_typed(&self.text(statement), parameters)).await
    }

    /// Executes a query that returns one row. Any other number of rows is an error.
    pub async fn query_one(&self, statement: &str, parameters: &Parameters<'_>) -> Result<Row, DatabaseError> {
        self.within(self.client.query_typed_one(&self.text(statement), parameters)).await
    }

    /// Executes a query that returns at most one row. More rows are an error.
    pub async fn query_opt(&self, statement: &str, parameters: &Parameters<'_>) -> Result<Option<Row>, DatabaseError> {
        self.within(self.client.query_typed_opt(&self.text(statement), parameters)).await
    }

    /// Executes a query with any number of rows, which are not collected. Each row has the deadline of a statement.
    pub async fn stream(&self, statement: &str, parameters: &Parameters<'_>) -> Result<Rows<'_>, DatabaseError> {
        let text = self.text(statement);
        let parameters = parameters.iter().map(|(value, kind)| (*value, kind.clone()));
        let rows = self.within(self.client.query_typed_raw(&text, parameters)).await?;
        Ok(Rows { session: self, rows: Box::pin(rows) })
    }

    /// Executes a statement, and returns the number of rows that it changed.
    pub async fn execute(&self, statement: &str, parameters: &Parameters<'_>) -> Result<u64, DatabaseError> {
        self.within(self.client.execute_typed(&self.text(statement), parameters)).await
    }

    /// Executes several statements without parameters, separated by semicolons. Outside of a transaction, they are one
    /// transaction.
    pub async fn batch(&self, statements: &str) -> Result<(), DatabaseError> {
        self.within(self.client.batch_execute(&self.text(statements))).await
    }

    /// Begins a transaction.
    pub async fn transaction(&mut self, mode: TransactionMode) -> Result<Transaction<'_>, DatabaseError> {
        // Rolls back also if this call is cancelled.
        let transaction = Transaction { session: self, is_open: true };
        transaction.batch(mode.begin()).await?;
        Ok(transaction)
    }

    fn text<'a>(&self, statement: &'a str) -> Cow<'a, str> {
        if statement.contains("{schema}") {
            statement.replace("{schema}", &self.connection.quoted_schema()).into()
        } else {
            statement.into()
        }
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match timeout(self.statement_timeout, answer).await {
            Ok(answer) => answer.map_err(|error| DatabaseError::explain(&self.connection, &error)),
            Err(_) => Err(DatabaseError::timed_out(&self.connection)),
        }
    }
}

/// The rows of a query, as they arrive.
pub struct Rows<'a> {
    session: &'a Session,
    rows: Pin<Box<RowStream>>,
}

impl Rows<'_> {
    /// The next row; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Row>, DatabaseError> {
        self.session.within(self.rows.try_next()).await
    }
}

/// The kind of a transaction. It does not depend on the defaults of server, database and user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionMode {
    /// Reads and writes; each statement sees the rows that were committed before it.
    ReadWrite,
    /// Only reads; all statements see the rows that were committed before the first one.
    Snapshot,
}

impl TransactionMode {
    const fn begin(self) -> &'static str {
        match self {
            Self::ReadWrite => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            Self::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}

/// A transaction: all statements of its session until it ends. Dropping it rolls back.
pub struct Transaction<'a> {
    session: &'a mut Session,
    is_open: bool,
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl Transaction<'_> {
    /// Commits. An error if a statement of the transaction failed.
    pub async fn commit(mut self) -> Result<(), DatabaseError> {
        // After a failed statement, COMMIT rolls back and reports success, but SELECT fails.
        self.batch("SELECT; COMMIT").await?;
        self.is_open = false;
        Ok(())
    }

    /// Rolls back.
    pub async fn rollback(mut self) -> Result<(), DatabaseError> {
        self.batch("ROLLBACK").await?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            // The first poll sends the statement, and nothing waits for its answer.
            let rollback = pin!(self.session.client.batch_execute("ROLLBACK"));
            let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
        }
    }
}

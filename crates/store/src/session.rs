//! Sessions: every conversation with Postgres.
//!
//! A connection pooler in transaction mode executes each transaction in another session of the server. Therefore no statement
//! is prepared by name, nothing is set for the session, and the texts name their schema: `{schema}` in a statement stands for
//! the quoted schema of the pipeline.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::TryStreamExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, RowStream};

use crate::cancel;
use crate::connection::DatabaseConnection;
use crate::error::DatabaseError;
use crate::guard::Seen;
use crate::socket::Peer;

/// Time until the task of a lost connection has reported the cause.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(100);

/// A parameter of a statement, with its type in Postgres.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The parameters of a statement.
pub type Parameters<'a> = [Parameter<'a>];

/// A session with Postgres, for the statements of one pipeline. Dropping it closes the connection.
///
/// Each statement has a deadline, and its errors are explained. After the deadline, the server is asked to cancel the statement.
pub struct Session {
    pub(crate) client: Client,
    pub(crate) connection: DatabaseConnection,
    pub(crate) peer: Peer,
    pub(crate) seen: Arc<Seen>,
    /// The name of the session in pg_stat_activity.
    application: String,
    /// Whether the session talks to a server without a pooler in between.
    pub(crate) is_direct: bool,
    statement_timeout: Duration,
    task: AbortHandle,
    /// The cause of the end of the connection.
    ended: watch::Receiver<Option<DatabaseError>>,
}

impl Drop for Session {
    /// The task of the connection waits for the answers to all statements, even after the client is gone.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    pub(crate) fn new(
        client: Client,
        connection: DatabaseConnection,
        peer: Peer,
        seen: Arc<Seen>,
        application: &str,
        task: AbortHandle,
        ended: watch::Receiver<Option<DatabaseError>>,
    ) -> Self {
        let statement_timeout = connection.deadlines.statement;
        let application = connection.application(application).to_owned();
        Self { client, connection, peer, seen, application, is_direct: false, statement_timeout, task, ended }
    }
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

    /// Whether a connection pooler, such as PgBouncer, stands between this session and Postgres.
    pub const fn behind_pooler(&self) -> bool {
        !self.is_direct
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
        let limit = self.server_timeout();
        let transaction = Transaction { session: self, is_open: true };
        transaction.batch(&format!("{}{limit}", mode.begin())).await?;
        Ok(transaction)
    }

    /// The statement that limits the statements of a transaction. Behind a pooler, statements cannot be cancelled, so that the
    /// server must give up earlier than this process.
    fn server_timeout(&self) -> String {
        if self.is_direct {
            return String::new();
        }
        let limit = self.statement_timeout.as_millis() * 9 / 10;
        format!("; SET LOCAL statement_timeout = {limit}")
    }

    fn text<'a>(&self, statement: &'a str) -> Cow<'a, str> {
        if statement.contains("{schema}") {
            statement.replace("{schema}", &self.connection.quoted_schema()).into()
        } else {
            statement.into()
        }
    }

    /// Waits for an answer until the deadline. Then the server is asked to cancel the statement, and its answer tells whether
    /// it was cancelled or executed. Without an answer, the session ends.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        let mut answer = pin!(answer);
        let mut answered = self.patiently(answer.as_mut()).await;
        if answered.is_none() {
            // Both: the request must not reach the server after the answer, where it would cancel the next statement.
            let both = async {
                let cancelled = async {
                    if !self.behind_pooler() {
                        cancel::cancel(&self.connection, &self.peer, &self.seen).await;
                    }
                };
                tokio::join!(cancelled, async { answered = Some(answer.await) });
            };
            if timeout(self.connection.deadlines.cancel, both).await.is_err() {
                self.task.abort();
            }
        }
        match answered {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => Err(self.explain(&error).await),
            None => Err(DatabaseError::timed_out(&self.connection)),
        }
    }

    /// Waits for an answer until the deadline, or until the server does not execute the statement any more.
    async fn patiently<T>(&self, mut answer: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let deadline = Instant::now() + self.statement_timeout;
        loop {
            let traffic = self.seen.bytes.load(Ordering::Relaxed);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if let Ok(answer) = timeout(self.connection.deadlines.silence.min(left), answer.as_mut()).await {
                return Some(answer);
            }
            if self.seen.bytes.load(Ordering::Relaxed) != traffic || Instant::now() >= deadline {
                continue;
            }
            tokio::select! {
                biased;
                answer = answer.as_mut() => return Some(answer),
                executes = self.executes() => if !executes { return None },
            }
        }
    }

    /// Asks over another connection whether the server executes a statement of this session. A server that waits for its client has
    /// executed it, or has received only a part of it.
    async fn executes(&self) -> bool {
        let other = match self.connection.connect_again(&self.peer).await {
            Ok(other) => other,
            // The server answers.
            Err(error) => return !matches!(error.kind, retail_connection::ErrorKind::Unreachable),
        };
        if self.behind_pooler() { self.executes_by_name(&other).await } else { self.executes_by_process(&other).await }
    }

    async fn executes_by_process(&self, other: &Self) -> bool {
        const EXECUTES: &str = "
            SELECT count(*) > 0 FROM pg_stat_activity
            WHERE pid = $1 AND state = 'active' AND coalesce(wait_event, '') NOT IN ('ClientRead', 'ClientWrite')";
        let process = self.seen.process_id().unwrap_or_default();
        let parameters: &Parameters<'_> = &[(&process, Type::INT4)];
        let answer = other.client.query_typed_one(EXECUTES, parameters);
        timeout(self.connection.deadlines.connect, answer).await.is_ok_and(|row| row.is_ok_and(|row| row.get(0)))
    }

    /// Behind a pooler, the process of the session is unknown. A pooler such as PgBouncer gives the name of the application to
    /// the session of the server that executes a transaction. If it does not, or if this question has to wait for a session of
    /// the pool, nothing is known, and the statement may be waiting or executing.
    async fn executes_by_name(&self, other: &Self) -> bool {
        const EXECUTES: &str = "
            SELECT current_setting('application_name') <> left($2, 63) OR count(*) > 0 FROM pg_stat_activity
            WHERE application_name = left($1, 63) AND pid <> pg_backend_pid() AND state = 'active'
                AND coalesce(wait_event, '') NOT IN ('ClientRead', 'ClientWrite')";
        let parameters: &Parameters<'_> = &[(&self.application, Type::TEXT), (&other.application, Type::TEXT)];
        let answer = other.client.query_typed_one(EXECUTES, parameters);
        let answered = timeout(self.connection.deadlines.connect, answer).await;
        answered.map_or(true, |row| row.map_or(true, |row| row.get(0)))
    }

    /// Waits for an answer without a deadline, and explains its error.
    pub(crate) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, DatabaseError> {
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.explain(&error).await),
        }
    }

    /// Explains an error. If the connection was lost, its task has the cause.
    async fn explain(&self, error: &tokio_postgres::Error) -> DatabaseError {
        if error.is_closed() {
            let mut ended = self.ended.clone();
            let cause = timeout(CAUSE_TIMEOUT, ended.wait_for(Option::is_some)).await;
            if let Ok(Ok(cause)) = cause
                && let Some(cause) = &*cause
            {
                return cause.clone();
            }
        }
        DatabaseError::explain(&self.connection, error)
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

//! Sessions for the questions that the trial asks Postgres. They are kept: a log-in costs more than a question.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::servers::session;

/// A question that takes longer has no answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Idle sessions. One question at a time uses a session, because a question that waits for a lock delays those behind it.
#[derive(Debug)]
pub(crate) struct Observer {
    /// Faults have runtimes of their own, which end before the round.
    runtime: Handle,
    schema: String,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    url: String,
    client: Client,
}

impl Observer {
    /// Asks about a schema. The connections live in `runtime`.
    pub(crate) const fn new(runtime: Handle, schema: String) -> Self {
        Self { runtime, schema, idle: Mutex::new(Vec::new()) }
    }

    /// The single value of a query as text; `None` if it is null, or if the server at this URL does not answer in time.
    pub(crate) async fn text(&self, url: &str, sql: &str) -> Option<String> {
        tokio::time::timeout(ANSWER, self.ask(url, sql)).await.ok()?
    }

    async fn ask(&self, url: &str, sql: &str) -> Option<String> {
        let client = match self.take(url) {
            Some(client) => client,
            None => self.connect(url).await?,
        };
        // After an error, the session ends with the client.
        let answer = client.simple_query(&format!("SELECT ({sql})::text")).await.ok()?;
        self.lock().push(Idle { url: url.to_owned(), client });
        let row = answer
            .iter()
            .find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })?;
        row.get(0).map(str::to_owned)
    }

    /// An idle session with this server. Those with other servers, which are not primaries any more, end.
    fn take(&self, url: &str) -> Option<Client> {
        let mut idle = self.lock();
        idle.retain(|session| session.url == url && !session.client.is_closed());
        idle.pop().map(|session| session.client)
    }

    async fn connect(&self, url: &str) -> Option<Client> {
        let (url, path) = (url.to_owned(), format!("SET search_path TO \"{}\"", self.schema));
        let connecting = self.runtime.spawn(async move {
            let client = session(&url).await?;
            client.batch_execute(&path).await?;
            anyhow::Ok(client)
        });
        connecting.await.ok()?.ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

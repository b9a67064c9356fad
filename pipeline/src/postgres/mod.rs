//! Postgres: how to reach it, what the schema is, what is asked of it, and what its errors mean.
//!
//! All SQL is in `pipeline/sql`, or, where a statement is a line, in the functions here.

mod error;
pub mod progress;
pub mod provision;
pub mod store;
mod time;

use std::time::Duration;

use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

pub use error::{DatabaseError, Trouble};

/// How long a server may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long without an answer from the network a connection counts as lost.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);

/// Where Postgres is, who we are there, and which schema is ours.
#[derive(Clone)]
pub struct DatabaseConnection {
    config: Config,
    /// The pipeline's schema.
    pub schema: String,
}

impl std::fmt::Debug for DatabaseConnection {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConnection").field("address", &self.address()).field("schema", &self.schema).finish()
    }
}

impl DatabaseConnection {
    /// A connection to `schema` by `config`.
    pub fn new(mut config: Config, schema: &str) -> Self {
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .keepalives_idle(NETWORK_TIMEOUT)
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        Self { config, schema: schema.to_owned() }
    }

    /// host:port/database, for messages.
    pub fn address(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            #[cfg(unix)]
            Host::Unix(path) => path.display().to_string(),
        });
        let ports = self.config.get_ports().iter().copied().chain(std::iter::repeat(5432));
        let addresses: Vec<String> = hosts.zip(ports).map(|(host, port)| format!("{host}:{port}")).collect();
        format!("{}/{}", addresses.join(","), self.database())
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The quoted name of the schema.
    fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// Opens a session in which our names mean our schema and nothing else. `application` is what pg_stat_activity shows.
    pub async fn connect(&self, application: &str) -> Result<Client, DatabaseError> {
        let mut config = self.config.clone();
        config.application_name(application);
        let (client, connection) = config.connect(NoTls).await.map_err(|error| DatabaseError::explain(self, &error))?;
        tokio::spawn(async move {
            // Whoever uses the client sees the same error, and says it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgres ended");
            }
        });
        // pg_temp last: a temporary table can then not take the place of one of ours.
        let session = format!("SET search_path TO {}, pg_temp; SET TIME ZONE 'UTC'", self.quoted_schema());
        client.batch_execute(&session).await.map_err(|error| DatabaseError::explain(self, &error))?;
        Ok(client)
    }
}

/// An identifier that may hold anything.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

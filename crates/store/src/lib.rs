//! Postgres: how to reach it, what the schema is, what is asked of it, and what its errors mean.
//!
//! All SQL is in `crates/store/sql`, or, where a statement is a line, in the functions here.

mod deltas;
mod error;
mod handshake;
mod money;
pub mod progress;
pub mod provision;
mod store;
mod time;
mod tls;

use std::time::Duration;

use retail_api::resource::TlsMode;
use retail_connection::{CertificateError, Certificates};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

pub use error::DatabaseError;
pub use store::{Claimed, Closed, Commit, DELTA_LOG_FROM, Idle, Outcome, RetailRow, RowKey, Store};
pub use tokio_postgres::Client;

/// How long a server may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After how long without an answer from the network a connection counts as lost.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);

/// Where Postgres is, who we are there, and which schema is ours.
#[derive(Clone)]
pub struct DatabaseConnection {
    config: Config,
    tls: Option<Tls>,
    /// The pipeline's schema.
    pub schema: String,
}

/// How a connection is encrypted.
#[derive(Clone)]
struct Tls {
    mode: TlsMode,
    certificates: Certificates,
    connector: MakeRustlsConnect,
}

impl Tls {
    fn new(mode: TlsMode, certificates: &Certificates) -> Result<Self, CertificateError> {
        Ok(Self { mode, certificates: certificates.clone(), connector: tls::connector(mode, certificates)? })
    }
}

impl PartialEq for Tls {
    /// By what the connector was made of.
    fn eq(&self, other: &Self) -> bool {
        (self.mode, &self.certificates) == (other.mode, &other.certificates)
    }
}

impl std::fmt::Debug for DatabaseConnection {
    /// Without password and keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConnection").field("address", &self.address()).field("schema", &self.schema).finish()
    }
}

impl DatabaseConnection {
    /// A connection to `schema` by `config`: encrypted if its sslmode is require, and plain if it is anything less.
    pub fn new(mut config: Config, schema: &str) -> Self {
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .keepalives_idle(NETWORK_TIMEOUT)
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let tls = (config.get_ssl_mode() == SslMode::Require).then(|| {
            Tls::new(TlsMode::Require, &Certificates::default()).expect("nothing is checked, and so nothing missing")
        });
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        Self { config, tls, schema: schema.to_owned() }
    }

    /// The same connection, encrypted, with these checks.
    pub fn with_tls(mut self, mode: TlsMode, certificates: &Certificates) -> Result<Self, CertificateError> {
        self.tls = Some(Tls::new(mode, certificates)?);
        self.config.ssl_mode(SslMode::Require);
        Ok(self)
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
        let client = match &self.tls {
            None => open(&config, NoTls).await,
            Some(tls) => open(&config, tls.connector.clone()).await,
        };
        let client = client.map_err(|error| DatabaseError::explain(self, &error))?;
        self.enter(&client).await?;
        Ok(client)
    }

    /// Makes our names mean our schema in a session, whatever they meant before.
    pub(crate) async fn enter(&self, client: &Client) -> Result<(), DatabaseError> {
        // pg_temp last: a temporary table can then not take the place of one of ours.
        let session = format!("SET search_path TO {}, pg_temp; SET TIME ZONE 'UTC'", self.quoted_schema());
        client.batch_execute(&session).await.map_err(|error| DatabaseError::explain(self, &error))
    }

    /// Whether a session of the other serves this one: the same database, the same user and password, encrypted in the same
    /// way. The schema may be another.
    pub fn has_session_of(&self, other: &Self) -> bool {
        self.config == other.config && self.tls == other.tls
    }
}

/// Connects, and leaves what goes over the wire to a task of its own.
async fn open<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // Whoever uses the client sees the same error, and says it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to postgres ended");
        }
    });
    Ok(client)
}

/// An identifier that may hold anything.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

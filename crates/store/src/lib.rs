//! Postgres: connections, the schema of a pipeline, all statements, and errors with their fixes.
//!
//! Long statements are files in `crates/store/sql`; short ones are in the functions that execute them.

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

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection counts as lost after this time without an answer of the peer.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);

/// Address of Postgres, credentials, TLS, and the schema of the pipeline.
#[derive(Clone)]
pub struct DatabaseConnection {
    config: Config,
    tls: Option<Tls>,
    /// The pipeline's schema.
    pub schema: String,
}

/// The TLS settings of a connection.
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
    /// Compares the settings: connectors cannot be compared.
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
    /// A connection to `schema` with `config`. It is encrypted only if `sslmode` is `require`.
    pub fn new(mut config: Config, schema: &str) -> Self {
        config
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(NETWORK_TIMEOUT)
            .keepalives_idle(NETWORK_TIMEOUT)
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let tls = (config.get_ssl_mode() == SslMode::Require).then(|| {
            Tls::new(TlsMode::Require, &Certificates::default()).expect("without certificates, nothing can be missing")
        });
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        Self { config, tls, schema: schema.to_owned() }
    }

    /// The connection with TLS, verified as `mode` says.
    pub fn with_tls(mut self, mode: TlsMode, certificates: &Certificates) -> Result<Self, CertificateError> {
        self.tls = Some(Tls::new(mode, certificates)?);
        self.config.ssl_mode(SslMode::Require);
        Ok(self)
    }

    /// `host:port/database`, for messages.
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

    /// Name of the database.
    pub fn database(&self) -> &str {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
    }

    /// Name of the user; empty if none is set.
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The quoted name of the schema.
    fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// Opens a session with only our schema in its search_path. `application` is its name in pg_stat_activity.
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

    /// Sets search_path and time zone of a session that another schema may have used.
    pub(crate) async fn enter(&self, client: &Client) -> Result<(), DatabaseError> {
        // pg_temp comes last, so that a temporary table cannot hide one of ours.
        let session = format!("SET search_path TO {}, pg_temp; SET TIME ZONE 'UTC'", self.quoted_schema());
        client.batch_execute(&session).await.map_err(|error| DatabaseError::explain(self, &error))
    }

    /// Whether a session of `other` can be used for this connection: same server, database, user, password and TLS. The
    /// schema may differ.
    pub fn has_session_of(&self, other: &Self) -> bool {
        self.config == other.config && self.tls == other.tls
    }
}

/// Connects, and spawns a task for the traffic of the connection.
async fn open<T>(config: &Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + Send,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as tokio_postgres::tls::TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // The user of the client receives the same error, and reports it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to postgres ended");
        }
    });
    Ok(client)
}

/// A quoted identifier; any text is valid.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

//! The settings of a connection: address, credentials, TLS and schema.

use std::time::Duration;

use retail_api::resource::TlsMode;
use retail_connection::{CertificateError, Certificates};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls;

/// Timeout of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection counts as lost after this time without an answer of the peer.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);

/// Address of Postgres, credentials, TLS, and the schema of the pipeline.
#[derive(Clone)]
pub struct DatabaseConnection {
    pub(crate) config: Config,
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
    pub(crate) fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// The connector for TLS; `None` for a connection without.
    pub(crate) fn connector(&self) -> Option<MakeRustlsConnect> {
        self.tls.as_ref().map(|tls| tls.connector.clone())
    }

    /// Whether a session of `other` can be used for this connection: same server, database, user, password and TLS. The
    /// schema may differ.
    pub fn has_session_of(&self, other: &Self) -> bool {
        self.config == other.config && self.tls == other.tls
    }
}

/// A quoted identifier; any text is valid.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

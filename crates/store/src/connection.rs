//! The settings of a connection: address, credentials, TLS, deadlines and schema.

use retail_api::resource::TlsMode;
use retail_connection::{CertificateError, Certificates};
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslMode as Negotiated, SslNegotiation};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::deadlines::Deadlines;
use crate::guard::Link;
use crate::log_in::LogIns;
use crate::tls;
use crate::url::{DEFAULT_PORT, DatabaseUrl, SslMode};

/// Default of the maximum size of a response: a processor reads the progress of its partitions and the rows that it prints.
const MAX_ANSWER: u64 = 64 << 20;

/// Address of Postgres, credentials, TLS, deadlines, and the schema of the pipeline.
#[derive(Clone)]
pub struct DatabaseConnection {
    pub(crate) url: DatabaseUrl,
    pub(crate) tls: Option<Tls>,
    pub(crate) deadlines: Deadlines,
    /// Maximum number of bytes of the response to one request.
    pub(crate) max_answer: u64,
    /// The pipeline's schema.
    pub schema: String,
}

/// The TLS settings of a connection.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Whether the connection continues without TLS if the server does not support it.
    pub(crate) is_optional: bool,
    pub(crate) mode: TlsMode,
    pub(crate) certificates: Certificates,
    pub(crate) connector: MakeRustlsConnect,
}

impl Tls {
    fn new(mode: TlsMode, certificates: &Certificates) -> Result<Self, CertificateError> {
        let connector = tls::connector(mode, certificates)?;
        Ok(Self { is_optional: false, mode, certificates: certificates.clone(), connector })
    }

    /// The TLS of a URL, with the authorities of the system.
    fn of_url(url: &DatabaseUrl) -> Option<Self> {
        let mode = match url.ssl_mode {
            None | Some(SslMode::Disable) => return None,
            Some(SslMode::Prefer | SslMode::Require) => TlsMode::Require,
            Some(SslMode::VerifyCa | SslMode::VerifyFull) => TlsMode::VerifyFull,
        };
        let certificates = Certificates::default();
        // On a system without authorities, every certificate is refused.
        let connector = tls::connector(mode, &certificates).unwrap_or_else(|_| tls::refusing_connector());
        Some(Self { is_optional: url.ssl_mode == Some(SslMode::Prefer), mode, certificates, connector })
    }

    /// The protection that this connection gives a password.
    pub(crate) fn link(&self) -> Link {
        if self.mode == TlsMode::VerifyFull || self.certificates.ca().is_some() {
            Link::Verified
        } else {
            Link::Unverified
        }
    }
}

impl PartialEq for Tls {
    /// Compares the settings: connectors cannot be compared.
    fn eq(&self, other: &Self) -> bool {
        (self.is_optional, self.mode, &self.certificates) == (other.is_optional, other.mode, &other.certificates)
    }
}

impl std::fmt::Debug for DatabaseConnection {
    /// Without password and keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseConnection").field("address", &self.address()).field("schema", &self.schema).finish()
    }
}

impl DatabaseConnection {
    /// A connection to `schema`, with the TLS that the URL requests and the certificate authorities of the system.
    pub fn new(url: DatabaseUrl, schema: &str) -> Self {
        let tls = Tls::of_url(&url);
        let deadlines = Deadlines::default();
        Self { url, tls, deadlines, max_answer: MAX_ANSWER, schema: schema.to_owned() }
    }

    /// The connection with TLS, verified as `mode` says.
    pub fn with_tls(mut self, mode: TlsMode, certificates: &Certificates) -> Result<Self, CertificateError> {
        self.tls = Some(Tls::new(mode, certificates)?);
        Ok(self)
    }

    /// The connection with other deadlines.
    #[must_use]
    pub const fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// The connection with another maximum size of a response, in bytes. Streamed rows count too: `u64::MAX` for unlimited
    /// results.
    #[must_use]
    pub const fn with_max_answer(mut self, bytes: u64) -> Self {
        self.max_answer = bytes;
        self
    }

    /// `host:port/database`, for messages.
    pub fn address(&self) -> String {
        let addresses: Vec<String> = self.servers().map(|server| format!("{}:{}", server.name, server.port)).collect();
        format!("{}/{}", addresses.join(","), self.database())
    }

    /// The servers to connect to, `host:port`, separated by commas.
    pub fn server_addresses(&self) -> String {
        let servers: Vec<String> = self.servers().map(|server| format!("{}:{}", server.address, server.port)).collect();
        servers.join(",")
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        self.url.database.as_deref().unwrap_or(self.user())
    }

    /// Name of the user; empty if none is set.
    pub fn user(&self) -> &str {
        self.url.user.as_deref().unwrap_or_default()
    }

    /// The quoted name of the schema.
    pub(crate) fn quoted_schema(&self) -> String {
        quoted(&self.schema)
    }

    /// Whether a session of `other` can be used for this connection: same server, database, user, password and TLS. The
    /// schema may differ.
    pub fn has_session_of(&self, other: &Self) -> bool {
        (&self.url, &self.tls, self.deadlines, self.max_answer)
            == (&other.url, &other.tls, other.deadlines, other.max_answer)
    }

    /// The servers in the order of the URL. Without a host, the one of this machine.
    pub(crate) fn servers(&self) -> impl ExactSizeIterator<Item = Server> {
        let DatabaseUrl { hosts, host_addresses, ports, .. } = &self.url;
        (0..hosts.len().max(host_addresses.len()).max(1)).map(move |number| {
            let address = host_addresses.get(number).map(ToString::to_string);
            let name = hosts.get(number).filter(|name| !name.is_empty()).cloned();
            let name = name.or_else(|| address.clone()).unwrap_or_else(|| "localhost".to_owned());
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            Server { address: address.unwrap_or_else(|| name.clone()), name, port }
        })
    }

    /// The allowed methods of log-in.
    pub(crate) fn log_ins(&self) -> LogIns {
        self.url.require_auth.unwrap_or(LogIns::ANY)
    }

    /// The name of the application in the URL, or else this one.
    pub(crate) fn application<'a>(&'a self, application: &'a str) -> &'a str {
        self.url.application_name.as_deref().unwrap_or(application)
    }

    /// The start-up and the log-in, for tokio-postgres. The connection exists already, with TLS if there is one.
    pub(crate) fn start_up(&self, application: &str) -> Config {
        let mut config = Config::new();
        config
            .ssl_mode(Negotiated::Require)
            .ssl_negotiation(SslNegotiation::Direct)
            .channel_binding(self.url.channel_binding.unwrap_or(ChannelBinding::Prefer))
            .application_name(self.application(application));
        if let Some(user) = &self.url.user {
            config.user(user);
        }
        if let Some(password) = &self.url.password {
            config.password(password);
        }
        if let Some(database) = &self.url.database {
            config.dbname(database);
        }
        if let Some(options) = &self.url.options {
            config.options(options);
        }
        config
    }
}

/// A server of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    /// The name in messages and in the certificate; the directory of a Unix socket.
    pub(crate) name: String,
    /// The host name or address to connect to.
    pub(crate) address: String,
    pub(crate) port: u16,
}

/// A quoted identifier; any text is valid.
pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

//! Builds connections from a pipeline and its credentials, which come from Secrets, or from files and environment variables.
//!
//! Credentials that are missing are an error: a connection is never less secure than declared.

use retail_api::Pipeline;
use retail_api::events::Registry;
use retail_api::resource::{DatabaseSecret, Kafka, KafkaTls, TlsMode};
use retail_connection::{CertificateError, Certificates, Pem};
use retail_kafka::{KafkaConnection, SaslLogin, Security};
use retail_registry::{AddressError, Login, RegistryConnection};
use retail_store::{DatabaseConnection, DatabaseUrl, SslMode, UrlError};

/// Keys of a client certificate and its private key in a Secret for Kafka: Strimzi's names, and the usual ones.
pub const KAFKA_CLIENT_KEYS: [(&str, &str); 2] = [("user.crt", "user.key"), ("tls.crt", "tls.key")];

/// Keys of a client certificate and its private key in a Secret for Postgres.
pub const DATABASE_CLIENT_KEYS: [(&str, &str); 1] = [("tls.crt", "tls.key")];

/// Key of the log-in for Java clients in a Secret of Strimzi.
pub const JAAS_KEY: &str = "sasl.jaas.config";

/// The keys of user name and password for Postgres, with their defaults.
pub fn login_keys(secret: &DatabaseSecret) -> (&str, &str) {
    (secret.username_key.as_deref().unwrap_or("username"), secret.password_key.as_deref().unwrap_or("password"))
}

/// Unusable or missing credentials. The messages contain no password and no URL.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The database URL cannot be parsed.
    #[error("the database URL must have the form postgres://user:password@host:port/database: {0}")]
    DatabaseUrl(UrlError),
    /// An environment variable of libpq has an invalid value.
    #[error("{0}: {1}")]
    Variable(&'static str, UrlError),
    /// The connection would be less secure than declared.
    #[error("{0} contradicts database.tls: remove one of them")]
    NoTls(&'static str),
    /// The authority is to be verified, and none is given.
    #[error("{0} requires a certificate authority: set database.tls.caSecret or PGSSLROOTCERT, or use verify-full")]
    NoAuthority(&'static str),
    /// A certificate is given, and the connection does not use TLS.
    #[error(
        "{0} is set, but the connection does not use TLS: set database.tls, or sslmode=verify-full in the database URL"
    )]
    Unused(String),
    /// TLS is not possible over a Unix socket.
    #[error("a Unix socket has no TLS: remove database.tls and sslmode, or use a host name")]
    UnixSocket,
    /// A certificate or key is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The pipeline declares a log-in to Kafka, and user name or password is missing.
    #[error("kafka.sasl requires a user name and a password: set RETAIL_KAFKA_USERNAME and RETAIL_KAFKA_PASSWORD")]
    NoKafkaUser,
    /// The pipeline declares a log-in to the schema registry, and user name or password is missing.
    #[error(
        "events.format.registry.secret requires a user name and a password: set RETAIL_REGISTRY_USERNAME and \
         RETAIL_REGISTRY_PASSWORD"
    )]
    NoRegistryUser,
    /// The URL of the schema registry is invalid.
    #[error("the URL of the schema registry {0}")]
    RegistryUrl(#[from] AddressError),
    /// The pipeline declares a client certificate, and it is missing.
    #[error("{0} requires a certificate and a private key: set {1} and {2}")]
    NoClientCertificate(&'static str, &'static str, &'static str),
}

/// Credentials for Kafka. Those that the pipeline does not declare are not used.
#[derive(Clone, Default)]
pub struct KafkaLogin {
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// A JAAS configuration, as Strimzi writes it for Java clients: contains the user name if `username` is `None`.
    pub jaas: Option<String>,
    /// The certificate authority of the brokers.
    pub ca: Option<Pem>,
    /// Our certificate.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
}

impl KafkaLogin {
    /// The connection to the pipeline's Kafka.
    pub fn connection(self, kafka: &Kafka) -> Result<KafkaConnection, LoginError> {
        let Self { username, password, jaas, ca, certificate, key } = self;
        let Kafka { bootstrap_servers, tls, sasl } = kafka;
        let tls = match tls {
            None => None,
            Some(KafkaTls { ca_secret: _, client_secret }) => {
                if client_secret.is_some() && certificate.is_none() && key.is_none() {
                    let missing = ["kafka.tls.clientSecret", "RETAIL_KAFKA_CERTIFICATE", "RETAIL_KAFKA_KEY"];
                    return Err(LoginError::NoClientCertificate(missing[0], missing[1], missing[2]));
                }
                Some(Certificates::new(ca, certificate, key)?)
            }
        };
        let sasl = match sasl {
            None => None,
            Some(sasl) => {
                let username = username.or_else(|| jaas.as_deref().and_then(jaas_username));
                let (Some(username), Some(password)) = (username, password) else {
                    return Err(LoginError::NoKafkaUser);
                };
                Some(SaslLogin { mechanism: sasl.mechanism, username, password })
            }
        };
        let security = Security { tls, sasl };
        Ok(KafkaConnection { bootstrap_servers: bootstrap_servers.clone(), security })
    }
}

/// The user name in `… required username="name" password="…";`.
fn jaas_username(jaas: &str) -> Option<String> {
    let (_, rest) = jaas.split_once("username=\"")?;
    let mut name = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(name),
            '\\' => name.push(letters.next()?),
            letter => name.push(letter),
        }
    }
}

/// Credentials for the schema registry. Those that the pipeline does not declare are not used.
#[derive(Clone, Default)]
pub struct RegistryLogin {
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// The certificate authority of the registry.
    pub ca: Option<Pem>,
}

impl RegistryLogin {
    /// The connection to the pipeline's registry.
    pub fn connection(self, registry: &Registry) -> Result<RegistryConnection, LoginError> {
        let Self { username, password, ca } = self;
        let Registry { url, secret, tls: _ } = registry;
        let login = match secret {
            None => None,
            Some(_) => {
                let (Some(username), Some(password)) = (username, password) else {
                    return Err(LoginError::NoRegistryUser);
                };
                Some(Login { username, password })
            }
        };
        Ok(RegistryConnection::new(url, login, Certificates::new(ca, None, None)?)?)
    }
}

/// Credentials for Postgres.
#[derive(Clone, Default)]
pub struct DatabaseLogin {
    /// A connection URI. Its parts take precedence over the pipeline, and over user and password.
    pub url: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// The certificate authority of the server.
    pub ca: Option<Pem>,
    /// Our certificate.
    pub certificate: Option<Pem>,
    /// Its private key.
    pub key: Option<Pem>,
    /// PGSSLMODE. The URL takes precedence over this and the following variables.
    pub ssl_mode: Option<String>,
    /// PGCHANNELBINDING.
    pub channel_binding: Option<String>,
    /// PGREQUIREAUTH.
    pub require_auth: Option<String>,
}

impl DatabaseLogin {
    /// The connection to the pipeline's database. The error does not repeat the URI.
    pub fn connection(self, pipeline: &Pipeline) -> Result<DatabaseConnection, LoginError> {
        self.connection_to(pipeline, str::to_owned)
    }

    /// As [`connection`](Self::connection), with another name for each host of the URI.
    pub fn connection_to(
        self,
        pipeline: &Pipeline,
        host: impl Fn(&str) -> String,
    ) -> Result<DatabaseConnection, LoginError> {
        let Self { url, user, password, ca, certificate, key, ssl_mode, channel_binding, require_auth } = self;
        let mut url: DatabaseUrl = match url {
            Some(url) => url.parse().map_err(LoginError::DatabaseUrl)?,
            None => DatabaseUrl::default(),
        };
        url.map_hosts(host);
        let database = &pipeline.database;
        url.set_default_host(&database.host, database.port as u16);
        url.database.get_or_insert_with(|| database.name.clone());
        url.user = url.user.or(user);
        url.password = url.password.or(password);
        let in_url = url.ssl_mode.is_some();
        url.ssl_mode = from_variable("PGSSLMODE", url.ssl_mode, ssl_mode, str::parse)?;
        url.require_auth = from_variable("PGREQUIREAUTH", url.require_auth, require_auth, str::parse)?;
        url.channel_binding =
            from_variable("PGCHANNELBINDING", url.channel_binding, channel_binding, retail_store::channel_binding)?;
        let (mode, is_local) = (url.ssl_mode, url.is_unix_socket());
        let tls = database.tls.as_ref();
        let setting = if in_url { "sslmode in the database URL" } else { "PGSSLMODE" };
        let verified = tls_mode(tls.map(|tls| tls.mode), mode, ca.is_some(), setting)?;
        let connection = DatabaseConnection::new(url, &pipeline.schema);
        let Some(verified) = verified else {
            let unused = [ca, certificate, key].into_iter().flatten().next();
            return match unused {
                Some(unused) if mode.is_none() => Err(LoginError::Unused(unused.origin)),
                _ => Ok(connection),
            };
        };
        if is_local {
            return Err(LoginError::UnixSocket);
        }
        let wants_certificate = tls.is_some_and(|tls| tls.client_secret.is_some());
        if wants_certificate && certificate.is_none() && key.is_none() {
            return Err(LoginError::NoClientCertificate("database.tls.clientSecret", "PGSSLCERT", "PGSSLKEY"));
        }
        Ok(connection.with_tls(verified, &Certificates::new(ca, certificate, key)?)?)
    }
}

/// The value of the URL, or else of the environment variable `name`.
fn from_variable<T>(
    name: &'static str,
    in_url: Option<T>,
    variable: Option<String>,
    parse: impl FnOnce(&str) -> Result<T, UrlError>,
) -> Result<Option<T>, LoginError> {
    let variable = variable.filter(|value| !value.is_empty());
    match (in_url, variable) {
        (Some(value), _) => Ok(Some(value)),
        (None, Some(value)) => parse(&value).map(Some).map_err(|error| LoginError::Variable(name, error)),
        (None, None) => Ok(None),
    }
}

/// The stricter one of the declared mode and `sslmode`. `None` leaves the connection as the URL says: without TLS, or with
/// optional TLS.
fn tls_mode(
    declared: Option<TlsMode>,
    ssl_mode: Option<SslMode>,
    has_authority: bool,
    setting: &'static str,
) -> Result<Option<TlsMode>, LoginError> {
    match (declared, ssl_mode) {
        (Some(_), Some(SslMode::Disable)) => Err(LoginError::NoTls(setting)),
        (None, None | Some(SslMode::Disable | SslMode::Prefer)) => Ok(None),
        (_, Some(SslMode::VerifyFull)) | (Some(TlsMode::VerifyFull), _) => Ok(Some(TlsMode::VerifyFull)),
        // Mode require verifies the authority if one is given.
        (_, Some(SslMode::VerifyCa)) if !has_authority => Err(LoginError::NoAuthority(setting)),
        (Some(TlsMode::Require), _) | (None, Some(SslMode::Require | SslMode::VerifyCa)) => Ok(Some(TlsMode::Require)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stricter_of_declared_and_requested_tls_is_used() {
        use SslMode::{Disable, Prefer, Require as Encrypt, VerifyCa, VerifyFull as Full};
        use TlsMode::{Require, VerifyFull};
        let mode = |declared, ssl_mode, has_authority| {
            tls_mode(declared, ssl_mode, has_authority, "PGSSLMODE").map_err(|error| error.to_string())
        };
        for has_authority in [false, true] {
            for (declared, ssl_mode, expected) in [
                (None, None, None),
                (None, Some(Disable), None),
                (None, Some(Prefer), None),
                (None, Some(Encrypt), Some(Require)),
                (None, Some(Full), Some(VerifyFull)),
                (Some(Require), None, Some(Require)),
                (Some(Require), Some(Prefer), Some(Require)),
                (Some(Require), Some(Encrypt), Some(Require)),
                (Some(Require), Some(Full), Some(VerifyFull)),
                (Some(VerifyFull), None, Some(VerifyFull)),
                (Some(VerifyFull), Some(Prefer), Some(VerifyFull)),
                (Some(VerifyFull), Some(Encrypt), Some(VerifyFull)),
                (Some(VerifyFull), Some(VerifyCa), Some(VerifyFull)),
            ] {
                assert_eq!(mode(declared, ssl_mode, has_authority), Ok(expected), "{declared:?} {ssl_mode:?}");
            }
        }
        for declared in [Require, VerifyFull] {
            let refused = mode(Some(declared), Some(Disable), true).unwrap_err();
            assert_eq!(refused, "PGSSLMODE contradicts database.tls: remove one of them");
        }
        for declared in [None, Some(Require)] {
            assert_eq!(mode(declared, Some(VerifyCa), true), Ok(Some(Require)));
            let refused = mode(declared, Some(VerifyCa), false).unwrap_err();
            assert!(refused.starts_with("PGSSLMODE requires a certificate authority"), "{refused}");
        }
    }

    #[test]
    fn jaas_configuration_contains_the_user_name() {
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule required";
        let read = |rest: &str| jaas_username(&format!("{module} {rest}"));
        assert_eq!(read("username=\"shop\" password=\"secret\";").as_deref(), Some("shop"));
        assert_eq!(read("username=\"a\\\"b\" password=\"secret\";").as_deref(), Some("a\"b"));
        assert_eq!(read("password=\"secret\";"), None);
        assert_eq!(read("username=\"cut"), None);
    }
}

//! Builds connections from a pipeline and its credentials, which come from Secrets, or from files and environment variables.
//!
//! Credentials that are missing are an error: a connection is never less secure than declared.

use retail_api::Pipeline;
use retail_api::resource::{DatabaseSecret, DatabaseTls, Kafka, KafkaTls};
use retail_connection::{CertificateError, Certificates, Pem};
use retail_kafka::{KafkaConnection, SaslLogin, Security};
use retail_store::DatabaseConnection;

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
    #[error(
        "the database URL must have the form postgres://user:password@host:port/database: {0}; the settings of TLS belong \
         in database.tls"
    )]
    DatabaseUrl(tokio_postgres::Error),
    /// A certificate or key is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The pipeline declares a log-in to Kafka, and user name or password is missing.
    #[error("kafka.sasl requires a user name and a password: set RETAIL_KAFKA_USERNAME and RETAIL_KAFKA_PASSWORD")]
    NoKafkaUser,
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

/// Credentials for Postgres. Certificates are not used if the pipeline does not declare TLS.
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
}

impl DatabaseLogin {
    /// The connection to the pipeline's database. The error does not repeat the URI.
    pub fn connection(self, pipeline: &Pipeline) -> Result<DatabaseConnection, LoginError> {
        let Self { url, user, password, ca, certificate, key } = self;
        let mut config: tokio_postgres::Config = match url {
            Some(url) => url.parse().map_err(LoginError::DatabaseUrl)?,
            None => tokio_postgres::Config::new(),
        };
        let database = &pipeline.database;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host(&database.host).port(database.port as u16);
        }
        if config.get_dbname().is_none() {
            config.dbname(&database.name);
        }
        if let (None, Some(user)) = (config.get_user(), user) {
            config.user(user);
        }
        if let (None, Some(password)) = (config.get_password(), password) {
            config.password(password);
        }
        let connection = DatabaseConnection::new(config, &pipeline.schema);
        let Some(DatabaseTls { mode, ca_secret: _, client_secret }) = &database.tls else { return Ok(connection) };
        if client_secret.is_some() && certificate.is_none() && key.is_none() {
            return Err(LoginError::NoClientCertificate("database.tls.clientSecret", "PGSSLCERT", "PGSSLKEY"));
        }
        Ok(connection.with_tls(*mode, &Certificates::new(ca, certificate, key)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

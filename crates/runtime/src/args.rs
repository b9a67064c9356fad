//! The flags of all programs for the pipeline, Kafka, Postgres and the schema registry.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use retail_api::{Pipeline, ReadError};
use retail_connection::Pem;
use retail_kafka::KafkaConnection;
use retail_registry::RegistryConnection;
use retail_store::DatabaseConnection;

use crate::login::{DatabaseLogin, KAFKA_CLIENT_KEYS, KafkaLogin, LoginError, RegistryLogin};

/// The flags for the pipeline, Kafka and Postgres.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// File with the RetailPipeline; - reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", env = "RETAIL_PIPELINE")]
    pub file: PathBuf,

    #[command(flatten)]
    kafka: KafkaArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Address of Kafka, and credentials for it.
#[derive(Args, Clone, Debug)]
pub struct KafkaArgs {
    /// Initial brokers, as host:port,host:port; overrides kafka.bootstrapServers
    #[arg(long, value_name = "HOST:PORT", env = "RETAIL_BOOTSTRAP_SERVERS")]
    bootstrap_servers: Option<String>,

    /// Certificate authority of the brokers (PEM) for kafka.tls [default: the authorities of the system]
    #[arg(long, value_name = "FILE", env = "RETAIL_KAFKA_CA")]
    kafka_ca: Option<PathBuf>,

    /// Client certificate (PEM) for kafka.tls, or a directory that contains user.crt or tls.crt
    #[arg(long, value_name = "FILE", env = "RETAIL_KAFKA_CERTIFICATE")]
    kafka_certificate: Option<PathBuf>,

    /// Private key (PEM) of the client certificate for kafka.tls, or a directory that contains user.key or tls.key
    #[arg(long, value_name = "FILE", env = "RETAIL_KAFKA_KEY")]
    kafka_key: Option<PathBuf>,

    #[arg(long, env = "RETAIL_KAFKA_USERNAME", hide = true)]
    kafka_username: Option<String>,

    #[arg(long, env = "RETAIL_KAFKA_PASSWORD", hide = true, hide_env_values = true)]
    kafka_password: Option<Hidden>,

    #[arg(long, env = "RETAIL_KAFKA_JAAS_CONFIG", hide = true, hide_env_values = true)]
    kafka_jaas_config: Option<Hidden>,
}

/// Address of Postgres, and credentials for it. Environment variables have the names of libpq where libpq has one.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// URL of the database, as postgres://user:password@host:port/database; overrides database.host, port and name
    #[arg(long, value_name = "URL", env = "RETAIL_DATABASE_URL", hide_env_values = true)]
    database_url: Option<Hidden>,

    #[arg(long, env = "PGUSER", hide = true)]
    pguser: Option<String>,

    #[arg(long, env = "PGPASSWORD", hide = true, hide_env_values = true)]
    pgpassword: Option<Hidden>,

    #[arg(long, env = "PGSSLMODE", hide = true)]
    pgsslmode: Option<String>,

    #[arg(long, env = "PGCHANNELBINDING", hide = true)]
    pgchannelbinding: Option<String>,

    #[arg(long, env = "PGREQUIREAUTH", hide = true)]
    pgrequireauth: Option<String>,

    #[arg(long, env = "PGSSLCRL", hide = true)]
    pgsslcrl: Option<String>,

    #[arg(long, env = "PGSSLCRLDIR", hide = true)]
    pgsslcrldir: Option<String>,

    #[arg(long, env = "PGREQUIREPEER", hide = true)]
    pgrequirepeer: Option<String>,

    /// Certificate authority of the server (PEM) for TLS [default: the authorities of the system]
    #[arg(long, value_name = "FILE", env = "PGSSLROOTCERT")]
    database_ca: Option<PathBuf>,

    /// Client certificate (PEM) for TLS with Postgres
    #[arg(long, value_name = "FILE", env = "PGSSLCERT")]
    database_certificate: Option<PathBuf>,

    /// Private key (PEM) of the client certificate for TLS with Postgres
    #[arg(long, value_name = "FILE", env = "PGSSLKEY")]
    database_key: Option<PathBuf>,
}

/// Address of the schema registry, and credentials for it.
#[derive(Args, Clone, Debug)]
pub struct RegistryArgs {
    /// URLs of the schema registry, separated by commas; overrides events.format.registry.url
    #[arg(long, value_name = "URL", env = "RETAIL_REGISTRY_URL")]
    registry_url: Option<String>,

    /// Certificate authority of the schema registry (PEM) for TLS [default: the authorities of the system]
    #[arg(long, value_name = "FILE", env = "RETAIL_REGISTRY_CA")]
    registry_ca: Option<PathBuf>,

    #[arg(long, env = "RETAIL_REGISTRY_USERNAME", hide = true)]
    registry_username: Option<String>,

    #[arg(long, env = "RETAIL_REGISTRY_PASSWORD", hide = true, hide_env_values = true)]
    registry_password: Option<Hidden>,
}

/// A text that must not be printed.
#[derive(Clone)]
struct Hidden(String);

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// The pipeline, and the connections to its Kafka, its Postgres and its schema registry.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its Kafka.
    pub kafka: KafkaConnection,
    /// Its Postgres.
    pub database: DatabaseConnection,
    /// Its schema registry, for formats with schemas.
    pub registry: Option<RegistryConnection>,
}

/// Invalid flags or an invalid pipeline. Programs exit with code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The pipeline cannot be read or is invalid.
    #[error(transparent)]
    Pipeline(#[from] ReadError),
    /// Credentials that the pipeline declares are missing or unusable.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// A variable of libpq that makes connections more secure, and is not supported.
    #[error("{0} is set, but not supported: unset it")]
    Unsupported(&'static str),
    /// A certificate or key cannot be read.
    #[error("cannot read {0}: {1}")]
    File(String, #[source] std::io::Error),
}

impl PipelineArgs {
    /// Reads and checks the pipeline, and applies the flags to its connections.
    pub fn load(self) -> Result<Settings, SettingsError> {
        let Self { file, kafka, database, registry } = self;
        let pipeline = Pipeline::read(&file)?;
        let kafka = kafka.connection(&pipeline)?;
        let database = database.connection(&pipeline)?;
        let registry = registry.connection(&pipeline)?;
        Ok(Settings { pipeline, kafka, database, registry })
    }

    /// As [`load`](Self::load), for programs that do not use Postgres.
    pub fn load_topic(self) -> Result<(Pipeline, KafkaConnection, Option<RegistryConnection>), SettingsError> {
        let Self { file, kafka, database: _, registry } = self;
        let pipeline = Pipeline::read(&file)?;
        let kafka = kafka.connection(&pipeline)?;
        let registry = registry.connection(&pipeline)?;
        Ok((pipeline, kafka, registry))
    }
}

impl KafkaArgs {
    /// The connection of a pipeline to its Kafka. Certificates are read only if the pipeline declares TLS.
    pub fn connection(self, pipeline: &Pipeline) -> Result<KafkaConnection, SettingsError> {
        let mut login = KafkaLogin {
            username: self.kafka_username,
            password: self.kafka_password.map(|Hidden(text)| text),
            jaas: self.kafka_jaas_config.map(|Hidden(text)| text),
            ..KafkaLogin::default()
        };
        if let Some(tls) = &pipeline.kafka.tls {
            login.ca = read(self.kafka_ca.as_deref(), "RETAIL_KAFKA_CA")?;
            let [certificates, keys] =
                [KAFKA_CLIENT_KEYS.map(|(name, _)| name), KAFKA_CLIENT_KEYS.map(|(_, name)| name)];
            let certificate = self.kafka_certificate.map(|place| in_directory(place, &certificates));
            login.certificate = read(certificate.as_deref(), "RETAIL_KAFKA_CERTIFICATE")?;
            let key = self.kafka_key.map(|place| in_directory(place, &keys));
            login.key = read(key.as_deref(), "RETAIL_KAFKA_KEY")?;
            if tls.ca_secret.is_some() && login.ca.is_none() {
                system_roots("kafka.tls.caSecret", "RETAIL_KAFKA_CA");
            }
        }
        let mut kafka = pipeline.kafka.clone();
        kafka.bootstrap_servers = self.bootstrap_servers.unwrap_or(kafka.bootstrap_servers);
        let connection = login.connection(&kafka)?;
        if connection.security.sends_clear_password() {
            tracing::warn!(
                "the log-in to Kafka at {} sends the password without TLS (kafka.sasl.mechanism: PLAIN): set kafka.tls, or use \
                 SCRAM-SHA-512",
                connection.bootstrap_servers
            );
        }
        Ok(connection)
    }
}

impl DatabaseArgs {
    /// The connection of a pipeline to its Postgres. As with libpq, the default user name is that of the operating system.
    pub fn connection(self, pipeline: &Pipeline) -> Result<DatabaseConnection, SettingsError> {
        let unsupported =
            [("PGSSLCRL", self.pgsslcrl), ("PGSSLCRLDIR", self.pgsslcrldir), ("PGREQUIREPEER", self.pgrequirepeer)];
        if let Some((name, _)) =
            unsupported.iter().find(|(_, value)| value.as_ref().is_some_and(|value| !value.is_empty()))
        {
            return Err(SettingsError::Unsupported(name));
        }
        // As with libpq, this value selects the authorities of the system.
        let ca = self.database_ca.filter(|file| file.as_os_str() != "system");
        let login = DatabaseLogin {
            url: self.database_url.map(|Hidden(text)| text),
            user: self.pguser,
            password: self.pgpassword.map(|Hidden(text)| text),
            ca: read(ca.as_deref(), "PGSSLROOTCERT")?,
            certificate: read(self.database_certificate.as_deref(), "PGSSLCERT")?,
            key: read(self.database_key.as_deref(), "PGSSLKEY")?,
            ssl_mode: self.pgsslmode,
            channel_binding: self.pgchannelbinding,
            require_auth: self.pgrequireauth,
        };
        let declares_ca = pipeline.database.tls.as_ref().is_some_and(|tls| tls.ca_secret.is_some());
        if declares_ca && login.ca.is_none() {
            system_roots("database.tls.caSecret", "PGSSLROOTCERT");
        }
        Ok(login.connection(pipeline)?)
    }
}

impl RegistryArgs {
    /// The connection of a pipeline to its schema registry, if its format has one.
    pub fn connection(self, pipeline: &Pipeline) -> Result<Option<RegistryConnection>, SettingsError> {
        let Some(registry) = pipeline.registry() else { return Ok(None) };
        let login = RegistryLogin {
            username: self.registry_username,
            password: self.registry_password.map(|Hidden(text)| text),
            ca: read(self.registry_ca.as_deref(), "RETAIL_REGISTRY_CA")?,
        };
        let declares_ca = registry.tls.as_ref().is_some_and(|tls| tls.ca_secret.is_some());
        if declares_ca && login.ca.is_none() {
            system_roots("events.format.registry.tls.caSecret", "RETAIL_REGISTRY_CA");
        }
        let mut registry = registry.clone();
        registry.url = self.registry_url.unwrap_or(registry.url);
        let connection = login.connection(&registry)?;
        if connection.sends_clear_password() {
            tracing::warn!(
                "the log-in to the schema registry at {connection} sends the password without TLS: use a URL that begins with https://"
            );
        }
        Ok(Some(connection))
    }
}

/// A file itself, or the first existing one of `names` in a directory: a mounted Secret is a directory.
fn in_directory(place: PathBuf, names: &[&str]) -> PathBuf {
    let files = names.iter().map(|name| place.join(name));
    let found = files.into_iter().find(|file| file.exists());
    found.unwrap_or(place)
}

fn read(file: Option<&Path>, variable: &str) -> Result<Option<Pem>, SettingsError> {
    let Some(file) = file else { return Ok(None) };
    let origin = format!("{variable} ({})", file.display());
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Pem { text, origin })),
        Err(error) => Err(SettingsError::File(origin, error)),
    }
}

fn system_roots(field: &str, variable: &str) {
    tracing::info!(
        "{field} is ignored outside a cluster and {variable} is not set: trusting the certificate authorities of this system"
    );
}

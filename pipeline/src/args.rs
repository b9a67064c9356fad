//! The flags that say which pipeline, which Kafka and which Postgres: the same for every program.

use std::path::PathBuf;

use clap::Args;

use crate::kafka::KafkaConnection;
use crate::pipeline::{Pipeline, ReadError};
use crate::postgres::DatabaseConnection;

/// What was typed.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// The pipeline.yaml; - reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", env = "RETAIL_PIPELINE")]
    pub file: PathBuf,

    /// Brokers to ask first, as host:port,host:port; instead of kafka.bootstrapServers
    #[arg(long, value_name = "HOST:PORT", env = "RETAIL_BOOTSTRAP_SERVERS")]
    pub bootstrap_servers: Option<String>,

    /// postgres://user:password@host:port/database; instead of host, port and name in the file
    #[arg(long, value_name = "URL", env = "RETAIL_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,

    #[arg(long, env = "PGUSER", hide = true)]
    pguser: Option<String>,

    #[arg(long, env = "PGPASSWORD", hide = true, hide_env_values = true)]
    pgpassword: Option<String>,
}

/// What it means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its Kafka.
    pub kafka: KafkaConnection,
    /// Its Postgres.
    pub database: DatabaseConnection,
}

/// Why what was typed means nothing. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No pipeline.
    #[error(transparent)]
    Pipeline(#[from] ReadError),
    /// The database URL is none. It is not repeated: it may hold a password.
    #[error("the database URL is not of the form postgres://user:password@host:port/database: {0}")]
    DatabaseUrl(tokio_postgres::Error),
    /// The pipeline asks for something that this version cannot do.
    #[error("this version has no {0}")]
    Unsupported(&'static str),
}

impl PipelineArgs {
    /// Reads and checks the pipeline, and puts what was typed in its place.
    pub fn load(self) -> Result<Settings, SettingsError> {
        let Self { file, bootstrap_servers, database_url, pguser, pgpassword } = self;
        let pipeline = Pipeline::read(&file)?;
        if let Some(what) = unsupported(&pipeline) {
            return Err(SettingsError::Unsupported(what));
        }
        let kafka = KafkaConnection {
            bootstrap_servers: bootstrap_servers.unwrap_or_else(|| pipeline.kafka.bootstrap_servers.clone()),
        };
        // As with libpq, the system's user name is the last resort.
        let login = Login { url: database_url, user: pguser, password: pgpassword };
        let database = login.connection(&pipeline).map_err(SettingsError::DatabaseUrl)?;
        Ok(Settings { pipeline, kafka, database })
    }
}

/// What the pipeline asks for and this version cannot do. Better no connection than one that is less safe than declared.
pub fn unsupported(pipeline: &Pipeline) -> Option<&'static str> {
    if pipeline.kafka.tls.is_some() || pipeline.kafka.sasl.is_some() {
        Some("kafka.tls or kafka.sasl")
    } else {
        pipeline.database.tls.is_some().then_some("database.tls")
    }
}

/// Who we are in Postgres.
#[derive(Clone, Default)]
pub struct Login {
    /// A connection URI. What it says wins over the pipeline, and over the other two.
    pub url: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
}

impl Login {
    /// The connection to the pipeline's database. The error does not repeat the URI.
    pub fn connection(self, pipeline: &Pipeline) -> Result<DatabaseConnection, tokio_postgres::Error> {
        let Self { url, user, password } = self;
        let mut config: tokio_postgres::Config = match url {
            Some(url) => url.parse()?,
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
        Ok(DatabaseConnection::new(config, &pipeline.schema))
    }
}

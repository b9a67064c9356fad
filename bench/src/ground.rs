//! Where everything happens: servers, programs, directories.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use retail_api::Pipeline;
use retail_engine::Rules;
use retail_kafka::{KafkaConnection, topic};
use retail_runtime::args::Settings;
use retail_store::{DatabaseConnection, provision};
use tokio_postgres::{Client, NoTls};

use crate::machine;
use crate::measure::Measured;

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 8;

/// Where everything happens.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// The brokers.
    pub(crate) kafka: KafkaConnection,
    /// The database, as its owner.
    pub(crate) database_url: String,
    /// The checkout.
    pub(crate) root: PathBuf,
    /// For logs, scratch files and results.
    pub(crate) directory: PathBuf,
    /// The programs of this build.
    pub(crate) programs: PathBuf,
}

/// A pipeline of a measurement's own.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) settings: Settings,
    /// Its pipeline.yaml.
    pub(crate) file: PathBuf,
    ground: Ground,
}

/// What a case's pipeline.yaml says beside its names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) trigger: &'a str,
    pub(crate) delay: &'a str,
    /// Event time runs by so many purchases in a second, when they are sent as fast as they can.
    pub(crate) events_per_second: u64,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { trigger: "5s", delay: "1h", events_per_second: 100 }
    }
}

/// A word that nothing else has, on these servers.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{counter}", (machine::now() * 1000.0) as u64 % 1_000_000_000)
}

impl Ground {
    /// A topic of that name and the schema `schema`, neither made yet.
    pub(crate) fn case(&self, topic: &str, schema: &str, shape: Shape<'_>) -> Result<Case> {
        let Shape { trigger, delay, events_per_second } = shape;
        let servers = &self.kafka.bootstrap_servers;
        let schema = schema.replace('-', "_");
        let yaml = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: bench}}\nspec:\n  \
             kafka: {{bootstrapServers: \"{servers}\"}}\n  \
             topic: {{name: {topic}, partitions: {PARTITIONS}, config: {{retention.ms: \"-1\"}}}}\n  \
             database: {{host: 127.0.0.1, name: retail, schema: {schema}}}\n  \
             producer: {{eventsPerSecond: {events_per_second}}}\n  \
             watermark: {{delay: {delay}}}\n  window: 5m\n  trigger: {trigger}\n  printRows: false\n"
        );
        let file = self.directory.join("scratch").join(&schema).with_extension("yaml");
        std::fs::write(&file, &yaml)?;
        let pipeline = Pipeline::parse(&yaml).context(yaml)?;
        let database = DatabaseConnection::new(self.database_url.parse()?, &pipeline.schema);
        let settings = Settings { pipeline, kafka: self.kafka.clone(), database };
        Ok(Case { settings, file, ground: self.clone() })
    }

    /// A session in which the tables of `schema` have their plain names.
    pub(crate) async fn session(&self, schema: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO \"{schema}\"; SET TIME ZONE 'UTC'")).await?;
        Ok(client)
    }

    /// The server's process, if it runs on this machine and can be seen.
    pub(crate) async fn postgres(&self) -> Result<Option<i32>> {
        let client = self.session("public").await?;
        let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let name = std::fs::read_to_string(format!("/proc/{backend}/comm")).unwrap_or_default();
        Ok(machine::stat(backend).filter(|_| name.starts_with("postgres")).map(|stat| stat.parent))
    }

    /// Drops a schema and everything in it.
    pub(crate) async fn drop_schema(&self, schema: &str) -> Result<()> {
        let client = self.session("public").await?;
        Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE")).await?)
    }

    /// Runs a command to its end and says what it took. Its output and errors go to files of that name.
    pub(crate) async fn measure(&self, command: &Command, name: &str, core: Option<usize>) -> Result<(Measured, Said)> {
        let said = Said { output: self.log(name, "out"), errors: self.log(name, "err") };
        let mut measure = Command::new(std::env::current_exe()?);
        measure.arg("measure").arg("--output").arg(&said.output).arg("--errors").arg(&said.errors);
        if let Some(core) = core {
            measure.arg("--core").arg(core.to_string());
        }
        measure.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                measure.env(name, value);
            }
        }
        measure.stdin(Stdio::null()).stderr(Stdio::inherit());
        let done = tokio::task::spawn_blocking(move || measure.output()).await.expect("waiting does not panic")?;
        ensure!(done.status.success(), "measuring {command:?} failed");
        Ok((serde_json::from_slice(&done.stdout)?, said))
    }

    /// A file for what a process says.
    pub(crate) fn log(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.join("logs").join(name).with_extension(kind)
    }

    /// A program of this build.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// Where a command's words are.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
}

impl Said {
    /// The last lines of what it complained about.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

impl Case {
    pub(crate) fn rules(&self) -> Rules {
        self.settings.pipeline.rules
    }

    pub(crate) fn topic(&self) -> &str {
        &self.settings.pipeline.topic.name
    }

    pub(crate) fn schema(&self) -> &str {
        &self.settings.pipeline.schema
    }

    /// Makes the topic.
    pub(crate) async fn apply_topic(&self) -> Result<()> {
        topic::ensure(&self.settings.kafka, &self.settings.pipeline.topic).await?;
        Ok(())
    }

    /// Makes the schema.
    pub(crate) async fn apply_schema(&self) -> Result<()> {
        provision::apply(&self.settings.database, &self.settings.pipeline).await?;
        Ok(())
    }

    /// A command that runs a program on this case.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("RETAIL_PIPELINE", &self.file)
            .env("RETAIL_BOOTSTRAP_SERVERS", &self.settings.kafka.bootstrap_servers)
            .env("RETAIL_DATABASE_URL", &self.ground.database_url);
        command
    }

    /// A session in the case's schema.
    pub(crate) async fn session(&self) -> Result<Client> {
        self.ground.session(self.schema()).await
    }

    /// Sends purchases as fast as it goes, all of the producer on one core, and says how long it took.
    pub(crate) async fn load(&self, events: u64) -> Result<Loaded> {
        let mut command = self.command(&self.ground.program("retail-producer"));
        command.args(["--rate", "max", "--events", &events.to_string()]);
        let (measured, said) = self.ground.measure(&command, &unique("producer"), Some(0)).await?;
        ensure!(measured.exit_code == Some(0), "retail-producer failed: {}", said.last_words());
        let summary: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&said.output)?)?;
        let field = |name: &str| summary[name].as_f64().with_context(|| format!("retail-producer says no {name}"));
        Ok(Loaded { events, bytes: field("bytes")?, seconds: field("seconds")?, cpu: measured.cpu })
    }
}

/// What sending took.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Loaded {
    pub(crate) events: u64,
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// The URL without its password, as peers are promised it: the servers of dev/bench want none.
pub(crate) fn without_password(url: &str) -> Result<String> {
    let config: tokio_postgres::Config = url.parse()?;
    let (Some(tokio_postgres::config::Host::Tcp(host)), Some(port)) =
        (config.get_hosts().first(), config.get_ports().first())
    else {
        bail!("the database's URL names no host and port");
    };
    let user = config.get_user().unwrap_or("retail");
    Ok(format!("postgres://{user}@{host}:{port}/{}", config.get_dbname().unwrap_or(user)))
}

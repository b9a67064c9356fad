//! The setup of a measurement: servers, programs, directories, and a topic and schema for each run.

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

/// Servers, programs and directories of all measurements.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The connection to Kafka.
    pub(crate) kafka: KafkaConnection,
    /// The URL of the database, with the log-in of its owner.
    pub(crate) database_url: String,
    /// The root of the checkout.
    pub(crate) root: PathBuf,
    /// The directory of logs, scratch files and results.
    pub(crate) directory: PathBuf,
    /// The directory of the programs of this build.
    pub(crate) programs: PathBuf,
}

/// A pipeline with its own schema, for one run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) settings: Settings,
    /// Its pipeline.yaml.
    pub(crate) file: PathBuf,
    setup: Setup,
}

/// The parts of a pipeline.yaml that differ between measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub(crate) trigger: &'a str,
    pub(crate) window: &'a str,
    pub(crate) delay: &'a str,
    /// Purchases per second of event time, for a producer that sends at full speed.
    pub(crate) events_per_second: u64,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { trigger: "5s", window: "5m", delay: "1h", events_per_second: 100 }
    }
}

/// Returns a name that is unique on these servers.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{counter}", (machine::now() * 1000.0) as u64 % 1_000_000_000)
}

impl Setup {
    /// Writes the pipeline.yaml for a topic and a schema, without creating them.
    pub(crate) fn case(&self, topic: &str, schema: &str, shape: Shape<'_>) -> Result<Case> {
        let Shape { trigger, window, delay, events_per_second } = shape;
        let servers = &self.kafka.bootstrap_servers;
        let schema = schema.replace('-', "_");
        let yaml = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: bench}}\nspec:\n  \
             kafka: {{bootstrapServers: \"{servers}\"}}\n  \
             topic: {{name: {topic}, partitions: {PARTITIONS}, config: {{retention.ms: \"-1\"}}}}\n  \
             database: {{host: 127.0.0.1, name: retail, schema: {schema}}}\n  \
             producer: {{eventsPerSecond: {events_per_second}}}\n  \
             watermark: {{delay: {delay}}}\n  window: {window}\n  trigger: {trigger}\n  printRows: false\n"
        );
        let file = self.directory.join("scratch").join(&schema).with_extension("yaml");
        std::fs::write(&file, &yaml)?;
        let pipeline = Pipeline::parse(&yaml).context(yaml)?;
        let database = DatabaseConnection::new(self.database_url.parse()?, &pipeline.schema);
        let settings = Settings { pipeline, kafka: self.kafka.clone(), database, registry: None };
        Ok(Case { settings, file, setup: self.clone() })
    }

    /// Opens a session whose search path is `schema`.
    pub(crate) async fn session(&self, schema: &str) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO \"{schema}\"; SET TIME ZONE 'UTC'")).await?;
        Ok(client)
    }

    /// Returns the process id of the Postgres server, or `None` if it is not visible on this machine.
    pub(crate) async fn postgres(&self) -> Result<Option<i32>> {
        let client = self.session("public").await?;
        let backend: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let name = std::fs::read_to_string(format!("/proc/{backend}/comm")).unwrap_or_default();
        Ok(machine::stat(backend).filter(|_| name.starts_with("postgres")).map(|stat| stat.parent))
    }

    /// Drops a schema with all its tables.
    pub(crate) async fn drop_schema(&self, schema: &str) -> Result<()> {
        let client = self.session("public").await?;
        Ok(client.batch_execute(&format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE")).await?)
    }

    /// Runs a command to its end, and returns its CPU, memory and duration. Writes its output to log files of that name.
    pub(crate) async fn measure(
        &self,
        command: &Command,
        name: &str,
        core: Option<usize>,
    ) -> Result<(Measured, OutputFiles)> {
        let said = OutputFiles { output: self.log(name, "out"), errors: self.log(name, "err") };
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
        ensure!(done.status.success(), "`retail-bench measure` failed for {command:?}");
        Ok((serde_json::from_slice(&done.stdout)?, said))
    }

    /// Returns the path of a log file.
    pub(crate) fn log(&self, name: &str, kind: &str) -> PathBuf {
        self.directory.join("logs").join(name).with_extension(kind)
    }

    /// Returns the path of a program of this build.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }
}

/// The files with the output of a command.
#[derive(Clone, Debug)]
pub(crate) struct OutputFiles {
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
}

impl OutputFiles {
    /// Returns the last three lines of the standard error, for messages.
    pub(crate) fn last_lines(&self) -> String {
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

    /// Creates the topic.
    pub(crate) async fn apply_topic(&self) -> Result<()> {
        topic::ensure(&self.settings.kafka, &self.settings.pipeline.topic).await?;
        Ok(())
    }

    /// Creates the schema.
    pub(crate) async fn apply_schema(&self) -> Result<()> {
        provision::apply(&self.settings.database, &self.settings.pipeline).await?;
        Ok(())
    }

    /// Returns a command that runs a program with the pipeline of this case.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("RETAIL_PIPELINE", &self.file)
            .env("RETAIL_BOOTSTRAP_SERVERS", &self.settings.kafka.bootstrap_servers)
            .env("RETAIL_DATABASE_URL", &self.setup.database_url);
        command
    }

    /// Opens a session in the schema of this case.
    pub(crate) async fn session(&self) -> Result<Client> {
        self.setup.session(self.schema()).await
    }

    /// Sends purchases at full speed, with the producer pinned to one core, and returns size and duration.
    pub(crate) async fn load(&self, events: u64) -> Result<Loaded> {
        let mut command = self.command(&self.setup.program("retail-producer"));
        command.args(["--rate", "max", "--events", &events.to_string()]);
        let (measured, said) = self.setup.measure(&command, &unique("producer"), Some(0)).await?;
        ensure!(measured.exit_code == Some(0), "retail-producer failed: {}", said.last_lines());
        let summary: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&said.output)?)?;
        let field = |name: &str| {
            summary[name].as_f64().with_context(|| format!("the summary of retail-producer has no field {name}"))
        };
        Ok(Loaded { events, bytes: field("bytes")?, seconds: field("seconds")?, cpu: measured.cpu })
    }
}

/// Size, duration and CPU time of sending a topic.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Loaded {
    pub(crate) events: u64,
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
}

/// Returns the URL without its password. The servers of dev/bench accept connections without one, and some peers cannot parse it.
pub(crate) fn without_password(url: &str) -> Result<String> {
    let config: tokio_postgres::Config = url.parse()?;
    let (Some(tokio_postgres::config::Host::Tcp(host)), Some(port)) =
        (config.get_hosts().first(), config.get_ports().first())
    else {
        bail!("the database URL has no host and port");
    };
    let user = config.get_user().unwrap_or("retail");
    Ok(format!("postgres://{user}@{host}:{port}/{}", config.get_dbname().unwrap_or(user)))
}

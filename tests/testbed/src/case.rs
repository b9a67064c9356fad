//! A pipeline for one test: topic, schema, and a pipeline.yaml.

use std::path::{Path, PathBuf};
use std::process::Command;

use retail_api::Pipeline;
use retail_kafka::{KafkaConnection, topic};
use retail_registry::RegistryConnection;
use retail_runtime::args::Settings;
use retail_store::{DatabaseConnection, provision};
use retail_verify::{Options, Report, VerifyError, verify};
use tokio_postgres::{Client, NoTls, Row};

use crate::process::unique;
use crate::records::Topic;
use crate::registry::Registry;
use crate::servers::{Kafka, Postgres, directory};

/// A pipeline for one test.
#[derive(Clone, Debug)]
pub struct Case {
    /// The parsed settings.
    pub settings: Settings,
    /// Path of the pipeline.yaml.
    pub file: PathBuf,
    /// The topic.
    pub topic: Topic,
    database_url: String,
}

/// Builds the pipeline.yaml of a case.
#[derive(Clone, Debug)]
pub struct CaseBuilder {
    partitions: i32,
    topic_config: String,
    timestamp_type: Option<&'static str>,
    replication_factor: i32,
    start_position: &'static str,
    spec: Vec<String>,
    kafka: String,
    database_url: String,
}

impl Case {
    /// Builds a case on the shared servers: two partitions, windows of five minutes, a delay of one hour, a trigger of 100 ms.
    pub fn shared() -> CaseBuilder {
        Self::on(&Kafka::shared().address(), &Postgres::shared().url())
    }

    /// Builds a case on other servers, with the same defaults.
    pub fn on(kafka: &str, database_url: &str) -> CaseBuilder {
        CaseBuilder {
            partitions: 2,
            topic_config: "retention.ms: \"-1\"".to_owned(),
            timestamp_type: Some("CreateTime"),
            replication_factor: 1,
            start_position: "Earliest",
            spec: Vec::new(),
            kafka: kafka.to_owned(),
            database_url: database_url.to_owned(),
        }
    }

    /// Returns a case for a file of `examples/` on the shared servers, with another name and another topic.
    ///
    /// # Panics
    ///
    /// If the file cannot be read, or names neither a pipeline nor a topic in the usual form.
    pub fn example(file: &Path) -> Self {
        Self::example_of(&std::fs::read_to_string(file).unwrap())
    }

    /// A pipeline of an example whose schemas are in a registry.
    pub fn registered_example(file: &Path, registry: &Registry) -> Self {
        let yaml = std::fs::read_to_string(file).unwrap();
        let with_url = yaml.replace("http://registry:8081", &registry.url());
        assert_ne!(with_url, yaml, "{} names another registry", file.display());
        Self::example_of(&with_url)
    }

    fn example_of(yaml: &str) -> Self {
        let before = Pipeline::parse(yaml).unwrap_or_else(|problems| panic!("{problems}"));
        let name = unique("example");
        let renamed = yaml
            .replace(&format!("metadata:\n  name: {}\n", before.name), &format!("metadata:\n  name: {name}\n"))
            .replace(&format!("topic:\n    name: {}\n", before.topic.name), &format!("topic:\n    name: {name}\n"));
        Self::of_yaml(&name, &renamed, Kafka::shared().address(), Postgres::shared().url())
    }

    /// Writes the pipeline.yaml, whose pipeline and topic have this name.
    fn of_yaml(name: &str, yaml: &str, kafka: String, database_url: String) -> Self {
        let file = directory().join(name).with_extension("yaml");
        std::fs::write(&file, yaml).unwrap();
        let pipeline = Pipeline::parse(yaml).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((&*pipeline.name, &*pipeline.topic.name), (name, name));
        let topic = Topic { bootstrap_servers: kafka.clone(), name: name.to_owned() };
        let database = DatabaseConnection::new(database_url.parse().unwrap(), &pipeline.schema);
        let registry = pipeline.registry().map(|registry| {
            RegistryConnection::new(&registry.url, None, retail_connection::Certificates::default()).unwrap()
        });
        let settings = Settings { pipeline, kafka: KafkaConnection::plain(kafka), database, registry };
        Self { settings, file, topic, database_url }
    }

    /// Returns a command that runs a program with this pipeline.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("RETAIL_PIPELINE", &self.file)
            .env("RETAIL_BOOTSTRAP_SERVERS", &self.settings.kafka.bootstrap_servers)
            .env("RETAIL_DATABASE_URL", &self.database_url);
        command
    }

    /// The URL of the database.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Returns the case with another URL of the same database, such as the URL of a proxy.
    #[must_use]
    pub fn with_database(&self, database_url: &str) -> Self {
        let mut settings = self.settings.clone();
        settings.database = DatabaseConnection::new(database_url.parse().unwrap(), &settings.pipeline.schema);
        Self { settings, file: self.file.clone(), topic: self.topic.clone(), database_url: database_url.to_owned() }
    }

    /// Returns a case with the same topic and another schema.
    ///
    /// # Panics
    ///
    /// If the pipeline.yaml already names a schema.
    #[must_use]
    pub fn with_schema(&self, schema: &str) -> Self {
        let yaml = std::fs::read_to_string(&self.file).unwrap();
        let other = yaml.replace("name: retail}", &format!("name: retail, schema: {schema}}}"));
        assert_ne!(yaml, other);
        let file = self.file.with_file_name(schema).with_extension("yaml");
        std::fs::write(&file, &other).unwrap();
        let pipeline = Pipeline::parse(&other).unwrap_or_else(|problems| panic!("{problems}"));
        let database = DatabaseConnection::new(self.database_url.parse().unwrap(), schema);
        let (kafka, registry) = (self.settings.kafka.clone(), self.settings.registry.clone());
        let settings = Settings { pipeline, kafka, database, registry };
        Self { settings, file, topic: self.topic.clone(), database_url: self.database_url.clone() }
    }

    /// Creates the topic.
    pub async fn apply_topic(&self) {
        topic::ensure(&self.settings.kafka, &self.settings.pipeline.topic).await.unwrap();
    }

    /// Creates the schema.
    pub async fn apply_schema(&self) {
        provision::apply(&self.settings.database, &self.settings.pipeline).await.unwrap();
    }

    /// Opens a session with the schema of the case as search path.
    pub async fn client(&self) -> Client {
        self.client_at(&self.database_url).await
    }

    /// Opens such a session with another URL, such as the URL of another user.
    pub async fn client_at(&self, url: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let session = format!("SET search_path TO \"{}\"; SET TIME ZONE 'UTC'", self.settings.pipeline.schema);
        client.batch_execute(&session).await.unwrap();
        client
    }

    /// Returns the rows of a query.
    pub async fn query(&self, sql: &str) -> Vec<Row> {
        self.client().await.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Returns the single value of a query as text, or `None` on an error, such as an unreachable server or a missing table.
    pub async fn try_text(&self, sql: &str) -> Option<String> {
        let (client, connection) = tokio_postgres::connect(&self.database_url, NoTls).await.ok()?;
        tokio::spawn(connection);
        client.batch_execute(&format!("SET search_path TO \"{}\"", self.settings.pipeline.schema)).await.ok()?;
        client.query_one(&format!("SELECT ({sql})::text"), &[]).await.ok()?.get(0)
    }

    /// Returns the single value of a query as text.
    pub async fn text(&self, sql: &str) -> String {
        let rows = self.query(&format!("SELECT coalesce(({sql})::text, 'NULL')")).await;
        rows[0].get(0)
    }

    /// Returns the rows of `retail`, one string each: start and end in seconds since the beginning of 2025, category, quantity,
    /// amount, running total, and `final` or `open`.
    pub async fn retail(&self) -> Vec<String> {
        let rows = "
            SELECT concat_ws(' ', extract(epoch FROM window_start)::bigint - 1735689600,
                             extract(epoch FROM window_end)::bigint - 1735689600, category, total_quantity,
                             trim_scale(total_amount), trim_scale(running_total), CASE WHEN final THEN 'final' ELSE 'open' END)
            FROM retail ORDER BY window_start, category, payment_method";
        self.query(rows).await.iter().map(|row| row.get(0)).collect()
    }

    /// Returns the ledger, one string per partition: consumed = applied + late + invalid + future + gaps.
    pub async fn ledger(&self) -> Vec<String> {
        let rows = "
            SELECT format('%s = %s applied + %s late + %s invalid + %s future + %s gaps%s', consumed, applied, late, invalid,
                          future, gaps, CASE WHEN balanced THEN '' ELSE ', NOT BALANCED' END)
            FROM ledger ORDER BY partition";
        self.query(rows).await.iter().map(|row| row.get(0)).collect()
    }

    /// Replays the topic and compares the result with the database.
    pub async fn verify(&self) -> Report {
        self.verify_with(Options::default()).await
    }

    /// Verifies from the last proof or in full, and records a proof if asked to.
    pub async fn verify_with(&self, options: Options) -> Report {
        verify(&self.settings, options, |_, _| {}).await.unwrap()
    }

    /// Replays the topic and compares the result with the database, or returns the reason why it cannot.
    pub async fn try_verify(&self) -> Result<Report, VerifyError> {
        verify(&self.settings, Options::default(), |_, _| {}).await
    }

    /// Asserts that the database contains the result of the replay.
    ///
    /// # Panics
    ///
    /// If rows, ledger or dead letters differ from the oracle, or a dead letter was deleted.
    pub async fn assert_exact(&self) -> Report {
        let report = self.verify().await;
        assert!(report.equal, "{report:?}");
        assert_eq!(report.dead_letters_deleted, 0, "{report:?}");
        report
    }
}

impl CaseBuilder {
    /// Sets the number of partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets the configuration of the topic, like `cleanup.policy: compact`. The default is unlimited retention.
    #[must_use]
    pub fn topic_config(mut self, config: &str) -> Self {
        self.topic_config = config.to_owned();
        self
    }

    /// Declares who sets the timestamps of records: `None` leaves it to the code under test. The default is `CreateTime`, because
    /// tests choose the timestamps of their records.
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: Option<&'static str>) -> Self {
        self.timestamp_type = timestamp_type;
        self
    }

    /// Sets the number of replicas of each partition. The default is one.
    #[must_use]
    pub fn replication_factor(mut self, replication_factor: i32) -> Self {
        self.replication_factor = replication_factor;
        self
    }

    /// Sets where the first processor begins to read.
    #[must_use]
    pub fn start_position(mut self, start_position: &'static str) -> Self {
        self.start_position = start_position;
        self
    }

    /// Adds a line under `spec`, like `trigger: 1s`.
    #[must_use]
    pub fn spec(mut self, line: &str) -> Self {
        self.spec.push(line.to_owned());
        self
    }

    /// Writes the pipeline.yaml, without creating topic or schema.
    pub fn build(self) -> Case {
        let Self {
            partitions,
            mut topic_config,
            timestamp_type,
            replication_factor,
            start_position,
            mut spec,
            kafka,
            database_url,
        } = self;
        if let Some(timestamp_type) = timestamp_type {
            topic_config += &format!(", message.timestamp.type: {timestamp_type}");
        }
        let name = unique("case");
        for (field, line) in
            [("window", "window: 5m"), ("trigger", "trigger: 100ms"), ("printRows", "printRows: false")]
        {
            if !spec.iter().any(|line| line.starts_with(&format!("{field}:"))) {
                spec.push(line.to_owned());
            }
        }
        let yaml = format!(
            "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {{name: {name}}}\nspec:\n  \
             kafka: {{bootstrapServers: \"{kafka}\"}}\n  topic: {{name: {name}, partitions: {partitions}, replicationFactor: {replication_factor}, startPosition: \"{start_position}\", config: {{{topic_config}}}}}\n  \
             database: {{host: 127.0.0.1, name: retail}}\n  {}\n",
            spec.join("\n  ")
        );
        Case::of_yaml(&name, &yaml, kafka, database_url)
    }

    /// Writes the pipeline.yaml, and creates topic and schema.
    pub async fn start(self) -> Case {
        let case = self.build();
        case.apply_topic().await;
        case.apply_schema().await;
        case
    }
}

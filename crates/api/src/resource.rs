//! The RetailPipeline resource as users write it. Its doc comments are what `kubectl explain` prints.
//!
//! The schema is the validator: what a value may be is said here, once, in OpenAPI and CEL, and holds in the API server,
//! in `retail validate` and in every program that reads the YAML. Every string and list is bounded, so that the API
//! server can bound the cost of the rules.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::RetailPipelineStatus;

/// Declares a streaming pipeline: purchases from a Kafka topic, summed up by window, category and payment method into
/// Postgres, exactly once.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[kube(
    group = "retailpipeline.dev",
    version = "v1alpha1",
    kind = "RetailPipeline",
    namespaced,
    derive = "PartialEq",
    status = "RetailPipelineStatus",
    shortname = "rp",
    category = "streaming",
    scale(
        spec_replicas_path = ".spec.processor.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Topic", type_ = "string", json_path = ".spec.topic.name"),
    printcolumn(name = "Window", type_ = "string", json_path = ".spec.window"),
    printcolumn(name = "Watermark", type_ = "string", json_path = ".status.progress.watermark"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.progress.lag"),
    printcolumn(name = "Late", type_ = "integer", json_path = ".status.progress.late"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas", priority = 1),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.topic.partitions", priority = 1),
    printcolumn(name = "Last-Commit", type_ = "string", json_path = ".status.progress.lastCommit", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    cel,
    validation = ("self.metadata.name.size() <= 40", "name must have at most 40 characters: other names are made from it"),
    validation = (
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "name must be lower-case letters, digits and '-', beginning and ending with a letter or digit"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct RetailPipelineSpec {
    /// The Kafka cluster.
    pub kafka: Kafka,
    /// The topic the purchases are in. It is created if it is not there.
    pub topic: Topic,
    /// Length of a window, for example 5m. Windows are aligned to 1970-01-01T00:00:00Z; at least 1s, at most 24h, and a
    /// day must be a whole number of them. Cannot be changed.
    #[serde(default = "default_window")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}[hms])+$"))]
    #[x_kube(validation = ("duration(self) == duration(oldSelf)", "window cannot be changed: make a new pipeline"))]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('24h')", "window must be 1s to 24h"))]
    #[x_kube(validation = (
        "duration(self) < duration('1s') || 86400 % duration(self).getSeconds() == 0",
        "a day must be a whole number of windows: 5m, 1h or 24h, but not 7m"
    ))]
    pub window: String,
    /// How long to wait for late events, and what to do about idle partitions and clocks that run ahead.
    #[serde(default)]
    pub watermark: Watermark,
    /// How often sums are written to Postgres, 100ms to 1h. It decides how fresh the rows are, never what is in them.
    #[serde(default = "default_trigger")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) >= duration('100ms') && duration(self) <= duration('1h')", "trigger must be 100ms to 1h"))]
    pub trigger: String,
    /// What becomes of events that are too late: kept in dead_letter, or only counted.
    #[serde(default)]
    pub late_events: LateEvents,
    /// The Postgres database the rows go to.
    pub database: Database,
    /// Simulated purchases. Leave it out if something else writes to the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Producer>,
    /// The processor.
    #[serde(default)]
    pub processor: Processor,
    /// Print the rows of each trigger to standard output.
    #[serde(default = "yes")]
    pub print_rows: bool,
    /// Stop producer and processor, and keep everything else.
    #[serde(default)]
    pub suspend: bool,
    /// What to delete when this resource is deleted. By default nothing.
    #[serde(default)]
    pub deletion_policy: DeletionPolicies,
}

/// How to reach Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Brokers to ask first, as host:port, separated by commas.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*$"))]
    pub bootstrap_servers: String,
    /// Encrypt the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// Log in with user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// TLS to Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTls {
    /// The certificate authority that signed the brokers' certificates; the system's own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// A client certificate: a Secret with user.crt and user.key, or tls.crt and tls.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretName>,
}

/// SASL log-in to Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// Where user name and password are.
    pub secret: Credentials,
}

/// How the password is proven to Kafka.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaslMechanism {
    /// The password itself; use it with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge and response, SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge and response, SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// The topic the purchases are in.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.name != '.' && self.name != '..'", "name must not be '.' or '..'"))]
pub struct Topic {
    /// Name of the topic. Cannot be changed.
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    #[x_kube(validation = ("self == oldSelf", "topic.name cannot be changed: make a new pipeline"))]
    pub name: String,
    /// Number of partitions; it can grow. More workers than partitions have nothing to do.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1024))]
    #[x_kube(validation = ("self >= oldSelf", "topic.partitions can only grow"))]
    pub partitions: i32,
    /// Number of copies of each partition, when the topic is created.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub replication_factor: i32,
    /// Settings of the topic, as Kafka names them, for example retention.ms. All values are strings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "topic_config_schema")]
    pub config: BTreeMap<String, String>,
}

/// How long to wait for late events.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Watermark {
    /// How late an event may be appended after its event time and still be counted, at most 168h. Cannot be changed.
    #[serde(default = "one_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) == duration(oldSelf)", "watermark.delay cannot be changed: make a new pipeline"))]
    #[x_kube(validation = ("duration(self) <= duration('168h')", "delay must be at most 168h"))]
    pub delay: String,
    /// After how long without a new record a partition no longer holds the others' windows open, 1s to 24h.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('24h')", "idleTimeout must be 1s to 24h"))]
    pub idle_timeout: String,
    /// How far event time may be ahead of the Kafka record's own timestamp, at most 168h. Events beyond it go to
    /// dead_letter and do not move the watermark.
    #[serde(default = "one_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) <= duration('168h')", "maxFuture must be at most 168h"))]
    pub max_future: String,
    /// What the watermark does when all partitions are idle.
    #[serde(default)]
    pub when_idle: WhenIdle,
}

impl Default for Watermark {
    fn default() -> Self {
        Self { delay: one_hour(), idle_timeout: one_minute(), max_future: one_hour(), when_idle: WhenIdle::default() }
    }
}

/// What the watermark does when all partitions are idle.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WhenIdle {
    /// Wait for data. Right for backfills, and the only one that depends on no clock.
    #[default]
    Hold,
    /// Follow the clock, delay behind it: the last windows close although nothing comes any more.
    FollowClock,
}

/// What becomes of events that are too late.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LateEvents {
    /// Count them and keep them in dead_letter.
    #[default]
    DeadLetter,
    /// Count them.
    Drop,
}

/// The Postgres database the rows go to. Nothing of it but the password can be changed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.schema) == has(oldSelf.schema) && (!has(self.schema) || self.schema == oldSelf.schema)",
    "database.schema cannot be changed: make a new pipeline"
))]
pub struct Database {
    /// Host name or address. Cannot be changed.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    #[x_kube(validation = ("self == oldSelf", "database.host cannot be changed: make a new pipeline"))]
    pub host: String,
    /// Port. Cannot be changed.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    #[x_kube(validation = ("self == oldSelf", "database.port cannot be changed: make a new pipeline"))]
    pub port: i32,
    /// Name of the database, which must exist. Cannot be changed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = ("self == oldSelf", "database.name cannot be changed: make a new pipeline"))]
    pub name: String,
    /// Schema that the pipeline has for itself; the resource's name with '-' as '_' if left out. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9_]+$"))]
    #[x_kube(validation = ("!self.startsWith('pg_')", "schema must not begin with pg_, which Postgres keeps for itself"))]
    pub schema: Option<String>,
    /// Where user name and password are. Outside Kubernetes they come from RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<DatabaseSecret>,
    /// Encrypt the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DatabaseTls>,
}

/// A Secret with user name and password, or with a connection URI, as CloudNativePG makes for each cluster.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.uriKey) || (!has(self.usernameKey) && !has(self.passwordKey))",
    "give either uriKey, or usernameKey and passwordKey"
))]
pub struct DatabaseSecret {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name; username if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: Option<String>,
    /// Key of the password; password if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: Option<String>,
    /// Key of a connection URI that has user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub uri_key: Option<String>,
}

/// TLS to Postgres.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseTls {
    /// What is checked.
    pub mode: TlsMode,
    /// The certificate authority that signed the server's certificate; the system's own if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// A client certificate: a Secret with tls.crt and tls.key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretName>,
}

/// What TLS to Postgres checks, by the names that libpq uses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Encrypt, ask for no host, and for an authority only if one is given.
    Require,
    /// Check who signed the certificate, and that it is the host's.
    VerifyFull,
}

/// A Secret with user name and password.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name.
    #[serde(default = "username")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// Key of the password.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

/// One key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct SecretKey {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct SecretName {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Simulated purchases, like those of a cosmetics shop.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Whether to simulate purchases.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Number of pods.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,
    /// Purchases per second and pod.
    #[serde(default = "one_hundred")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: i32,
    /// The same seed gives the same purchases.
    #[serde(default = "default_seed")]
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// How many times faster than the clock event time runs. Above 1 it begins in the past, so as never to be ahead.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3600))]
    pub speed: i32,
    /// Purchases that are wrong on purpose.
    #[serde(default)]
    pub faults: Faults,
    /// CPU and memory.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            enabled: true,
            replicas: 1,
            events_per_second: one_hundred(),
            seed: default_seed(),
            speed: 1,
            faults: Faults::default(),
            resources: Resources::default(),
        }
    }
}

/// Purchases that are wrong on purpose, in percent.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.tooLate + self.malformed + self.future + self.duplicated <= 100", "faults must add up to at most 100"))]
pub struct Faults {
    /// Later than the watermark's delay allows.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub too_late: i32,
    /// Not a purchase: cut off, a field missing, a value impossible.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub malformed: i32,
    /// Further ahead of the clock than the watermark's maxFuture allows.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub future: i32,
    /// Sent twice. Each is a record of its own and counts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub duplicated: i32,
}

/// The processor.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Processor {
    /// Number of pods; kubectl scale and autoscalers set it.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1024))]
    pub replicas: i32,
    /// CPU and memory. A pod has one worker per core.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
}

impl Default for Processor {
    fn default() -> Self {
        Self { replicas: 1, resources: Resources::default() }
    }
}

/// CPU and memory of a pod, as in a container's resources.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct Resources {
    /// What the pod is promised.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, IntOrString>,
    /// What the pod may not exceed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, IntOrString>,
}

impl Resources {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

/// What to delete when the resource is deleted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct DeletionPolicies {
    /// The Kafka topic with all events.
    #[serde(default)]
    pub topic: DeletionPolicy,
    /// The Postgres schema with all rows.
    #[serde(default)]
    pub database: DeletionPolicy,
}

/// Whether data goes with the resource.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DeletionPolicy {
    /// Keep it.
    #[default]
    Retain,
    /// Delete it, if it is proven to be this pipeline's own.
    Delete,
}

fn topic_config_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 1024},
    })
}

fn default_window() -> String {
    "5m".to_owned()
}

fn default_trigger() -> String {
    "5m".to_owned()
}

fn one_hour() -> String {
    "1h".to_owned()
}

fn one_minute() -> String {
    "1m".to_owned()
}

fn username() -> String {
    "username".to_owned()
}

fn password() -> String {
    "password".to_owned()
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn one_hundred() -> i32 {
    100
}

fn default_partitions() -> i32 {
    4
}

fn default_seed() -> i64 {
    42
}

fn postgres_port() -> i32 {
    5432
}

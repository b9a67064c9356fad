//! The RetailPipeline resource as users write it. `kubectl explain` prints its doc comments.
//!
//! The schema is the validator: OpenAPI and CEL define the valid values here, once, for the API server, for
//! `retail validate` and for every program that reads the YAML. Every string and list is bounded, so that the API server
//! can bound the cost of the rules.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adopt::Adopt;
use crate::autoscaling::Autoscaling;
use crate::events::Events;
use crate::logging::Logging;
pub use crate::resources::Resources;
pub use crate::secrets::{Credentials, SecretKey, SecretName};
use crate::status::RetailPipelineStatus;
use crate::template::PodTemplate;
use crate::topic::{StartPosition, TopicManagement};
use crate::verify::Verify;

/// Brokers, separated by commas.
const BROKERS: &str = r"^([^\s,:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}(,([^\s,:\[\]]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5})*$";

/// A streaming pipeline that reads purchases from a Kafka topic and writes their sums by window, category and payment
/// method to Postgres, exactly once.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[kube(
    group = "retailpipeline.dev",
    version = "v1alpha1",
    kind = "RetailPipeline",
    doc = "A streaming pipeline from a Kafka topic to Postgres.",
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
    validation = ("self.metadata.name.size() <= 40", "name must have at most 40 characters: the names of other objects are derived from it"),
    validation = (
        "has(self.status) || self.metadata.name.matches('^[^0-9]')",
        "name must not begin with a digit: the name of a Service is derived from it"
    ),
    validation = (
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "name must be lower-case letters, digits and '-', beginning and ending with a letter or digit"
    ),
    validation = crate::events::unchanged(),
    validation = crate::fixed::topic_name(),
    validation = crate::fixed::window(),
    validation = crate::fixed::delay(),
    validation = crate::fixed::database_schema(),
    validation = crate::fixed::deduplicate()
)]
#[x_kube(validation = (
    "!has(self.rollups) || duration(self.window) < duration('1s') || self.rollups.all(r, r.over in ['1d', '1w', '1mo'] || duration(r.over).getSeconds() % duration(self.window).getSeconds() == 0)",
    "over of each rollup must be a multiple of window, or 1d, 1w or 1mo"
))]
#[x_kube(validation = (
    "!has(self.deduplicate) || !has(self.events) || has(self.events.transactionId)",
    "deduplicate needs events.transactionId"
))]
#[x_kube(validation = (
    "!has(self.deduplicate) || !has(self.topic.config) || !('cleanup.policy' in self.topic.config) || !self.topic.config['cleanup.policy'].contains('compact')",
    "deduplicate needs a topic without compaction, which removes records that other records are duplicates of"
))]
#[x_kube(validation = (
    "!has(self.deduplicate) || !has(self.topic.config) || !('retention.ms' in self.topic.config) || !self.topic.config['retention.ms'].matches('^[0-9]{1,15}$') || int(self.topic.config['retention.ms']) >= 1000 * duration(self.deduplicate.within).getSeconds()",
    "deduplicate.within must not be longer than retention.ms of the topic: ids are read from the topic again"
))]
#[serde(rename_all = "camelCase")]
pub struct RetailPipelineSpec {
    /// Connection to Kafka.
    pub kafka: Kafka,
    /// Topic with the purchases. Created if it does not exist, unless topic.management is Use.
    pub topic: Topic,
    /// Fields of the records. Default: category, payment_method, quantity, price and timestamp, in JSON. Cannot be changed once the
    /// Postgres schema exists, except for format.registry. A path is names of fields joined by dots, such as store.id; a name with a dot or a blank is quoted:
    /// "a.b".c. A field is missing if a name on the path is missing, or if its value is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Counts a record once that was sent several times. By default, each record counts. Cannot be changed once the Postgres schema
    /// exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<Deduplicate>,
    /// Length of a window: a duration of whole seconds such as 5m or 1h30m, from 1s to 24h, that divides 24h evenly.
    /// Windows are aligned to 1970-01-01T00:00:00Z. Default: 5m. Cannot be changed once the Postgres schema exists.
    #[serde(default = "default_window")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}[hms])+$"))]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('24h')", "window must be 1s to 24h"))]
    #[x_kube(validation = (
        "duration(self) < duration('1s') || 86400 % duration(self).getSeconds() == 0",
        "window must divide 24h evenly: 5m, 1h and 24h do, 7m does not"
    ))]
    pub window: String,
    /// Handling of late events, idle partitions and event times in the future.
    #[serde(default)]
    pub watermark: Watermark,
    /// Interval between commits to Postgres: a duration from 100ms to 1h, such as 500ms or 5m. It determines how fresh
    /// the rows are, never their content. Default: 5m.
    #[serde(default = "default_trigger")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) >= duration('100ms') && duration(self) <= duration('1h')", "trigger must be 100ms to 1h"))]
    pub trigger: String,
    /// Events that arrive after their window was closed: DeadLetter counts them and stores them in the table dead_letter,
    /// Drop only counts them. Default: DeadLetter.
    #[serde(default)]
    pub late_events: LateEvents,
    /// Bounds of the table dead_letter.
    #[serde(default)]
    pub dead_letters: DeadLetters,
    /// Connection to the Postgres database that receives the rows.
    pub database: Database,
    /// Producer of simulated purchases, with the fields of events. If omitted, the pipeline only reads the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Producer>,
    /// Pods that process the topic.
    #[serde(default)]
    pub processor: Processor,
    /// Views that sum up the rows over longer times than a window, such as hours and days. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = ("self.all(a, self.exists_one(b, b.name == a.name))", "each rollup needs another name"))]
    pub rollups: Vec<Rollup>,
    /// Postgres roles that may read the views of the pipeline, and nothing else. Each must exist. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.@-]*$")))]
    pub readers: Vec<String>,
    /// Age from which rows are dropped. Default: rows are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Compares the rows with the topic at regular times, and records proofs: a CronJob of `retail verify --record`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Print the rows of each commit to the standard output of the processor. Default: true.
    #[serde(default = "yes")]
    pub print_rows: bool,
    /// Image of the pods, to pin a version or to try one. Default: the image of the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: Option<String>,
    /// Logs of the pods.
    #[serde(default)]
    pub logging: Logging,
    /// Stop producer and processor; all other objects remain. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// Stop reconciliation: the operator reports the status and changes nothing, except for the deletion. Default: false.
    #[serde(default)]
    pub paused: bool,
    /// Data to delete together with this resource. Default: none.
    #[serde(default)]
    pub deletion_policy: DeletionPolicies,
    /// Takes the Postgres schema over from a deleted pipeline. Has no effect on a schema that belongs to this pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
    /// Class of the operator that runs this pipeline: the operator that was started with this class. Default: the operator without a
    /// class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub operator_class: Option<String>,
}

/// Connection to Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Kafka {
    /// Initial brokers, as host:port or [IPv6 address]:port; several are separated by commas.
    #[schemars(length(min = 1, max = 1024), regex(pattern = BROKERS))]
    pub bootstrap_servers: String,
    /// TLS. If omitted, the connection is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
    /// SASL log-in with user name and password. If omitted, the programs do not log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// TLS for Kafka. The certificate and the host name of the brokers are always verified.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTls {
    /// Certificate authority of the brokers, in PEM. Default: the authorities of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Secret with a client certificate, in the keys user.crt and user.key, or tls.crt and tls.key. If omitted, none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretName>,
}

/// SASL log-in for Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// SASL mechanism: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN.
    pub mechanism: SaslMechanism,
    /// Secret with user name and password. If it has no user name, the one in its key sasl.jaas.config is used (Strimzi).
    pub secret: Credentials,
}

/// SASL mechanism.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub enum SaslMechanism {
    /// Sends the password; use it only with TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Topic with the purchases.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.name != '.' && self.name != '..'", "name must not be '.' or '..'"))]
pub struct Topic {
    /// Name of the topic: 1 to 249 letters, digits, '.', '_' and '-'. Cannot be changed once the topic exists.
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Number of partitions, 1 to 1024, and the maximum number of active workers. It can only grow. Default: 4 for a new topic, and the
    /// present number for an existing one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    #[x_kube(validation = ("self >= oldSelf", "topic.partitions can only grow"))]
    pub partitions: Option<i32>,
    /// Managed creates the topic and changes it as declared; a topic that existed before is used as it is. Adopt also changes such a
    /// topic. Use never creates or changes the topic. Default: Managed.
    #[serde(default)]
    pub management: TopicManagement,
    /// Where the first processor begins to read: Earliest, Latest, or a time like 2026-11-30T12:00:00Z, which is the first record with
    /// this timestamp or a later one. Partitions that are added later are read from their first record. Default: Earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 20),
        regex(
            pattern = r"^(Earliest|Latest|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z)$"
        )
    )]
    pub start_position: Option<String>,
    /// Number of copies of each partition, 1 to 16. Used only when the topic is created. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub replication_factor: i32,
    /// Kafka settings of the topic, such as retention.ms; all values are strings. At most 64. Settings that differ in Kafka
    /// are applied again, unless Kafka would delete records. Settings that are not listed remain as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), schema_with = "topic_config_schema")]
    pub config: BTreeMap<String, String>,
}

/// Number of partitions of a topic that is created without a declared number.
const NEW_PARTITIONS: i32 = 4;

impl Topic {
    /// Number of partitions of the topic when it is created.
    pub fn new_partitions(&self) -> i32 {
        self.partitions.unwrap_or(NEW_PARTITIONS)
    }

    /// Where the first processor begins to read.
    pub fn start(&self) -> StartPosition {
        self.start_position.as_deref().map_or(StartPosition::Earliest, StartPosition::parse)
    }
}

/// Counts a record once that was sent several times: an earlier record of the same partition has the same id, events.transactionId or,
/// without events, transaction_id. Records of one id must have the same key, so that they are in one partition.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Deduplicate {
    /// Time for which an id counts, by which the latest event time of the partition has moved: a duration of whole seconds such as 2h,
    /// from 1s to 168h. The processor keeps the ids of this time in memory: 16 to 25 bytes for each.
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}[hms])+$"))]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('168h')", "within must be 1s to 168h"))]
    pub within: String,
}

/// Handling of late events, idle partitions and event times in the future.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Watermark {
    /// Maximum time between the event time and the append to the topic of an event that still counts: a duration from 0s
    /// to 168h. Default: 1h. Cannot be changed once the Postgres schema exists.
    #[serde(default = "one_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) <= duration('168h')", "delay must be at most 168h"))]
    pub delay: String,
    /// Time without a new record after which a partition is idle and no longer keeps windows open: a duration from 1s to
    /// 24h. Default: 1m.
    #[serde(default = "one_minute")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) >= duration('1s') && duration(self) <= duration('24h')", "idleTimeout must be 1s to 24h"))]
    pub idle_timeout: String,
    /// Maximum lead of the event time over the timestamp of the Kafka record: a duration from 0s to 168h. Events with a
    /// larger lead are stored in dead_letter and do not move the watermark. Default: 1h.
    #[serde(default = "one_hour")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]{1,6}(ms|h|m|s))+$"))]
    #[x_kube(validation = ("duration(self) <= duration('168h')", "maxFuture must be at most 168h"))]
    pub max_future: String,
    /// Watermark while all partitions are idle: Hold waits for data, FollowClock follows the clock at the distance of delay,
    /// so that the last windows close. Default: Hold.
    #[serde(default)]
    pub when_idle: WhenIdle,
}

impl Default for Watermark {
    fn default() -> Self {
        Self { delay: one_hour(), idle_timeout: one_minute(), max_future: one_hour(), when_idle: WhenIdle::default() }
    }
}

/// Watermark while all partitions are idle.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum WhenIdle {
    /// Waits for data. Suitable for backfills, and independent of any clock.
    #[default]
    Hold,
    /// Follows the clock at the distance of delay, so that the last windows close without new data.
    FollowClock,
}

/// Handling of events that arrive after their window was closed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LateEvents {
    /// Counts them and stores them in the table dead_letter.
    #[default]
    DeadLetter,
    /// Only counts them.
    Drop,
}

/// Connection to the Postgres database that receives the rows.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Host name or IP address. Can be changed if it leads to the same database.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// Port, 1 to 65535. Default: 5432. Can be changed if it leads to the same database.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Name of an existing database with the encoding UTF8. Can be changed if the database was renamed.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Schema for the tables, used by no other pipeline: 1 to 63 lower-case letters, digits and '_', not beginning with
    /// pg_. Created if it does not exist. Default: the name of the resource, with '_' for '-'. Cannot be changed once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9_]+$"))]
    #[x_kube(validation = ("!self.startsWith('pg_')", "schema must not begin with pg_, which Postgres reserves for itself"))]
    pub schema: Option<String>,
    /// Secret with user name and password. Outside a cluster, they come from RETAIL_DATABASE_URL, or PGUSER and PGPASSWORD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<DatabaseSecret>,
    /// Secret of the owner of the schema, as secret. The operator creates and changes the schema with it, and reads its progress; pods
    /// never receive it. Default: secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_secret: Option<DatabaseSecret>,
    /// Postgres role that may read and write the rows, and change no table: a group role, of which the user of secret is a member. It
    /// must exist. If omitted, the user of secret needs the rights of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.@-]*$"))]
    pub runtime_role: Option<String>,
    /// TLS. If omitted, the connection is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DatabaseTls>,
}

/// Secret with user name and password, or with a connection URI, such as those that CloudNativePG creates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.uriKey) || (!has(self.usernameKey) && !has(self.passwordKey))",
    "set either uriKey, or usernameKey and passwordKey"
))]
pub struct DatabaseSecret {
    /// Name of a Secret in the resource's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name. Default: username.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: Option<String>,
    /// Key of the password; with a client certificate, the password is optional. Default: password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: Option<String>,
    /// Key of a connection URI that contains user name and password. It replaces usernameKey and passwordKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub uri_key: Option<String>,
}

/// TLS for Postgres.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseTls {
    /// Verification of the server certificate: verify-full verifies the authority and the host name; require ignores the
    /// host name, and verifies the authority only if caSecret is set.
    pub mode: TlsMode,
    /// Certificate authority of the server, in PEM. Default: the authorities of the system for verify-full, none for require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<SecretKey>,
    /// Secret with a client certificate, in the keys tls.crt and tls.key. If omitted, none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretName>,
}

/// Verification of the server certificate, with the names of libpq.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Encrypts, ignores the host name, and verifies the authority only if caSecret is set.
    Require,
    /// Verifies the authority and the host name of the certificate.
    VerifyFull,
}

/// Producer of simulated purchases of a cosmetics shop.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Send simulated purchases. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Number of pods, 0 to 64. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,
    /// Purchases per second and pod, 1 to 1000000. Default: 100.
    #[serde(default = "one_hundred")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: i32,
    /// Seed of the random generator, 0 or greater: the same seed produces the same purchases. Default: 42.
    #[serde(default = "default_seed")]
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Speed of event time relative to the clock, 1 to 3600. Above 1, event time begins in the past, or at the newest event of
    /// the topic, so that it is never ahead of the clock. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 3600))]
    pub speed: i32,
    /// Intentionally wrong purchases. Default: none.
    #[serde(default)]
    pub faults: Faults,
    /// CPU and memory of each pod. Default: requests of 20m and 32Mi, limits of 1 and 256Mi.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Additions to the pods, such as labels, tolerations and volumes.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub template: PodTemplate,
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
            template: PodTemplate::default(),
        }
    }
}

/// Intentionally wrong purchases, in percent of all purchases; at most 100 in total.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.tooLate + self.malformed + self.future + self.duplicated <= 100", "faults must add up to at most 100"))]
pub struct Faults {
    /// Percentage of purchases later than watermark.delay allows, 0 to 100. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub too_late: i32,
    /// Percentage of invalid purchases: truncated, without a field, or with an impossible value; 0 to 100. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub malformed: i32,
    /// Percentage of purchases further ahead of the clock than watermark.maxFuture allows, 0 to 100. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub future: i32,
    /// Percentage of purchases that are sent twice; both records count, unless spec.deduplicate is set. 0 to 100. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub duplicated: i32,
}

/// Pods that process the topic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.autoscaling) || !has(self.replicas)", "set either replicas or autoscaling"))]
pub struct Processor {
    /// Number of pods, 0 to 1024, of which at most one per partition starts. If it is set, `kubectl scale` and a
    /// HorizontalPodAutoscaler can change it. If neither replicas nor autoscaling is set, one pod runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1024))]
    pub replicas: Option<i32>,
    /// Number of pods by load, instead of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Number of workers of each pod, 1 to 64, of which at most one per partition starts. Default: one per core of the CPU limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub workers: Option<i32>,
    /// CPU and memory of each pod. Default: requests of 100m and 128Mi, limits of 2 and 1Gi.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub resources: Resources,
    /// Whether a PodDisruptionBudget lets a drain stop one of several pods at a time. Set false if you have your own. Default: true.
    #[serde(default = "yes", skip_serializing_if = "is_default")]
    pub disruption_budget: bool,
    /// Additions to the pods, such as labels, tolerations and volumes.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub template: PodTemplate,
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            replicas: None,
            autoscaling: None,
            workers: None,
            resources: Resources::default(),
            disruption_budget: true,
            template: PodTemplate::default(),
        }
    }
}

impl Processor {
    /// Number of pods without autoscaling.
    pub fn fixed_replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }

    /// Largest number of pods.
    pub fn most_replicas(&self) -> i32 {
        self.autoscaling.map_or(self.fixed_replicas(), |autoscaling| autoscaling.max_replicas)
    }
}

/// Bounds of the table `dead_letter`. Deleted dead letters stay counted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetters {
    /// Age from which dead letters are deleted, in days since they were stored, such as 30d: from 1d to 9999d. Default: 30d.
    #[serde(default = "thirty_days")]
    #[schemars(length(max = 5), regex(pattern = r"^[0-9]{1,4}d$"))]
    #[x_kube(validation = ("!self.matches('^0*d$')", "retain must be 1d to 9999d"))]
    pub retain: String,
    /// Size from which the oldest dead letters are deleted, such as 500Mi or 1Gi: from 1Mi to 999999Gi. A dead letter counts as its
    /// payload and 128 bytes. Default: 1Gi.
    #[serde(default = "one_gibibyte")]
    #[schemars(length(max = 8), regex(pattern = r"^[1-9][0-9]{0,5}[MG]i$"))]
    pub max_bytes: String,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { retain: thirty_days(), max_bytes: one_gibibyte() }
    }
}

/// A view that sums up the rows over longer times than a window.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Rollup {
    /// Name of the view in the schema of the pipeline: 1 to 40 lower-case letters, digits and '_', not beginning with a digit.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    #[x_kube(validation = (
        "!(self in ['closes', 'dead_letter', 'dead_letter_log', 'definitions', 'delta_log', 'failed_verification', 'fate_rules', 'group_totals', 'groups', 'late', 'ledger', 'partition_progress', 'pipeline', 'processor_load', 'proof', 'rejected', 'schema_history', 'schema_waits', 'schemas', 'span_sums', 'totals', 'watermark_hold']) && !self.startsWith('retail') && !self.startsWith('final_rows')",
        "the name of a rollup must not be that of another table or view of the pipeline"
    ))]
    pub name: String,
    /// The time that a row sums up: whole windows that divide 24h evenly, such as 1h, or a calendar day, week or month: 1d, 1w or
    /// 1mo. A week begins on Monday.
    #[schemars(length(max = 16), regex(pattern = r"^(([0-9]{1,6}[hms])+|1d|1w|1mo)$"))]
    #[x_kube(validation = (
        "self in ['1d', '1w', '1mo'] || (duration(self) >= duration('1s') && duration(self) <= duration('24h') && 86400 % duration(self).getSeconds() == 0)",
        "over must divide 24h evenly, or be 1d, 1w or 1mo"
    ))]
    pub over: String,
    /// Time zone in which days begin, as Postgres names it, such as Asia/Jakarta. Each window must belong to one day: all
    /// offsets of the zone from UTC must be multiples of window. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z][A-Za-z0-9_+/-]*$"))]
    pub time_zone: Option<String>,
}

/// Age from which rows are dropped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Age from which rows of closed windows are dropped, in days of event time such as 400d: from 31d to 9999d. Whole months
    /// (UTC) are dropped, once all of their windows ended that long before the end of the last closed window. Running totals
    /// still include the dropped rows.
    #[schemars(length(max = 5), regex(pattern = r"^[0-9]{1,4}d$"))]
    #[x_kube(validation = (
        "!self.matches('^[0-9]{1,4}d$') || self.matches('^0*(3[1-9]|[4-9][0-9]|[1-9][0-9]{2,3})d$')",
        "finalRows must be 31d to 9999d"
    ))]
    pub final_rows: String,
}

/// Data to delete together with the resource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct DeletionPolicies {
    /// Retain or delete the Kafka topic with all events. Default: Retain.
    #[serde(default)]
    pub topic: DeletionPolicy,
    /// Retain or delete the Postgres schema with all rows. Default: Retain.
    #[serde(default)]
    pub database: DeletionPolicy,
}

/// Retain or delete data when the resource is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DeletionPolicy {
    /// Retains it.
    #[default]
    Retain,
    /// Deletes it, if the pipeline created it.
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

fn thirty_days() -> String {
    "30d".to_owned()
}

fn one_gibibyte() -> String {
    "1Gi".to_owned()
}

fn yes() -> bool {
    true
}

/// Whether a field with the default true has it: the default of its object does not repeat it.
fn is_default(value: &bool) -> bool {
    *value
}

fn one() -> i32 {
    1
}

fn one_hundred() -> i32 {
    100
}

fn default_seed() -> i64 {
    42
}

fn postgres_port() -> i32 {
    5432
}

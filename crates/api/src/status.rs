//! The status of a RetailPipeline, as the operator last observed it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Status of the pipeline, as the operator last observed it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RetailPipelineStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of existing processor pods.
    #[serde(default)]
    pub replicas: i32,
    /// Label selector of the processor pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Topic of the pipeline. Omitted until it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicStatus>,
    /// Name of the Postgres schema. Omitted until it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Database of the schema. Omitted until the schema was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseStatus>,
    /// State of autoscaling. Omitted without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingStatus>,
    /// Progress of the processing. Omitted until the schema exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// Last proof of spec.verify. Omitted until there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofStatus>,
    /// Conditions: Ready, Reconciling and Stalled describe the whole pipeline, the others its parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// Topic of the pipeline.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Kafka's id of the topic. A deleted and recreated topic has another id and other offsets.
    pub id: String,
    /// Number of existing partitions.
    pub partitions: i32,
    /// Whether the operator created the topic for this pipeline. Otherwise it never deletes it.
    #[serde(default)]
    pub created: bool,
}

/// Database of the pipeline.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Host, port and name at which the operator found the schema.
    pub address: String,
    /// Kafka consumer group of the processors, for lag tools. It is computed from the identity of the server, the database and the
    /// schema.
    pub consumer_group: String,
}

/// State of autoscaling.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalingStatus {
    /// Number of processors as it was decided.
    pub replicas: i32,
    /// Time of the last change, in RFC 3339.
    pub changed_at: String,
    /// Records that a processor read per second when it was last behind. Omitted until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<i64>,
}

/// Last proof of `retail verify --record`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProofStatus {
    /// Number of the proof, from 1.
    pub number: i32,
    /// Time at which it was recorded, in RFC 3339.
    pub recorded_at: String,
    /// SHA-256 of its content, in hexadecimal.
    pub hash: String,
}

/// Progress of the processing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStatus {
    /// Watermark, in RFC 3339: the event time up to which all events are expected to have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// Time in RFC 3339: windows that end at or before it are closed, and their rows are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_through: Option<String>,
    /// Number of records in the topic that are not yet committed to Postgres. Omitted while it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Number of events in the sums.
    pub applied: i64,
    /// Number of events that arrived after their window was closed.
    pub late: i64,
    /// Number of records that are not valid purchases.
    pub invalid: i64,
    /// Number of events further ahead of their record's timestamp than watermark.maxFuture allows.
    pub future: i64,
    /// Number of records that spec.events.where excludes.
    #[serde(default)]
    pub filtered: i64,
    /// Number of events with the transaction id of an earlier record, with spec.deduplicate.
    #[serde(default)]
    pub duplicate: i64,
    /// Time of the last commit, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<String>,
}

/// The schema of Kubernetes' conditions, one of each type, without the two kilobytes of its descriptions.
fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "description": "Type of the condition."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "True, False or Unknown."},
                "reason": {"type": "string", "description": "Cause, as one word of a fixed list."},
                "message": {"type": "string", "description": "Cause and remedy, as a sentence."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "Time of the last change of status."},
                "observedGeneration": {"type": "integer", "format": "int64", "description": "Generation of the spec that the condition describes."}
            }
        }
    })
}

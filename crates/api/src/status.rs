//! The status of a RetailPipeline: what is true of it, as its operator last saw it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is true of the pipeline, as the operator last saw it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct RetailPipelineStatus {
    /// Which generation of the spec this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of processor pods that there are.
    #[serde(default)]
    pub replicas: i32,
    /// Label selector of the processor pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The topic that the pipeline stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<TopicStatus>,
    /// The Postgres schema, once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// How far the data is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// Ready, Reconciling and Stalled say how the whole pipeline is; the others say it of its parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The topic that the pipeline stands on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Kafka's id of the topic. One that is deleted and made again has another, and its offsets mean something else.
    pub id: String,
    /// Number of partitions that there are.
    pub partitions: i32,
    /// Whether the operator made the topic for this pipeline. Only then may it ever delete it.
    #[serde(default)]
    pub created: bool,
}

/// How far the data is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct ProgressStatus {
    /// How far event time is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// Windows that end at or before it are closed: their rows are final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_through: Option<String>,
    /// Records in the topic that are not in Postgres yet; left out while it cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Events in the sums.
    pub applied: i64,
    /// Events that came after their window was closed.
    pub late: i64,
    /// Records that are no purchases.
    pub invalid: i64,
    /// Events too far ahead of their record's own timestamp.
    pub future: i64,
    /// When a worker committed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_commit: Option<String>,
}

/// A condition as Kubernetes defines it, one of each type, without the two kilobytes that its own text has.
fn conditions_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "description": "What the condition is about."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds."},
                "reason": {"type": "string", "description": "Why, in one word of a fixed list."},
                "message": {"type": "string", "description": "Why, in a sentence that says what to do."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "When status changed last."},
                "observedGeneration": {"type": "integer", "format": "int64", "description": "Which generation of the spec it is about."}
            }
        }
    })
}

//! Fields of the pods that a user sets. `kubectl explain` prints the doc comments.
//!
//! An embedded PodTemplateSpec would make a CRD of 350 KB. The fields that pipelines need are typed; affinity, spread and the sources
//! of volumes have no schema here, and the API server validates them in a dry run of the Deployment.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::secrets::SecretName;

/// Name of a Kubernetes object.
const NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// Name of an environment variable.
const VARIABLE: &str = r"^[A-Za-z_][A-Za-z0-9_.-]*$";

/// Additions to the pods. Labels, variables, volumes and mounts of the operator cannot be replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
    "each of volumeMounts must name one of volumes"
))]
pub struct PodTemplate {
    /// Labels of the pods. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    #[x_kube(validation = (
        "self.all(k, !(k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by']) && !k.startsWith('retailpipeline.dev/'))",
        "the operator sets app.kubernetes.io/name, instance, component and managed-by, and labels of retailpipeline.dev"
    ))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    #[x_kube(validation = (
        "self.all(k, !k.startsWith('retailpipeline.dev/'))",
        "the operator sets the annotations of retailpipeline.dev"
    ))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods tolerate. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,
    /// Affinity to nodes and pods, as in a pod.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub affinity: Map<String, Value>,
    /// Spread of the pods over zones and nodes, as in a pod. Without a labelSelector, a constraint counts the pods of this Deployment.
    /// At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "any_objects")]
    pub topology_spread_constraints: Vec<Map<String, Value>>,
    /// Name of a PriorityClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub priority_class_name: Option<String>,
    /// Secrets with log-ins for registries of images. At most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<SecretName>,
    /// Name of an existing ServiceAccount, for example with a workload identity. Default: one without rights, made by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME))]
    pub service_account_name: Option<String>,
    /// User and groups of the pods. An empty object leaves them to the cluster, as OpenShift requires. Default: user and group 65532.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodUser>,
    /// Further environment variables. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = (
        "self.all(e, !e.name.startsWith('RETAIL_') && !e.name.startsWith('PG'))",
        "the operator sets the variables that begin with RETAIL_ or PG"
    ))]
    pub env: Vec<Variable>,
    /// Further volumes, such as secrets of a CSI driver. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = (
        "self.all(v, !(v.name in ['pipeline', 'kafka-ca', 'kafka-client', 'database-ca', 'database-client', 'registry-ca']))",
        "the operator sets the volumes pipeline, kafka-ca, kafka-client, database-ca, database-client and registry-ca"
    ))]
    pub volumes: Vec<Volume>,
    /// Mounts of these volumes. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = (
        "self.all(m, m.mountPath != '/' && !m.mountPath.startsWith('/etc/retail'))",
        "the operator mounts /etc/retail"
    ))]
    pub volume_mounts: Vec<VolumeMount>,
    /// Time for a pod to commit and end, 1 to 3600 seconds. Default: 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
    /// Pods started beyond replicas while pods are replaced, 0 to 64. With 0, a pod ends before its replacement starts, which needs no
    /// reserve in a quota. Default: a quarter of the replicas, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub max_surge: Option<i32>,
}

impl PodTemplate {
    /// Whether it adds nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A taint that the pods tolerate, as in a pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint. Default: all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 317))]
    pub key: Option<String>,
    /// Equal or Exists. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub operator: Option<String>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute. Default: all effects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub effect: Option<String>,
    /// Time for which a pod stays on a node with the taint NoExecute. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub toleration_seconds: Option<i64>,
}

/// User and groups of the pods. They never run as root.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "camelCase")]
pub struct PodUser {
    /// User. Default: that of the cluster, or of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub run_as_user: Option<i64>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub run_as_group: Option<i64>,
    /// Group of volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fs_group: Option<i64>,
}

/// An environment variable, as in a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Name.
    #[schemars(length(min = 1, max = 253), regex(pattern = VARIABLE))]
    pub name: String,
    /// Value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// Source of the value, as in a container.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub value_from: Map<String, Value>,
}

/// A volume, as in a pod: its name, and a source such as csi, secret, configMap, projected or emptyDir.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Volume {
    /// Name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The source.
    #[serde(flatten)]
    #[schemars(skip)]
    pub source: Map<String, Value>,
}

/// A mount of a volume, as in a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// Name of the volume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Absolute path in the container.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^/[^\s:]*$"))]
    pub mount_path: String,
    /// Path in the volume. Default: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub sub_path: Option<String>,
    /// Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 32, "additionalProperties": {"type": "string", "maxLength": 63}})
}

fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 32, "additionalProperties": {"type": "string", "maxLength": 4096}})
}

fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn any_objects(_: &mut SchemaGenerator) -> Schema {
    let object = json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json_schema!({"type": "array", "maxItems": 8, "items": object})
}

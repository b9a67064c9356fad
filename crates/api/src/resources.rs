//! CPU and memory of pods. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::quantity;

/// CPU and memory of a pod, as in the resources of a container.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Default, Debug)]
pub struct Resources {
    /// Minimum amounts, such as cpu and memory; not above limits. At most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8), schema_with = "amounts")]
    pub requests: BTreeMap<String, IntOrString>,
    /// Maximum amounts, such as cpu and memory. At most 8.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8), schema_with = "amounts")]
    pub limits: BTreeMap<String, IntOrString>,
}

impl Resources {
    /// Whether there are neither requests nor limits.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }
}

fn amounts(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "additionalProperties": {"x-kubernetes-int-or-string": true, "pattern": quantity::PATTERN},
    })
}

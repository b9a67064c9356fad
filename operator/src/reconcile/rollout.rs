//! The state of a Deployment's pods, as its status counts them. Pure.

use serde_json::Value;

/// The counts of a Deployment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rollout {
    /// Declared replicas.
    pub(crate) wanted: i64,
    /// Ready pods.
    pub(crate) ready: i64,
    /// Pods of the current template.
    updated: i64,
    /// All pods.
    all: i64,
    /// Whether the status belongs to the current spec.
    pub(crate) is_current: bool,
}

impl Rollout {
    /// Reads the counts of a live Deployment.
    pub(crate) fn of(deployment: &Value) -> Self {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        Self {
            wanted: number(&spec["replicas"]),
            ready: number(&status["readyReplicas"]),
            updated: number(&status["updatedReplicas"]),
            all: number(&status["replicas"]),
            is_current: number(&status["observedGeneration"]) >= number(&deployment["metadata"]["generation"]),
        }
    }

    /// Whether all pods have the current template.
    pub(crate) fn is_replaced(self) -> bool {
        self.updated >= self.wanted && self.all == self.wanted
    }

    /// Whether all pods have the current template and are ready.
    pub(crate) fn is_complete(self) -> bool {
        self.is_current && self.ready >= self.wanted && self.is_replaced()
    }
}

//! Autoscaling of the processor. `kubectl explain` prints the doc comments.
#![allow(unreachable_pub, reason = "the derive repeats each struct inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Number of processors by their load, without a metrics server: more at once if records stay unread, fewer slowly. Never more than
/// partitions, and no more while Postgres limits the rate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas", "minReplicas must not be greater than maxReplicas"))]
pub struct Autoscaling {
    /// Minimum number of pods, 1 to 1024. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub min_replicas: i32,
    /// Maximum number of pods, 1 to 1024.
    #[schemars(range(min = 1, max = 1024))]
    pub max_replicas: i32,
    /// Number of seconds by which reading may be behind, 1 to 86400: the unread records divided by the records appended or read per
    /// second. Default: 60.
    #[serde(default = "minute")]
    #[schemars(range(min = 1, max = 86400))]
    pub seconds_behind: i32,
}

fn one() -> i32 {
    1
}

fn minute() -> i32 {
    60
}

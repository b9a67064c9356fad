//! The metrics Service.

use retail_api::Pipeline;
use serde_json::{Value, json};

use super::blueprint::PORT;
use crate::resources::names::{Child, selector};

/// Without an address of its own: whoever collects metrics wants each pod, also those that are not ready.
pub(super) fn metrics_service(pipeline: &Pipeline) -> Value {
    json!({"spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": selector(&pipeline.name, Child::MetricsService.component()),
        "ports": [{"name": "metrics", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
    }})
}

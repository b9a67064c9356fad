//! The metrics Service.

use retail_api::Pipeline;
use serde_json::{Value, json};

use super::blueprint::PORT;
use crate::resources::names::{Child, selector};

/// Headless: a metrics collector needs the address of each pod, including unready ones.
pub(super) fn metrics_service(pipeline: &Pipeline) -> Value {
    json!({"spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": true,
        "selector": selector(&pipeline.name, Child::MetricsService.component()),
        "ports": [{"name": "metrics", "port": PORT, "protocol": "TCP", "targetPort": "http"}],
    }})
}

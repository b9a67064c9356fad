//! The declared objects of a pipeline, for server-side apply: all fields that the operator decides, and no other.

use kube::Resource;
use retail_api::Pipeline;
use retail_api::resource::RetailPipeline;
use serde_json::{Value, json};

use crate::resources::blueprint::Blueprint;
use crate::resources::names::{Child, DECLARED_HASH, MANAGED_BY, OPERATOR, PIPELINE, selector};
use crate::resources::{config_files, deployments, hash, metrics_service, verification};

impl Blueprint<'_> {
    /// The declaration of a child, or `None` if the pipeline has no such child. `secret_hashes` become annotations of its pods, so
    /// that a changed Secret replaces them.
    pub(crate) fn declare(&self, child: Child, secret_hashes: &[(&'static str, &str)]) -> Option<Value> {
        let object = match child {
            Child::ConfigMap => config_files::config_map(self.pipeline),
            Child::ServiceAccount => json!({"automountServiceAccountToken": false}),
            Child::MetricsService => metrics_service::metrics_service(self.pipeline),
            Child::DisruptionBudget if self.processors > 1 && self.pipeline.processor.disruption_budget => {
                disruption_budget(self.pipeline)
            }
            Child::DisruptionBudget => return None,
            Child::Processor => deployments::processor(self, secret_hashes),
            Child::Producer => deployments::producer(self, secret_hashes)?,
            // Each Job starts with the Secrets of its time.
            Child::Verification => verification::cron_job(self)?,
        };
        let mut object = with_head(child, self.pipeline, object);
        // Not part of the hash: another operator with the same declaration replaces no pod.
        if let Some(lease) = &self.settings.lease {
            object["metadata"]["annotations"][OPERATOR] = json!(lease);
        }
        Some(object)
    }
}

fn disruption_budget(pipeline: &Pipeline) -> Value {
    let selector = selector(&pipeline.name, Child::DisruptionBudget.component());
    // An unready pod must not block the drain of a node.
    json!({"spec": {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }})
}

/// Adds the fields that all children have: name, labels, owner, and the hash of everything else.
fn with_head(child: Child, pipeline: &Pipeline, mut object: Value) -> Value {
    let mut labels = json!(selector(&pipeline.name, child.component()));
    labels[MANAGED_BY.0] = json!(MANAGED_BY.1);
    labels[PIPELINE] = json!(pipeline.name);
    object["apiVersion"] = json!(child.api_version());
    object["kind"] = json!(child.kind());
    object["metadata"] = json!({
        "name": child.name(&pipeline.name),
        "namespace": pipeline.namespace,
        "labels": labels,
        // Without blockOwnerDeletion, which requires another permission on some clusters.
        "ownerReferences": [{
            "apiVersion": RetailPipeline::api_version(&()),
            "kind": RetailPipeline::kind(&()),
            "name": pipeline.name,
            "uid": pipeline.uid,
            "controller": true,
        }],
    });
    let hash = hash::of([object.to_string().as_bytes()]);
    object["metadata"]["annotations"] = json!({DECLARED_HASH: hash});
    object
}

//! From what the API server has to a pipeline that cannot be wrong, or to everything that is wrong with it.
//!
//! The rules are those of the API server's own validation. They hold again here, because a resource may be older than a
//! rule, and because what breaks a rule must stop nobody but itself.

use kube::Resource;
use retail_api::Pipeline;
use retail_api::resource::{DeletionPolicies, RetailPipeline};
use serde_json::json;

use crate::reconcile::pipeline_meta::RawPipeline;
use crate::reconcile::reason::Reason;

/// A pipeline that is valid, and what only the operator reads of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Valid {
    /// What the programs run.
    pub pipeline: Pipeline,
    /// Whether they are stopped.
    pub suspend: bool,
    /// What goes with the resource.
    pub deletion_policy: DeletionPolicies,
}

/// Why there is no such pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The reason.
    pub reason: Reason,
    /// All that is wrong, in words.
    pub message: String,
}

/// Reads and checks a resource.
pub fn validate(raw: &RawPipeline) -> Result<Valid, Invalid> {
    let RawPipeline { metadata, spec, status: _ } = raw;
    let resource = json!({
        "apiVersion": RetailPipeline::api_version(&()),
        "kind": RetailPipeline::kind(&()),
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "spec": spec.value(),
    });
    // JSON is YAML, and so this is read like any pipeline.yaml.
    parse(&resource.to_string())
}

/// Reads and checks the text of a pipeline.yaml.
pub fn parse(text: &str) -> Result<Valid, Invalid> {
    let (pipeline, resource) = Pipeline::parse_resource(text).map_err(|problems| {
        let problems = problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
        Invalid { reason: Reason::InvalidSpec, message: problems.collect::<Vec<_>>().join("; ") }
    })?;
    Ok(Valid { pipeline, suspend: resource.spec.suspend, deletion_policy: resource.spec.deletion_policy })
}

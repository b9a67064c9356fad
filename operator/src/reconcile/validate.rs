//! Validation: from a resource to a valid pipeline, or to the list of its errors. Pure.
//!
//! The API server validates with the same rules. They are repeated here, because a resource may be older than a rule, and an invalid
//! resource must not affect other pipelines.

use kube::Resource;
use retail_api::Pipeline;
use retail_api::resource::{DeletionPolicies, RetailPipeline, RetailPipelineSpec};
use serde_json::json;

use crate::reconcile::pipeline_meta::RawPipeline;
use crate::reconcile::reason::Reason;

/// A valid pipeline, with the fields that only the operator reads.
#[derive(Clone, PartialEq, Debug)]
pub struct Valid {
    /// The pipeline as the programs read it.
    pub pipeline: Pipeline,
    /// Whether producer and processor are stopped.
    pub suspend: bool,
    /// Whether the operator changes nothing.
    pub paused: bool,
    /// Data to delete with the resource.
    pub deletion_policy: DeletionPolicies,
}

/// Why a resource is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The reason for conditions.
    pub reason: Reason,
    /// All errors, separated by semicolons.
    pub message: String,
}

/// Validates a resource.
pub(crate) fn validate(raw: &RawPipeline) -> Result<Valid, Invalid> {
    let RawPipeline { metadata, spec, status: _ } = raw;
    let resource = json!({
        "apiVersion": RetailPipeline::api_version(&()),
        "kind": RetailPipeline::kind(&()),
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "spec": spec.value(),
    });
    // JSON is valid YAML: the same parser reads a resource and a pipeline.yaml.
    parse(&resource.to_string())
}

/// Validates the text of a pipeline.yaml.
pub fn parse(text: &str) -> Result<Valid, Invalid> {
    let (pipeline, resource) = Pipeline::parse_resource(text).map_err(|problems| {
        let problems = problems.0.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
        Invalid { reason: Reason::InvalidSpec, message: problems.collect::<Vec<_>>().join("; ") }
    })?;
    let RetailPipelineSpec { suspend, paused, deletion_policy, .. } = resource.spec;
    Ok(Valid { pipeline, suspend, paused, deletion_policy })
}

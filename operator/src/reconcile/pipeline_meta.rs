//! What is known of a pipeline without reading its spec.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use serde::Deserialize;

use crate::resources::json_text::JsonText;
use crate::resources::names::{FINALIZER, RELEASE};

/// A RetailPipeline as the API server has it, whatever is in it: one that we cannot read must not stop the others.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = RetailPipeline)]
pub struct RawPipeline {
    /// Name, uid, generation, finalizers.
    pub metadata: ObjectMeta,
    /// What is declared.
    #[serde(default)]
    pub spec: JsonText,
    /// What an operator said of it last.
    #[serde(default)]
    pub status: JsonText,
}

/// What is known of a pipeline without reading its spec.
#[derive(Clone, PartialEq, Debug)]
pub struct PipelineMeta {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version, which a change to its finalizers must name, and to its status.
    pub resource_version: String,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// All of its finalizers.
    pub finalizers: Vec<String>,
    /// For how long it has been being deleted, if it is.
    pub deleting_for: Option<Duration>,
    /// Whether somebody lets it go, whatever is left.
    pub released: bool,
    /// What was said of it last.
    pub recorded: RetailPipelineStatus,
}

impl PipelineMeta {
    /// Reads what every object has.
    pub fn of(raw: &RawPipeline, now: Timestamp) -> Self {
        let metadata = raw.metadata.clone();
        let annotations = metadata.annotations.unwrap_or_default();
        let deleting_for = metadata.deletion_timestamp.map(|since| {
            let seconds = now.duration_since(since.0).as_secs();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        });
        Self {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation,
            finalizers: metadata.finalizers.unwrap_or_default(),
            deleting_for,
            released: annotations.get(RELEASE).is_some_and(|value| value == "true"),
            // A status that we cannot read is one that we have not written.
            recorded: raw.status.read().unwrap_or_default(),
        }
    }

    /// Whether our finalizer is on it.
    pub fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }
}

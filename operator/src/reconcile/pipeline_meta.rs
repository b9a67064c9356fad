//! Facts about a pipeline that do not depend on its spec.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use serde::Deserialize;

use crate::resources::json_text::JsonText;
use crate::resources::names::{FINALIZER, RELEASE};

/// Type of the condition about Secrets.
const CREDENTIALS_READY: &str = "CredentialsReady";

/// A RetailPipeline with unparsed spec and status: an unreadable resource must not stop the watch of the others.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = RetailPipeline)]
pub(crate) struct RawPipeline {
    /// Name, uid, generation, finalizers.
    pub(crate) metadata: ObjectMeta,
    /// The spec.
    #[serde(default)]
    pub(crate) spec: JsonText,
    /// The last reported status.
    #[serde(default)]
    pub(crate) status: JsonText,
}

impl RawPipeline {
    /// The class of the operator that runs it. An invalid spec has a class too.
    pub(crate) fn operator_class(&self) -> Option<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Class {
            operator_class: Option<String>,
        }
        self.spec.contains("\"operatorClass\"").then(|| self.spec.read::<Class>().ok()?.operator_class).flatten()
    }
}

/// Facts about a pipeline that do not depend on its spec.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PipelineMeta {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its uid.
    pub(crate) uid: String,
    /// Its resource version, required for changes of finalizers and status.
    pub(crate) resource_version: String,
    /// Generation of the spec.
    pub(crate) generation: Option<i64>,
    /// All of its finalizers.
    pub(crate) finalizers: Vec<String>,
    /// Time since its deletion was requested.
    pub(crate) deleting_for: Option<Duration>,
    /// Whether the release annotation is set: remove the finalizer without deleting data.
    pub(crate) released: bool,
    /// Time of the pass.
    pub(crate) now: Timestamp,
    /// How long its Secrets have been unusable, as reported.
    pub(crate) without_secrets_for: Duration,
    /// The last reported status.
    pub(crate) recorded: RetailPipelineStatus,
}

impl PipelineMeta {
    /// Reads metadata and status.
    pub(crate) fn of(raw: &RawPipeline, now: Timestamp) -> Self {
        let metadata = raw.metadata.clone();
        let annotations = metadata.annotations.unwrap_or_default();
        let passed = |since: Timestamp| {
            let seconds = now.duration_since(since).as_secs();
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        let deleting_for = metadata.deletion_timestamp.map(|since| passed(since.0));
        // An unreadable status was not written by this operator.
        let recorded: RetailPipelineStatus = raw.status.read().unwrap_or_default();
        let is_unusable = |condition: &&Condition| condition.type_ == CREDENTIALS_READY && condition.status == "False";
        let unusable = recorded.conditions.iter().find(is_unusable);
        Self {
            name: metadata.name.unwrap_or_default(),
            namespace: metadata.namespace.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation,
            finalizers: metadata.finalizers.unwrap_or_default(),
            deleting_for,
            released: annotations.get(RELEASE).is_some_and(|value| value == "true"),
            now,
            without_secrets_for: unusable.map_or(Duration::ZERO, |since| passed(since.last_transition_time.0)),
            recorded,
        }
    }

    /// Whether the operator's finalizer is set.
    pub(crate) fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    }
}

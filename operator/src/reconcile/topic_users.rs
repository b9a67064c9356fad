//! The other pipelines of a topic, whose events its deletion would take.

use std::collections::BTreeSet;

use kube::api::ListParams;
use kube::{Api, Client};
use retail_api::status::RetailPipelineStatus;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::pipeline_meta::RawPipeline;

/// A topic, as its pipeline knows it.
pub(crate) struct NamedTopic<'a> {
    /// Uid of the pipeline.
    pub(crate) owner: &'a str,
    /// Name of the topic.
    pub(crate) name: &'a str,
    /// Id of the topic.
    pub(crate) id: &'a str,
}

/// The other pipelines of the watched namespaces (all, if `namespaces` is empty) that use the topic, as NAMESPACE/NAME. The list
/// comes from the API server: the watches may lag behind.
pub(crate) async fn topic_users(
    client: &Client,
    namespaces: &BTreeSet<String>,
    cache: &ReconcileCache,
    topic: &NamedTopic<'_>,
) -> Result<Vec<String>, kube::Error> {
    let scopes: Vec<Api<RawPipeline>> = if namespaces.is_empty() {
        vec![Api::all(client.clone())]
    } else {
        namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
    };
    let mut users = Vec::new();
    for pipelines in scopes {
        for raw in pipelines.list(&ListParams::default()).await? {
            let is_other = raw.metadata.uid.as_deref() != Some(topic.owner);
            if is_other && raw.metadata.deletion_timestamp.is_none() && uses(&raw, cache, topic) {
                let [namespace, name] = [raw.metadata.namespace, raw.metadata.name].map(Option::unwrap_or_default);
                users.push(format!("{namespace}/{name}"));
            }
        }
    }
    Ok(users)
}

/// Whether a pipeline uses the topic. The recorded id decides: topics of two Kafka clusters can have the same name. Before it is
/// recorded, the name decides.
fn uses(raw: &RawPipeline, cache: &ReconcileCache, topic: &NamedTopic<'_>) -> bool {
    let status: RetailPipelineStatus = raw.status.read().unwrap_or_default();
    match status.topic {
        Some(recorded) => recorded.id == topic.id,
        None => cache.validated(raw).as_ref().as_ref().is_ok_and(|valid| valid.pipeline.topic.name == topic.name),
    }
}

//! Reports a pass: writes the status if it changed, and publishes an event for each change.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource};
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use serde_json::json;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::events::{EventRecord, condition_events};
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::resources::hash;
use crate::resources::names::STATUS_MANAGER;

/// Writes the status if it changed, then publishes events. `false` if the resource is gone.
pub(crate) async fn report(
    client: &Client,
    recorder: &Recorder,
    cache: &ReconcileCache,
    raw: &RawPipeline,
    meta: &PipelineMeta,
    status: &RetailPipelineStatus,
    action_events: Vec<EventRecord>,
) -> Result<bool, kube::Error> {
    if *status != meta.recorded && !write(client, meta, status).await? {
        return Ok(false);
    }
    let before = cache.conditions(&meta.uid).unwrap_or_else(|| meta.recorded.conditions.clone());
    cache.record_conditions(&meta.uid, &status.conditions);
    for event in action_events.into_iter().chain(condition_events(&before, &status.conditions)) {
        publish(recorder, raw, event).await;
    }
    Ok(true)
}

/// Writes the status, unless a new resource has taken the name since the pass began.
///
/// The API server compares no uid in a status patch, but it does compare the resource version. Without an end of its own: the
/// caller's deadline applies. `false` if the resource is gone.
async fn write(client: &Client, meta: &PipelineMeta, status: &RetailPipelineStatus) -> Result<bool, kube::Error> {
    let PipelineMeta { name, namespace, uid, resource_version, .. } = meta;
    let pipelines = Api::<RawPipeline>::namespaced(client.clone(), namespace);
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let mut version = Some(resource_version.clone());
    loop {
        let declared = json!({
            "apiVersion": RetailPipeline::api_version(&()),
            "kind": RetailPipeline::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
            "status": status,
        });
        match pipelines.patch_status(name, &params, &Patch::Apply(declared)).await {
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {
                let current = pipelines.get_metadata_opt(name).await?.map(|current| current.metadata);
                match current.filter(|current| current.uid.as_ref() == Some(uid)) {
                    None => return Ok(false),
                    // The resource changed since the pass began: retry with its new version.
                    Some(current) if current.resource_version != version => version = current.resource_version,
                    Some(_) => return Err(kube::Error::Api(refusal)),
                }
            }
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => return Ok(false),
            answer => return answer.map(|_| true),
        }
    }
}

/// Publishes an event and logs it. A failed publication does not fail the pass.
pub(crate) async fn publish(recorder: &Recorder, raw: &RawPipeline, event: EventRecord) {
    let EventRecord { is_warning, reason, text } = event;
    let (name, namespace) = (raw.metadata.name.as_deref(), raw.metadata.namespace.as_deref());
    if is_warning {
        tracing::warn!(namespace, name, reason, "{text}");
    } else {
        tracing::info!(namespace, name, reason, "{text}");
    }
    let event = Event {
        type_: if is_warning { EventType::Warning } else { EventType::Normal },
        reason,
        // The recorder counts events of one action and reason, and keeps the text of the first: another text is another action.
        action: format!("Reconcile-{}", hash::of([text.as_bytes()])),
        note: Some(text),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &raw.object_ref(&())).await {
        tracing::debug!(%error, "cannot publish an event");
    }
}

//! Says what a pass came to: the status where it differs, and an event for each change.

use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource};
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use serde_json::json;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::events::{EventRecord, changes};
use crate::reconcile::pipeline_meta::{PipelineMeta, RawPipeline};
use crate::resources::names::STATUS_MANAGER;

/// Writes the status if it differs, and then says what changed.
pub async fn report(
    client: &Client,
    recorder: &Recorder,
    cache: &ReconcileCache,
    raw: &RawPipeline,
    meta: &PipelineMeta,
    status: &RetailPipelineStatus,
    action_events: Vec<EventRecord>,
) -> Result<(), kube::Error> {
    if *status != meta.recorded {
        write(client, meta, status).await?;
    }
    let before = cache.conditions(&meta.uid).unwrap_or_else(|| meta.recorded.conditions.clone());
    cache.record_conditions(&meta.uid, &status.conditions);
    for note in action_events.into_iter().chain(changes(&before, &status.conditions)) {
        say(recorder, raw, note).await;
    }
    Ok(())
}

/// Writes the status, unless the resource of this name is another one by now: passes take a while, and watches may be behind.
/// The API server holds nobody to a uid where a status is written, but to a version it does. Whoever calls has a deadline.
async fn write(client: &Client, meta: &PipelineMeta, status: &RetailPipelineStatus) -> Result<(), kube::Error> {
    let PipelineMeta { name, namespace, uid, resource_version, .. } = meta;
    let pipelines = Api::<RawPipeline>::namespaced(client.clone(), namespace);
    let as_us = PatchParams::apply(STATUS_MANAGER).force();
    let mut version = Some(resource_version.clone());
    loop {
        let declared = json!({
            "apiVersion": RetailPipeline::api_version(&()),
            "kind": RetailPipeline::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
            "status": status,
        });
        match pipelines.patch_status(name, &as_us, &Patch::Apply(declared)).await {
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {
                let there = pipelines.get_metadata_opt(name).await?.map(|there| there.metadata);
                match there.filter(|there| there.uid.as_ref() == Some(uid)) {
                    // Somebody edited it meanwhile, or we have.
                    Some(there) if there.resource_version != version => version = there.resource_version,
                    _ => return Err(kube::Error::Api(refusal)),
                }
            }
            answer => return answer.map(drop),
        }
    }
}

/// Says what happened, to those who look at the resource. That it cannot be said stops nothing.
pub async fn say(recorder: &Recorder, raw: &RawPipeline, note: EventRecord) {
    let EventRecord { is_warning, reason, text } = note;
    let (name, namespace) = (raw.metadata.name.as_deref(), raw.metadata.namespace.as_deref());
    if is_warning {
        tracing::warn!(namespace, name, reason, "{text}");
    } else {
        tracing::info!(namespace, name, reason, "{text}");
    }
    let event = Event {
        type_: if is_warning { EventType::Warning } else { EventType::Normal },
        reason,
        note: Some(text),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = recorder.publish(&event, &raw.object_ref(&())).await {
        tracing::debug!(%error, "an event was lost");
    }
}

//! Reads the pods of a Deployment that is not complete, and the events of one that waits. A complete Deployment costs no request.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::pod_problems::{problem, waiting, warning};
use crate::reconcile::rollout::Rollout;
use crate::resources::difference::LiveObject;
use crate::resources::names::{Child, selector_text};

/// Pods and events that are read. The pods of a Deployment mostly have the same problem.
const MOST: u32 = 20;

/// Why pods of the pipeline do not start, by Deployment. Without the permission to read pods, nothing is known.
pub(crate) async fn pod_problems(
    client: &Client,
    meta: &PipelineMeta,
    children: &BTreeMap<Child, LiveObject>,
) -> BTreeMap<Child, String> {
    let mut problems = BTreeMap::new();
    for (child, live) in children.iter().filter(|(child, _)| child.is_deployment()) {
        if Rollout::of(live.object()).is_complete() {
            continue;
        }
        match read(client, meta, *child).await {
            Ok(found) => problems.extend(found.map(|found| (*child, found))),
            Err(error) => tracing::debug!(%error, "cannot read the pods of {child}"),
        }
    }
    problems
}

async fn read(client: &Client, meta: &PipelineMeta, child: Child) -> Result<Option<String>, kube::Error> {
    let selector = selector_text(&meta.name, child.component());
    let pods = Api::<Pod>::namespaced(client.clone(), &meta.namespace);
    let pods = pods.list(&ListParams::default().labels(&selector).limit(MOST)).await?.items;
    let logs = format!("kubectl logs -n {} deploy/{} --previous", meta.namespace, child.name(&meta.name));
    if let Some(found) = problem(&pods, &logs) {
        return Ok(Some(found));
    }
    let Some(uid) = waiting(&pods) else { return Ok(None) };
    let events = Api::<Event>::namespaced(client.clone(), &meta.namespace);
    let about = ListParams::default().fields(&format!("regarding.uid={uid}")).limit(MOST);
    Ok(warning(&events.list(&about).await?.items, uid))
}

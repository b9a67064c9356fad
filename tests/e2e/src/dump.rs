//! Prints the state of the cluster after a timeout.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, LogParams};
use kube::{Api, Client};
use retail_api::resource::RetailPipeline;

/// Prints pipelines, events, pods and their logs to standard error.
pub(crate) async fn dump(client: &Client) {
    for pipeline in all::<RetailPipeline>(client).await {
        let of =
            [pipeline.metadata.namespace.unwrap_or_default(), pipeline.metadata.name.unwrap_or_default()].join("/");
        let status = serde_json::to_string_pretty(&pipeline.status).unwrap_or_default();
        say(&format!("pipeline {of}, generation {:?}: {status}", pipeline.metadata.generation));
    }
    let mut events = all::<Event>(client).await;
    events.sort_by_key(|event| event.last_timestamp.clone().map(|time| time.0));
    for event in events.iter().rev().take(40).rev() {
        let about = &event.involved_object;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        say(&format!(
            "event {}/{} {}: {}",
            text(&about.namespace),
            text(&about.name),
            text(&event.reason),
            text(&event.message)
        ));
    }
    for pod in all::<Pod>(client).await {
        let name = pod.metadata.name.unwrap_or_default();
        let namespace = pod.metadata.namespace.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let containers = serde_json::to_string(&status.container_statuses).unwrap_or_default();
        say(&format!("pod {namespace}/{name} {}: {containers}", status.phase.unwrap_or_default()));
        let last = LogParams { tail_lines: Some(30), ..LogParams::default() };
        let log = Api::<Pod>::namespaced(client.clone(), &namespace).logs(&name, &last).await;
        say(&log.unwrap_or_else(|error| error.to_string()));
    }
}

async fn all<K>(client: &Client) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    Api::<K>::all(client.clone()).list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default()
}

#[expect(clippy::print_stderr, reason = "the output of a failed test")]
fn say(text: &str) {
    eprintln!("{text}");
}

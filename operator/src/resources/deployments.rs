//! The two Deployments. Their pods meet the restricted Pod Security Standard.

use std::collections::BTreeMap;

use kube::Resource;
use retail_api::resource::RetailPipeline;
use retail_api::template::PodTemplate;
use serde_json::{Value, json};

use super::blueprint::{Blueprint, DIRECTORY, PORT};
use super::config_files::{PROCESSOR_FILE, PRODUCER_FILE, hashed_text, processor_file, producer_file};
use super::pod::container;
use super::pod_secrets::PodSecrets;
use super::{pod, pod_resources, pod_template};
use crate::resources::hash;
use crate::resources::names::{CONFIG_HASH, Child, selector};

pub(super) fn processor(blueprint: &Blueprint<'_>, secret_hashes: &[(&'static str, &str)]) -> Value {
    let pipeline = blueprint.pipeline;
    let file = processor_file(pipeline);
    let mut secrets =
        PodSecrets::default().kafka(&pipeline.kafka).database(&pipeline.database).registry(pipeline.registry());
    // The name in the consumer group: a container that is restarted in its pod takes up its partitions at once.
    let uid = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}});
    secrets.env.insert(0, json!({"name": "RETAIL_INSTANCE", "valueFrom": uid}));
    let mut container =
        container(blueprint, "processor", PROCESSOR_FILE, &pod_resources::processor(&pipeline.processor.resources));
    // With IPv4, too, where the node has it.
    container["args"] = json!(["-f", format!("{DIRECTORY}/{PROCESSOR_FILE}"), "--http", format!("[::]:{PORT}")]);
    container["ports"] = json!([{"name": "http", "containerPort": PORT, "protocol": "TCP"}]);
    // Liveness covers the process only: a restart does not help while Kafka or Postgres is unreachable.
    container["livenessProbe"] = json!({"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6});
    container["readinessProbe"] =
        json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 5});
    let annotations = annotations(&file, secret_hashes);
    deployment(
        blueprint,
        Child::Processor,
        blueprint.processors,
        container,
        secrets,
        &annotations,
        &pipeline.processor.template,
    )
}

/// Without probes: the producer serves no HTTP. It runs, or it has ended and Kubernetes restarts it.
pub(super) fn producer(blueprint: &Blueprint<'_>, secret_hashes: &[(&'static str, &str)]) -> Option<Value> {
    let producer = blueprint.pipeline.producer.as_ref()?;
    let file = producer_file(blueprint.pipeline, producer);
    let mut container = container(blueprint, "producer", PRODUCER_FILE, &pod_resources::producer(&producer.resources));
    container["args"] = json!(["-f", format!("{DIRECTORY}/{PRODUCER_FILE}")]);
    let secrets = PodSecrets::default().kafka(&blueprint.pipeline.kafka).registry(blueprint.pipeline.registry());
    let annotations = annotations(&file, secret_hashes);
    Some(deployment(
        blueprint,
        Child::Producer,
        blueprint.producers,
        container,
        secrets,
        &annotations,
        &producer.template,
    ))
}

/// Annotations with the hashes of a pod's inputs: a changed input replaces the pod.
fn annotations(file: &str, secret_hashes: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    let config = (CONFIG_HASH, hash::of([hashed_text(file, &RetailPipeline::api_version(&())).as_bytes()]));
    secret_hashes.iter().map(|(name, hash)| (*name, (*hash).to_owned())).chain([config]).collect()
}

fn deployment(
    blueprint: &Blueprint<'_>,
    child: Child,
    replicas: i32,
    container: Value,
    secrets: PodSecrets,
    annotations: &BTreeMap<&str, String>,
    template: &PodTemplate,
) -> Value {
    let selector = selector(&blueprint.pipeline.name, child.component());
    let pod = pod::pod(blueprint, container, secrets, template, &json!(selector));
    let owned = |(name, value): (&&str, &String)| ((*name).to_owned(), value.clone());
    let labels = pod_template::with(&template.labels, selector.iter().map(owned));
    let annotations = pod_template::with(&template.annotations, annotations.iter().map(owned));
    json!({"spec": {
        "replicas": replicas,
        // Paused by another client, a rollout would never end.
        "paused": false,
        "strategy": pod_template::strategy(template),
        "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod},
    }})
}

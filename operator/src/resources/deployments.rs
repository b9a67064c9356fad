//! The two Deployments. Their pods meet the restricted Pod Security Standard.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use retail_api::resource::Resources;
use serde_json::{Map, Value, json};

use super::blueprint::{Blueprint, DIRECTORY, PORT, USER};
use super::config_files::{PROCESSOR_FILE, PRODUCER_FILE, processor_file, producer_file};
use super::pod_secrets::PodSecrets;
use crate::resources::hash;
use crate::resources::names::{CONFIG_HASH, Child, selector};

/// Time for a processor to commit and leave its group; a running statement may take this long.
const GRACE_SECONDS: i64 = 60;

pub(super) fn processor(blueprint: &Blueprint<'_>, secret_hashes: &[(&'static str, &str)]) -> Value {
    let pipeline = blueprint.pipeline;
    let file = processor_file(pipeline);
    let secrets =
        PodSecrets::default().kafka(&pipeline.kafka).database(&pipeline.database).registry(pipeline.registry());
    let mut container = container(blueprint, "processor", PROCESSOR_FILE, &pipeline.processor.resources);
    container["args"] = json!(["-f", format!("{DIRECTORY}/{PROCESSOR_FILE}"), "--http", format!("0.0.0.0:{PORT}")]);
    container["ports"] = json!([{"name": "http", "containerPort": PORT, "protocol": "TCP"}]);
    // Liveness covers the process only: a restart does not help while Kafka or Postgres is unreachable.
    container["livenessProbe"] = json!({"httpGet": {"path": "/livez", "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6});
    container["readinessProbe"] =
        json!({"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 5});
    let annotations = annotations(&file, secret_hashes);
    deployment(blueprint, Child::Processor, blueprint.processors, container, secrets, &annotations)
}

/// Without probes: the producer serves no HTTP. It runs, or it has ended and Kubernetes restarts it.
pub(super) fn producer(blueprint: &Blueprint<'_>, secret_hashes: &[(&'static str, &str)]) -> Option<Value> {
    let producer = blueprint.pipeline.producer.as_ref()?;
    let file = producer_file(blueprint.pipeline, producer);
    let mut container = container(blueprint, "producer", PRODUCER_FILE, &producer.resources);
    container["args"] = json!(["-f", format!("{DIRECTORY}/{PRODUCER_FILE}")]);
    let secrets = PodSecrets::default().kafka(&blueprint.pipeline.kafka).registry(blueprint.pipeline.registry());
    let annotations = annotations(&file, secret_hashes);
    Some(deployment(blueprint, Child::Producer, blueprint.producers, container, secrets, &annotations))
}

/// Annotations with the hashes of a pod's inputs: a changed input replaces the pod.
fn annotations(file: &str, secret_hashes: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    let config = (CONFIG_HASH, hash::of([file.as_bytes()]));
    secret_hashes.iter().map(|(name, hash)| (*name, (*hash).to_owned())).chain([config]).collect()
}

fn container(blueprint: &Blueprint<'_>, program: &str, file: &str, resources: &Resources) -> Value {
    let mut container = json!({
        "name": program,
        "image": blueprint.settings.image,
        "command": [format!("/retail-{program}")],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "pipeline", "mountPath": format!("{DIRECTORY}/{file}"), "subPath": file, "readOnly": true}],
    });
    let Resources { requests, limits } = resources;
    let amounts = [("requests", requests), ("limits", limits)];
    let declared: Map<String, Value> = amounts
        .into_iter()
        .filter(|(_, amounts)| !amounts.is_empty())
        .map(|(name, amounts)| (name.to_owned(), quantities(amounts)))
        .collect();
    if !declared.is_empty() {
        container["resources"] = Value::Object(declared);
    }
    container
}

/// As text: the API server stores a quantity as text even if it was declared as a number.
fn quantities(amounts: &BTreeMap<String, IntOrString>) -> Value {
    let text = |amount: &IntOrString| match amount {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    };
    amounts.iter().map(|(name, amount)| (name.clone(), Value::from(text(amount)))).collect::<Map<_, _>>().into()
}

fn deployment(
    blueprint: &Blueprint<'_>,
    child: Child,
    replicas: i32,
    mut container: Value,
    secrets: PodSecrets,
    annotations: &BTreeMap<&str, String>,
) -> Value {
    let name = &blueprint.pipeline.name;
    let file = json!({"name": "pipeline", "configMap": {"name": Child::ConfigMap.name(name)}});
    let volumes: Vec<Value> = std::iter::once(file).chain(secrets.volumes).collect();
    if !secrets.env.is_empty() {
        container["env"] = Value::Array(secrets.env);
    }
    container["volumeMounts"].as_array_mut().expect("every container mounts its file").extend(secrets.mounts);
    let selector = selector(name, child.component());
    let pod = json!({
        "serviceAccountName": Child::ServiceAccount.name(name),
        "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    });
    json!({"spec": {
        "replicas": replicas,
        "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": selector, "annotations": annotations}, "spec": pod},
    }})
}

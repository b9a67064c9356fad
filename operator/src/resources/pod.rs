//! The pods of a pipeline, with one container each. They meet the restricted Pod Security Standard.

use retail_api::template::PodTemplate;
use serde_json::{Value, json};

use super::blueprint::{Blueprint, DIRECTORY};
use super::pod_secrets::PodSecrets;
use super::pod_template;
use crate::resources::names::Child;

/// The container of a program, which reads `file` of the ConfigMap.
pub(super) fn container(blueprint: &Blueprint<'_>, program: &str, file: &str, resources: &Value) -> Value {
    json!({
        "name": program,
        "image": blueprint.image(),
        "command": [format!("/retail-{program}")],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "pipeline", "mountPath": format!("{DIRECTORY}/{file}"), "subPath": file, "readOnly": true}],
        "resources": resources,
        // The end of the log of a container that failed is in the status of its pod, and in our conditions.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// The specification of a pod. `labels` select the pods of its owner.
pub(super) fn pod(
    blueprint: &Blueprint<'_>,
    mut container: Value,
    secrets: PodSecrets,
    template: &PodTemplate,
    labels: &Value,
) -> Value {
    let name = &blueprint.pipeline.name;
    let file = json!({"name": "pipeline", "configMap": {"name": Child::ConfigMap.name(name)}});
    let volumes: Vec<Value> = std::iter::once(file).chain(secrets.volumes).collect();
    if !secrets.env.is_empty() {
        container["env"] = Value::Array(secrets.env);
    }
    container["volumeMounts"].as_array_mut().expect("every container mounts its file").extend(secrets.mounts);
    pod_template::add_to_container(template, &blueprint.pipeline.logging, &mut container);
    let mut pod = json!({
        "serviceAccountName": Child::ServiceAccount.name(name),
        "automountServiceAccountToken": false,
        // Each Service of the namespace would add seven variables, and the environment of a process is bounded.
        "enableServiceLinks": false,
        "containers": [container],
        "volumes": volumes,
    });
    pod_template::add_to_pod(template, labels, &mut pod);
    pod
}

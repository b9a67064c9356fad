//! The template of a user, added to the pod that the operator declares. The fields of the operator win.

use std::collections::BTreeMap;

use retail_api::logging::{LogFormat, LogLevel, Logging};
use retail_api::template::{PodTemplate, PodUser, Variable};
use serde_json::{Map, Value, json};

use super::blueprint::USER;

/// Time for a processor to commit and leave its group; a running statement may take this long.
const GRACE_SECONDS: i64 = 60;

/// The share of pods that a rollout may add, and may take away. Declared, so that a change by another client is found.
const ROLLOUT_SHARE: &str = "25%";

/// Labels or annotations of the user and of the operator.
pub(super) fn with(theirs: &BTreeMap<String, String>, ours: impl IntoIterator<Item = (String, String)>) -> Value {
    let mut all = theirs.clone();
    all.extend(ours);
    json!(all)
}

/// Adds the fields of the pod outside its container. `labels` select the pods of the Deployment.
pub(super) fn add_to_pod(template: &PodTemplate, labels: &Value, pod: &mut Value) {
    let PodTemplate {
        // Of the metadata, the container and the Deployment.
        labels: _,
        annotations: _,
        env: _,
        volume_mounts: _,
        max_surge: _,
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
        image_pull_secrets,
        service_account_name,
        security_context,
        volumes,
        termination_grace_period_seconds,
    } = template;
    let mut set = |field: &str, is_set: bool, value: Value| {
        if is_set {
            pod[field] = value;
        }
    };
    set("nodeSelector", !node_selector.is_empty(), json!(node_selector));
    set("tolerations", !tolerations.is_empty(), json!(tolerations));
    set("affinity", !affinity.is_empty(), json!(affinity));
    let spread: Value = topology_spread_constraints.iter().map(|constraint| spread_of(constraint, labels)).collect();
    set("topologySpreadConstraints", !topology_spread_constraints.is_empty(), spread);
    set("priorityClassName", priority_class_name.is_some(), json!(priority_class_name));
    set("imagePullSecrets", !image_pull_secrets.is_empty(), json!(image_pull_secrets));
    set("serviceAccountName", service_account_name.is_some(), json!(service_account_name));
    set("terminationGracePeriodSeconds", true, json!(termination_grace_period_seconds.unwrap_or(GRACE_SECONDS)));
    set("securityContext", true, pod_security(security_context.as_ref()));
    let declared = pod["volumes"].as_array_mut().expect("every pod has the volume of its file");
    declared.extend(volumes.iter().map(|volume| json!(volume)));
}

/// Without a selector of its own, a constraint counts the pods of the Deployment.
fn spread_of(constraint: &Map<String, Value>, labels: &Value) -> Value {
    let mut constraint = constraint.clone();
    constraint.entry("labelSelector").or_insert_with(|| json!({"matchLabels": labels}));
    constraint.into()
}

/// The fields that the restricted Pod Security Standard requires, with the user of the image or of the template.
fn pod_security(user: Option<&PodUser>) -> Value {
    let default = PodUser { run_as_user: Some(USER), run_as_group: Some(USER), fs_group: None };
    let mut security = json!(user.unwrap_or(&default));
    security["runAsNonRoot"] = json!(true);
    security["seccompProfile"] = json!({"type": "RuntimeDefault"});
    security
}

/// Adds variables and mounts to the container.
pub(super) fn add_to_container(template: &PodTemplate, logging: &Logging, container: &mut Value) {
    let is_set = |name: &str| template.env.iter().any(|variable| variable.name == name);
    let env = log_variables(logging).filter(|(name, _)| !is_set(name));
    let env = env.map(|(name, value)| json!({"name": name, "value": value}));
    let env: Vec<Value> = env.chain(template.env.iter().map(declared_variable)).collect();
    append(container, "env", env);
    append(container, "volumeMounts", template.volume_mounts.iter().map(|mount| json!(mount)).collect());
}

/// The API server does not store an empty value.
fn declared_variable(variable: &Variable) -> Value {
    let is_filled = |value: &String| !value.is_empty();
    json!(Variable { value: variable.value.clone().filter(is_filled), ..variable.clone() })
}

fn append(container: &mut Value, field: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    match container[field].as_array_mut() {
        Some(list) => list.extend(more),
        None => container[field] = more.into(),
    }
}

/// The variables of `spec.logging`. The defaults set none.
fn log_variables(Logging { level, format }: &Logging) -> impl Iterator<Item = (&'static str, &'static str)> {
    let level = match level {
        LogLevel::Error => Some("error"),
        LogLevel::Warn => Some("warn"),
        LogLevel::Info => None,
        LogLevel::Debug => Some("debug"),
    };
    let format = match format {
        LogFormat::Text => None,
        LogFormat::Json => Some("json"),
    };
    let level = level.map(|level| ("RUST_LOG", level));
    level.into_iter().chain(format.map(|format| ("RETAIL_LOG_FORMAT", format)))
}

/// How the Deployment replaces its pods.
pub(super) fn strategy(template: &PodTemplate) -> Value {
    let (surge, unavailable) = match template.max_surge {
        None => (json!(ROLLOUT_SHARE), json!(ROLLOUT_SHARE)),
        // One pod ends before its replacement starts.
        Some(0) => (json!(0), json!(1)),
        Some(surge) => (json!(surge), json!(ROLLOUT_SHARE)),
    };
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

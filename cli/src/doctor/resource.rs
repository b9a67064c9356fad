//! What the objects of a cluster say about a pipeline. Pure, except for the clock.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::jiff::Timestamp;
use retail_api::crd;
use retail_connection::text::foreign;
use serde_json::Value;

use super::check::Check;
use super::kubectl::AskError;

/// The annotation by which the leases of operators are known: the namespaces that the holder watches, all if it is empty.
const SCOPE: &str = "retailpipeline.dev/watched-namespaces";

/// A leader renews its lease each two seconds. Clocks of nodes differ by less than this.
const STALE_SECONDS: i64 = 120;

/// Number of fields that a message names.
const MOST_FIELDS: usize = 5;

type Answer = Result<Value, AskError>;

/// Whether the CRD has the fields of this program. The API server drops the fields that it lacks.
pub(super) fn of_crd(answer: Answer) -> Check {
    let definition = match answer {
        Ok(definition) => definition,
        Err(error) => return Check::skip("crd", format_args!("not looked at: {error}")),
    };
    let version = definition["spec"]["versions"].as_array().and_then(|versions| {
        versions.iter().find(|version| version["name"] == "v1alpha1" && version["served"] == true)
    });
    let Some(version) = version else {
        return Check::fail("crd", "the CRD does not serve version v1alpha1").fixed_by(INSTALL);
    };
    let theirs = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let ours = &crd::schema()["properties"]["spec"];
    let (mut lacks, mut adds) = (Vec::new(), Vec::new());
    missing(ours, theirs, "spec", &mut lacks);
    missing(theirs, ours, "spec", &mut adds);
    match (lacks.is_empty(), adds.is_empty()) {
        (false, _) => Check::warn(
            "crd",
            format_args!("the CRD is older than this program: the API server drops {}", some(&lacks)),
        )
        .fixed_by(INSTALL),
        (true, false) => {
            Check::warn("crd", format_args!("the CRD is newer than this program, which does not know {}", some(&adds)))
                .fixed_by("use the version of retail that the operator has")
        }
        (true, true) => Check::ok("crd", "the CRD has the fields of this program"),
    }
}

const INSTALL: &str = "helm upgrade the operator, or retail crd | kubectl apply --server-side -f -";

/// The paths of properties of `whole` that `part` lacks.
fn missing(whole: &Value, part: &Value, path: &str, found: &mut Vec<String>) {
    for (name, property) in whole["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match part["properties"].get(name) {
            Some(other) => missing(property, other, &path, found),
            None => found.push(path),
        }
    }
    if whole["items"].is_object() {
        missing(&whole["items"], &part["items"], path, found);
    }
}

fn some(fields: &[String]) -> String {
    let shown = fields.iter().take(MOST_FIELDS).cloned().collect::<Vec<_>>().join(", ");
    let more = fields.len().saturating_sub(MOST_FIELDS);
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// Whether an operator runs that watches the namespace, and has seen the newest spec.
pub(super) fn of_operator(resource: &Value, leases: Answer) -> Check {
    let generation = resource["metadata"]["generation"].as_i64().unwrap_or_default();
    let observed = resource["status"]["observedGeneration"].as_i64();
    let has_seen = observed == Some(generation);
    let leases: Vec<Lease> = match leases {
        Ok(leases) => serde_json::from_value(leases["items"].clone()).unwrap_or_default(),
        Err(error) if has_seen => {
            return Check::ok(
                "operator",
                format_args!("has observed generation {generation}; its lease was not looked at: {error}"),
            );
        }
        Err(error) => {
            return Check::fail(
                "operator",
                format_args!(
                    "has not observed generation {generation} of the resource; its lease was not looked at: {error}"
                ),
            )
            .fixed_by("kubectl get pods --all-namespaces -l app.kubernetes.io/part-of=retail-pipeline");
        }
    };
    let namespace = resource["metadata"]["namespace"].as_str().unwrap_or_default();
    let watching: Vec<&Lease> = leases.iter().filter(|lease| watches(lease, namespace)).collect();
    let running = watching.iter().find(|lease| age(lease).is_some_and(|age| age < STALE_SECONDS));
    match (running, watching.first()) {
        (Some(lease), _) if has_seen => {
            Check::ok("operator", format_args!("{} runs, and has observed generation {generation}", holder(lease)))
        }
        (Some(lease), _) => Check::warn(
            "operator",
            format_args!("{} runs, and has not yet observed generation {generation} of the resource", holder(lease)),
        )
        .fixed_by(format_args!("wait, or see kubectl logs {}", holder(lease))),
        (None, Some(lease)) => Check::fail(
            "operator",
            format_args!(
                "no operator runs: the lease of {} was not renewed for {} s",
                holder(lease),
                age(lease).unwrap_or_default()
            ),
        )
        .fixed_by("kubectl describe pods --all-namespaces -l app.kubernetes.io/part-of=retail-pipeline"),
        (None, None) => Check::fail("operator", format_args!("no operator watches namespace {namespace}"))
            .fixed_by("install the chart, or add the namespace to its watchNamespaces"),
    }
}

fn watches(lease: &Lease, namespace: &str) -> bool {
    let annotations: Option<&BTreeMap<String, String>> = lease.metadata.annotations.as_ref();
    let scope = annotations.and_then(|annotations| annotations.get(SCOPE));
    scope.is_some_and(|scope| scope.is_empty() || scope.split(',').any(|one| one == namespace))
}

/// Seconds since the last renewal; `None` if the lease was released.
fn age(lease: &Lease) -> Option<i64> {
    let LeaseSpec { renew_time, holder_identity, .. } = lease.spec.as_ref()?;
    holder_identity.as_deref().filter(|holder| !holder.is_empty())?;
    Some(Timestamp::now().as_second() - renew_time.as_ref()?.0.as_second())
}

/// The name of the pod, with its namespace as kubectl takes it.
fn holder(lease: &Lease) -> String {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or("(released)");
    format!("{} -n {}", foreign(holder), lease.metadata.namespace.as_deref().unwrap_or_default())
}

/// The first condition that says why the pipeline is not ready.
pub(super) fn of_conditions(resource: &Value) -> Check {
    let conditions = resource["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is = |condition: &Value, kind: &str, status: &str| condition["type"] == kind && condition["status"] == status;
    if conditions.iter().any(|condition| is(condition, "Ready", "True")) {
        return Check::ok("conditions", "the resource is Ready");
    }
    let of_part = |condition: &&Value| {
        condition["status"] == "False"
            && !["Ready", "Reconciling", "Stalled"].contains(&condition["type"].as_str().unwrap_or_default())
    };
    let cause = conditions.iter().find(|condition| is(condition, "Stalled", "True"));
    let cause = cause.or_else(|| conditions.iter().find(of_part));
    let cause = cause.or_else(|| conditions.iter().find(|condition| condition["type"] == "Ready"));
    let Some(cause) = cause else {
        return Check::fail("conditions", "the resource has no conditions: no operator has seen it");
    };
    let text = |field: &str| foreign(cause[field].as_str().unwrap_or_default());
    Check::fail(
        "conditions",
        format_args!("{} is {} ({}): {}", text("type"), text("status"), text("reason"), text("message")),
    )
}

/// Name and problem of the first pod that does not run.
pub(super) fn first_problem(pods: &Value) -> Option<(&str, String)> {
    let pods = pods["items"].as_array()?.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    pods.filter_map(|pod| Some((pod["metadata"]["name"].as_str()?, problem(pod)?))).next()
}

/// Why a pod does not run: its containers, or its conditions.
fn problem(pod: &Value) -> Option<String> {
    let list = |field: &str| pod["status"][field].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| foreign(value.as_str().unwrap_or_default());
    if pod["status"]["phase"] == "Succeeded" {
        return None;
    }
    let containers = [list("initContainerStatuses"), list("containerStatuses")].concat();
    let reason = containers.iter().find_map(|container| {
        let waiting = &container["state"]["waiting"];
        let ended = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
        if waiting["reason"].is_string()
            && waiting["reason"] != "ContainerCreating"
            && waiting["reason"] != "PodInitializing"
        {
            return Some(format!("{}: {}", text(&waiting["reason"]), text(&waiting["message"])));
        }
        let ended = ended.into_iter().find(|ended| ended["exitCode"].as_i64().is_some_and(|code| code != 0));
        let ended = ended.filter(|_| container["ready"] != true)?;
        Some(format!("{} with exit code {}: {}", text(&ended["reason"]), ended["exitCode"], text(&ended["message"])))
    });
    let conditions = list("conditions");
    let is_ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    reason.or_else(|| {
        let failed = conditions.iter().find(|condition| condition["status"] == "False");
        let failed = failed.filter(|_| !is_ready);
        failed.map(|failed| format!("{} is False: {}", text(&failed["type"]), text(&failed["message"])))
    })
}

/// Whether the pods run, and the newest warning about the first that does not.
pub(super) fn of_pods(resource: &Value, pods: Answer, warnings: Option<Answer>) -> Check {
    let pods = match pods {
        Ok(pods) => pods,
        Err(error) => return Check::skip("pods", format_args!("not looked at: {error}")),
    };
    let count = pods["items"].as_array().map_or(0, Vec::len);
    let spec = &resource["spec"];
    if count == 0 && spec["suspend"] == true {
        return Check::ok("pods", "none: the pipeline is suspended");
    }
    if count == 0 {
        return Check::fail("pods", "no pod of the pipeline exists").fixed_by("see operator and conditions above");
    }
    let Some((name, problem)) = first_problem(&pods) else {
        return Check::ok("pods", format_args!("{count} run"));
    };
    let time = |event: &&Value| event["lastTimestamp"].as_str().or(event["eventTime"].as_str()).map(str::to_owned);
    let warning = warnings.and_then(Result::ok).and_then(|events| {
        let newest = events["items"].as_array()?.iter().max_by_key(time)?;
        let text = |field: &str| foreign(newest[field].as_str().unwrap_or_default());
        Some(format!("; newest event {}: {}", text("reason"), text("message")))
    });
    let namespace = resource["metadata"]["namespace"].as_str().unwrap_or("default");
    Check::fail("pods", format_args!("{name}: {problem}{}", warning.unwrap_or_default()))
        .fixed_by(format_args!("kubectl describe pod {name} -n {namespace}; kubectl logs {name} -n {namespace}"))
}

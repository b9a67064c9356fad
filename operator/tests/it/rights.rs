//! The table of permissions equals the operator's requests and the chart's roles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use retail_operator::resources::rbac::{RIGHTS, Scope};
use retail_operator::run::RunArgs;
use serde_json::json;

use crate::api::Key;
use crate::election;
use crate::harness::{Harness, pipeline_key};

#[tokio::test(start_paused = true)]
async fn requests_and_roles_contain_the_same_permissions() {
    asks_for_what_its_roles_allow(&[]).await;
}

/// With Roles in these namespaces, permissions and requests are equal.
#[tokio::test(start_paused = true)]
async fn operator_of_some_namespaces_sends_no_cluster_requests() {
    asks_for_what_its_roles_allow(&["office", "shop"]).await;
}

async fn asks_for_what_its_roles_allow(namespaces: &'static [&'static str]) {
    let harness = Harness::watching(namespaces);
    harness.declare("retail", json!({"deletionPolicy": {"topic": "Delete"}, "verify": {"every": "6h"}}));
    harness.until_ready("retail").await;
    // A repeated event is patched.
    for replicas in [9, 1, 9, 1] {
        harness.edit("retail", |spec| spec["processor"]["replicas"] = json!(replicas));
        let limited = if replicas == 9 { ("True", "FewerPartitions") } else { ("False", "UpToDate") };
        harness.until("retail", "ScalingLimited", limited.0, limited.1).await;
    }
    // Pods that wait are read with their events.
    harness.api.change(|store| {
        store.pods_start = false;
        let labels = ["name", "instance", "component"].map(|label| format!("app.kubernetes.io/{label}"));
        let labels = labels.into_iter().zip(["retail-pipeline", "retail", "processor"]).collect::<BTreeMap<_, _>>();
        let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": []}, "status": {"phase": "Pending"}});
        store.create(&Key::new("pods", "retail-processor-1"), pod).unwrap();
    });
    harness.edit("retail", |spec| spec["trigger"] = json!("1m"));
    let is_read = || harness.api.asked().iter().any(|asked| asked.verb == "list" && asked.resource == "events");
    harness.eventually("the events are read", is_read).await;
    let budget = Key::new("poddisruptionbudgets", "retail-processor");
    harness.api.until("no budget", |store| store.get(&budget).is_none()).await;
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness.api.until("it is gone", |store| store.get(&pipeline_key("retail")).is_none()).await;
    election::one_term(&harness.api).await;

    let mut asked = BTreeSet::new();
    for request in harness.api.asked() {
        // A Role permits reading its own namespace.
        let place = if request.resource == "namespaces" { &request.name } else { &request.namespace };
        assert!(namespaces.is_empty() || namespaces.contains(&&**place), "{request:?}");
        let resource = request.full_resource();
        let mut ask = |verb: &str| asked.insert((request.group.clone(), resource.clone(), verb.to_owned()));
        ask(request.verb);
        // Server-side apply of a new object requires both.
        if request.verb == "patch"
            && request.subresource.is_empty()
            && request.resource != "retailpipelines"
            && request.resource != "events"
        {
            ask("create");
        }
    }
    let allowed: BTreeSet<(String, String, String)> = RIGHTS
        .iter()
        .flat_map(|right| {
            right.verbs.iter().map(|verb| (right.group.to_owned(), right.resource.to_owned(), (*verb).to_owned()))
        })
        .collect();
    let text = |set: &BTreeSet<(String, String, String)>| -> Vec<String> {
        set.iter().map(|(group, resource, verb)| format!("{verb} {resource} {group}")).collect()
    };
    assert_eq!(text(&asked), text(&allowed));
}

#[test]
fn roles_match_the_snapshot_of_the_table() {
    insta::assert_snapshot!(retail_operator::resources::rbac::yaml());
    assert!(RIGHTS.iter().all(|right| (right.scope == Scope::Own) == (right.resource == "leases")));
}

fn chart(file: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/retail-pipeline").join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn chart_contains_the_roles_of_the_table() {
    let is_fresh = chart("files/rbac.yaml") == retail_operator::resources::rbac::yaml();
    assert!(is_fresh, "charts/retail-pipeline/files/rbac.yaml is stale: run `make crds`");
}

#[test]
fn chart_sets_all_environment_variables_of_the_operator() {
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let mut read: BTreeSet<String> =
        command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned())).collect();
    read.extend(["RUST_LOG", "RETAIL_LOG_FORMAT"].map(str::to_owned));
    let deployment = chart("templates/deployment.yaml");
    let names = deployment.lines().filter_map(|line| line.trim_start().strip_prefix("- name: "));
    let set: BTreeSet<String> =
        names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).map(str::to_owned).collect();
    assert_eq!(set, read);
}

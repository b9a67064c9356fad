//! The table of rights is what is really asked for, and what the chart gives.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use retail_operator::resources::rbac::{RIGHTS, Scope};
use retail_operator::run::RunArgs;
use serde_json::json;

use crate::api::Key;
use crate::election;
use crate::harness::{Harness, pipeline_key};

#[tokio::test(start_paused = true)]
async fn the_operator_asks_for_what_its_roles_allow_and_its_roles_allow_nothing_else() {
    asks_for_what_its_roles_allow(&[]).await;
}

/// Each right, in Roles of these namespaces, is a request's, and the other way round.
#[tokio::test(start_paused = true)]
async fn the_operator_of_some_namespaces_asks_for_nothing_cluster_wide() {
    asks_for_what_its_roles_allow(&["office", "shop"]).await;
}

async fn asks_for_what_its_roles_allow(namespaces: &'static [&'static str]) {
    let harness = Harness::watching(namespaces);
    harness.declare("retail", json!({"deletionPolicy": {"topic": "Delete"}}));
    harness.until_ready("retail").await;
    // The same event twice is one that is counted.
    for replicas in [9, 1, 9, 1] {
        harness.edit("retail", |spec| spec["processor"]["replicas"] = json!(replicas));
        let limited = if replicas == 9 { ("True", "FewerPartitions") } else { ("False", "UpToDate") };
        harness.until("retail", "ScalingLimited", limited.0, limited.1).await;
    }
    let budget = Key::new("poddisruptionbudgets", "retail-processor");
    harness.api.until("no budget", |store| store.get(&budget).is_none()).await;
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness.api.until("it is gone", |store| store.get(&pipeline_key("retail")).is_none()).await;
    election::one_term(&harness.api).await;

    let mut asked = BTreeSet::new();
    for request in harness.api.asked() {
        // A Role allows its own namespace to be looked at.
        let place = if request.resource == "namespaces" { &request.name } else { &request.namespace };
        assert!(namespaces.is_empty() || namespaces.contains(&&**place), "{request:?}");
        let resource = request.full_resource();
        let mut ask = |verb: &str| asked.insert((request.group.clone(), resource.clone(), verb.to_owned()));
        ask(request.verb);
        // Declaring what is not there asks for both.
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
fn the_roles_say_what_the_table_says() {
    insta::assert_snapshot!(retail_operator::resources::rbac::yaml());
    assert!(RIGHTS.iter().all(|right| (right.scope == Scope::Own) == (right.resource == "leases")));
}

fn chart(file: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/retail-pipeline").join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn the_chart_has_the_roles_of_the_table() {
    let is_fresh = chart("files/rbac.yaml") == retail_operator::resources::rbac::yaml();
    assert!(is_fresh, "charts/retail-pipeline/files/rbac.yaml is stale: run `make crds`");
}

#[test]
fn the_chart_sets_all_that_the_operator_reads_from_its_environment() {
    let command = RunArgs::augment_args(clap::Command::new("run"));
    let mut read: BTreeSet<String> =
        command.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned())).collect();
    read.insert("RUST_LOG".to_owned());
    let deployment = chart("templates/deployment.yaml");
    let names = deployment.lines().filter_map(|line| line.trim_start().strip_prefix("- name: "));
    let set: BTreeSet<String> =
        names.filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).map(str::to_owned).collect();
    assert_eq!(set, read);
}

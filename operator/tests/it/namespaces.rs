//! An operator that watches only some namespaces.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::api::{Fault, Key};
use crate::harness::Harness;

/// An operator of two namespaces, with a ready pipeline in each.
async fn two_shops() -> Harness {
    let harness = Harness::watching(&["shop", "office"]);
    for name in ["shop/retail", "office/books"] {
        harness.declare(name, json!({}));
        harness.until_ready(name).await;
    }
    harness
}

/// Edits the pipelines and waits until the operator has applied the edit.
async fn each_follows_an_edit(harness: &Harness, names: &[&str], replicas: i32) {
    for name in names {
        harness.edit(name, |spec| spec["processor"]["replicas"] = json!(replicas));
        let key = Key::new("deployments", &format!("{name}-processor"));
        harness.api.until(name, |store| store.get(&key).unwrap()["spec"]["replicas"] == replicas).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_pipelines_of_watched_namespaces_run() {
    let harness = two_shops().await;
    harness.declare("attic/old", json!({}));
    harness.passes(600).await;
    each_follows_an_edit(&harness, &["shop/retail", "office/books"], 3).await;
    assert_eq!(harness.object("retailpipelines", "attic/old").unwrap()["status"], json!(null));
    let asked = harness.api.asked();
    let elsewhere: Vec<_> = asked.iter().filter(|asked| !["shop", "office"].contains(&&*asked.namespace)).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[tokio::test(start_paused = true)]
async fn restarted_list_of_one_namespace_affects_no_other() {
    let harness = two_shops().await;
    harness.passes(60).await;
    let (writes, before) = (harness.api.writes(), lists(&harness, "office"));
    harness.api.change(|store| store.expire_watches_of("office"));
    harness.passes(60).await;
    assert!(lists(&harness, "office") > before, "it has not begun anew");
    // No object counts as deleted.
    assert_eq!(harness.api.writes(), writes);
    each_follows_an_edit(&harness, &["shop/retail", "office/books"], 4).await;
}

fn lists(harness: &Harness, namespace: &str) -> usize {
    harness.api.asked().iter().filter(|asked| asked.verb == "list" && asked.namespace == namespace).count()
}

#[tokio::test(start_paused = true)]
async fn forbidden_namespace_does_not_stop_the_others() {
    let harness = Harness::watching(&["shop", "office"]);
    harness.api.fail_in("office", "*", "*", 1_000_000, Fault::Code(403));
    for name in ["shop/retail", "office/books"] {
        harness.declare(name, json!({}));
    }
    harness.until_ready("shop/retail").await;
    harness.passes(600).await;
    each_follows_an_edit(&harness, &["shop/retail"], 3).await;
    assert_eq!(harness.object("retailpipelines", "office/books").unwrap()["status"], json!(null));
    // With permission, the operator watches the namespace.
    harness.api.clear_faults();
    harness.until_ready("office/books").await;
    // The permission is lost again.
    harness.api.fail_in("office", "*", "*", 1_000_000, Fault::Code(403));
    harness.api.change(crate::api::Store::close_watches);
    each_follows_an_edit(&harness, &["shop/retail"], 4).await;
    harness.api.clear_faults();
    each_follows_an_edit(&harness, &["shop/retail", "office/books"], 2).await;
}

#[tokio::test(start_paused = true)]
async fn few_requests_probe_a_server_without_an_answer() {
    let harness = Harness::watching(&["shop", "office"]);
    harness.external.state().hang_topic = Some("hangs".to_owned());
    for i in 0..12 {
        for name in [format!("shop/one-{i}"), format!("office/two-{i}")] {
            harness.declare(&name, json!({"topic": {"name": "hangs"}}));
        }
    }
    harness.passes(20).await;
    // A short host name is another server in each namespace.
    assert_eq!(harness.external.state().topic_reads, 2 * 3);
}

#[tokio::test(start_paused = true)]
async fn unlistable_namespace_is_reported_and_takes_no_permits() {
    let harness = Harness::watching(&["shop", "office"]);
    harness.api.fail_in("office", "list", "services", 1_000_000, Fault::Code(403));
    for i in 0..20 {
        harness.declare(&format!("office/books-{i}"), json!({}));
    }
    harness.passes(10).await;
    let declared = Instant::now();
    harness.declare("shop/retail", json!({}));
    harness.until_ready("shop/retail").await;
    assert!(declared.elapsed() < Duration::from_secs(10), "after {:?}", declared.elapsed());
    harness.until("office/books-0", "Reconciling", "True", "InternalError").await;
    harness.api.clear_faults();
    harness.until_ready("office/books-0").await;
}

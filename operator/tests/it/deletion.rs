//! Deletion of a pipeline and of its data.

use serde_json::json;

use crate::api::{Fault, Key};
use crate::fake_systems::{kafka_unreachable, postgres_unreachable};
use crate::harness::{Harness, pipeline_key};

fn delete(harness: &Harness, name: &str) {
    harness.api.change(|store| store.delete(&pipeline_key(name)).unwrap());
}

async fn until_gone(harness: &Harness, name: &str) {
    harness.api.until("it is gone", |store| store.get(&pipeline_key(name)).is_none()).await;
}

const BOTH: &str = r#"{"deletionPolicy": {"topic": "Delete", "database": "Delete"}}"#;

#[tokio::test(start_paused = true)]
async fn deletion_keeps_data_and_ends_without_any_server() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    assert!(harness.object("retailpipelines", "retail").unwrap()["metadata"]["finalizers"].is_null());
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.api.fail("*", "*", 5, Fault::Code(503));
    delete(&harness, "retail");
    // Without a finalizer, the resource and its objects are deleted at once, independent of the operator.
    assert!(harness.object("retailpipelines", "retail").is_none());
    assert!(harness.object("deployments", "retail-processor").is_none());
    harness.passes(600).await;
    let state = harness.external.state();
    assert!(state.topics.contains_key("retail") && state.schemas.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn selected_data_is_deleted_after_the_pods_stopped() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(
        harness.object("retailpipelines", "retail").unwrap()["metadata"]["finalizers"],
        json!(["retailpipeline.dev/cleanup"])
    );
    delete(&harness, "retail");
    until_gone(&harness, "retail").await;
    assert!(harness.external.state().topics.is_empty() && harness.external.state().schemas.is_empty());
    assert!(harness.events("retail").contains(&"DataDeleted".to_owned()));
    let deleted: Vec<String> = harness
        .api
        .asked()
        .into_iter()
        .filter(|asked| asked.verb == "delete")
        .map(|asked| format!("{}/{}", asked.resource, asked.name))
        .collect();
    assert_eq!(deleted, ["deployments/retail-processor", "deployments/retail-producer"]);
}

#[tokio::test(start_paused = true)]
async fn data_of_unproven_ownership_is_kept() {
    let harness = Harness::start();
    // The second pipeline uses a topic that it did not create.
    harness.declare("first", json!({"topic": {"name": "shared"}}));
    harness.until_ready("first").await;
    let mut spec: serde_json::Value = serde_json::from_str(BOTH).unwrap();
    spec["topic"] = json!({"name": "shared"});
    harness.declare("second", spec);
    harness.until_ready("second").await;
    // Another owner has taken over the schema.
    harness.external.state().schemas.get_mut("second").unwrap().0 = "somebody".to_owned();
    delete(&harness, "second");
    until_gone(&harness, "second").await;
    {
        let state = harness.external.state();
        assert!(state.topics.contains_key("shared") && state.schemas.contains_key("second"));
    }
    assert!(harness.events("second").contains(&"DataKept".to_owned()));
}

/// A topic that another pipeline uses is kept for it, from the moment at which that pipeline names it. A pipeline that is being
/// deleted too needs no topic.
#[tokio::test(start_paused = true)]
async fn topic_that_another_pipeline_uses_is_kept() {
    let harness = Harness::start();
    let spec = || json!({"topic": {"name": "shared"}, "deletionPolicy": {"topic": "Delete"}});
    harness.declare("maker", spec());
    harness.until_ready("maker").await;
    harness.declare("partner", spec());
    harness.until_ready("partner").await;
    delete(&harness, "maker");
    until_gone(&harness, "maker").await;
    assert!(harness.external.state().topics.contains_key("shared"));
    let kept = harness.event_texts("maker");
    assert!(kept.contains(&"kept the topic: other pipelines use it (shop/partner)".to_owned()), "{kept:?}");
    // Another pipeline has named the topic of this one, and its first pass has not ended.
    harness.declare("second", json!({"topic": {"name": "second"}, "deletionPolicy": {"topic": "Delete"}}));
    harness.until_ready("second").await;
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.declare("new", json!({"topic": {"name": "second"}}));
    delete(&harness, "second");
    harness.until("second", "Ready", "False", "Deleting").await;
    harness.external.state().kafka = None;
    until_gone(&harness, "second").await;
    assert!(harness.external.state().topics.contains_key("second"));
}

#[tokio::test(start_paused = true)]
async fn failing_cleanup_is_reported_retried_and_releasable() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    harness.external.state().kafka = Some(kafka_unreachable());
    delete(&harness, "retail");
    harness.until("retail", "Ready", "False", "Deleting").await;
    harness.until("retail", "Stalled", "True", "CleanupBlocked").await;
    let message =
        harness.object("retailpipelines", "retail").unwrap()["status"]["conditions"][0]["message"].to_string();
    assert!(message.contains("retailpipeline.dev/release=true") && message.contains("cannot reach Kafka"), "{message}");
    harness.passes(600).await;
    let key = pipeline_key("retail");
    let release = json!({"retailpipeline.dev/release": "true"});
    harness.api.change(|store| store.edit(&key, |object| object["metadata"]["annotations"] = release));
    until_gone(&harness, "retail").await;
    assert!(harness.external.state().topics.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn cleanup_continues_when_the_server_returns() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    harness.external.state().postgres = Some(postgres_unreachable());
    delete(&harness, "retail");
    harness.passes(1200).await;
    assert!(harness.object("retailpipelines", "retail").is_some());
    harness.external.state().postgres = None;
    until_gone(&harness, "retail").await;
    assert!(harness.external.state().schemas.is_empty() && harness.external.state().topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn pipeline_does_not_block_deletion_of_its_namespace() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.api.change(|store| {
        store.edit(&Key::new("namespaces", "/shop"), |object| {
            object["metadata"]["finalizers"] = json!(["kubernetes"]);
            object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        });
        // The Secret is deleted first.
        store.delete(&Key::new("secrets", "retail-db")).unwrap();
        store.delete(&pipeline_key("retail")).unwrap();
    });
    until_gone(&harness, "retail").await;
}

#[tokio::test(start_paused = true)]
async fn invalid_spec_does_not_block_deletion() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    harness.edit("retail", |spec| spec["window"] = json!("nonsense"));
    harness.until("retail", "Stalled", "True", "InvalidSpec").await;
    delete(&harness, "retail");
    until_gone(&harness, "retail").await;
    assert!(harness.external.state().topics.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn finalizer_follows_the_policy_and_keeps_other_finalizers() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let key = pipeline_key("retail");
    let theirs = json!(["somebody.example/else"]);
    harness.api.change(|store| store.edit(&key, |object| object["metadata"]["finalizers"] = theirs.clone()));
    harness.edit("retail", |spec| spec["deletionPolicy"] = json!({"database": "Delete"}));
    let both = json!(["somebody.example/else", "retailpipeline.dev/cleanup"]);
    harness.api.until("both", |store| store.get(&key).unwrap()["metadata"]["finalizers"] == both).await;
    harness.edit("retail", |spec| spec["deletionPolicy"] = json!({"database": "Retain"}));
    harness.api.until("theirs", |store| store.get(&key).unwrap()["metadata"]["finalizers"] == theirs).await;
}

#[tokio::test(start_paused = true)]
async fn created_topic_is_recorded_after_failed_reports() {
    let harness = Harness::start();
    harness.api.fail("patch", "retailpipelines/status", 3, Fault::Code(503));
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(harness.object("retailpipelines", "retail").unwrap()["status"]["topic"]["created"], true);
}

#[tokio::test(start_paused = true)]
async fn lagging_watch_creates_no_schema_for_deleted_pipelines() {
    let harness = Harness::start();
    let both = || serde_json::from_str(BOTH).unwrap();
    for name in ["gone", "goes", "replaced"] {
        harness.declare(name, both());
        harness.until_ready(name).await;
    }
    harness.watches_lag();
    for name in ["gone", "goes", "replaced"] {
        delete(&harness, name);
    }
    // Another client removes the data and the finalizers of two of them.
    let release = |object: &mut serde_json::Value| object["metadata"]["finalizers"] = json!([]);
    harness.api.change(|store| ["gone", "replaced"].map(|name| store.edit(&pipeline_key(name), release)));
    harness.external.state().schemas.clear();
    harness.declare("replaced", both());
    let before = harness.external.state().reads;
    harness.eventually("many passes", || harness.external.state().reads > before + 20).await;
    assert!(harness.external.state().schemas.is_empty(), "{:?}", harness.external.state().schemas);
    harness.api.clear_faults();
    until_gone(&harness, "goes").await;
    harness.until_ready("replaced").await;
    let uid = harness.object("retailpipelines", "replaced").unwrap()["metadata"]["uid"].clone();
    let owners: Vec<_> = harness.external.state().schemas.values().map(|(owner, _)| json!(owner)).collect();
    assert_eq!(owners, [uid]);
}

#[tokio::test(start_paused = true)]
async fn lagging_watch_creates_no_topic_for_a_deleted_pipeline() {
    let harness = Harness::start();
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.declare("retail", json!({}));
    harness.until("retail", "Ready", "False", "KafkaUnreachable").await;
    harness.watches_lag();
    delete(&harness, "retail");
    harness.external.state().kafka = None;
    let before = harness.external.state().reads;
    harness.eventually("a few passes", || harness.external.state().reads > before + 6).await;
    assert!(harness.external.state().topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lagging_watch_writes_no_status_to_a_recreated_pipeline() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.watches_lag();
    delete(&harness, "retail");
    harness.declare("retail", json!({"topic": {"name": "another"}}));
    harness.external.state().schemas.clear();
    // The status of the deleted pipeline would change.
    harness.external.state().postgres = Some(postgres_unreachable());
    let before = harness.external.state().reads;
    harness.eventually("a few passes", || harness.external.state().reads > before + 6).await;
    assert!(harness.object("retailpipelines", "retail").unwrap()["status"].is_null());
    harness.external.state().postgres = None;
    harness.api.clear_faults();
    harness.until_ready("retail").await;
}

//! What happens to the data when a pipeline is deleted.

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
async fn deleting_keeps_all_data_and_never_hangs_also_when_everything_is_away() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    assert!(harness.object("retailpipelines", "retail").unwrap()["metadata"]["finalizers"].is_null());
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.api.fail("*", "*", 5, Fault::Code(503));
    delete(&harness, "retail");
    // No finalizer: it is gone at once, whatever the operator does, and its objects with it.
    assert!(harness.object("retailpipelines", "retail").is_none());
    assert!(harness.object("deployments", "retail-processor").is_none());
    harness.passes(600).await;
    let state = harness.external.state();
    assert!(state.topics.contains_key("retail") && state.schemas.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_says_goes_after_the_pods_are_gone() {
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
async fn only_what_is_proven_ours_is_deleted() {
    let harness = Harness::start();
    // A topic that was there before: used, and not ours.
    harness.declare("first", json!({"topic": {"name": "shared"}}));
    harness.until_ready("first").await;
    let mut spec: serde_json::Value = serde_json::from_str(BOTH).unwrap();
    spec["topic"] = json!({"name": "shared"});
    harness.declare("second", spec);
    harness.until_ready("second").await;
    // A schema that somebody else has taken over meanwhile.
    harness.external.state().schemas.get_mut("second").unwrap().0 = "somebody".to_owned();
    delete(&harness, "second");
    until_gone(&harness, "second").await;
    {
        let state = harness.external.state();
        assert!(state.topics.contains_key("shared") && state.schemas.contains_key("second"));
    }
    assert!(harness.events("second").contains(&"DataKept".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_that_fails_says_so_is_tried_on_and_can_be_released() {
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
async fn a_cleanup_goes_on_by_itself_when_the_server_is_back() {
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
async fn a_namespace_that_is_deleted_never_hangs_on_us() {
    let harness = Harness::start();
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.api.change(|store| {
        store.edit(&Key::new("namespaces", "/shop"), |object| {
            object["metadata"]["finalizers"] = json!(["kubernetes"]);
            object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        });
        // The Secret goes first.
        store.delete(&Key::new("secrets", "retail-db")).unwrap();
        store.delete(&pipeline_key("retail")).unwrap();
    });
    until_gone(&harness, "retail").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_spec_does_not_keep_a_resource() {
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
async fn the_finalizer_is_there_exactly_while_something_is_to_be_deleted_and_others_are_kept() {
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
async fn a_topic_that_was_made_is_known_to_be_ours_although_saying_so_failed_at_first() {
    let harness = Harness::start();
    harness.api.fail("patch", "retailpipelines/status", 3, Fault::Code(503));
    harness.declare("retail", serde_json::from_str(BOTH).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(harness.object("retailpipelines", "retail").unwrap()["status"]["topic"]["created"], true);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_nothing_is_made_for_a_pipeline_that_is_gone_or_goes() {
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
    // Somebody else cleans up, and lets two of them go.
    let release = |object: &mut serde_json::Value| object["metadata"]["finalizers"] = json!([]);
    harness.api.change(|store| ["gone", "replaced"].map(|name| store.edit(&pipeline_key(name), release)));
    harness.external.state().schemas.clear();
    harness.declare("replaced", both());
    let before = harness.external.state().reads;
    harness.eventually("many passes", || harness.external.state().reads > before + 20).await;
    assert!(harness.external.state().schemas.is_empty(), "{:?}", harness.external.state().schemas);
    harness.api.be_kind();
    until_gone(&harness, "goes").await;
    harness.until_ready("replaced").await;
    let uid = harness.object("retailpipelines", "replaced").unwrap()["metadata"]["uid"].clone();
    let owners: Vec<_> = harness.external.state().schemas.values().map(|(owner, _)| json!(owner)).collect();
    assert_eq!(owners, [uid]);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_no_topic_is_made_for_a_pipeline_that_is_gone() {
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
async fn while_the_watch_lags_a_pipeline_of_the_same_name_does_not_get_the_status_of_the_one_before() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.watches_lag();
    delete(&harness, "retail");
    harness.declare("retail", json!({"topic": {"name": "another"}}));
    harness.external.state().schemas.clear();
    // What there is to say of the old one changes.
    harness.external.state().postgres = Some(postgres_unreachable());
    let before = harness.external.state().reads;
    harness.eventually("a few passes", || harness.external.state().reads > before + 6).await;
    assert!(harness.object("retailpipelines", "retail").unwrap()["status"].is_null());
    harness.external.state().postgres = None;
    harness.api.be_kind();
    harness.until_ready("retail").await;
}

//! What happens to the data when a pipeline is deleted.

use serde_json::json;

use crate::api::{Fault, Key};
use crate::outside::{kafka_away, postgres_away};
use crate::stage::{Stage, pipeline_key};

fn delete(stage: &Stage, name: &str) {
    stage.api.change(|store| store.delete(&pipeline_key(name)).unwrap());
}

async fn until_gone(stage: &Stage, name: &str) {
    stage.api.until("it is gone", |store| store.get(&pipeline_key(name)).is_none()).await;
}

const BOTH: &str = r#"{"deletionPolicy": {"topic": "Delete", "database": "Delete"}}"#;

#[tokio::test(start_paused = true)]
async fn deleting_keeps_all_data_and_never_hangs_also_when_everything_is_away() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    assert!(stage.object("retailpipelines", "retail").unwrap()["metadata"]["finalizers"].is_null());
    stage.outside.state().kafka = Some(kafka_away());
    stage.outside.state().postgres = Some(postgres_away());
    stage.api.fail("*", "*", 5, Fault::Code(503));
    delete(&stage, "retail");
    // No finalizer: it is gone at once, whatever the operator does, and its objects with it.
    assert!(stage.object("retailpipelines", "retail").is_none());
    assert!(stage.object("deployments", "retail-processor").is_none());
    stage.passes(600).await;
    let state = stage.outside.state();
    assert!(state.topics.contains_key("retail") && state.schemas.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_says_goes_after_the_pods_are_gone() {
    let stage = Stage::start();
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    assert_eq!(
        stage.object("retailpipelines", "retail").unwrap()["metadata"]["finalizers"],
        json!(["retailpipeline.dev/cleanup"])
    );
    delete(&stage, "retail");
    until_gone(&stage, "retail").await;
    assert!(stage.outside.state().topics.is_empty() && stage.outside.state().schemas.is_empty());
    assert!(stage.events("retail").contains(&"DataDeleted".to_owned()));
    let deleted: Vec<String> = stage
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
    let stage = Stage::start();
    // A topic that was there before: used, and not ours.
    stage.declare("first", json!({"topic": {"name": "shared"}}));
    stage.until_ready("first").await;
    let mut spec: serde_json::Value = serde_json::from_str(BOTH).unwrap();
    spec["topic"] = json!({"name": "shared"});
    stage.declare("second", spec);
    stage.until_ready("second").await;
    // A schema that somebody else has taken over meanwhile.
    stage.outside.state().schemas.get_mut("second").unwrap().0 = "somebody".to_owned();
    delete(&stage, "second");
    until_gone(&stage, "second").await;
    {
        let state = stage.outside.state();
        assert!(state.topics.contains_key("shared") && state.schemas.contains_key("second"));
    }
    assert!(stage.events("second").contains(&"DataKept".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_that_fails_says_so_is_tried_on_and_can_be_released() {
    let stage = Stage::start();
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    stage.outside.state().kafka = Some(kafka_away());
    delete(&stage, "retail");
    stage.until("retail", "Ready", "False", "Deleting").await;
    stage.until("retail", "Stalled", "True", "CleanupBlocked").await;
    let message = stage.object("retailpipelines", "retail").unwrap()["status"]["conditions"][0]["message"].to_string();
    assert!(message.contains("retailpipeline.dev/release=true") && message.contains("cannot reach Kafka"), "{message}");
    stage.passes(600).await;
    let key = pipeline_key("retail");
    let release = json!({"retailpipeline.dev/release": "true"});
    stage.api.change(|store| store.edit(&key, |object| object["metadata"]["annotations"] = release));
    until_gone(&stage, "retail").await;
    assert!(stage.outside.state().topics.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_goes_on_by_itself_when_the_server_is_back() {
    let stage = Stage::start();
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    stage.outside.state().postgres = Some(postgres_away());
    delete(&stage, "retail");
    stage.passes(1200).await;
    assert!(stage.object("retailpipelines", "retail").is_some());
    stage.outside.state().postgres = None;
    until_gone(&stage, "retail").await;
    assert!(stage.outside.state().schemas.is_empty() && stage.outside.state().topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_deleted_never_hangs_on_us() {
    let stage = Stage::start();
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    stage.outside.state().kafka = Some(kafka_away());
    stage.api.change(|store| {
        store.edit(&Key::new("namespaces", "/shop"), |object| {
            object["metadata"]["finalizers"] = json!(["kubernetes"]);
            object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        });
        // The Secret goes first.
        store.delete(&Key::new("secrets", "retail-db")).unwrap();
        store.delete(&pipeline_key("retail")).unwrap();
    });
    until_gone(&stage, "retail").await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_spec_does_not_keep_a_resource() {
    let stage = Stage::start();
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    stage.edit("retail", |spec| spec["window"] = json!("nonsense"));
    stage.until("retail", "Stalled", "True", "InvalidSpec").await;
    delete(&stage, "retail");
    until_gone(&stage, "retail").await;
    assert!(stage.outside.state().topics.contains_key("retail"));
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_is_there_exactly_while_something_is_to_be_deleted_and_others_are_kept() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let key = pipeline_key("retail");
    let theirs = json!(["somebody.example/else"]);
    stage.api.change(|store| store.edit(&key, |object| object["metadata"]["finalizers"] = theirs.clone()));
    stage.edit("retail", |spec| spec["deletionPolicy"] = json!({"database": "Delete"}));
    let both = json!(["somebody.example/else", "retailpipeline.dev/cleanup"]);
    stage.api.until("both", |store| store.get(&key).unwrap()["metadata"]["finalizers"] == both).await;
    stage.edit("retail", |spec| spec["deletionPolicy"] = json!({"database": "Retain"}));
    stage.api.until("theirs", |store| store.get(&key).unwrap()["metadata"]["finalizers"] == theirs).await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_made_is_known_to_be_ours_although_saying_so_failed_at_first() {
    let stage = Stage::start();
    stage.api.fail("patch", "retailpipelines/status", 3, Fault::Code(503));
    stage.declare("retail", serde_json::from_str(BOTH).unwrap());
    stage.until_ready("retail").await;
    assert_eq!(stage.object("retailpipelines", "retail").unwrap()["status"]["topic"]["created"], true);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_nothing_is_made_for_a_pipeline_that_is_gone_or_goes() {
    let stage = Stage::start();
    let both = || serde_json::from_str(BOTH).unwrap();
    for name in ["gone", "goes", "replaced"] {
        stage.declare(name, both());
        stage.until_ready(name).await;
    }
    stage.watches_lag();
    for name in ["gone", "goes", "replaced"] {
        delete(&stage, name);
    }
    // Somebody else cleans up, and lets two of them go.
    let release = |object: &mut serde_json::Value| object["metadata"]["finalizers"] = json!([]);
    stage.api.change(|store| ["gone", "replaced"].map(|name| store.edit(&pipeline_key(name), release)));
    stage.outside.state().schemas.clear();
    stage.declare("replaced", both());
    let before = stage.outside.state().looks;
    stage.eventually("many passes", || stage.outside.state().looks > before + 20).await;
    assert!(stage.outside.state().schemas.is_empty(), "{:?}", stage.outside.state().schemas);
    stage.api.be_kind();
    until_gone(&stage, "goes").await;
    stage.until_ready("replaced").await;
    let uid = stage.object("retailpipelines", "replaced").unwrap()["metadata"]["uid"].clone();
    let owners: Vec<_> = stage.outside.state().schemas.values().map(|(owner, _)| json!(owner)).collect();
    assert_eq!(owners, [uid]);
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_no_topic_is_made_for_a_pipeline_that_is_gone() {
    let stage = Stage::start();
    stage.outside.state().kafka = Some(kafka_away());
    stage.declare("retail", json!({}));
    stage.until("retail", "Ready", "False", "KafkaUnreachable").await;
    stage.watches_lag();
    delete(&stage, "retail");
    stage.outside.state().kafka = None;
    let before = stage.outside.state().looks;
    stage.eventually("a few passes", || stage.outside.state().looks > before + 6).await;
    assert!(stage.outside.state().topics.is_empty());
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_a_pipeline_of_the_same_name_does_not_get_the_status_of_the_one_before() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.watches_lag();
    delete(&stage, "retail");
    stage.declare("retail", json!({"topic": {"name": "another"}}));
    stage.outside.state().schemas.clear();
    // What there is to say of the old one changes.
    stage.outside.state().postgres = Some(postgres_away());
    let before = stage.outside.state().looks;
    stage.eventually("a few passes", || stage.outside.state().looks > before + 6).await;
    assert!(stage.object("retailpipelines", "retail").unwrap()["status"].is_null());
    stage.outside.state().postgres = None;
    stage.api.be_kind();
    stage.until_ready("retail").await;
}

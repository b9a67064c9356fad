//! A plan's topic actions are executed as planned, also if the topic changes between observe and apply.

use retail_connection::{ErrorKind, Removal};
use retail_kafka::topic::{self, Action, Setting};
use retail_testbed::Case;
use serde_json::json;

use crate::fake_systems::{FakeState, topic_of};
use crate::harness::{Harness, pipeline_key};

/// A harness with a ready pipeline that declares two settings of its topic.
async fn ready() -> Harness {
    let harness = Harness::start();
    let config = json!({"retention.ms": "1000", "max.message.bytes": "200000"});
    harness.declare("retail", json!({"topic": {"name": "retail", "partitions": 4, "config": config}}));
    harness.until_ready("retail").await;
    harness.external.state().executed.clear();
    harness
}

/// Applies `change` between the next observation of the topic and the execution of the plan.
fn before_execution(harness: &Harness, change: impl FnOnce(&mut FakeState) + Send + 'static) {
    harness.external.state().before_execution = Some(Box::new(change));
}

fn set(state: &mut FakeState, name: &str, value: &str) {
    state.topics.get_mut("retail").unwrap().topic.config.insert(name.to_owned(), value.to_owned());
}

fn alter(name: &str, is: &str, declared: &str) -> Vec<Action> {
    let [name, is, declared] = [name, is, declared].map(str::to_owned);
    vec![Action::Alter(vec![Setting { name, is, declared }])]
}

#[tokio::test(start_paused = true)]
async fn topic_changed_after_observe_gets_only_planned_actions() {
    let harness = ready().await;
    before_execution(&harness, |state| set(state, "retention.ms", "10"));
    set(&mut harness.external.state(), "max.message.bytes", "5");
    harness.eventually("two plans are executed", || harness.external.state().executed.len() >= 2).await;
    let planned = [alter("max.message.bytes", "5", "200000"), alter("retention.ms", "10", "1000")];
    assert_eq!(harness.external.state().executed, planned);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn topic_deleted_after_observe_is_not_recreated() {
    let harness = ready().await;
    before_execution(&harness, |state| state.topics.clear());
    set(&mut harness.external.state(), "max.message.bytes", "5");
    harness.until("retail", "TopicReady", "False", "TopicReplaced").await;
    harness.passes(600).await;
    assert!(harness.external.state().topics.is_empty());
    assert_eq!(harness.external.state().executed, [alter("max.message.bytes", "5", "200000")]);

    let harness = ready().await;
    before_execution(&harness, |state| state.topics.clear());
    harness.edit("retail", |spec| spec["topic"]["partitions"] = json!(6));
    harness.until("retail", "TopicReady", "False", "TopicReplaced").await;
    harness.passes(600).await;
    assert!(harness.external.state().topics.is_empty());
    assert_eq!(harness.external.state().executed, [vec![Action::Grow { from: 4, to: 6 }]]);
}

#[tokio::test(start_paused = true)]
async fn topic_created_by_another_after_observe_is_kept_on_delete() {
    let harness = Harness::start();
    before_execution(&harness, |state| drop(state.topics.insert("retail".to_owned(), topic_of("theirs", 2))));
    let topic = json!({"name": "retail", "partitions": 4, "management": "Adopt"});
    harness.declare("retail", json!({"topic": topic, "deletionPolicy": {"topic": "Delete"}}));
    harness.eventually("two plans are executed", || harness.external.state().executed.len() >= 2).await;
    assert_eq!(harness.external.state().executed, [vec![Action::Create], vec![Action::Grow { from: 2, to: 4 }]]);
    harness.until_ready("retail").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"]["topic"].clone();
    assert_eq!(status, json!({"id": "theirs", "partitions": 4, "created": false}));
    assert!(!harness.events("retail").contains(&"TopicCreated".to_owned()));
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness.api.until("it is gone", |store| store.get(&pipeline_key("retail")).is_none()).await;
    assert!(harness.external.state().topics.contains_key("retail"));
}

/// Declares a pipeline on a topic that has one partition and exists already.
async fn on_existing_topic(topic: serde_json::Value) -> Harness {
    let harness = Harness::start();
    harness.external.state().topics.insert("retail".to_owned(), topic_of("theirs", 1));
    harness.declare("retail", json!({"topic": topic}));
    harness.until_ready("retail").await;
    harness.passes(60).await;
    harness
}

#[tokio::test(start_paused = true)]
async fn existing_topic_is_changed_only_if_that_is_written() {
    let growth = [vec![Action::Grow { from: 1, to: 3 }]];
    for (topic, executed, reason) in [
        (json!({"name": "retail"}), &[][..], "UpToDate"),
        (json!({"name": "retail", "management": "Adopt"}), &[], "UpToDate"),
        (json!({"name": "retail", "partitions": 3}), &[], "TopicDiffers"),
        (json!({"name": "retail", "partitions": 3, "management": "Use"}), &[], "UpToDate"),
        (json!({"name": "retail", "partitions": 3, "management": "Adopt"}), &growth, "UpToDate"),
    ] {
        let harness = on_existing_topic(topic.clone()).await;
        assert_eq!(harness.external.state().executed, executed, "{topic}");
        assert_eq!(harness.condition("retail", "TopicReady").1, reason, "{topic}");
    }
    // A processor beyond the number of partitions would receive none.
    let harness = on_existing_topic(json!({"name": "retail"})).await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn used_topic_is_not_created() {
    let harness = Harness::start();
    harness.declare("retail", json!({"topic": {"name": "retail", "management": "Use"}}));
    harness.until("retail", "TopicReady", "False", "TopicMissing").await;
    harness.until("retail", "Stalled", "True", "TopicMissing").await;
    harness.passes(300).await;
    assert!(harness.external.state().executed.is_empty());
    harness.external.state().topics.insert("retail".to_owned(), topic_of("theirs", 2));
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn topic_grown_by_another_after_observe_is_left_alone() {
    let harness = ready().await;
    before_execution(&harness, |state| {
        state.topics.get_mut("retail").unwrap().topic.description.partitions = 9;
    });
    harness.edit("retail", |spec| spec["topic"]["partitions"] = json!(6));
    harness.until("retail", "TopicReady", "True", "TopicDiffers").await;
    harness.until_ready("retail").await;
    assert_eq!(harness.external.state().executed, [vec![Action::Grow { from: 4, to: 6 }]]);
    assert!(!harness.events("retail").contains(&"TopicGrown".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn execute_on_kafka_never_recreates_or_claims_a_topic() {
    let case = Case::shared().partitions(2).build();
    let (kafka, declared) = (&case.settings.kafka, &case.settings.pipeline.topic);
    let execute = async |actions: &[Action]| topic::execute(kafka, declared, actions).await;
    let created = execute(&[Action::Create]).await.unwrap();
    assert_eq!((created.actions, created.description.partitions), (vec![Action::Create], 2));
    let id = created.description.id;
    // As another client: nothing is left to do.
    let second = execute(&[Action::Create]).await.unwrap();
    assert_eq!((second.actions, &second.description.id), (vec![], &id));
    let grow = |to| Action::Grow { from: 2, to };
    let grown = execute(&[grow(4)]).await.unwrap();
    assert_eq!((grown.actions, grown.description.partitions), (vec![grow(4)], 4));
    for to in [3, 4] {
        let late = execute(&[grow(to)]).await.unwrap();
        assert_eq!((late.actions, late.description.partitions), (vec![], 4));
    }
    let alter = &alter("max.message.bytes", "5", "200000")[..];
    assert_eq!(execute(alter).await.unwrap().actions, alter);
    let seen = topic::observe(kafka, &declared.name).await.unwrap().unwrap();
    assert_eq!(seen.config["max.message.bytes"], "200000");

    assert_eq!(topic::delete(kafka, &declared.name, &id).await, Ok(Removal::Removed));
    retail_testbed::eventually("the topic is gone", async || {
        topic::observe(kafka, &declared.name).await.unwrap().is_none().then_some(())
    })
    .await;
    for actions in [&[grow(6)][..], alter] {
        let error = execute(actions).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::MissingTopic, "{error}");
        assert_eq!(topic::observe(kafka, &declared.name).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn timestamps_of_producers_are_reported_as_a_risk() {
    let harness = ready().await;
    set(&mut harness.external.state(), "message.timestamp.type", "CreateTime");
    set(&mut harness.external.state(), "message.timestamp.after.max.ms", "3600000");
    harness.until("retail", "TopicReady", "True", "ProducerTimestamps").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let topic = conditions.iter().find(|condition| condition["type"] == "TopicReady").unwrap();
    let message = topic["message"].as_str().unwrap();
    assert!(message.ends_with("so one clock can close windows up to 1h early"), "{message}");
    harness.until_ready("retail").await;
    set(&mut harness.external.state(), "message.timestamp.type", "LogAppendTime");
    harness.until("retail", "TopicReady", "True", "UpToDate").await;
}

#[tokio::test(start_paused = true)]
async fn compacted_topic_stalls_a_pipeline_that_deduplicates() {
    let harness = Harness::start();
    harness.declare("retail", json!({"deduplicate": {"within": "2h"}}));
    harness.until_ready("retail").await;
    harness.until("retail", "DedupIncomplete", "False", "UpToDate").await;
    set(&mut harness.external.state(), "cleanup.policy", "compact");
    harness.until("retail", "TopicReady", "False", "TopicCompacted").await;
    harness.until("retail", "Stalled", "True", "TopicCompacted").await;
    set(&mut harness.external.state(), "cleanup.policy", "delete");
    set(&mut harness.external.state(), "retention.ms", "3600000");
    harness.until("retail", "TopicReady", "True", "RetentionTooShort").await;
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn deleted_ids_are_a_condition_until_they_count_no_more() {
    let harness = Harness::start();
    harness.declare("retail", json!({"deduplicate": {"within": "2h"}}));
    harness.until_ready("retail").await;
    let report = |partitions: Vec<i32>| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.deduplication_incomplete = partitions;
    };
    report(vec![1, 3]);
    harness.until("retail", "DedupIncomplete", "True", "RecordsDeleted").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let incomplete = conditions.iter().find(|condition| condition["type"] == "DedupIncomplete").unwrap();
    let message = incomplete["message"].as_str().unwrap();
    assert!(message.starts_with("Kafka had deleted records of partitions 1, 3 when"), "{message}");
    harness.until_ready("retail").await;
    report(Vec::new());
    harness.until("retail", "DedupIncomplete", "False", "UpToDate").await;
}

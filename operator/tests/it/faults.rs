//! What is wrong with one pipeline, or with what it stands on, and what users see of it.

use serde_json::json;

use crate::api::{Fault, Key};
use crate::outside::{kafka_away, postgres_away};
use crate::stage::{Stage, secret};

#[tokio::test(start_paused = true)]
async fn a_missing_secret_keeps_the_pods_running_and_is_said() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let before = stage.object("deployments", "retail-processor").unwrap();
    let key = Key::new("secrets", "retail-db");
    let kept = stage.api.change(|store| {
        let kept = store.get(&key).unwrap().clone();
        store.delete(&key).unwrap();
        kept
    });
    stage.until("retail", "CredentialsReady", "False", "SecretMissing").await;
    stage.until("retail", "Stalled", "True", "SecretMissing").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap()["spec"], before["spec"]);
    // An edit that has nothing to do with it still arrives, and restarts nobody.
    stage.edit("retail", |spec| spec["processor"]["replicas"] = json!(3));
    let deployment = Key::new("deployments", "retail-processor");
    stage.api.until("3 replicas", |store| store.get(&deployment).unwrap()["spec"]["replicas"] == 3).await;
    assert_eq!(
        stage.object("deployments", "retail-processor").unwrap()["spec"]["template"],
        before["spec"]["template"]
    );
    stage.api.change(|store| store.create(&key, kept).unwrap());
    stage.until_ready("retail").await;
    assert_eq!(
        stage.object("deployments", "retail-processor").unwrap()["spec"]["template"],
        before["spec"]["template"]
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_secret_no_processor_is_begun_and_with_it_one_is() {
    let stage = Stage::start();
    let key = Key::new("secrets", "retail-db");
    stage.api.change(|store| store.delete(&key).unwrap());
    stage.declare("retail", json!({}));
    stage.until("retail", "Ready", "False", "SecretMissing").await;
    stage.until("retail", "ProcessorReady", "False", "DependencyNotReady").await;
    assert!(stage.object("deployments", "retail-processor").is_none());
    assert!(stage.object("deployments", "retail-producer").is_some());
    let mut keyless = secret("x");
    keyless["data"].as_object_mut().unwrap().remove("password");
    stage.api.change(|store| store.create(&key, keyless).unwrap());
    stage.until("retail", "CredentialsReady", "False", "SecretKeyMissing").await;
    stage.api.change(|store| store.edit(&key, |object| object["data"] = secret("x")["data"].clone()));
    stage.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_may_not_be_read_is_said_and_keeps_the_pods_running() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let before = stage.object("deployments", "retail-processor").unwrap();
    stage.api.fail("get", "secrets", 1, Fault::Code(403));
    stage.until("retail", "Stalled", "True", "SecretForbidden").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap(), before);
    stage.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_are_away_leave_the_pods_alone_and_are_one_event_each() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let before = stage.object("deployments", "retail-processor").unwrap();
    stage.outside.state().kafka = Some(kafka_away());
    stage.until("retail", "TopicReady", "False", "KafkaUnreachable").await;
    stage.until("retail", "Reconciling", "True", "KafkaUnreachable").await;
    stage.outside.state().postgres = Some(postgres_away());
    stage.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
    let (writes, looks) = (stage.api.writes(), stage.outside.state().looks);
    stage.passes(3600).await;
    assert_eq!(stage.api.writes(), writes);
    let looked = stage.outside.state().looks - looks;
    assert!((40..=100).contains(&looked), "waiting has not grown: {looked}");
    assert_eq!(stage.object("deployments", "retail-processor").unwrap(), before);
    // A Deployment that is deleted meanwhile comes back all the same: topic and schema were there.
    stage.api.change(|store| store.delete(&Key::new("deployments", "retail-processor")).unwrap());
    let deployment = Key::new("deployments", "retail-processor");
    stage.api.until("it is back", |store| store.get(&deployment).is_some()).await;
    (stage.outside.state().kafka, stage.outside.state().postgres) = (None, None);
    stage.until_ready("retail").await;
    let events = stage.events("retail");
    let count = |reason: &str| events.iter().filter(|event| *event == reason).count();
    assert_eq!((count("KafkaUnreachable"), count("DatabaseUnreachable")), (1, 1), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn one_broken_pipeline_does_not_stop_the_others() {
    let stage = Stage::start();
    stage.outside.state().panics_at = Some("panics".to_owned());
    stage.outside.state().hangs_at = Some("hangs".to_owned());
    stage.declare("panics", json!({}));
    stage.declare("hangs", json!({}));
    stage.declare("nonsense", json!({"topic": 7, "window": [], "surprise": true}));
    stage.declare("refused", json!({"window": "7m"}));
    for i in 0..20 {
        stage.declare(&format!("good-{i}"), json!({}));
    }
    for i in 0..20 {
        stage.until_ready(&format!("good-{i}")).await;
    }
    stage.until("nonsense", "Stalled", "True", "InvalidSpec").await;
    stage.until("refused", "Stalled", "True", "InvalidSpec").await;
    let message = stage.object("retailpipelines", "refused").unwrap()["status"]["conditions"][0]["message"].clone();
    assert_eq!(message, "spec.window: a day must be a whole number of windows: 5m, 1h or 24h, but not 7m");
    stage.until("panics", "Ready", "False", "InternalError").await;
    stage.until("hangs", "Reconciling", "True", "InternalError").await;
    let metrics = stage.surroundings.metrics.render();
    assert!(metrics.contains("retail_operator_reconcile_errors_total{stage=\"panic\"}"), "{metrics}");
    let timed_out = "retail_operator_reconcile_errors_total{stage=\"timeout\"}";
    stage.eventually(timed_out, || stage.surroundings.metrics.render().contains(timed_out)).await;
    // And each of them is well once it is repaired.
    stage.outside.state().panics_at = None;
    stage.outside.state().hangs_at = None;
    stage.edit("refused", |spec| spec["window"] = json!("5m"));
    for name in ["panics", "hangs", "refused"] {
        stage.until_ready(name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_belongs_to_somebody_else_is_left_alone() {
    let stage = Stage::start();
    let key = Key::new("deployments", "retail-processor");
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}});
    stage.api.change(|store| store.create(&key, theirs).unwrap());
    let before = stage.object("deployments", "retail-processor").unwrap();
    stage.declare("retail", json!({}));
    stage.until("retail", "ProcessorReady", "False", "NameConflict").await;
    stage.until("retail", "Stalled", "True", "NameConflict").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap(), before);
    // The same of a schema.
    let progress = retail_store::progress::Progress::default();
    stage.outside.state().schemas.insert("other".to_owned(), ("somebody".to_owned(), progress));
    stage.declare("other", json!({}));
    stage.until("other", "SchemaReady", "False", "SchemaForeign").await;
    assert_eq!(stage.outside.state().schemas["other"].0, "somebody");
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_made_again_is_not_taken_for_the_old_one() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let mut topic = stage.outside.state().topics.remove("retail").unwrap();
    stage.until("retail", "TopicReady", "False", "TopicReplaced").await;
    assert!(stage.outside.state().topics.is_empty(), "made again without being asked");
    let old = topic.clone();
    topic.topic.description.id = "another".to_owned();
    stage.outside.state().topics.insert("retail".to_owned(), topic);
    stage.passes(300).await;
    assert_eq!(stage.condition("retail", "Stalled"), ("True".to_owned(), "TopicReplaced".to_owned()));
    stage.outside.state().topics.insert("retail".to_owned(), old);
    stage.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_is_dropped_is_made_again() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.outside.state().schemas.clear();
    stage.eventually("it is back", || stage.outside.state().schemas.contains_key("retail")).await;
    stage.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_do_not_become_ready_are_waited_for_without_writing() {
    let stage = Stage::start();
    stage.api.change(|store| store.pods_start = false);
    stage.declare("retail", json!({}));
    stage.until("retail", "ProcessorReady", "False", "PodsStarting").await;
    stage.passes(60).await;
    let writes = stage.api.writes();
    stage.passes(600).await;
    assert_eq!(stage.api.writes(), writes);
    let failed = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
    let key = Key::new("deployments", "retail-processor");
    stage.api.change(|store| store.edit(&key, |object| object["status"] = failed));
    stage.until("retail", "ProcessorReady", "False", "PodsNotReady").await;
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_is_said() {
    let stage = Stage::start();
    stage.api.fail("patch", "services", 3, Fault::Code(403));
    stage.declare("retail", json!({}));
    stage.until("retail", "Ready", "False", "ApplyFailed").await;
    stage.until_ready("retail").await;
    stage.api.fail("delete", "deployments", 3, Fault::Code(403));
    stage.edit("retail", |spec| spec["producer"] = json!({"enabled": false}));
    stage.until("retail", "Ready", "False", "ApplyFailed").await;
    let message = stage.object("retailpipelines", "retail").unwrap()["status"]["conditions"][0]["message"].to_string();
    assert!(message.contains("Deployment retail-producer cannot be deleted"), "{message}");
    stage.until_ready("retail").await;
    assert!(stage.object("deployments", "retail-producer").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_an_api_server_is_no_hot_loop_and_loses_nothing() {
    let stage = Stage::start();
    for i in 0..10 {
        stage.declare(&format!("shop-{i}"), json!({}));
    }
    for i in 0..10 {
        stage.until_ready(&format!("shop-{i}")).await;
    }
    stage.api.fail("*", "*", 1_000_000, Fault::Code(503));
    stage.api.change(crate::api::Store::close_watches);
    let before = stage.api.asked().len();
    for i in 0..10 {
        stage.edit(&format!("shop-{i}"), |spec| spec["processor"]["replicas"] = json!(4));
    }
    stage.passes(60).await;
    let asked = stage.api.asked().len() - before;
    assert!(asked < 200, "{asked} requests in a minute of nothing but errors");
    stage.api.be_kind();
    let key = |i: usize| Key::new("deployments", &format!("shop-{i}-processor"));
    for i in 0..10 {
        stage.api.until("4 replicas", |store| store.get(&key(i)).unwrap()["spec"]["replicas"] == 4).await;
    }
}

/// Each of the six watches fails once. Were they to wait for each other, the last would begin again after minutes.
#[tokio::test(start_paused = true)]
async fn when_the_api_server_is_back_from_a_moments_absence_all_watches_are_soon_back() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.api.fail("watch", "*", 6, Fault::Code(503));
    stage.api.change(crate::api::Store::close_watches);
    stage.edit("retail", |spec| spec["processor"]["replicas"] = json!(4));
    let back = tokio::time::Instant::now();
    let key = Key::new("deployments", "retail-processor");
    stage.api.until("4 replicas", |store| store.get(&key).unwrap()["spec"]["replicas"] == 4).await;
    // By the clock of the test, which jumps to whatever is waited for next.
    assert!(back.elapsed() < std::time::Duration::from_secs(5), "after {:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_the_crd_the_operator_waits_for_it_and_says_so() {
    let stage = Stage::start();
    stage.api.fail("list", "retailpipelines", 5, Fault::Code(404));
    stage.declare("retail", json!({}));
    stage.until_unready(Some("is the CustomResourceDefinition there")).await;
    stage.until_ready("retail").await;
    stage.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_watch_lags_what_is_wrong_is_said_and_that_it_is_over() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.watches_lag();
    // Each time the resource has a version that the watch does not bring.
    for _ in 0..2 {
        stage.outside.state().postgres = Some(postgres_away());
        stage.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
        stage.outside.state().postgres = None;
        stage.until_ready("retail").await;
    }
}

//! Faults of a pipeline or of its dependencies, and their conditions.

use retail_engine::Timestamp;
use retail_store::progress::{CloseFailure, LongHold, Rejection};
use serde_json::json;

use crate::api::{Fault, Key};
use crate::fake_systems::{kafka_unreachable, postgres_unreachable};
use crate::harness::{Harness, secret};

#[tokio::test(start_paused = true)]
async fn missing_secret_is_reported_and_pods_stay() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let before = harness.object("deployments", "retail-processor").unwrap();
    let key = Key::new("secrets", "retail-db");
    let kept = harness.api.change(|store| {
        let kept = store.get(&key).unwrap().clone();
        store.delete(&key).unwrap();
        kept
    });
    harness.until("retail", "CredentialsReady", "False", "SecretAwaited").await;
    harness.until("retail", "Stalled", "True", "SecretMissing").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"], before["spec"]);
    // An unrelated edit is still applied and restarts no pod.
    harness.edit("retail", |spec| spec["processor"]["replicas"] = json!(3));
    let deployment = Key::new("deployments", "retail-processor");
    harness.api.until("3 replicas", |store| store.get(&deployment).unwrap()["spec"]["replicas"] == 3).await;
    assert_eq!(
        harness.object("deployments", "retail-processor").unwrap()["spec"]["template"],
        before["spec"]["template"]
    );
    harness.api.change(|store| store.create(&key, kept).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(
        harness.object("deployments", "retail-processor").unwrap()["spec"]["template"],
        before["spec"]["template"]
    );
}

#[tokio::test(start_paused = true)]
async fn processor_is_created_once_its_secret_exists() {
    let harness = Harness::start();
    let key = Key::new("secrets", "retail-db");
    harness.api.change(|store| store.delete(&key).unwrap());
    harness.declare("retail", json!({}));
    harness.until("retail", "Ready", "False", "SecretAwaited").await;
    harness.until("retail", "ProcessorReady", "False", "DependencyNotReady").await;
    assert!(harness.object("deployments", "retail-processor").is_none());
    assert!(harness.object("deployments", "retail-producer").is_some());
    let mut keyless = secret("x");
    keyless["data"].as_object_mut().unwrap().remove("password");
    harness.api.change(|store| store.create(&key, keyless).unwrap());
    harness.until("retail", "CredentialsReady", "False", "SecretKeyMissing").await;
    harness.api.change(|store| store.edit(&key, |object| object["data"] = secret("x")["data"].clone()));
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn secret_that_comes_later_makes_the_pipeline_ready_within_10_seconds() {
    let harness = Harness::start();
    let key = Key::new("secrets", "retail-db");
    for (waited, reason, stalled) in [(200, "SecretAwaited", "False"), (900, "SecretMissing", "True")] {
        let kept = harness.api.change(|store| {
            let kept = store.get(&key).unwrap().clone();
            store.delete(&key).unwrap();
            kept
        });
        let name = format!("retail-{waited}");
        harness.declare(&name, json!({}));
        harness.until(&name, "Reconciling", "True", "SecretAwaited").await;
        harness.passes(waited).await;
        assert_eq!(harness.condition(&name, "Ready"), ("False".to_owned(), reason.to_owned()));
        assert_eq!(harness.condition(&name, "Stalled").0, stalled);
        let writes = harness.api.writes();
        harness.passes(60).await;
        assert_eq!(harness.api.writes(), writes);
        let created = tokio::time::Instant::now();
        harness.api.change(|store| store.create(&key, kept).unwrap());
        harness.until_ready(&name).await;
        assert!(created.elapsed() <= std::time::Duration::from_secs(10), "after {:?}", created.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn pipeline_deleted_during_a_pass_is_no_error() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.watches_lag();
    harness.api.change(|store| store.delete(&crate::harness::pipeline_key("retail")).unwrap());
    // The next pass wants to report this.
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.passes(600).await;
    let asked = harness.api.asked();
    let mut reports =
        asked.iter().filter(|asked| asked.full_resource() == "retailpipelines/status" && asked.is_write());
    assert_eq!(reports.next_back().map(|report| report.name.as_str()), Some("retail"));
    let metrics = harness.context.metrics.render();
    assert!(!metrics.contains("retail_operator_reconcile_errors_total{"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn forbidden_secret_is_reported_and_pods_stay() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let before = harness.object("deployments", "retail-processor").unwrap();
    harness.api.fail("get", "secrets", 1, Fault::Code(403));
    harness.until("retail", "Stalled", "True", "SecretForbidden").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap(), before);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn unreachable_servers_keep_pods_and_give_one_event_each() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let before = harness.object("deployments", "retail-processor").unwrap();
    harness.external.state().kafka = Some(kafka_unreachable());
    harness.until("retail", "TopicReady", "False", "KafkaUnreachable").await;
    harness.until("retail", "Reconciling", "True", "KafkaUnreachable").await;
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
    let (writes, reads) = (harness.api.writes(), harness.external.state().reads);
    harness.passes(3600).await;
    assert_eq!(harness.api.writes(), writes);
    let looked = harness.external.state().reads - reads;
    assert!((60..=170).contains(&looked), "waiting has not grown: {looked}");
    assert_eq!(harness.object("deployments", "retail-processor").unwrap(), before);
    // A Deployment deleted during the outage is recreated: topic and schema are recorded.
    harness.api.change(|store| store.delete(&Key::new("deployments", "retail-processor")).unwrap());
    let deployment = Key::new("deployments", "retail-processor");
    harness.api.until("it is back", |store| store.get(&deployment).is_some()).await;
    (harness.external.state().kafka, harness.external.state().postgres) = (None, None);
    harness.until_ready("retail").await;
    let events = harness.events("retail");
    let count = |reason: &str| events.iter().filter(|event| *event == reason).count();
    assert_eq!((count("KafkaUnreachable"), count("DatabaseUnreachable")), (1, 1), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn broken_pipelines_do_not_stop_the_others() {
    let harness = Harness::start();
    harness.external.state().panic_topic = Some("panics".to_owned());
    harness.external.state().hang_topic = Some("hangs".to_owned());
    harness.declare("panics", json!({}));
    harness.declare("hangs", json!({}));
    harness.declare("nonsense", json!({"topic": 7, "window": [], "surprise": true}));
    harness.declare("refused", json!({"window": "7m"}));
    for i in 0..20 {
        harness.declare(&format!("good-{i}"), json!({}));
    }
    for i in 0..20 {
        harness.until_ready(&format!("good-{i}")).await;
    }
    harness.until("nonsense", "Stalled", "True", "InvalidSpec").await;
    harness.until("refused", "Stalled", "True", "InvalidSpec").await;
    let message = harness.object("retailpipelines", "refused").unwrap()["status"]["conditions"][0]["message"].clone();
    assert_eq!(message, "spec.window: window must divide 24h evenly: 5m, 1h and 24h do, 7m does not");
    harness.until("panics", "Ready", "False", "InternalError").await;
    harness.until("hangs", "Reconciling", "True", "KafkaUnreachable").await;
    let metrics = harness.context.metrics.render();
    assert!(metrics.contains("retail_operator_reconcile_errors_total{stage=\"panic\"}"), "{metrics}");
    // Each becomes ready after its repair.
    harness.external.state().panic_topic = None;
    harness.external.state().hang_topic = None;
    harness.edit("refused", |spec| spec["window"] = json!("5m"));
    for name in ["panics", "hangs", "refused"] {
        harness.until_ready(name).await;
    }
}

#[tokio::test(start_paused = true)]
async fn objects_of_other_owners_are_not_changed() {
    let harness = Harness::start();
    let key = Key::new("deployments", "retail-processor");
    let theirs = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}});
    harness.api.change(|store| store.create(&key, theirs).unwrap());
    let before = harness.object("deployments", "retail-processor").unwrap();
    harness.declare("retail", json!({}));
    harness.until("retail", "ProcessorReady", "False", "NameConflict").await;
    harness.until("retail", "Stalled", "True", "NameConflict").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap(), before);
    // A schema of another owner is not changed either.
    let progress = retail_store::progress::Progress::default();
    harness.external.state().schemas.insert("other".to_owned(), ("somebody".to_owned(), progress));
    harness.declare("other", json!({}));
    harness.until("other", "SchemaReady", "False", "SchemaForeign").await;
    assert_eq!(harness.external.state().schemas["other"].0, "somebody");
}

#[tokio::test(start_paused = true)]
async fn recreated_topic_is_not_used_as_the_old_one() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let mut topic = harness.external.state().topics.remove("retail").unwrap();
    harness.until("retail", "TopicReady", "False", "TopicReplaced").await;
    assert!(harness.external.state().topics.is_empty(), "made again without being asked");
    let old = topic.clone();
    topic.topic.description.id = "another".to_owned();
    harness.external.state().topics.insert("retail".to_owned(), topic);
    harness.passes(300).await;
    assert_eq!(harness.condition("retail", "Stalled"), ("True".to_owned(), "TopicReplaced".to_owned()));
    harness.external.state().topics.insert("retail".to_owned(), old);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn dropped_schema_is_recreated() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.external.state().schemas.clear();
    harness.eventually("it is back", || harness.external.state().schemas.contains_key("retail")).await;
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn failed_close_is_reported_until_it_succeeds() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let failure = CloseFailure {
        message: "a statement failed in postgres at postgres:5432/retail".to_owned(),
        failed_at: Timestamp::from_secs(1_800_000_000),
    };
    let report = |failure: Option<CloseFailure>| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.close_failure = failure;
    };
    report(Some(failure));
    harness.until("retail", "WindowsClosing", "False", "ClosingFailed").await;
    harness.until("retail", "Ready", "False", "ClosingFailed").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    assert_eq!(
        status["conditions"][0]["message"],
        "closing windows failed at 2027-01-15T08:00:00Z, and the processors try again: a statement failed in postgres at \
         postgres:5432/retail"
    );
    report(None);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_are_reported_until_they_agree() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let report = |clock_ahead: Option<i64>| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.clock_ahead = clock_ahead;
    };
    report(Some(-45_000_000));
    harness.until("retail", "WindowsClosing", "False", "ClocksDiffer").await;
    let writes = harness.api.writes();
    report(Some(-46_000_000));
    harness.passes(60).await;
    assert_eq!(harness.api.writes(), writes, "the exact difference is not part of the message");
    report(None);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn windows_held_for_too_long_are_reported_until_they_close() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let report = |hold: Option<LongHold>| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.hold = hold;
    };
    let detail = "an open transaction at offset 7 of partition 3 keeps its later records from being read".to_owned();
    report(Some(LongHold { since: Timestamp::from_micros(1_800_000_000_500_000), detail }));
    harness.until("retail", "WindowsClosing", "False", "WatermarkHeld").await;
    harness.until("retail", "Ready", "False", "WatermarkHeld").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    assert_eq!(
        status["conditions"][0]["message"],
        "windows stay open since 2027-01-15T08:00:00Z: an open transaction at offset 7 of partition 3 keeps its later records \
         from being read"
    );
    report(None);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn rejected_records_are_a_condition_and_a_warning() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.until("retail", "RecordsRejected", "False", "UpToDate").await;
    let report = |rejection: Option<Rejection>| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.rejection = rejection;
    };
    let sentence = "partition 3, offset 7: missing_field: quantity missing; has \"qty\": 2".to_owned();
    report(Some(Rejection { since: Timestamp::from_micros(1_800_000_000_500_000), sentence }));
    harness.until("retail", "RecordsRejected", "True", "MostlyInvalid").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let rejected = conditions.iter().find(|condition| condition["type"] == "RecordsRejected").unwrap();
    assert_eq!(
        rejected["message"],
        "more than half of the records are invalid since 2027-01-15T08:00:00Z: partition 3, offset 7: missing_field: quantity \
         missing; has \"qty\": 2; `retail sample` shows why, and a mapping for spec.events"
    );
    assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("Ready"), &json!("True")), "no part fails");
    report(None);
    harness.until("retail", "RecordsRejected", "False", "UpToDate").await;
}

#[tokio::test(start_paused = true)]
async fn unready_pods_are_reported_without_further_writes() {
    let harness = Harness::start();
    harness.api.change(|store| store.pods_start = false);
    harness.declare("retail", json!({}));
    harness.until("retail", "ProcessorReady", "False", "PodsStarting").await;
    harness.passes(60).await;
    let writes = harness.api.writes();
    harness.passes(600).await;
    assert_eq!(harness.api.writes(), writes);
    let failed = json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]});
    let key = Key::new("deployments", "retail-processor");
    harness.api.change(|store| store.edit(&key, |object| object["status"] = failed));
    harness.until("retail", "ProcessorReady", "False", "PodsNotReady").await;
}

#[tokio::test(start_paused = true)]
async fn refused_requests_are_reported() {
    let harness = Harness::start();
    harness.api.fail("patch", "services", 3, Fault::Code(403));
    harness.declare("retail", json!({}));
    harness.until("retail", "Ready", "False", "ApplyFailed").await;
    harness.until_ready("retail").await;
    harness.api.fail("delete", "deployments", 3, Fault::Code(403));
    harness.edit("retail", |spec| spec["producer"] = json!({"enabled": false}));
    harness.until("retail", "Ready", "False", "ApplyFailed").await;
    let message =
        harness.object("retailpipelines", "retail").unwrap()["status"]["conditions"][0]["message"].to_string();
    assert!(message.contains("Deployment retail-producer cannot be deleted"), "{message}");
    harness.until_ready("retail").await;
    assert!(harness.object("deployments", "retail-producer").is_none());
}

#[tokio::test(start_paused = true)]
async fn api_server_outage_causes_few_requests_and_loses_no_edit() {
    let harness = Harness::start();
    for i in 0..10 {
        harness.declare(&format!("shop-{i}"), json!({}));
    }
    for i in 0..10 {
        harness.until_ready(&format!("shop-{i}")).await;
    }
    harness.api.fail("*", "*", 1_000_000, Fault::Code(503));
    harness.api.change(crate::api::Store::close_watches);
    let before = harness.api.asked().len();
    for i in 0..10 {
        harness.edit(&format!("shop-{i}"), |spec| spec["processor"]["replicas"] = json!(4));
    }
    harness.passes(60).await;
    let asked = harness.api.asked().len() - before;
    assert!(asked < 200, "{asked} requests in a minute of nothing but errors");
    harness.api.clear_faults();
    let key = |i: usize| Key::new("deployments", &format!("shop-{i}-processor"));
    for i in 0..10 {
        harness.api.until("4 replicas", |store| store.get(&key(i)).unwrap()["spec"]["replicas"] == 4).await;
    }
}

/// Each of the six watches fails once. With a shared delay, the last would restart after minutes.
#[tokio::test(start_paused = true)]
async fn watches_restart_soon_after_a_short_outage() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.api.fail("watch", "*", 6, Fault::Code(503));
    harness.api.change(crate::api::Store::close_watches);
    harness.edit("retail", |spec| spec["processor"]["replicas"] = json!(4));
    let back = tokio::time::Instant::now();
    let key = Key::new("deployments", "retail-processor");
    harness.api.until("4 replicas", |store| store.get(&key).unwrap()["spec"]["replicas"] == 4).await;
    // Measured with the virtual clock.
    assert!(back.elapsed() < std::time::Duration::from_secs(5), "after {:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn missing_crd_makes_the_operator_unready() {
    let harness = Harness::start();
    harness.api.fail("list", "retailpipelines", 5, Fault::Code(404));
    harness.declare("retail", json!({}));
    harness.until_unready(Some("install the CustomResourceDefinition")).await;
    harness.until_ready("retail").await;
    harness.until_unready(None).await;
}

#[tokio::test(start_paused = true)]
async fn lagging_watch_does_not_delay_reports() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.watches_lag();
    // Each report gives the resource a version that the watch does not deliver.
    for _ in 0..2 {
        harness.external.state().postgres = Some(postgres_unreachable());
        harness.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
        harness.external.state().postgres = None;
        harness.until_ready("retail").await;
    }
}

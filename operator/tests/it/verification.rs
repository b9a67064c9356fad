//! `spec.verify`: the CronJob of a pipeline, and the condition of its results.

use retail_engine::Timestamp;
use retail_operator::preview::from_nothing;
use retail_operator::reconcile::step::Step;
use retail_operator::reconcile::validate::parse;
use retail_operator::resources::names::Child;
use retail_store::verification::{FailedVerification, LastProof, Verifications};
use serde_json::{Value, json};

use crate::api::{ApiRequest, Key};
use crate::fake_systems::postgres_unreachable;
use crate::harness::{Harness, now, pipeline, pipeline_key, settings};

fn cron_job(harness: &Harness) -> Option<Value> {
    harness.object("cronjobs", "retail-verify")
}

fn condition(harness: &Harness) -> Option<Value> {
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    status["conditions"].as_array().unwrap().iter().find(|condition| condition["type"] == "Verified").cloned()
}

/// The declared CronJob.
fn declared(spec: Value) -> Value {
    let mut pipeline = pipeline("retail", spec);
    pipeline["metadata"]["uid"] = json!("uid-1");
    let valid = parse(&pipeline.to_string()).unwrap_or_else(|invalid| panic!("{}", invalid.message));
    let steps = from_nothing(&valid, &settings()).steps;
    let object = steps.into_iter().find_map(|step| {
        let Step::Apply { child: Child::Verification, object, .. } = step else { return None };
        Some(object)
    });
    object.unwrap()
}

#[test]
fn cron_job_matches_the_snapshot() {
    insta::assert_snapshot!(serde_saphyr::to_string(&declared(json!({"verify": {"every": "6h"}}))).unwrap());
}

#[test]
fn verification_may_run_beside_processors_with_their_template() {
    let spread = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
    let template = json!({
        "labels": {"team": "sales"}, "annotations": {"example.com/note": "a"}, "topologySpreadConstraints": [spread],
        "affinity": {"nodeAffinity": {"a": 1}, "podAntiAffinity": {"b": 1}}, "serviceAccountName": "sales",
        "imagePullSecrets": [{"name": "registry"}], "tolerations": [{"operator": "Exists"}], "env": [{"name": "TZ", "value": "UTC"}],
    });
    let job = declared(json!({
        "verify": {"every": "10m", "resources": {"limits": {"memory": "2Gi"}}}, "processor": {"template": template},
        "suspend": true, "image": "registry/retail:canary",
    }));
    assert_eq!((&job["spec"]["suspend"], &job["spec"]["startingDeadlineSeconds"]), (&json!(true), &json!(600)));
    let job = &job["spec"]["jobTemplate"]["spec"];
    assert_eq!(job["activeDeadlineSeconds"], 6 * 3600);
    let (metadata, pod) = (&job["template"]["metadata"], &job["template"]["spec"]);
    assert_eq!(
        (&metadata["labels"]["team"], &metadata["labels"]["app.kubernetes.io/component"]),
        (&json!("sales"), &json!("verify"))
    );
    assert_eq!(metadata["annotations"], json!({"example.com/note": "a"}));
    assert_eq!(pod["affinity"], json!({"nodeAffinity": {"a": 1}}));
    assert!(pod["topologySpreadConstraints"].is_null(), "{pod}");
    for field in ["serviceAccountName", "imagePullSecrets", "tolerations"] {
        assert_eq!(pod[field], template[field], "{field}");
    }
    let container = &pod["containers"][0];
    assert_eq!(container["resources"], json!({"limits": {"memory": "2Gi"}}));
    assert_eq!(container["image"], "registry/retail:canary");
    assert!(container["env"].as_array().unwrap().contains(&json!({"name": "TZ", "value": "UTC"})));
}

#[tokio::test(start_paused = true)]
async fn cron_job_follows_the_spec_and_is_repaired() {
    let mut harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    assert_eq!((cron_job(&harness), condition(&harness)), (None, None));
    harness.edit("retail", |spec| spec["verify"] = json!({"every": "1d"}));
    harness.eventually("it is created", || cron_job(&harness).is_some()).await;
    let uid = harness.object("retailpipelines", "retail").unwrap()["metadata"]["uid"].clone();
    let created = cron_job(&harness).unwrap();
    assert_eq!((&created["metadata"]["ownerReferences"][0]["uid"], &created["spec"]["suspend"]), (&uid, &json!(false)));
    harness.passes(60).await;
    let writes = harness.api.writes();
    harness.passes(600).await;
    harness.restart();
    harness.passes(600).await;
    let written = harness.api.asked().into_iter().filter(ApiRequest::is_write).skip(writes).collect::<Vec<_>>();
    assert!(written.is_empty(), "{written:?}");

    let schedule = created["spec"]["schedule"].clone();
    let key = Key::new("cronjobs", "retail-verify");
    harness.api.change(|store| store.edit(&key, |job| job["spec"]["schedule"] = json!("0 0 1 1 *")));
    harness.eventually("it is repaired", || cron_job(&harness).unwrap()["spec"]["schedule"] == schedule).await;
    harness.api.change(|store| store.delete(&key).unwrap());
    harness.eventually("it is created again", || cron_job(&harness).is_some()).await;
    harness.edit("retail", |spec| spec["suspend"] = json!(true));
    harness.eventually("it is suspended", || cron_job(&harness).unwrap()["spec"]["suspend"] == true).await;
    harness.edit("retail", |spec| spec["suspend"] = json!(false));
    harness.eventually("it is resumed", || cron_job(&harness).unwrap()["spec"]["suspend"] == false).await;
    harness.edit("retail", |spec| spec["verify"] = Value::Null);
    harness.eventually("it is deleted", || cron_job(&harness).is_none() && condition(&harness).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn cron_job_of_a_new_pipeline_waits_for_the_schema() {
    let harness = Harness::start();
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.declare("retail", json!({"verify": {"every": "6h"}}));
    harness.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
    harness.until("retail", "Verified", "Unknown", "DependencyNotReady").await;
    harness.passes(120).await;
    assert_eq!(cron_job(&harness), None);
    harness.external.state().postgres = None;
    harness.eventually("it is created", || cron_job(&harness).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn foreign_cron_job_of_the_name_is_kept() {
    let harness = Harness::start();
    let key = Key::new("cronjobs", "retail-verify");
    harness.api.change(|store| store.create(&key, json!({"spec": {"schedule": "0 * * * *"}})).unwrap());
    harness.declare("retail", json!({"verify": {"every": "6h"}}));
    harness.until("retail", "Stalled", "True", "NameConflict").await;
    assert_eq!(cron_job(&harness).unwrap()["spec"], json!({"schedule": "0 * * * *"}));
}

#[tokio::test(start_paused = true)]
async fn schema_is_dropped_after_the_verification_has_ended() {
    let harness = Harness::start();
    harness.declare("retail", json!({"verify": {"every": "6h"}, "deletionPolicy": {"database": "Delete"}}));
    harness.until_ready("retail").await;
    // A finalizer stands for a Job that has not ended.
    let key = Key::new("cronjobs", "retail-verify");
    harness.api.change(|store| store.edit(&key, |job| job["metadata"]["finalizers"] = json!(["foregroundDeletion"])));
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness
        .api
        .until("it ends", |store| store.get(&key).is_some_and(|job| job["metadata"]["deletionTimestamp"].is_string()))
        .await;
    harness.passes(120).await;
    assert!(harness.external.state().schemas.contains_key("retail"));
    harness.api.change(|store| store.edit(&key, |job| job["metadata"]["finalizers"] = json!([])));
    harness.api.until("the pipeline is gone", |store| store.get(&pipeline_key("retail")).is_none()).await;
    assert!(harness.external.state().schemas.is_empty());
}

#[tokio::test(start_paused = true)]
async fn condition_and_metric_follow_the_recorded_results() {
    let harness = Harness::start();
    harness.declare("retail", json!({"verify": {"every": "10m"}}));
    harness.until("retail", "Verified", "Unknown", "NotVerifiedYet").await;
    let record = |results: Verifications| {
        harness.external.state().schemas.get_mut("retail").unwrap().1.verifications = results;
    };
    let seconds = || now().as_second();
    let proof = |number: i32, at: i64| {
        Some(LastProof { number, recorded_at: Timestamp::from_secs(at), hash: format!("hash-{number}") })
    };
    let failed =
        |at: i64| Some(FailedVerification { ended_at: Timestamp::from_secs(at), detail: "row 1 is wrong".to_owned() });
    let metric = || {
        let text = harness.context.metrics.render();
        let line = text.lines().find(|line| line.starts_with("retail_pipeline_last_proof_timestamp_seconds{"));
        line.map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
    };
    assert_eq!(metric(), None);

    // Without a first proof for two intervals.
    harness.passes(2100).await;
    harness.until("retail", "Verified", "False", "ProofOverdue").await;
    let first = seconds();
    record(Verifications { proof: proof(1, first), ..Verifications::default() });
    harness.until("retail", "Verified", "True", "ProofRecorded").await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    assert_eq!((&status["proof"]["number"], &status["proof"]["hash"]), (&json!(1), &json!("hash-1")));
    assert_eq!(metric(), Some(first.to_string()));

    record(Verifications { proof: proof(1, first), different: failed(first + 60), incomplete: None });
    harness.until("retail", "Verified", "False", "DifferencesFound").await;
    assert!(condition(&harness).unwrap()["message"].as_str().unwrap().contains("row 1 is wrong"));
    assert_eq!(harness.condition("retail", "Ready").0, "True", "the processors run");
    assert!(harness.events("retail").contains(&"DifferencesFound".to_owned()));

    let second = seconds();
    record(Verifications { proof: proof(2, second), ..Verifications::default() });
    harness.until("retail", "Verified", "True", "ProofRecorded").await;
    // The last proof stays known while Postgres is away.
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.until("retail", "Verified", "Unknown", "DependencyNotReady").await;
    assert_eq!(metric(), Some(second.to_string()));
    harness.external.state().postgres = None;
    harness.until("retail", "Verified", "True", "ProofRecorded").await;

    // A suspended pipeline has no newer proof.
    harness.edit("retail", |spec| spec["suspend"] = json!(true));
    harness.passes(3600).await;
    harness.until("retail", "Verified", "True", "ProofRecorded").await;
    harness.edit("retail", |spec| spec["suspend"] = json!(false));
    harness.until("retail", "Verified", "False", "ProofOverdue").await;
    harness.edit("retail", |spec| spec["verify"] = Value::Null);
    harness.eventually("no proof is expected", || condition(&harness).is_none() && metric().is_none()).await;
}

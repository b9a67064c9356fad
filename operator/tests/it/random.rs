//! Random disturbances in any order: afterwards the declared state is reached, and then nothing more is written.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use crate::api::{Fault, Key};
use crate::fake_systems::{kafka_unreachable, postgres_unreachable};
use crate::harness::{Harness, pipeline_key, secret};

/// A disturbance.
#[derive(Clone, Debug)]
enum Disturbance {
    Replicas(i32),
    Partitions(i32),
    Rate(i32),
    Trigger(u32),
    Suspend(bool),
    Producer(bool),
    KeepsData(bool),
    ChildGoes(usize),
    ChildDrifts(usize),
    TopicDrifts(bool),
    StatusGoes,
    SecretGoes,
    SecretComes,
    KafkaAway(bool),
    PostgresAway(bool),
    ApiFault(&'static str, usize, Fault),
    WatchesClose,
    WatchesExpire(bool),
    OperatorDies,
    PipelineGoes,
    PipelineComes,
    TimePasses(u64),
}

const CHILDREN: [(&str, &str, &str); 7] = [
    ("configmaps", "retail-pipeline", "/data/processor.yaml"),
    ("serviceaccounts", "retail-pipeline", "/metadata/labels/app.kubernetes.io~1managed-by"),
    ("services", "retail-metrics", "/spec/ports"),
    ("poddisruptionbudgets", "retail-processor", "/spec/maxUnavailable"),
    ("deployments", "retail-processor", "/spec/replicas"),
    ("deployments", "retail-producer", "/spec/template/spec/containers"),
    ("cronjobs", "retail-verify", "/spec/concurrencyPolicy"),
];

fn disturbance() -> impl Strategy<Value = Disturbance> {
    use Disturbance as H;
    const FAULTS: &[Fault] = &[
        Fault::Code(409),
        Fault::Code(429),
        Fault::Code(500),
        Fault::Code(503),
        Fault::DoneBut(409),
        Fault::DoneBut(503),
        Fault::Slow(2),
        Fault::Slow(20),
        Fault::Silence,
    ];
    let verbs: &[&str] = &["*", "patch", "get", "list", "delete"];
    let time = || (1_u64..90).prop_map(H::TimePasses);
    prop_oneof![
        (0..9).prop_map(H::Replicas),
        (4..8).prop_map(H::Partitions),
        (1..5).prop_map(H::Rate),
        (1_u32..5).prop_map(H::Trigger),
        any::<bool>().prop_map(H::Suspend),
        any::<bool>().prop_map(H::Producer),
        any::<bool>().prop_map(H::KeepsData),
        (0..CHILDREN.len()).prop_map(H::ChildGoes),
        (0..CHILDREN.len()).prop_map(H::ChildDrifts),
        any::<bool>().prop_map(H::TopicDrifts),
        Just(H::StatusGoes),
        Just(H::SecretGoes),
        Just(H::SecretComes),
        any::<bool>().prop_map(H::KafkaAway),
        any::<bool>().prop_map(H::PostgresAway),
        (prop::sample::select(verbs), 1_usize..6, prop::sample::select(FAULTS))
            .prop_map(|(verb, times, fault)| H::ApiFault(verb, times, fault)),
        Just(H::WatchesClose),
        any::<bool>().prop_map(H::WatchesExpire),
        Just(H::OperatorDies),
        Just(H::PipelineGoes),
        Just(H::PipelineComes),
        time(),
        time(),
        time(),
    ]
}

/// Fields that replace the default ones.
fn declared_spec() -> Value {
    json!({
        "topic": {"name": "retail", "management": "Adopt", "config": {"retention.ms": "1000", "max.message.bytes": "200000"}},
        "verify": {"every": "1h"},
    })
}

fn edit(harness: &Harness, change: impl FnOnce(&mut Value)) {
    if harness.object("retailpipelines", "retail").is_some() {
        harness.edit("retail", change);
    }
}

async fn disturb(harness: &mut Harness, disturbance: &Disturbance) {
    let secret_key = Key::new("secrets", "retail-db");
    match disturbance {
        Disturbance::Replicas(replicas) => edit(harness, |spec| spec["processor"]["replicas"] = json!(replicas)),
        Disturbance::Partitions(partitions) => edit(harness, |spec| {
            let more = spec["topic"]["partitions"].as_i64().unwrap_or(4).max(i64::from(*partitions));
            spec["topic"]["partitions"] = json!(more);
        }),
        Disturbance::Rate(rate) => edit(harness, |spec| spec["producer"]["eventsPerSecond"] = json!(rate)),
        Disturbance::Trigger(seconds) => edit(harness, |spec| spec["trigger"] = json!(format!("{seconds}s"))),
        Disturbance::Suspend(suspend) => edit(harness, |spec| spec["suspend"] = json!(suspend)),
        Disturbance::Producer(enabled) => edit(harness, |spec| spec["producer"]["enabled"] = json!(enabled)),
        Disturbance::KeepsData(keeps) => {
            let policy = if *keeps { "Retain" } else { "Delete" };
            edit(harness, |spec| spec["deletionPolicy"] = json!({"topic": policy, "database": policy}));
        }
        Disturbance::ChildGoes(child) => {
            let (resource, name, _) = CHILDREN[*child];
            let _was_there = harness.api.change(|store| store.delete(&Key::new(resource, name)));
        }
        Disturbance::ChildDrifts(child) => {
            let (resource, name, field) = CHILDREN[*child];
            if harness.object(resource, name).is_some() {
                let drift = |object: &mut Value| *object.pointer_mut(field).unwrap() = json!("drift");
                harness.api.change(|store| store.edit(&Key::new(resource, name), drift));
            }
        }
        Disturbance::TopicDrifts(keeps_more) => {
            if let Some(seen) = harness.external.state().topics.get_mut("retail") {
                let retention = if *keeps_more { "-1" } else { "1" };
                seen.topic.config.insert("retention.ms".to_owned(), retention.to_owned());
                seen.topic.config.insert("max.message.bytes".to_owned(), "1".to_owned());
            }
        }
        Disturbance::StatusGoes => {
            if harness.object("retailpipelines", "retail").is_some() {
                let wipe = |object: &mut Value| object["status"]["conditions"] = json!([]);
                harness.api.change(|store| store.edit(&pipeline_key("retail"), wipe));
            }
        }
        Disturbance::SecretGoes => drop(harness.api.change(|store| store.delete(&secret_key))),
        Disturbance::SecretComes => drop(harness.api.change(|store| store.create(&secret_key, secret("wonderful")))),
        Disturbance::KafkaAway(away) => harness.external.state().kafka = away.then(kafka_unreachable),
        Disturbance::PostgresAway(away) => harness.external.state().postgres = away.then(postgres_unreachable),
        Disturbance::ApiFault(verb, times, fault) => harness.api.fail(verb, "*", *times, *fault),
        Disturbance::WatchesClose => harness.api.change(crate::api::Store::close_watches),
        Disturbance::WatchesExpire(by_code) => harness.api.change(|store| {
            store.refuses_old_watches = *by_code;
            store.expire_watches();
        }),
        Disturbance::OperatorDies => harness.restart(),
        Disturbance::PipelineGoes => drop(harness.api.change(|store| store.delete(&pipeline_key("retail")))),
        Disturbance::PipelineComes => {
            if harness.object("retailpipelines", "retail").is_none() {
                // The old schema belongs to the deleted pipeline.
                harness.external.state().schemas.clear();
                harness.declare("retail", declared_spec());
            }
        }
        Disturbance::TimePasses(seconds) => harness.passes(*seconds).await,
    }
}

/// Repairs what only a user can, and waits for the operator.
async fn heal(harness: &mut Harness) {
    (harness.external.state().kafka, harness.external.state().postgres) = (None, None);
    harness.api.clear_faults();
    for disturbance in [Disturbance::SecretComes, Disturbance::TimePasses(900), Disturbance::PipelineComes] {
        disturb(harness, &disturbance).await;
    }
    harness
        .api
        .until("it is ready", |store| {
            let object = store.get(&pipeline_key("retail")).unwrap();
            let ready = &object["status"]["conditions"][0];
            ready["status"] == "True" && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        })
        .await;
    harness.passes(300).await;
}

/// Declarations of all children by name, without fields that differ between clusters.
fn declared(harness: &Harness) -> Vec<(String, Value)> {
    let store = harness.api.store();
    let ours = store.all().iter().filter(|(_, object)| object["metadata"]["ownerReferences"].is_array());
    let mut children = Vec::new();
    for (key, object) in ours {
        let uid = object["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap();
        let (spec, data) = (&object["spec"], &object["data"]);
        let text = json!([spec, data, object["metadata"]["labels"]]).to_string().replace(uid, "UID");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        // Hashes cover the uids of pipeline and Secret.
        if let Some(schedule) = value.pointer_mut("/0/schedule") {
            *schedule = json!("of the uid");
        }
        if let Some(template) = value.pointer_mut("/0/template/metadata") {
            template["annotations"] = json!(template["annotations"].as_object().unwrap().keys().collect::<Vec<_>>());
        }
        children.push((format!("{}/{}", key.resource, key.name), value));
    }
    children
}

/// Exactly one of the three conditions for kstatus is true once a status exists.
fn assert_one_summary_is_true(harness: &Harness) {
    let is = ["Ready", "Reconciling", "Stalled"].map(|condition_type| harness.condition("retail", condition_type).0);
    let true_ones = is.iter().filter(|status| *status == "True").count();
    assert!(is[0].is_empty() || true_ones == 1, "{is:?}");
}

async fn converges(disturbances: &[Disturbance]) {
    let mut harness = Harness::start();
    harness.declare("retail", declared_spec());
    for disturbance in disturbances {
        disturb(&mut harness, disturbance).await;
        assert_one_summary_is_true(&harness);
    }
    heal(&mut harness).await;
    let spec = harness.object("retailpipelines", "retail").unwrap()["spec"].clone();
    let fresh = Harness::start();
    fresh.declare("retail", spec);
    fresh.passes(300).await;
    assert_eq!(declared(&harness), declared(&fresh));
    {
        let external = harness.external.state();
        let config = &external.topics["retail"].topic.config;
        assert!(["1000", "-1"].contains(&config["retention.ms"].as_str()), "{config:?}");
        assert_eq!(config["max.message.bytes"], "200000");
    }
    let (writes, changes) = (harness.api.writes(), harness.external.state().changes);
    harness.passes(1800).await;
    assert_eq!((harness.api.writes(), harness.external.state().changes), (writes, changes));
}

#[test]
fn any_sequence_of_disturbances_ends_as_declared() {
    let config = Config { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..Config::default() };
    let sequences = prop::collection::vec(disturbance(), 1..25);
    TestRunner::new(config)
        .run(&sequences, |disturbances| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().unwrap().block_on(converges(&disturbances));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

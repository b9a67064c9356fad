//! Whatever happens, in whatever order: in the end everything is as declared, and then nothing more is written.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use crate::api::{Fault, Key};
use crate::fake_systems::{kafka_unreachable, postgres_unreachable};
use crate::harness::{Harness, pipeline_key, secret};

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
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
    Unkind(&'static str, usize, Fault),
    WatchesClose,
    WatchesExpire(bool),
    OperatorDies,
    PipelineGoes,
    PipelineComes,
    TimePasses(u64),
}

const CHILDREN: [(&str, &str, &str); 6] = [
    ("configmaps", "retail-pipeline", "/data/processor.yaml"),
    ("serviceaccounts", "retail-pipeline", "/metadata/labels/app.kubernetes.io~1managed-by"),
    ("services", "retail-metrics", "/spec/ports"),
    ("poddisruptionbudgets", "retail-processor", "/spec/maxUnavailable"),
    ("deployments", "retail-processor", "/spec/replicas"),
    ("deployments", "retail-producer", "/spec/template/spec/containers"),
];

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
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
            .prop_map(|(verb, times, fault)| H::Unkind(verb, times, fault)),
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

/// Over what every pipeline has.
fn declared_spec() -> Value {
    json!({"topic": {"name": "retail", "config": {"retention.ms": "1000", "max.message.bytes": "200000"}}})
}

fn edit(harness: &Harness, change: impl FnOnce(&mut Value)) {
    if harness.object("retailpipelines", "retail").is_some() {
        harness.edit("retail", change);
    }
}

async fn happen(harness: &mut Harness, happening: &Happening) {
    let secret_key = Key::new("secrets", "retail-db");
    match happening {
        Happening::Replicas(replicas) => edit(harness, |spec| spec["processor"]["replicas"] = json!(replicas)),
        Happening::Partitions(partitions) => edit(harness, |spec| {
            let more = spec["topic"]["partitions"].as_i64().unwrap_or(4).max(i64::from(*partitions));
            spec["topic"]["partitions"] = json!(more);
        }),
        Happening::Rate(rate) => edit(harness, |spec| spec["producer"]["eventsPerSecond"] = json!(rate)),
        Happening::Trigger(seconds) => edit(harness, |spec| spec["trigger"] = json!(format!("{seconds}s"))),
        Happening::Suspend(suspend) => edit(harness, |spec| spec["suspend"] = json!(suspend)),
        Happening::Producer(enabled) => edit(harness, |spec| spec["producer"]["enabled"] = json!(enabled)),
        Happening::KeepsData(keeps) => {
            let policy = if *keeps { "Retain" } else { "Delete" };
            edit(harness, |spec| spec["deletionPolicy"] = json!({"topic": policy, "database": policy}));
        }
        Happening::ChildGoes(child) => {
            let (resource, name, _) = CHILDREN[*child];
            let _was_there = harness.api.change(|store| store.delete(&Key::new(resource, name)));
        }
        Happening::ChildDrifts(child) => {
            let (resource, name, field) = CHILDREN[*child];
            if harness.object(resource, name).is_some() {
                let drift = |object: &mut Value| *object.pointer_mut(field).unwrap() = json!("drift");
                harness.api.change(|store| store.edit(&Key::new(resource, name), drift));
            }
        }
        Happening::TopicDrifts(keeps_more) => {
            if let Some(seen) = harness.external.state().topics.get_mut("retail") {
                let retention = if *keeps_more { "-1" } else { "1" };
                seen.topic.config.insert("retention.ms".to_owned(), retention.to_owned());
                seen.topic.config.insert("max.message.bytes".to_owned(), "1".to_owned());
            }
        }
        Happening::StatusGoes => {
            if harness.object("retailpipelines", "retail").is_some() {
                let wipe = |object: &mut Value| object["status"]["conditions"] = json!([]);
                harness.api.change(|store| store.edit(&pipeline_key("retail"), wipe));
            }
        }
        Happening::SecretGoes => drop(harness.api.change(|store| store.delete(&secret_key))),
        Happening::SecretComes => drop(harness.api.change(|store| store.create(&secret_key, secret("wonderful")))),
        Happening::KafkaAway(away) => harness.external.state().kafka = away.then(kafka_unreachable),
        Happening::PostgresAway(away) => harness.external.state().postgres = away.then(postgres_unreachable),
        Happening::Unkind(verb, times, fault) => harness.api.fail(verb, "*", *times, *fault),
        Happening::WatchesClose => harness.api.change(crate::api::Store::close_watches),
        Happening::WatchesExpire(by_code) => harness.api.change(|store| {
            store.refuses_old_watches = *by_code;
            store.expire_watches();
        }),
        Happening::OperatorDies => harness.restart(),
        Happening::PipelineGoes => drop(harness.api.change(|store| store.delete(&pipeline_key("retail")))),
        Happening::PipelineComes => {
            if harness.object("retailpipelines", "retail").is_none() {
                // The schema of the one before is not this one's.
                harness.external.state().schemas.clear();
                harness.declare("retail", declared_spec());
            }
        }
        Happening::TimePasses(seconds) => harness.passes(*seconds).await,
    }
}

/// Repairs everything that the operator cannot, and waits for the rest.
async fn heal(harness: &mut Harness) {
    (harness.external.state().kafka, harness.external.state().postgres) = (None, None);
    harness.api.be_kind();
    for happening in [Happening::SecretComes, Happening::TimePasses(900), Happening::PipelineComes] {
        happen(harness, &happening).await;
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

/// All that is declared of all children, by name, without what differs from one cluster to the next.
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
        if let Some(template) = value.pointer_mut("/0/template/metadata") {
            template["annotations"] = json!(template["annotations"].as_object().unwrap().keys().collect::<Vec<_>>());
        }
        children.push((format!("{}/{}", key.resource, key.name), value));
    }
    children
}

/// As kstatus reads it: exactly one of the three is true, once anything was said.
fn ready_or_at_it_or_stuck(harness: &Harness) {
    let is = ["Ready", "Reconciling", "Stalled"].map(|condition_type| harness.condition("retail", condition_type).0);
    let true_ones = is.iter().filter(|status| *status == "True").count();
    assert!(is[0].is_empty() || true_ones == 1, "{is:?}");
}

async fn converges(happenings: &[Happening]) {
    let mut harness = Harness::start();
    harness.declare("retail", declared_spec());
    for happening in happenings {
        happen(&mut harness, happening).await;
        ready_or_at_it_or_stuck(&harness);
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
fn any_sequence_of_edits_drift_and_faults_ends_as_declared() {
    let config = Config { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..Config::default() };
    let sequences = prop::collection::vec(happening(), 1..25);
    TestRunner::new(config)
        .run(&sequences, |happenings| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_time().start_paused(true).build().unwrap().block_on(converges(&happenings));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

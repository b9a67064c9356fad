//! From any state to the declared one, and no further.

use retail_connection::ErrorKind;
use retail_kafka::KafkaError;
use serde_json::json;

use crate::api::{Fault, Key};
use crate::outside::some_progress;
use crate::stage::{Stage, pipeline_key, secret};

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_is_declared_becomes_ready_and_everything_of_it_is_there() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    for (resource, name) in [
        ("configmaps", "retail-pipeline"),
        ("serviceaccounts", "retail-pipeline"),
        ("services", "retail-metrics"),
        ("poddisruptionbudgets", "retail-processor"),
        ("deployments", "retail-processor"),
        ("deployments", "retail-producer"),
    ] {
        assert!(stage.object(resource, name).is_some(), "{resource} {name}");
    }
    {
        let outside = stage.outside.state();
        assert!(outside.topics.contains_key("retail") && outside.schemas.contains_key("retail"));
    }
    let status = stage.object("retailpipelines", "retail").unwrap()["status"].clone();
    assert_eq!(status["replicas"], 2);
    assert_eq!(status["topic"], json!({"id": "topic-1", "partitions": 4, "created": true}));
    assert_eq!(
        status["selector"],
        "app.kubernetes.io/component=processor,app.kubernetes.io/instance=retail,app.kubernetes.io/name=retail-pipeline"
    );
    let events = stage.events("retail");
    assert!(events.starts_with(&["TopicCreated".to_owned(), "SchemaApplied".to_owned()]), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn in_steady_state_the_operator_looks_and_writes_nothing() {
    let mut stage = Stage::start();
    for name in ["one", "two", "three"] {
        stage.declare(name, json!({"topic": {"name": name}}));
    }
    for name in ["one", "two", "three"] {
        stage.until_ready(name).await;
    }
    stage.passes(60).await;
    let (writes, looks) = (stage.api.writes(), stage.outside.state().looks);
    stage.passes(3600).await;
    assert_eq!(&stage.api.asked()[..].iter().filter(|asked| asked.is_write()).count(), &writes);
    let looked = stage.outside.state().looks - looks;
    assert!(looked > 3 * 2 * 100, "{looked}");
    // Neither does one that was started anew and remembers nothing.
    stage.restart();
    stage.passes(3600).await;
    assert_eq!(
        stage.api.writes(),
        writes,
        "{:?}",
        stage.api.asked().iter().filter(|a| a.is_write()).skip(writes).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn pipelines_that_name_the_same_secret_share_what_was_asked_just_now() {
    let stage = Stage::start();
    let names: Vec<String> = (0..20).map(|number| format!("retail-{number}")).collect();
    for name in &names {
        stage.declare(name, json!({}));
    }
    for name in &names {
        stage.until_ready(name).await;
    }
    stage.passes(60).await;
    let asked = || stage.api.asked().iter().filter(|asked| asked.resource == "secrets").count();
    let (before, looks) = (asked(), stage.outside.state().looks);
    stage.passes(3600).await;
    // Two looks are a pass.
    assert!(stage.outside.state().looks - looks > 2 * 20 * 120);
    assert!(asked() - before <= 3600 / 5, "{}", asked() - before);
}

#[tokio::test(start_paused = true)]
async fn drift_of_every_child_is_repaired() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let children = [
        ("configmaps", "retail-pipeline", "/data/processor.yaml"),
        ("services", "retail-metrics", "/spec/clusterIP"),
        ("poddisruptionbudgets", "retail-processor", "/spec/maxUnavailable"),
        ("deployments", "retail-processor", "/spec/replicas"),
        ("deployments", "retail-producer", "/spec/template/spec/containers/0/image"),
        ("serviceaccounts", "retail-pipeline", "/automountServiceAccountToken"),
    ];
    for (resource, name, field) in children {
        let key = Key::new(resource, name);
        let was = stage.object(resource, name).unwrap();
        stage.api.change(|store| store.edit(&key, |object| *object.pointer_mut(field).unwrap() = json!("drift")));
        let declared = was.pointer(field).unwrap().clone();
        stage.api.until(field, |store| store.get(&key).unwrap().pointer(field) == Some(&declared)).await;
        stage.api.change(|store| store.delete(&key).unwrap());
        stage.api.until(name, |store| store.get(&key).is_some()).await;
    }
    stage.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn drift_of_the_topics_settings_is_repaired_unless_that_would_delete_records() {
    let stage = Stage::start();
    stage.declare(
        "retail",
        json!({"topic": {"name": "retail", "config": {"retention.ms": "1000", "max.message.bytes": "200000"}}}),
    );
    stage.until_ready("retail").await;
    let set = |name: &str, value: &str| {
        let mut outside = stage.outside.state();
        outside.topics.get_mut("retail").unwrap().topic.config.insert(name.to_owned(), value.to_owned());
    };
    let is = |name: &str| stage.outside.state().topics["retail"].topic.config[name].clone();
    // Another value, less kept than declared, and what nobody has declared.
    set("max.message.bytes", "5");
    set("retention.ms", "10");
    set("segment.ms", "777");
    let repaired = ("200000".to_owned(), "1000".to_owned(), "777".to_owned());
    let settings = || (is("max.message.bytes"), is("retention.ms"), is("segment.ms"));
    stage.eventually("it is repaired", || settings() == repaired).await;
    stage.passes(60).await;
    assert_eq!(settings(), repaired);
    assert_eq!(stage.condition("retail", "TopicReady"), ("True".to_owned(), "UpToDate".to_owned()));
    let altered = |stage: &Stage| stage.events("retail").iter().filter(|reason| *reason == "TopicAltered").count();
    assert_eq!(altered(&stage), 1, "{:?}", stage.events("retail"));
    // More kept than declared is not taken away.
    set("retention.ms", "2000");
    stage.until("retail", "TopicReady", "True", "TopicDiffers").await;
    stage.passes(600).await;
    assert_eq!((is("retention.ms"), altered(&stage)), ("2000".into(), 1));
    stage.until_ready("retail").await;
    // An edit is no other thing.
    stage.edit("retail", |spec| spec["topic"]["config"] = json!({"retention.ms": "3000", "max.message.bytes": "100"}));
    stage.until("retail", "TopicReady", "True", "UpToDate").await;
    assert_eq!((is("max.message.bytes"), is("retention.ms")), ("100".into(), "3000".into()));
}

#[tokio::test(start_paused = true)]
async fn settings_that_may_not_be_changed_are_said_and_leave_the_pods_alone() {
    let stage = Stage::start();
    stage.declare("retail", json!({"topic": {"name": "retail", "config": {"max.message.bytes": "200000"}}}));
    stage.until_ready("retail").await;
    let before = stage.object("deployments", "retail-processor").unwrap();
    let forbidden = KafkaError { kind: ErrorKind::Forbidden, message: "it needs AlterConfigs".to_owned() };
    stage.outside.state().forbids_alter = Some(forbidden);
    let drift = |stage: &Stage| {
        let mut outside = stage.outside.state();
        outside.topics.get_mut("retail").unwrap().topic.config.insert("max.message.bytes".to_owned(), "5".to_owned());
    };
    drift(&stage);
    stage.until("retail", "TopicReady", "False", "KafkaForbidden").await;
    stage.until("retail", "Stalled", "True", "KafkaForbidden").await;
    let (writes, changes) = (stage.api.writes(), stage.outside.state().changes);
    stage.passes(3600).await;
    assert_eq!(stage.api.writes(), writes);
    let tried = stage.outside.state().changes - changes;
    assert!((20..=60).contains(&tried), "waiting has not grown: {tried}");
    assert_eq!(stage.object("deployments", "retail-processor").unwrap(), before);
    stage.outside.state().forbids_alter = None;
    stage.until_ready("retail").await;
    assert_eq!(stage.outside.state().topics["retail"].topic.config["max.message.bytes"], "200000");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_declared_goes() {
    let stage = Stage::start();
    stage.declare("retail", json!({"processor": {"replicas": 2, "resources": {"limits": {"cpu": 2}}}}));
    stage.until_ready("retail").await;
    let limits = |object: &serde_json::Value| object["spec"]["template"]["spec"]["containers"][0]["resources"].clone();
    assert_eq!(limits(&stage.object("deployments", "retail-processor").unwrap()), json!({"limits": {"cpu": "2"}}));
    stage.edit("retail", |spec| {
        spec["processor"] = json!({"replicas": 1});
        spec["producer"] = json!({"enabled": false});
    });
    let processor = Key::new("deployments", "retail-processor");
    stage.api.until("the limits go", |store| limits(store.get(&processor).unwrap()).is_null()).await;
    for key in [Key::new("deployments", "retail-producer"), Key::new("poddisruptionbudgets", "retail-processor")] {
        stage.api.until("it goes", |store| store.get(&key).is_none()).await;
    }
    stage.until("retail", "ProducerReady", "True", "NotDeclared").await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_replaces_only_the_pods_that_read_it() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let templates = || {
        ["retail-processor", "retail-producer"]
            .map(|name| stage.object("deployments", name).unwrap()["spec"]["template"].clone())
    };
    let [processor, producer] = templates();
    let settled = async |what: &str| {
        let generation = stage.object("retailpipelines", "retail").unwrap()["metadata"]["generation"].clone();
        stage
            .api
            .until(what, |store| {
                store.get(&pipeline_key("retail")).unwrap()["status"]["observedGeneration"] == generation
            })
            .await;
    };
    stage.edit("retail", |spec| spec["producer"]["eventsPerSecond"] = json!(20));
    settled("the producer's edit").await;
    let [same, other] = templates();
    assert!(same == processor && other != producer);
    stage.edit("retail", |spec| spec["trigger"] = json!("1s"));
    settled("the processor's edit").await;
    let [changed, same] = templates();
    assert!(changed != processor && same == other);
    stage.edit("retail", |spec| {
        spec["trigger"] = json!("1000ms");
        spec["processor"]["replicas"] = json!(3);
        spec["topic"] = json!({"name": "retail", "partitions": 8});
        spec["deletionPolicy"] = json!({"topic": "Delete"});
    });
    settled("what no pod reads").await;
    assert_eq!(templates(), [changed, same]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_replaces_the_processors_and_nothing_else() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let template = |name: &str| stage.object("deployments", name).unwrap()["spec"]["template"].clone();
    let (processor, producer) = (template("retail-processor"), template("retail-producer"));
    let key = Key::new("secrets", "retail-db");
    stage.api.change(|store| store.edit(&key, |object| object["metadata"]["labels"] = json!({"touched": "yes"})));
    stage.passes(120).await;
    assert_eq!(template("retail-processor"), processor);
    stage.api.change(|store| store.edit(&key, |object| object["data"] = secret("changed")["data"].clone()));
    let deployment = Key::new("deployments", "retail-processor");
    stage.api.until("new pods", |store| store.get(&deployment).unwrap()["spec"]["template"] != processor).await;
    assert_eq!(template("retail-producer"), producer);
    let everything = format!("{:?}", stage.api.store().all());
    let written = everything.replace(&format!("{:?}", stage.object("secrets", "retail-db").unwrap()), "");
    assert!(!written.contains("wonderful") && !written.contains("changed\""), "a password got out");
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_for_kafka_replaces_processors_and_producers() {
    let stage = Stage::start();
    let key = Key::new("secrets", "kafka-user");
    stage.api.change(|store| store.create(&key, secret("first")).unwrap());
    let kafka = json!({"bootstrapServers": "kafka:9092", "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": "kafka-user"}}});
    stage.declare("retail", json!({"kafka": kafka}));
    stage.until_ready("retail").await;
    let names = ["retail-processor", "retail-producer"];
    let template = |name: &str| stage.object("deployments", name).unwrap()["spec"]["template"].clone();
    let before = names.map(template);
    // While it is away, nothing happens to the pods.
    let kept = stage.object("secrets", "kafka-user").unwrap();
    stage.api.change(|store| store.delete(&key).unwrap());
    stage.until("retail", "Stalled", "True", "SecretMissing").await;
    stage.until("retail", "TopicReady", "Unknown", "DependencyNotReady").await;
    assert_eq!(names.map(template), before);
    stage.api.change(|store| store.create(&key, kept).unwrap());
    stage.until_ready("retail").await;
    assert_eq!(names.map(template), before);
    stage.api.change(|store| store.edit(&key, |object| object["data"] = secret("second")["data"].clone()));
    for (name, before) in names.into_iter().zip(before) {
        let deployment = Key::new("deployments", name);
        stage.api.until("new pods", |store| store.get(&deployment).unwrap()["spec"]["template"] != before).await;
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_stops_the_pods_and_keeps_everything_else() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.edit("retail", |spec| spec["suspend"] = json!(true));
    stage.until("retail", "Ready", "True", "Suspended").await;
    for name in ["retail-processor", "retail-producer"] {
        assert_eq!(stage.object("deployments", name).unwrap()["spec"]["replicas"], 0);
    }
    assert!(stage.outside.state().topics.contains_key("retail"));
    stage.edit("retail", |spec| spec["suspend"] = json!(false));
    stage.until_ready("retail").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_processors_run_than_there_are_partitions_and_it_is_said() {
    let stage = Stage::start();
    stage.declare("retail", json!({"processor": {"replicas": 9}}));
    stage.until("retail", "ScalingLimited", "True", "FewerPartitions").await;
    stage.until_ready("retail").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 4);
    stage.edit("retail", |spec| spec["topic"]["partitions"] = json!(12));
    stage.until("retail", "ScalingLimited", "False", "UpToDate").await;
    stage.until_ready("retail").await;
    assert_eq!(stage.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 9);
    assert_eq!(stage.object("retailpipelines", "retail").unwrap()["status"]["topic"]["partitions"], 12);
}

#[tokio::test(start_paused = true)]
async fn progress_is_in_the_status_and_is_written_only_when_it_moves() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.outside.state().schemas.get_mut("retail").unwrap().1 = some_progress();
    let key = pipeline_key("retail");
    stage.api.until("progress", |store| store.get(&key).unwrap()["status"]["progress"]["applied"] == 300).await;
    assert_eq!(
        stage.object("retailpipelines", "retail").unwrap()["status"]["progress"],
        json!({
            "watermark": "2027-01-15T08:00:00Z", "completeThrough": "2027-01-15T07:55:00Z", "lag": 40,
            "applied": 300, "late": 50, "invalid": 9, "future": 1, "lastCommit": "2027-01-15T09:00:00Z",
        })
    );
    let writes = stage.api.writes();
    stage.passes(600).await;
    assert_eq!(stage.api.writes(), writes);
    for applied in 301..321 {
        stage.outside.state().schemas.get_mut("retail").unwrap().1.counts.applied = applied;
        stage.passes(15).await;
    }
    // Once a resync, and never because of its own report.
    assert!(stage.api.writes() - writes <= 15, "{}", stage.api.writes() - writes);
}

#[tokio::test(start_paused = true)]
async fn what_admission_rewrites_each_time_is_not_written_again_and_again() {
    let stage = Stage::start();
    stage.api.change(|store| {
        store.admission = Some(|object| {
            if let Some(image) = object.pointer_mut("/spec/template/spec/containers/0/image") {
                *image = json!("mirror.example/retail");
            }
        });
    });
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    stage.passes(60).await;
    let writes = stage.api.writes();
    stage.passes(3600).await;
    assert_eq!(stage.api.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn it_converges_through_whatever_the_api_server_does() {
    for (fault, verb, resource) in [
        (Fault::Code(409), "patch", "*"),
        (Fault::Code(429), "*", "*"),
        (Fault::Code(503), "*", "*"),
        (Fault::Code(500), "list", "*"),
        (Fault::Code(410), "watch", "*"),
        (Fault::DoneBut(503), "patch", "*"),
        (Fault::Slow(5), "*", "*"),
        (Fault::Slow(20), "patch", "*"),
        (Fault::Silence, "patch", "deployments"),
        (Fault::Silence, "get", "secrets"),
    ] {
        let stage = Stage::start();
        // Each silence costs what a client waits.
        stage.api.fail(verb, resource, if fault == Fault::Silence { 3 } else { 12 }, fault);
        stage.declare("retail", json!({"deletionPolicy": {"topic": "Delete"}}));
        stage.until_ready("retail").await;
        stage.passes(300).await;
        let (writes, topics) = (stage.api.writes(), stage.outside.state().topics.len());
        stage.passes(900).await;
        assert_eq!((stage.api.writes(), topics), (writes, 1), "{fault:?} {verb} {resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_close_or_expire_lose_nothing() {
    let stage = Stage::start();
    stage.declare("retail", json!({}));
    stage.until_ready("retail").await;
    let deployment = Key::new("deployments", "retail-processor");
    for (expire, by_code) in [(false, false), (true, false), (true, true)] {
        stage.api.change(|store| {
            store.refuses_old_watches = by_code;
            if expire {
                store.expire_watches();
            } else {
                store.close_watches();
            }
            store.delete(&deployment).unwrap();
        });
        stage.api.until("it is made again", |store| store.get(&deployment).is_some()).await;
    }
    stage.until_ready("retail").await;
}

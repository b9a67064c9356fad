//! Convergence from any state to the declared one, without further writes.

use retail_connection::ErrorKind;
use retail_kafka::KafkaError;
use serde_json::json;

use crate::api::{Fault, Key};
use crate::fake_systems::sample_progress;
use crate::harness::{Harness, pipeline_key, secret};

#[tokio::test(start_paused = true)]
async fn declared_pipeline_becomes_ready_with_all_objects() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    for (resource, name) in [
        ("configmaps", "retail-pipeline"),
        ("serviceaccounts", "retail-pipeline"),
        ("services", "retail-metrics"),
        ("poddisruptionbudgets", "retail-processor"),
        ("deployments", "retail-processor"),
        ("deployments", "retail-producer"),
    ] {
        assert!(harness.object(resource, name).is_some(), "{resource} {name}");
    }
    {
        let external = harness.external.state();
        assert!(external.topics.contains_key("retail") && external.schemas.contains_key("retail"));
    }
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    assert_eq!(status["replicas"], 2);
    assert_eq!(status["topic"], json!({"id": "topic-1", "partitions": 4, "created": true}));
    assert_eq!(
        status["selector"],
        "app.kubernetes.io/component=processor,app.kubernetes.io/instance=retail,app.kubernetes.io/name=retail-pipeline"
    );
    let events = harness.events("retail");
    assert!(events.starts_with(&["TopicCreated".to_owned(), "SchemaApplied".to_owned()]), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn steady_state_is_observed_without_writes() {
    let mut harness = Harness::start();
    for name in ["one", "two", "three"] {
        harness.declare(name, json!({"topic": {"name": name}}));
    }
    for name in ["one", "two", "three"] {
        harness.until_ready(name).await;
    }
    harness.passes(60).await;
    let (writes, reads) = (harness.api.writes(), harness.external.state().reads);
    harness.passes(3600).await;
    assert_eq!(&harness.api.asked()[..].iter().filter(|asked| asked.is_write()).count(), &writes);
    let looked = harness.external.state().reads - reads;
    assert!(looked > 3 * 2 * 100, "{looked}");
    // A restarted operator with an empty cache does not write either.
    harness.restart();
    harness.passes(3600).await;
    assert_eq!(
        harness.api.writes(),
        writes,
        "{:?}",
        harness.api.asked().iter().filter(|a| a.is_write()).skip(writes).collect::<Vec<_>>()
    );
}

#[tokio::test(start_paused = true)]
async fn pipelines_with_the_same_secret_share_its_requests() {
    let harness = Harness::start();
    let names: Vec<String> = (0..20).map(|number| format!("retail-{number}")).collect();
    for name in &names {
        harness.declare(name, json!({}));
    }
    for name in &names {
        harness.until_ready(name).await;
    }
    harness.passes(60).await;
    let asked = || harness.api.asked().iter().filter(|asked| asked.resource == "secrets").count();
    let (before, reads) = (asked(), harness.external.state().reads);
    harness.passes(3600).await;
    // A pass has two observations.
    assert!(harness.external.state().reads - reads > 2 * 20 * 120);
    assert!(asked() - before <= 3600 / 5, "{}", asked() - before);
}

#[tokio::test(start_paused = true)]
async fn drift_of_every_child_is_repaired() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
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
        let was = harness.object(resource, name).unwrap();
        harness.api.change(|store| store.edit(&key, |object| *object.pointer_mut(field).unwrap() = json!("drift")));
        let declared = was.pointer(field).unwrap().clone();
        harness.api.until(field, |store| store.get(&key).unwrap().pointer(field) == Some(&declared)).await;
        harness.api.change(|store| store.delete(&key).unwrap());
        harness.api.until(name, |store| store.get(&key).is_some()).await;
    }
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn topic_drift_is_repaired_unless_that_deletes_records() {
    let harness = Harness::start();
    harness.declare(
        "retail",
        json!({"topic": {"name": "retail", "config": {"retention.ms": "1000", "max.message.bytes": "200000"}}}),
    );
    harness.until_ready("retail").await;
    let set = |name: &str, value: &str| {
        let mut external = harness.external.state();
        external.topics.get_mut("retail").unwrap().topic.config.insert(name.to_owned(), value.to_owned());
    };
    let is = |name: &str| harness.external.state().topics["retail"].topic.config[name].clone();
    // A changed value, a shorter retention than declared, and a setting that is not declared.
    set("max.message.bytes", "5");
    set("retention.ms", "10");
    set("segment.ms", "777");
    let repaired = ("200000".to_owned(), "1000".to_owned(), "777".to_owned());
    let settings = || (is("max.message.bytes"), is("retention.ms"), is("segment.ms"));
    harness.eventually("it is repaired", || settings() == repaired).await;
    harness.passes(60).await;
    assert_eq!(settings(), repaired);
    assert_eq!(harness.condition("retail", "TopicReady"), ("True".to_owned(), "UpToDate".to_owned()));
    let altered =
        |harness: &Harness| harness.events("retail").iter().filter(|reason| *reason == "TopicAltered").count();
    assert_eq!(altered(&harness), 1, "{:?}", harness.events("retail"));
    // A longer retention than declared stays.
    set("retention.ms", "2000");
    harness.until("retail", "TopicReady", "True", "TopicDiffers").await;
    harness.passes(600).await;
    assert_eq!((is("retention.ms"), altered(&harness)), ("2000".into(), 1));
    harness.until_ready("retail").await;
    // The same rules apply to an edit.
    harness
        .edit("retail", |spec| spec["topic"]["config"] = json!({"retention.ms": "3000", "max.message.bytes": "100"}));
    harness.until("retail", "TopicReady", "True", "UpToDate").await;
    assert_eq!((is("max.message.bytes"), is("retention.ms")), ("100".into(), "3000".into()));
}

#[tokio::test(start_paused = true)]
async fn forbidden_topic_change_is_reported_and_pods_stay() {
    let harness = Harness::start();
    harness.declare("retail", json!({"topic": {"name": "retail", "config": {"max.message.bytes": "200000"}}}));
    harness.until_ready("retail").await;
    let before = harness.object("deployments", "retail-processor").unwrap();
    let forbidden = KafkaError { kind: ErrorKind::Forbidden, message: "it needs AlterConfigs".to_owned() };
    harness.external.state().alter_error = Some(forbidden);
    let drift = |harness: &Harness| {
        let mut external = harness.external.state();
        external.topics.get_mut("retail").unwrap().topic.config.insert("max.message.bytes".to_owned(), "5".to_owned());
    };
    drift(&harness);
    harness.until("retail", "TopicReady", "False", "KafkaForbidden").await;
    harness.until("retail", "Stalled", "True", "KafkaForbidden").await;
    let (writes, changes) = (harness.api.writes(), harness.external.state().changes);
    harness.passes(3600).await;
    assert_eq!(harness.api.writes(), writes);
    let tried = harness.external.state().changes - changes;
    assert!((60..=170).contains(&tried), "waiting has not grown: {tried}");
    assert_eq!(harness.object("deployments", "retail-processor").unwrap(), before);
    harness.external.state().alter_error = None;
    harness.until_ready("retail").await;
    assert_eq!(harness.external.state().topics["retail"].topic.config["max.message.bytes"], "200000");
}

#[tokio::test(start_paused = true)]
async fn removed_declarations_are_removed_from_the_cluster() {
    let harness = Harness::start();
    let declared = json!({"requests": {"cpu": 1}, "limits": {"cpu": 2}});
    harness.declare("retail", json!({"processor": {"replicas": 2, "resources": declared}}));
    harness.until_ready("retail").await;
    let resources =
        |object: &serde_json::Value| object["spec"]["template"]["spec"]["containers"][0]["resources"].clone();
    let stored = json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}});
    assert_eq!(resources(&harness.object("deployments", "retail-processor").unwrap()), stored);
    harness.edit("retail", |spec| {
        spec["processor"] = json!({"replicas": 1, "resources": {"requests": {"cpu": 1}}});
        spec["producer"] = json!({"enabled": false});
    });
    let processor = Key::new("deployments", "retail-processor");
    let requests = json!({"requests": {"cpu": "1"}});
    harness.api.until("the limits go", |store| resources(store.get(&processor).unwrap()) == requests).await;
    for key in [Key::new("deployments", "retail-producer"), Key::new("poddisruptionbudgets", "retail-processor")] {
        harness.api.until("it goes", |store| store.get(&key).is_none()).await;
    }
    harness.until("retail", "ProducerReady", "True", "NotDeclared").await;
}

#[tokio::test(start_paused = true)]
async fn edit_replaces_only_the_pods_that_read_it() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let templates = || {
        ["retail-processor", "retail-producer"]
            .map(|name| harness.object("deployments", name).unwrap()["spec"]["template"].clone())
    };
    let [processor, producer] = templates();
    let settled = async |what: &str| {
        let generation = harness.object("retailpipelines", "retail").unwrap()["metadata"]["generation"].clone();
        harness
            .api
            .until(what, |store| {
                store.get(&pipeline_key("retail")).unwrap()["status"]["observedGeneration"] == generation
            })
            .await;
    };
    harness.edit("retail", |spec| spec["producer"]["eventsPerSecond"] = json!(20));
    settled("the producer's edit").await;
    let [same, other] = templates();
    assert!(same == processor && other != producer);
    harness.edit("retail", |spec| spec["trigger"] = json!("1s"));
    settled("the processor's edit").await;
    let [changed, same] = templates();
    assert!(changed != processor && same == other);
    harness.edit("retail", |spec| {
        spec["trigger"] = json!("1000ms");
        spec["processor"]["replicas"] = json!(3);
        spec["topic"] = json!({"name": "retail", "partitions": 8});
        spec["deletionPolicy"] = json!({"topic": "Delete"});
    });
    settled("what no pod reads").await;
    assert_eq!(templates(), [changed, same]);
}

#[tokio::test(start_paused = true)]
async fn changed_database_password_replaces_only_processors() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let template = |name: &str| harness.object("deployments", name).unwrap()["spec"]["template"].clone();
    let (processor, producer) = (template("retail-processor"), template("retail-producer"));
    let key = Key::new("secrets", "retail-db");
    harness.api.change(|store| store.edit(&key, |object| object["metadata"]["labels"] = json!({"touched": "yes"})));
    harness.passes(120).await;
    assert_eq!(template("retail-processor"), processor);
    harness.api.change(|store| store.edit(&key, |object| object["data"] = secret("changed")["data"].clone()));
    let deployment = Key::new("deployments", "retail-processor");
    harness.api.until("new pods", |store| store.get(&deployment).unwrap()["spec"]["template"] != processor).await;
    assert_eq!(template("retail-producer"), producer);
    let everything = format!("{:?}", harness.api.store().all());
    let written = everything.replace(&format!("{:?}", harness.object("secrets", "retail-db").unwrap()), "");
    assert!(!written.contains("wonderful") && !written.contains("changed\""), "a password got out");
}

#[tokio::test(start_paused = true)]
async fn changed_kafka_secret_replaces_processors_and_producers() {
    let harness = Harness::start();
    let key = Key::new("secrets", "kafka-user");
    harness.api.change(|store| store.create(&key, secret("first")).unwrap());
    let kafka = json!({"bootstrapServers": "kafka:9092", "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": "kafka-user"}}});
    harness.declare("retail", json!({"kafka": kafka}));
    harness.until_ready("retail").await;
    let names = ["retail-processor", "retail-producer"];
    let template = |name: &str| harness.object("deployments", name).unwrap()["spec"]["template"].clone();
    let before = names.map(template);
    // A missing Secret does not change the pods.
    let kept = harness.object("secrets", "kafka-user").unwrap();
    harness.api.change(|store| store.delete(&key).unwrap());
    harness.until("retail", "Stalled", "True", "SecretMissing").await;
    harness.until("retail", "TopicReady", "Unknown", "DependencyNotReady").await;
    assert_eq!(names.map(template), before);
    harness.api.change(|store| store.create(&key, kept).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(names.map(template), before);
    harness.api.change(|store| store.edit(&key, |object| object["data"] = secret("second")["data"].clone()));
    for (name, before) in names.into_iter().zip(before) {
        let deployment = Key::new("deployments", name);
        harness.api.until("new pods", |store| store.get(&deployment).unwrap()["spec"]["template"] != before).await;
    }
}

#[tokio::test(start_paused = true)]
async fn kafka_password_without_tls_is_reported() {
    let harness = Harness::start();
    harness.api.change(|store| store.create(&Key::new("secrets", "kafka-user"), secret("first")).unwrap());
    let sasl = |mechanism| json!({"bootstrapServers": "kafka:9092", "sasl": {"mechanism": mechanism, "secret": {"name": "kafka-user"}}});
    harness.declare("retail", json!({"kafka": sasl("PLAIN")}));
    harness.until("retail", "CredentialsReady", "True", "PasswordWithoutTls").await;
    harness.until_ready("retail").await;
    harness.edit("retail", |spec| spec["kafka"]["tls"] = json!({}));
    harness.until("retail", "CredentialsReady", "True", "UpToDate").await;
    harness.edit("retail", |spec| spec["kafka"] = sasl("PLAIN"));
    harness.until("retail", "CredentialsReady", "True", "PasswordWithoutTls").await;
    harness.edit("retail", |spec| spec["kafka"] = sasl("SCRAM-SHA-256"));
    harness.until("retail", "CredentialsReady", "True", "UpToDate").await;
}

#[tokio::test(start_paused = true)]
async fn suspend_stops_the_pods_and_keeps_everything_else() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.edit("retail", |spec| spec["suspend"] = json!(true));
    harness.until("retail", "Ready", "True", "Suspended").await;
    for name in ["retail-processor", "retail-producer"] {
        assert_eq!(harness.object("deployments", name).unwrap()["spec"]["replicas"], 0);
    }
    assert!(harness.external.state().topics.contains_key("retail"));
    harness.edit("retail", |spec| spec["suspend"] = json!(false));
    harness.until_ready("retail").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 2);
}

#[tokio::test(start_paused = true)]
async fn processors_beyond_partitions_do_not_run_and_are_reported() {
    let harness = Harness::start();
    harness.declare("retail", json!({"processor": {"replicas": 9}}));
    harness.until("retail", "ScalingLimited", "True", "FewerPartitions").await;
    harness.until_ready("retail").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 4);
    harness.edit("retail", |spec| spec["topic"]["partitions"] = json!(12));
    harness.until("retail", "ScalingLimited", "False", "UpToDate").await;
    harness.until_ready("retail").await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 9);
    assert_eq!(harness.object("retailpipelines", "retail").unwrap()["status"]["topic"]["partitions"], 12);
}

#[tokio::test(start_paused = true)]
async fn progress_in_the_status_is_written_only_on_change() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.external.state().schemas.get_mut("retail").unwrap().1 = sample_progress();
    let key = pipeline_key("retail");
    harness.api.until("progress", |store| store.get(&key).unwrap()["status"]["progress"]["applied"] == 300).await;
    assert_eq!(
        harness.object("retailpipelines", "retail").unwrap()["status"]["progress"],
        json!({
            "watermark": "2027-01-15T08:00:00Z", "completeThrough": "2027-01-15T07:55:00Z", "lag": 40,
            "applied": 300, "late": 50, "invalid": 9, "future": 1, "filtered": 7, "duplicate": 3, "lastCommit": "2027-01-15T09:00:00Z",
        })
    );
    let writes = harness.api.writes();
    harness.passes(600).await;
    assert_eq!(harness.api.writes(), writes);
    for applied in 301..321 {
        harness.external.state().schemas.get_mut("retail").unwrap().1.counts.applied = applied;
        harness.passes(15).await;
    }
    // One write per resync: its own report starts no pass.
    assert!(harness.api.writes() - writes <= 15, "{}", harness.api.writes() - writes);
}

#[tokio::test(start_paused = true)]
async fn fields_rewritten_by_admission_are_not_written_again() {
    let harness = Harness::start();
    harness.api.change(|store| {
        store.admission = Some(|object| {
            if let Some(image) = object.pointer_mut("/spec/template/spec/containers/0/image") {
                *image = json!("mirror.example/retail");
            }
        });
    });
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.passes(60).await;
    let writes = harness.api.writes();
    harness.passes(3600).await;
    assert_eq!(harness.api.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn operator_converges_through_api_server_faults() {
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
        let harness = Harness::start();
        // Each unanswered request lasts until the client's timeout.
        harness.api.fail(verb, resource, if fault == Fault::Silence { 3 } else { 12 }, fault);
        harness.declare("retail", json!({"deletionPolicy": {"topic": "Delete"}}));
        harness.until_ready("retail").await;
        harness.passes(300).await;
        let (writes, topics) = (harness.api.writes(), harness.external.state().topics.len());
        harness.passes(900).await;
        assert_eq!((harness.api.writes(), topics), (writes, 1), "{fault:?} {verb} {resource}");
    }
}

#[tokio::test(start_paused = true)]
async fn closed_and_expired_watches_lose_no_change() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let deployment = Key::new("deployments", "retail-processor");
    for (expire, by_code) in [(false, false), (true, false), (true, true)] {
        harness.api.change(|store| {
            store.refuses_old_watches = by_code;
            if expire {
                store.expire_watches();
            } else {
                store.close_watches();
            }
            store.delete(&deployment).unwrap();
        });
        harness.api.until("it is made again", |store| store.get(&deployment).is_some()).await;
    }
    harness.until_ready("retail").await;
}

//! Plans, objects and statuses in the form that users read.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use retail_operator::preview::{from_declared, from_nothing};
use retail_operator::reconcile::plan::Plan;
use retail_operator::reconcile::reason::Reason;
use retail_operator::reconcile::step::Step;
use retail_operator::reconcile::validate::{Valid, parse};
use retail_operator::resources::names::Child;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::Store;
use crate::fake_systems::sample_progress;
use crate::harness::{Harness, pipeline, pipeline_key, settings};

fn valid(spec: Value) -> Valid {
    let mut pipeline = pipeline("retail", spec);
    pipeline["metadata"]["uid"] = json!("uid-1");
    parse(&pipeline.to_string()).unwrap_or_else(|invalid| panic!("{}", invalid.message))
}

fn objects(plan: &Plan) -> Vec<(Child, Value)> {
    let mut objects = Vec::new();
    for step in &plan.steps {
        if let Step::Apply { child, object, .. } = step {
            objects.push((*child, object.clone()));
        }
    }
    objects
}

#[test]
fn first_plan_creates_everything() {
    insta::assert_snapshot!(from_nothing(&valid(json!({})), &settings()), @r"
    + topic retail
    + schema retail: create or migrate
    + ConfigMap retail-pipeline
    + ServiceAccount retail-pipeline
    + metrics Service retail-metrics
    + PodDisruptionBudget retail-processor
    + processor Deployment retail-processor
    + producer Deployment retail-producer
    ");
}

#[test]
fn plan_of_an_edit_creates_and_deletes_the_cron_job() {
    let (with, without) = (json!({"verify": {"every": "6h"}}), json!({}));
    let plan =
        |old: &Value, new: &Value| from_declared(&valid(old.clone()), &valid(new.clone()), &settings()).to_string();
    assert_eq!(plan(&without, &with), "+ CronJob retail-verify\n");
    assert_eq!(plan(&with, &without), "- CronJob\n");
    assert_eq!(plan(&with, &json!({"verify": {"every": "0h360m"}})), "nothing to do\n");
    let changed = plan(&with, &json!({"verify": {"every": "1h"}}));
    assert!(changed.contains("spec.schedule: ") && !changed.contains("replaces its pods"), "{changed}");
}

#[test]
fn plan_says_how_much_memory_deduplication_takes() {
    let last = |spec: Value| from_nothing(&valid(spec), &settings()).to_string().lines().last().unwrap().to_owned();
    let end = ", up to 2 MiB in all processors together; each has half of its memory limit for them";
    let declared = "  deduplicate.within 2h: 72000 transaction ids at the 10 purchases a second of the producer";
    assert_eq!(last(json!({"deduplicate": {"within": "2h"}})), format!("{declared}{end}"));
    let fast =
        json!({"deduplicate": {"within": "2h"}, "producer": {"eventsPerSecond": 2000, "replicas": 2, "speed": 60}});
    let fast = last(fast);
    assert!(fast.contains("480000 transaction ids at the 4000 purchases a second of the producer, whose"), "{fast}");
    assert!(fast.contains("whose event time is 60 times as fast, up to 12 MiB"), "{fast}");
    let none = json!({"deduplicate": {"within": "24h"}, "producer": {"enabled": false}});
    let none = last(none);
    assert!(none.contains("86400000 transaction ids for each 1000 records a second, up to 2060 MiB"), "{none}");
}

#[test]
fn plan_of_a_topic_with_create_time_warns() {
    let plan =
        |config: Value| from_nothing(&valid(json!({"topic": {"name": "retail", "config": config}})), &settings());
    assert!(!plan(json!({})).to_string().contains('!'));
    let text =
        plan(json!({"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "600000"})).to_string();
    let warning = "! topic: producers set the timestamps of its records (message.timestamp.type=CreateTime), so one clock can close \
                   windows up to 10m early\n";
    assert!(text.ends_with(warning), "{text}");
}

#[test]
fn plan_of_an_edit_lists_changes_and_replaced_pods() {
    let plan = |old: Value, new: Value| from_declared(&valid(old), &valid(new), &settings()).to_string();
    assert_eq!(plan(json!({}), json!({})), "nothing to do\n");
    assert_eq!(plan(json!({"trigger": "1m"}), json!({"trigger": "60s"})), "nothing to do\n");
    insta::assert_snapshot!(plan(
        json!({}),
        json!({"processor": {"replicas": 6}, "topic": {"name": "retail", "partitions": 5}})
    ));
    insta::assert_snapshot!(plan(json!({}), json!({"producer": {"eventsPerSecond": 20}})));
    insta::assert_snapshot!(plan(json!({}), json!({"suspend": true, "deletionPolicy": {"database": "Delete"}})));
    insta::assert_snapshot!(plan(
        json!({"deletionPolicy": {"database": "Delete"}}),
        json!({"producer": {"enabled": false}})
    ));
    insta::assert_snapshot!(plan(
        json!({}),
        json!({"database": {"host": "postgres", "name": "retail", "secret": {"name": "app", "uriKey": "uri"}}})
    ));
}

#[test]
fn declared_objects_match_the_snapshot() {
    let plan = from_nothing(
        &valid(json!({"processor": {"replicas": 2, "resources": {"requests": {"cpu": "500m"}}}})),
        &settings(),
    );
    let yaml: Vec<String> = objects(&plan).iter().map(|(_, object)| serde_saphyr::to_string(object).unwrap()).collect();
    insta::assert_snapshot!(yaml.join("---\n"));
}

/// TLS and credentials for all servers, and client certificates for Kafka and Postgres.
fn secured() -> Value {
    json!({
        "kafka": {
            "bootstrapServers": "kafka:9093",
            "tls": {"caSecret": {"name": "kafka-cluster-ca-cert", "key": "ca.crt"}, "clientSecret": {"name": "client"}},
            "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": "kafka-user"}},
        },
        "database": {
            "host": "db-rw", "name": "retail", "secret": {"name": "db-app"},
            "tls": {
                "mode": "verify-full",
                "caSecret": {"name": "db-ca", "key": "ca.crt"},
                "clientSecret": {"name": "db-client"},
            },
        },
        "events": {
            "format": {"type": "Avro", "registry": {
                "url": "https://registry:8081",
                "secret": {"name": "registry-user", "passwordKey": "secret"},
                "tls": {"caSecret": {"name": "registry-ca", "key": "ca.pem"}},
            }},
            "timestamp": {"field": "at"}, "dimensions": [{"name": "store", "field": "store"}], "quantity": {"field": "n"},
            "amount": {"field": "total"},
        },
    })
}

#[test]
fn pods_receive_only_needed_keys_and_certificates_as_files() {
    let objects = objects(&from_nothing(&valid(secured()), &settings()));
    let pods = |child| {
        let (_, object) = objects.iter().find(|(other, _)| *other == child).unwrap();
        let pod = &object["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        json!({"env": container["env"], "volumeMounts": container["volumeMounts"], "volumes": pod["volumes"]})
    };
    let [processor, producer] = [Child::Processor, Child::Producer].map(pods);
    insta::assert_snapshot!(serde_saphyr::to_string(&processor).unwrap());
    let producer = producer.to_string();
    assert!(
        producer.contains("kafka-user") && producer.contains("registry-user") && !producer.contains("db-"),
        "{producer}"
    );
}

#[test]
fn declared_objects_deserialize_as_their_types() {
    fn check<T: DeserializeOwned + Serialize>(object: &Value) {
        let typed: T = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *object);
    }
    for (child, object) in objects(&from_nothing(&valid(json!({"verify": {"every": "6h"}})), &settings())) {
        match child {
            Child::ConfigMap => check::<ConfigMap>(&object),
            Child::ServiceAccount => check::<ServiceAccount>(&object),
            Child::MetricsService => check::<Service>(&object),
            Child::DisruptionBudget => check::<PodDisruptionBudget>(&object),
            Child::Processor | Child::Producer => check::<Deployment>(&object),
            Child::Verification => check::<CronJob>(&object),
        }
    }
}

#[test]
fn program_files_contain_the_declared_fields() {
    let spec = json!({
        "window": "90s", "trigger": "1500ms", "lateEvents": "Drop", "printRows": false, "retention": {"finalRows": "031d"},
        "watermark": {"delay": "90m", "idleTimeout": "1m30s", "maxFuture": "0s", "whenIdle": "FollowClock"},
        "producer": {"eventsPerSecond": 7, "seed": 8, "speed": 9, "faults": {"tooLate": 1}},
        "events": {
            "timestamp": {"field": "at"}, "dimensions": [{"name": "store", "field": "store"}], "quantity": {"field": "n"},
            "amount": {"field": "total"},
        },
    });
    let declared = valid(spec).pipeline;
    let plan = from_nothing(&valid(json!({})), &settings());
    assert!(objects(&plan)[0].1["data"]["processor.yaml"].as_str().unwrap().contains("uid: uid-1"));
    let read = |file: &str| retail_api::Pipeline::parse(file).unwrap_or_else(|problems| panic!("{problems}\n{file}"));
    let processor = read(&retail_operator::resources::config_files::processor_file(&declared));
    let expected = retail_api::Pipeline {
        topic: processor.topic.clone(),
        producer: None,
        processor: processor.processor.clone(),
        database: processor.database.clone(),
        ..declared.clone()
    };
    assert_eq!(processor, expected);
    assert_eq!(processor.topic.name, declared.topic.name);
    let producer = declared.producer.as_ref().unwrap();
    let read = read(&retail_operator::resources::config_files::producer_file(&declared, producer));
    assert_eq!(read.producer.as_ref(), Some(producer));
    assert_eq!(read.events, declared.events);
    assert_eq!((read.rules.window, read.rules.delay), (declared.rules.window, declared.rules.delay));
}

#[test]
fn pods_meet_the_restricted_security_standard() {
    let mut spec = secured();
    spec["verify"] = json!({"every": "6h"});
    let mut pods = 0;
    for (child, object) in objects(&from_nothing(&valid(spec), &settings())) {
        let owner = if child == Child::Verification { &object["spec"]["jobTemplate"] } else { &object };
        let pod = &owner["spec"]["template"]["spec"];
        if pod.is_null() {
            continue;
        }
        pods += 1;
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[field].is_null());
        }
        for container in pod["containers"].as_array().unwrap() {
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
            assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
            assert!(
                container["ports"].as_array().is_none_or(|ports| ports.iter().all(|port| port["hostPort"].is_null()))
            );
        }
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().all(|volume| volume["configMap"].is_object() || volume["secret"].is_object()));
    }
    assert_eq!(pods, 3);
}

#[tokio::test(start_paused = true)]
async fn status_of_a_ready_pipeline_matches_the_snapshot() {
    let harness = Harness::start();
    harness.declare("retail", json!({"processor": {"replicas": 5}}));
    harness.until_ready("retail").await;
    harness.external.state().schemas.get_mut("retail").unwrap().1 = sample_progress();
    let is_reported =
        |store: &Store| store.get(&pipeline_key("retail")).unwrap()["status"]["progress"]["applied"] == 300;
    harness.api.until("progress", is_reported).await;
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    insta::assert_snapshot!(serde_saphyr::to_string(&status).unwrap());
}

/// The table of reasons in a page.
fn reasons_of(page: &str) -> String {
    let document = std::fs::read_to_string(format!("{}/../docs/reference/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (_, rest) = document.split_once("<!-- reasons -->").unwrap();
    rest.split_once("<!-- /reasons -->").unwrap().0.to_owned()
}

#[test]
fn every_reason_is_documented_with_meaning_and_advice() {
    let tables: Vec<String> =
        ["conditions.md", "conditions-registry.md", "conditions-verification.md"].map(reasons_of).into();
    let mut rows = tables.iter().flat_map(|table| table.lines()).filter(|line| line.starts_with("| `"));
    for reason in Reason::ALL {
        let row = rows.next().unwrap_or_default();
        let wanted = format!("| `{reason}` | {} | ", reason.meaning());
        let advice = row
            .strip_prefix(&wanted)
            .unwrap_or_else(|| panic!("docs/reference/conditions*.md have no {wanted}…, but {row}"));
        assert!(advice.len() > " |".len(), "{reason}: no advice");
    }
    assert_eq!(rows.next(), None);
}

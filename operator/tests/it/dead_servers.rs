//! Servers without an answer, and the pipelines beside them.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use retail_operator::external::live::LiveSystems;
use retail_operator::watch::controller::{self, Context};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::api::{Api, Key};
use crate::harness::{Harness, context, pipeline, pipeline_key, secret};

/// Maximum time until an edit acts beside servers without an answer.
const ACTS: Duration = Duration::from_secs(2);

/// Edits the replicas, and returns the time until the Deployment has them.
async fn edit(harness: &Harness, name: &str, replicas: i32) -> Duration {
    let began = Instant::now();
    harness.edit(name, |spec| spec["processor"]["replicas"] = json!(replicas));
    let key = Key::new("deployments", &format!("{name}-processor"));
    harness.api.until(name, |store| store.get(&key).unwrap()["spec"]["replicas"] == replicas).await;
    began.elapsed()
}

/// A spec on a Kafka and a Postgres of its own.
fn on(kafka: &str, postgres: &str) -> Value {
    json!({
        "kafka": {"bootstrapServers": format!("{kafka}:9092")},
        "database": {"host": postgres, "name": "retail", "secret": {"name": "retail-db"}},
    })
}

/// Each dead pipeline has servers of its own, so no answer of one helps another.
#[tokio::test(start_paused = true)]
async fn edit_beside_500_dead_servers_acts_within_2_seconds() {
    let harness = Harness::start();
    for name in ["healthy", "dead-0"] {
        harness.declare(name, json!({}));
        harness.until_ready(name).await;
    }
    harness.external.state().silent = Some("dead");
    harness.edit("dead-0", |spec| spec["kafka"]["bootstrapServers"] = json!("dead-0:9092"));
    for number in 1..=500 {
        harness.declare(&format!("dead-{number}"), on(&format!("dead-{number}"), &format!("dead-{number}")));
    }
    harness.passes(5).await;
    for replicas in [1, 3, 4] {
        for name in ["healthy", "dead-0"] {
            let took = edit(&harness, name, replicas).await;
            assert!(took <= ACTS, "{name} after {took:?}");
        }
        harness.passes(7).await;
    }
    // Another namespace: the first status, and an edit before its servers have answered.
    let began = Instant::now();
    harness.declare("office/books", json!({}));
    harness.until_ready("office/books").await;
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}", began.elapsed());
    let began = Instant::now();
    harness.declare("office/dead", on("dead-501", "dead-501"));
    harness.until("office/dead", "Ready", "False", "DependencyNotReady").await;
    assert!(began.elapsed() <= ACTS, "after {:?}", began.elapsed());
    // A suspended pipeline stops without an answer of its servers, and a deleted one is gone.
    let began = Instant::now();
    harness.edit("dead-0", |spec| spec["suspend"] = json!(true));
    let key = Key::new("deployments", "dead-0-processor");
    harness.api.until("suspended", |store| store.get(&key).unwrap()["spec"]["replicas"] == 0).await;
    harness.api.change(|store| store.delete(&pipeline_key("dead-0")).unwrap());
    assert!(began.elapsed() <= ACTS, "after {:?}", began.elapsed());
    harness.until("dead-7", "TopicReady", "False", "KafkaUnreachable").await;
    harness.external.state().silent = None;
    for number in [1, 250, 500] {
        harness.until_ready(&format!("dead-{number}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn deletions_on_dead_servers_delay_no_edit() {
    let harness = Harness::start();
    let names: Vec<String> = (0..60).map(|number| format!("dead-{number}")).collect();
    for name in &names {
        let mut spec = on("kafka", name);
        spec["deletionPolicy"] = json!({"database": "Delete"});
        harness.declare(name, spec);
    }
    harness.declare("healthy", json!({}));
    for name in names.iter().map(String::as_str).chain(["healthy"]) {
        harness.until_ready(name).await;
    }
    harness.external.state().silent = Some("dead");
    for name in &names {
        harness.api.change(|store| store.delete(&pipeline_key(name)).unwrap());
    }
    harness.passes(5).await;
    let took = edit(&harness, "healthy", 3).await;
    assert!(took <= ACTS, "after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn pipelines_share_the_failure_of_their_server() {
    let harness = Harness::start();
    harness.external.state().silent = Some("dead");
    for number in 0..100 {
        harness.declare(&format!("shop-{number}"), on("dead", "postgres"));
    }
    for number in 0..100 {
        harness.until(&format!("shop-{number}"), "TopicReady", "False", "KafkaUnreachable").await;
    }
    assert_eq!(harness.external.state().topic_reads, 3);
    // The answer to one pipeline starts passes of all, although their own delays have grown.
    harness.passes(900).await;
    harness.external.state().silent = None;
    harness.until_ready("shop-0").await;
    let began = Instant::now();
    for number in 0..100 {
        harness.until_ready(&format!("shop-{number}")).await;
    }
    assert!(began.elapsed() < Duration::from_secs(10), "after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn log_in_failures_are_shared_by_log_in_and_network_failures_by_address() {
    let harness = Harness::start();
    let login = |secret: &str| {
        json!({"kafka": {
            "bootstrapServers": "kafka:9092",
            "sasl": {"mechanism": "SCRAM-SHA-512", "secret": {"name": secret}},
        }})
    };
    for user in ["mallory", "alice", "bob"] {
        let mut content = secret("password");
        content["data"]["username"] = json!(k8s_openapi::ByteString(user.as_bytes().to_vec()));
        harness.api.change(|store| store.create(&Key::new("secrets", user), content).unwrap());
    }
    harness.external.state().refused_user = Some("mallory");
    for number in 0..10 {
        harness.declare(&format!("wrong-{number}"), login("mallory"));
    }
    for number in 0..10 {
        harness.until(&format!("wrong-{number}"), "TopicReady", "False", "KafkaCredentialsRefused").await;
    }
    for user in ["alice", "bob"] {
        harness.declare(user, login(user));
        harness.until_ready(user).await;
    }
    harness.until("wrong-0", "Stalled", "True", "KafkaCredentialsRefused").await;
    // The address fails: one attempt answers all log-ins.
    harness.external.state().unreachable = Some("gone");
    let before = harness.external.state().connects;
    for (number, user) in ["mallory", "alice", "bob"].into_iter().cycle().take(30).enumerate() {
        let mut spec = login(user);
        spec["kafka"]["bootstrapServers"] = json!("gone:9092");
        harness.declare(&format!("gone-{number}"), spec);
    }
    for number in 0..30 {
        harness.until(&format!("gone-{number}"), "TopicReady", "False", "KafkaUnreachable").await;
    }
    let connects = harness.external.state().connects - before;
    assert!(connects <= 4, "{connects}");
    let status = harness.object("retailpipelines", "gone-0").unwrap()["status"].clone();
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(message.ends_with("and the bootstrap servers (Connection refused)"), "{message}");
}

/// The same with real clients. One answer of all clients takes ten seconds, so that passes that wait for one take minutes.
#[tokio::test(flavor = "multi_thread")]
async fn edit_beside_a_silent_listener_waits_for_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut accepted = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            accepted.push(stream);
        }
    });
    let api = Api::default();
    let context = Context { now: Timestamp::now, ..context(&api, LiveSystems::default()) };
    let operator = tokio::spawn(controller::run(context, std::future::pending()));
    let spec = json!({
        "kafka": {"bootstrapServers": address.to_string()},
        "database": {"host": "127.0.0.1", "port": address.port(), "name": "retail", "secret": {"name": "retail-db"}},
    });
    api.change(|store| {
        store.create(&Key::new("secrets", "retail-db"), secret("wonderful")).unwrap();
        for number in 0..60 {
            let name = format!("dead-{number}");
            store.create(&pipeline_key(&name), pipeline(&name, spec.clone())).unwrap();
        }
    });
    let is_reported = |store: &crate::api::Store, number: i32| {
        store.get(&pipeline_key(&format!("dead-{number}"))).unwrap()["status"]["conditions"].is_array()
    };
    let all = api.until("first status", |store| (0..60).all(|number| is_reported(store, number)));
    timeout(Duration::from_secs(100), all).await.unwrap();
    for number in [1, 59] {
        // The ConfigMap needs no server. An edit of the trigger changes the processor's file.
        let key = Key::new("configmaps", &format!("dead-{number}-pipeline"));
        api.change(|store| {
            store.edit(&pipeline_key(&format!("dead-{number}")), |object| object["spec"]["trigger"] = json!("7s"));
        });
        let acts = api.until("the edit acts", |store| {
            store.get(&key).unwrap()["data"]["processor.yaml"].as_str().unwrap().contains("trigger: 7s")
        });
        timeout(Duration::from_secs(9), acts).await.unwrap();
    }
    operator.abort();
    silent.abort();
}

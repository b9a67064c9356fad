//! The operator with real Kafka and Postgres, and an API server in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use retail_kafka::topic;
use retail_operator::external::live::LiveSystems;
use retail_operator::watch::controller::{self, Context};
use retail_testbed::{Case, Kafka, Postgres};
use serde_json::{Value, json};

use crate::api::{Api, Key, Store};
use crate::harness::{context, pipeline_key};

/// Creates a pipeline that deletes its data, and a Secret with a URI, as CloudNativePG's.
pub(crate) fn declare(api: &Api, case: &Case) {
    let spec = json!({
        "kafka": {"bootstrapServers": Kafka::shared().address()},
        "topic": {"name": case.topic.name, "partitions": 2, "config": {"retention.ms": "-1"}},
        "database": {"host": "not-read", "name": "retail", "schema": case.settings.pipeline.schema, "secret": {"name": "app", "uriKey": "uri"}},
        "deletionPolicy": {"topic": "Delete", "database": "Delete"},
    });
    let uri = k8s_openapi::ByteString(Postgres::shared().url().into_bytes());
    api.change(|store| {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"uri": uri}});
        store.create(&Key::new("secrets", "app"), secret).unwrap();
        let pipeline = crate::harness::pipeline("retail", spec);
        store.create(&pipeline_key("retail"), pipeline).unwrap();
    });
}

pub(crate) fn status(store: &Store) -> Value {
    store.get(&pipeline_key("retail")).map(|object| object["status"].clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_on_real_servers_becomes_ready_and_deletes_data() {
    let (api, case) = (Api::default(), Case::shared().build());
    let context = Context {
        namespaces: BTreeSet::from(["shop".to_owned()]),
        now: Timestamp::now,
        ..context(&api, LiveSystems::default())
    };
    let operator = tokio::spawn(controller::run(context, std::future::pending()));
    declare(&api, &case);
    let ready = api.until("it is ready", |store| status(store)["conditions"][0]["status"] == "True");
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
    let kafka = &case.settings.kafka;
    let seen = topic::observe(kafka, &case.topic.name).await.unwrap().unwrap();
    assert_eq!(status(&api.store())["topic"], json!({"id": seen.description.id, "partitions": 2, "created": true}));
    let uid = api.store().get(&pipeline_key("retail")).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(case.text("SELECT uid FROM pipeline").await, uid);

    // An edit adds a partition.
    api.change(|store| store.edit(&pipeline_key("retail"), |object| object["spec"]["topic"]["partitions"] = json!(3)));
    let grown = api.until("it has grown", |store| status(store)["topic"]["partitions"] == 3);
    tokio::time::timeout(Duration::from_secs(60), grown).await.unwrap();

    api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    let gone = api.until("it is gone", |store| store.get(&pipeline_key("retail")).is_none());
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(topic::observe(kafka, &case.topic.name).await.unwrap(), None);
    assert_eq!(case.try_text("SELECT current_schema() IS NULL").await.as_deref(), Some("true"));
    operator.abort();
}

//! The operator with real Kafka and Postgres, and an API server in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use retail_kafka::topic;
use retail_operator::external::live::LiveSystems;
use retail_operator::watch::controller::{self, Context};
use retail_testbed::{Case, Feeder, Kafka, Pooler, Postgres};
use serde_json::{Value, json};

use crate::api::{Api, Key, Store};
use crate::harness::{context, pipeline_key};

/// Creates a pipeline that deletes its data, and a Secret with a URI, as CloudNativePG's.
pub(crate) fn declare(api: &Api, case: &Case) {
    declare_at(api, case, &Postgres::shared().url());
}

fn declare_at(api: &Api, case: &Case, database_url: &str) {
    let spec = json!({
        "kafka": {"bootstrapServers": Kafka::shared().address()},
        "topic": {"name": case.topic.name, "partitions": 2, "config": {"retention.ms": "-1"}},
        "database": {"host": "not-read", "name": "retail", "schema": case.settings.pipeline.schema, "secret": {"name": "app", "uriKey": "uri"}},
        "deletionPolicy": {"topic": "Delete", "database": "Delete"},
    });
    let uri = k8s_openapi::ByteString(database_url.as_bytes().to_vec());
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

/// One session serves schema, status and deletion.
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_behind_a_pooler_reports_progress_and_deletes_data() {
    let pooler = Pooler::to(Postgres::shared(), 1);
    let (api, mut case) = (Api::default(), Case::shared().build());
    let context = Context {
        namespaces: BTreeSet::from(["shop".to_owned()]),
        now: Timestamp::now,
        ..context(&api, LiveSystems::default())
    };
    let operator = tokio::spawn(controller::run(context, std::future::pending()));
    declare_at(&api, &case, &pooler.url());
    let ready = api.until("it is ready", |store| status(store)["conditions"][0]["status"] == "True");
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
    case.settings.pipeline.uid = uid(&api.store());
    let mut feeder = Feeder::new(&case, "worker").await;
    feeder.claim(&[0, 1]).await;
    feeder.purchases(0, "1", &[0, 1, 2]);
    feeder.commit(&[]).await.unwrap();
    let counted = api.until("the commit is in the status", |store| status(store)["progress"]["applied"] == 3);
    tokio::time::timeout(Duration::from_secs(60), counted).await.unwrap();
    drop(feeder);
    api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    let gone = api.until("it is gone", |store| store.get(&pipeline_key("retail")).is_none());
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(case.try_text("SELECT current_schema() IS NULL").await.as_deref(), Some("true"));
    operator.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn session_that_holds_a_view_is_named_in_the_condition() {
    let (api, case) = (Api::default(), Case::shared().build());
    let context = Context {
        namespaces: BTreeSet::from(["shop".to_owned()]),
        now: Timestamp::now,
        ..context(&api, LiveSystems::default())
    };
    let operator = tokio::spawn(controller::run(context, std::future::pending()));
    declare(&api, &case);
    let ready = |store: &Store| status(store)["conditions"][0]["status"] == "True";
    tokio::time::timeout(Duration::from_secs(60), api.until("it is ready", ready)).await.unwrap();
    let reader = case.client_at(&format!("{}?application_name=tableau", Postgres::shared().url())).await;
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    reader.batch_execute("BEGIN; SELECT count(*) FROM retail").await.unwrap();
    case.client()
        .await
        .batch_execute("UPDATE definitions SET fingerprint = 'old' WHERE name = 'view retail'")
        .await
        .unwrap();
    let said = format!(
        "view retail cannot be replaced: session {pid} of user retail (application \"tableau\") has held it for "
    );
    let is_reported = |store: &Store| {
        let conditions = status(store)["conditions"].clone();
        conditions.as_array().into_iter().flatten().any(|condition| {
            condition["type"] == "SchemaReady"
                && condition["reason"] == "SchemaLocked"
                && condition["message"].as_str().is_some_and(|message| message.starts_with(&said))
        })
    };
    tokio::time::timeout(Duration::from_secs(180), api.until("it is reported", is_reported)).await.unwrap();
    reader.batch_execute("ROLLBACK").await.unwrap();
    tokio::time::timeout(Duration::from_secs(180), api.until("it is ready again", ready)).await.unwrap();
    operator.abort();
    let uid = uid(&api.store());
    let deleted = retail_store::provision::drop(&case.settings.database, &uid).await.unwrap();
    assert_eq!(deleted, retail_connection::Removal::Removed);
}

fn uid(store: &Store) -> String {
    store.get(&pipeline_key("retail")).unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

//! Namespaces that may use some servers and roles only.

use serde_json::json;

use crate::api::Key;
use crate::harness::Harness;

fn allow(harness: &mut Harness, tenants: &serde_json::Value) {
    harness.context.settings.tenants = tenants.to_string().parse().unwrap();
    harness.restart();
}

#[tokio::test(start_paused = true)]
async fn pipeline_on_a_server_that_its_namespace_may_not_use_is_refused_without_a_connection() {
    let mut harness = Harness::start();
    let pattern = |text: &str| json!([{"namespaces": ["sh*"], "servers": [text, "postgres.shop.svc:5432"]}]);
    allow(&mut harness, &pattern("kafka.office.svc"));
    harness.declare("retail", json!({}));
    harness.until("retail", "Ready", "False", "NotAllowed").await;
    harness.until("retail", "Stalled", "True", "NotAllowed").await;
    harness.passes(120).await;
    assert_eq!(harness.external.state().reads, 0);
    assert!(harness.object("deployments", "retail-processor").is_none());
    harness.declare("office/other", json!({}));
    harness.until("office/other", "Ready", "False", "NotAllowed").await;

    allow(&mut harness, &pattern("kafka.shop.svc"));
    harness.until_ready("retail").await;
    // A later limit does not stop running pods.
    let before = harness.object("deployments", "retail-processor").unwrap();
    allow(&mut harness, &pattern("kafka.shop.svc:9093"));
    harness.until("retail", "Ready", "False", "NotAllowed").await;
    harness.passes(120).await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn server_of_a_connection_uri_is_checked_before_a_connection() {
    let mut harness = Harness::start();
    allow(&mut harness, &json!([{"namespaces": ["shop"], "servers": ["kafka.shop.svc", "postgres.shop.svc"]}]));
    let uri = |server: &str| {
        let uri = k8s_openapi::ByteString(format!("postgresql://retail:wonderful@{server}/retail").into_bytes());
        json!({"apiVersion": "v1", "kind": "Secret", "data": {"uri": uri}})
    };
    let key = Key::new("secrets", "shop/app");
    harness.api.change(|store| store.create(&key, uri("169.254.169.254:5432")).unwrap());
    let secret = json!({"name": "app", "uriKey": "uri"});
    harness.declare("retail", json!({"database": {"host": "postgres", "name": "retail", "secret": secret}}));
    harness.until("retail", "CredentialsReady", "False", "SecretInvalid").await;
    harness.until("retail", "TopicReady", "True", "UpToDate").await;
    assert!(harness.external.state().users.is_empty(), "Postgres was asked");
    harness.api.change(|store| {
        store.delete(&key).unwrap();
        store.create(&key, uri("postgres:5432")).unwrap();
    });
    harness.until_ready("retail").await;
}

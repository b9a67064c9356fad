//! The owner of the schema and the user of the processors are two log-ins.

use k8s_openapi::ByteString;
use serde_json::json;

use crate::api::Key;
use crate::harness::Harness;

#[tokio::test(start_paused = true)]
async fn owner_secret_is_used_by_the_operator_only() {
    let harness = Harness::start();
    let database = json!({
        "host": "postgres", "name": "retail", "secret": {"name": "retail-db"}, "ownerSecret": {"name": "retail-owner"},
        "runtimeRole": "retail_runtime",
    });
    harness.declare("retail", json!({"database": database}));
    harness.until("retail", "CredentialsReady", "False", "SecretMissing").await;
    let data = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "data": {"username": data("owner"), "password": data("secret")},
    });
    harness.api.change(|store| store.create(&Key::new("secrets", "shop/retail-owner"), secret).unwrap());
    harness.until_ready("retail").await;
    assert_eq!(harness.external.state().users.iter().collect::<Vec<_>>(), ["owner"]);
    let pods = harness.object("deployments", "retail-processor").unwrap().to_string();
    let file = harness.object("configmaps", "retail-pipeline").unwrap().to_string();
    assert!(pods.contains("retail-db") && !pods.contains("retail-owner") && !file.contains("retail-owner"), "{pods}");
}

//! A schema of a deleted pipeline is taken over, and the address of a database can change.

use retail_store::progress::Progress;
use serde_json::json;

use crate::harness::Harness;

/// A pipeline whose schema belongs to the pipeline `old`.
async fn declared_on_a_foreign_schema() -> Harness {
    let harness = Harness::start();
    harness.external.state().schemas.insert("retail".to_owned(), ("old".to_owned(), Progress::default()));
    harness.declare("retail", json!({}));
    harness.until("retail", "SchemaReady", "False", "SchemaForeign").await;
    assert_eq!(harness.object("deployments", "retail-processor"), None);
    harness
}

fn uid(harness: &Harness) -> String {
    harness.object("retailpipelines", "retail").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn file(harness: &Harness) -> String {
    harness.object("configmaps", "retail-pipeline").unwrap()["data"]["processor.yaml"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn schema_of_the_named_owner_is_taken_over() {
    let harness = declared_on_a_foreign_schema().await;
    harness.edit("retail", |spec| spec["adopt"] = json!({"uid": "another"}));
    harness.passes(300).await;
    assert_eq!(harness.condition("retail", "Stalled"), ("True".to_owned(), "SchemaForeign".to_owned()));
    assert_eq!(harness.external.state().schemas["retail"].0, "old");
    harness.edit("retail", |spec| spec["adopt"] = json!({"uid": "old"}));
    harness.until_ready("retail").await;
    assert_eq!(harness.external.state().schemas["retail"].0, uid(&harness));
    // The line that stays in the file changes nothing any more, also if another pipeline adopts the schema back.
    harness.external.state().schemas.get_mut("retail").unwrap().0 = "third".to_owned();
    harness.until("retail", "SchemaReady", "False", "SchemaForeign").await;
    harness.passes(300).await;
    assert_eq!(harness.external.state().schemas["retail"].0, "third");
}

#[tokio::test(start_paused = true)]
async fn take_over_waits_for_processors_of_the_owner() {
    let harness = declared_on_a_foreign_schema().await;
    harness.external.state().in_use = true;
    harness.edit("retail", |spec| spec["adopt"] = json!({"uid": "old"}));
    harness.until("retail", "SchemaReady", "False", "SchemaInUse").await;
    harness.passes(300).await;
    assert_eq!(harness.condition("retail", "Stalled").0, "False", "it passes");
    assert_eq!(harness.external.state().schemas["retail"].0, "old");
    harness.external.state().in_use = false;
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn new_address_of_the_same_database_is_accepted() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let recorded = || harness.object("retailpipelines", "retail").unwrap()["status"]["database"].clone();
    harness.eventually("the database is recorded", || recorded()["consumerGroup"] == "original").await;
    harness.edit("retail", |spec| spec["database"]["host"] = json!("renamed"));
    harness.eventually("the new address is recorded", || recorded()["address"] == "renamed:5432/retail").await;
    harness.until_ready("retail").await;
    assert!(file(&harness).contains("renamed"), "{}", file(&harness));
}

#[tokio::test(start_paused = true)]
async fn address_of_another_database_moves_no_pod() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let recorded = || harness.object("retailpipelines", "retail").unwrap()["status"]["database"].clone();
    harness.eventually("the database is recorded", || recorded()["consumerGroup"] == "original").await;
    harness.external.state().databases = [("copy".to_owned(), "other"), ("empty".to_owned(), "")].into();
    let changes = harness.external.state().changes;
    for host in ["copy", "empty"] {
        harness.edit("retail", |spec| spec["database"]["host"] = json!(host));
        harness.until("retail", "SchemaReady", "False", "DatabaseReplaced").await;
        harness.passes(300).await;
        assert!(!file(&harness).contains(host), "{}", file(&harness));
        assert_eq!(harness.external.state().changes, changes, "nothing was created at {host}");
        harness.edit("retail", |spec| spec["database"]["host"] = json!("postgres"));
        harness.until_ready("retail").await;
    }
    // The user confirms that the copy replaces the database.
    let own = uid(&harness);
    harness.edit("retail", |spec| {
        spec["database"]["host"] = json!("copy");
        spec["adopt"] = json!({"uid": own});
    });
    harness.eventually("the copy is recorded", || recorded()["consumerGroup"] == "other").await;
    harness.until_ready("retail").await;
    assert!(file(&harness).contains("copy"), "{}", file(&harness));
}

//! Deletion of pipelines, with and without their data.

use retail_e2e::{Case, Cluster};
use retail_kafka::KafkaConnection;
use retail_kafka::topic;
use serde_json::json;

/// Returns whether topic and schema exist.
async fn data(case: &Case) -> (bool, bool) {
    let kafka = KafkaConnection::plain("kafka.default:9092");
    let topic = topic::observe(&kafka, &case.data).await.expect("Kafka answers");
    let database = case.cluster.superuser().await;
    let schema = database.query_one("SELECT to_regnamespace($1::text) IS NOT NULL", &[&case.data]).await;
    (topic.is_some(), schema.expect("Postgres answers").get(0))
}

#[tokio::test]
async fn deletion_by_default_keeps_topic_and_schema() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "retain", json!({})).await;
    case.goes_on().await;
    case.delete().await;
    assert_eq!(data(&case).await, (true, true));
    case.end().await;
}

#[tokio::test]
async fn deletion_with_policy_delete_removes_topic_and_schema() {
    let cluster = Cluster::connect().await;
    let delete = json!({"deletionPolicy": {"topic": "Delete", "database": "Delete"}});
    let case = Case::ready(&cluster, "delete", delete).await;
    case.goes_on().await;
    case.delete().await;
    assert_eq!(data(&case).await, (false, false));
    case.end().await;
}

#[tokio::test]
async fn namespace_deletion_while_kafka_is_down_completes() {
    let cluster = Cluster::connect().await;
    let delete = json!({"deletionPolicy": {"topic": "Delete", "database": "Delete"}});
    let case = Case::ready(&cluster, "namespace", delete).await;
    cluster.scale_server("kafka", 0).await;
    case.is_gone().await;
    cluster.scale_server("kafka", 1).await;
}

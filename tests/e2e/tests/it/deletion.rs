//! What goes with a pipeline, and what stays.

use retail_e2e::{Case, Cluster};
use retail_kafka::KafkaConnection;
use retail_kafka::topic;
use serde_json::json;

/// Whether topic and schema are there.
async fn data(case: &Case) -> (bool, bool) {
    let kafka = KafkaConnection::plain("kafka.default:9092");
    let topic = topic::observe(&kafka, &case.data).await.expect("Kafka answers");
    let database = case.cluster.superuser().await;
    let schema = database.query_one("SELECT to_regnamespace($1::text) IS NOT NULL", &[&case.data]).await;
    (topic.is_some(), schema.expect("Postgres answers").get(0))
}

#[tokio::test]
async fn a_pipeline_that_is_deleted_leaves_its_data() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "retain", json!({})).await;
    case.goes_on().await;
    case.delete().await;
    assert_eq!(data(&case).await, (true, true));
    case.end().await;
}

#[tokio::test]
async fn with_the_policy_delete_a_pipeline_takes_its_data_with_it() {
    let cluster = Cluster::connect().await;
    let delete = json!({"deletionPolicy": {"topic": "Delete", "database": "Delete"}});
    let case = Case::ready(&cluster, "delete", delete).await;
    case.goes_on().await;
    case.delete().await;
    assert_eq!(data(&case).await, (false, false));
    case.end().await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_goes_also_while_kafka_is_away_and_the_data_was_to_go_with_it() {
    let cluster = Cluster::connect().await;
    let delete = json!({"deletionPolicy": {"topic": "Delete", "database": "Delete"}});
    let case = Case::ready(&cluster, "namespace", delete).await;
    cluster.scale_server("kafka", 0).await;
    case.is_gone().await;
    cluster.scale_server("kafka", 1).await;
}

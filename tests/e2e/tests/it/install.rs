//! From a new pipeline to its first rows.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use retail_api::resource::RetailPipeline;
use retail_e2e::{Case, Cluster, eventually};
use serde_json::json;

#[tokio::test]
async fn example_with_short_server_names_is_ready() {
    let cluster = Cluster::connect().await;
    let pipelines = Api::<RetailPipeline>::namespaced(cluster.client.clone(), "default");
    let pipeline = pipelines.get("retail").await.expect("it is there");
    assert_eq!(pipeline.spec.kafka.bootstrap_servers, "kafka:9092");
    // Other tests stop its servers.
    eventually(&cluster.client, "the example is ready", async || {
        let conditions = pipelines.get("retail").await.ok()?.status?.conditions;
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True").then_some(())
    })
    .await;
}

#[tokio::test]
async fn declared_pipeline_becomes_ready_and_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "declared", json!({})).await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn restricted_namespace_admits_all_pipeline_pods() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "restricted", json!({"processor": {"replicas": 2}})).await;
    assert_eq!((case.pods("processor").await.len(), case.pods("producer").await.len()), (2, 1));
    // The namespace rejects a pod without a security context.
    let careless = serde_json::from_value(json!({
        "metadata": {"name": "careless"}, "spec": {"containers": [{"name": "careless", "image": "careless"}]},
    }));
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &case.namespace);
    let refused =
        pods.create(&PostParams::default(), &careless.expect("it is a pod")).await.expect_err("it is refused");
    assert!(refused.to_string().contains("violates PodSecurity"), "{refused}");
    case.end().await;
}

//! Failures of pods, servers and Kubernetes itself. The rows are exact afterwards.

use kube::Api;
use kube::api::{Patch, PatchParams};
use retail_api::resource::RetailPipeline;
use retail_e2e::{Case, Cluster, eventually};
use serde_json::json;

#[tokio::test]
async fn scaling_to_three_and_back_under_load_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "scale", json!({"processor": {"replicas": 1}})).await;
    for replicas in [3, 1] {
        // The scale subresource, like `kubectl scale` and autoscalers.
        let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let pipelines: Api<RetailPipeline> = case.pipelines();
        pipelines.patch_scale(&case.name, &PatchParams::default(), &scale).await.expect("it can be scaled");
        eventually(&cluster.client, &format!("{replicas} processors are ready"), async || {
            (case.status().await?.replicas == replicas && case.pods("processor").await.len() == replicas as usize)
                .then_some(())
        })
        .await;
        case.is_ready().await;
        case.goes_on().await;
    }
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn killed_processor_is_replaced_and_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "processor", json!({"processor": {"replicas": 2}})).await;
    case.goes_on().await;
    let before = case.pods("processor").await;
    for pod in before.values() {
        cluster.kill(&case.namespace, pod).await;
    }
    case.replaced("processor", &before, 2).await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn killed_leader_is_succeeded_and_pipeline_pods_stay() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "leader", json!({})).await;
    let pods = (case.pods("processor").await, case.pods("producer").await);
    let leader = eventually(&cluster.client, "an operator is the leader", async || cluster.leader().await).await;
    // The holder of the lease is the name of a pod with a suffix.
    let operators = cluster.operators().await;
    let names = operators.iter().filter_map(|pod| pod.metadata.name.as_deref());
    let pod = names.into_iter().find(|name| leader.starts_with(name)).expect("the leader is a pod of the operator");
    cluster.kill("retail-system", pod).await;
    eventually(&cluster.client, "another operator is the leader", async || {
        cluster.leader().await.filter(|now| *now != leader)
    })
    .await;
    case.change(json!({"processor": {"replicas": 2}})).await;
    case.is_ready().await;
    let now = case.pods("processor").await;
    assert!(pods.0.keys().all(|uid| now.contains_key(uid)), "{:?} became {now:?}", pods.0);
    assert_eq!((now.len(), case.pods("producer").await), (2, pods.1));
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn killed_kubelet_pods_continue_and_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "kubelet", json!({})).await;
    let before = case.pods("processor").await;
    cluster.kill_program("kubelet").await;
    case.is_exact().await;
    case.is_ready().await;
    assert_eq!(case.pods("processor").await, before);
    case.end().await;
}

#[tokio::test]
async fn killed_api_server_pods_continue_and_later_edit_applies() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "apiserver", json!({})).await;
    let before = case.pods("processor").await;
    cluster.kill_program("kube-apiserver").await;
    case.goes_on().await;
    let client = &cluster.client;
    eventually(client, "the API server answers", async || client.apiserver_version().await.ok()).await;
    assert_eq!(case.pods("processor").await, before);
    case.change(json!({"processor": {"replicas": 2}})).await;
    eventually(client, "two processors", async || (case.status().await?.replicas == 2).then_some(())).await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn kafka_outage_is_reported_and_rows_are_exact_afterwards() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "kafka", json!({})).await;
    case.goes_on().await;
    let before = case.pods("processor").await;
    cluster.scale_server("kafka", 0).await;
    case.says("TopicReady", "Unknown|False", "KafkaUnreachable").await;
    cluster.scale_server("kafka", 1).await;
    case.is_ready().await;
    case.is_exact().await;
    assert_eq!(case.pods("processor").await, before, "running pods are not replaced");
    case.end().await;
}

#[tokio::test]
async fn postgres_outage_is_reported_and_rows_are_exact_afterwards() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "postgres", json!({})).await;
    case.goes_on().await;
    let before = case.pods("processor").await;
    cluster.scale_server("postgres", 0).await;
    case.says("SchemaReady", "Unknown|False", "Database").await;
    cluster.scale_server("postgres", 1).await;
    case.is_ready().await;
    case.is_exact().await;
    assert_eq!(case.pods("processor").await, before, "running pods are not replaced");
    case.end().await;
}

#[tokio::test]
async fn killed_kafka_and_postgres_lose_no_row() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "servers", json!({})).await;
    for server in ["kafka-0", "postgres-0"] {
        case.goes_on().await;
        cluster.kill("default", server).await;
    }
    case.is_exact().await;
    case.is_ready().await;
    case.end().await;
}

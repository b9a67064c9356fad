//! What breaks, and that the rows are exact afterwards.

use kube::Api;
use kube::api::{Patch, PatchParams};
use retail_api::resource::RetailPipeline;
use retail_e2e::{Case, Cluster, eventually};
use serde_json::json;

#[tokio::test]
async fn scaled_from_one_to_three_to_one_under_load_the_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "scale", json!({})).await;
    for replicas in [3, 1] {
        // As `kubectl scale` does, and an autoscaler.
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
async fn a_processor_that_is_killed_is_replaced_and_the_rows_are_exact() {
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
async fn when_the_leader_is_killed_another_leads_and_no_pod_of_a_pipeline_is_replaced() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "leader", json!({})).await;
    let pods = (case.pods("processor").await, case.pods("producer").await);
    let leader = eventually(&cluster.client, "somebody leads", async || cluster.leader().await).await;
    // Its name in the lease begins with that of its pod.
    let operators = cluster.operators().await;
    let names = operators.iter().filter_map(|pod| pod.metadata.name.as_deref());
    let pod = names.into_iter().find(|name| leader.starts_with(name)).expect("a pod of ours leads");
    cluster.kill("retail-system", pod).await;
    eventually(&cluster.client, "another leads", async || cluster.leader().await.filter(|now| *now != leader)).await;
    case.change(json!({"processor": {"replicas": 2}})).await;
    case.is_ready().await;
    let now = case.pods("processor").await;
    assert!(pods.0.keys().all(|uid| now.contains_key(uid)), "{:?} became {now:?}", pods.0);
    assert_eq!((now.len(), case.pods("producer").await), (2, pods.1));
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn when_the_kubelet_is_killed_the_pods_go_on_and_the_rows_are_exact() {
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
async fn when_the_api_server_is_killed_the_pods_go_on_and_what_was_declared_is_done_afterwards() {
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
async fn while_kafka_is_away_it_is_said_and_afterwards_the_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "kafka", json!({})).await;
    case.goes_on().await;
    let before = case.pods("processor").await;
    cluster.scale_server("kafka", 0).await;
    case.says("TopicReady", "Unknown|False", "KafkaUnreachable").await;
    cluster.scale_server("kafka", 1).await;
    case.is_ready().await;
    case.is_exact().await;
    assert_eq!(case.pods("processor").await, before, "pods that run are left alone");
    case.end().await;
}

#[tokio::test]
async fn while_postgres_is_away_it_is_said_and_afterwards_the_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "postgres", json!({})).await;
    case.goes_on().await;
    let before = case.pods("processor").await;
    cluster.scale_server("postgres", 0).await;
    case.says("SchemaReady", "Unknown|False", "Database").await;
    cluster.scale_server("postgres", 1).await;
    case.is_ready().await;
    case.is_exact().await;
    assert_eq!(case.pods("processor").await, before, "pods that run are left alone");
    case.end().await;
}

#[tokio::test]
async fn kafka_and_postgres_that_are_killed_cost_no_row() {
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

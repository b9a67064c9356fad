//! Edits and drift: the operator changes the affected objects and no others.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use retail_e2e::{Case, Cluster, eventually};
use retail_kafka::KafkaConnection;
use retail_kafka::topic;
use serde_json::json;

#[tokio::test]
async fn edit_replaces_only_the_affected_pods() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "edit", json!({})).await;
    let (processors, producers) = (case.pods("processor").await, case.pods("producer").await);

    case.change(json!({"trigger": "250ms"})).await;
    let processors = case.replaced("processor", &processors, 1).await;
    assert_eq!(case.pods("producer").await, producers);

    case.change(json!({"producer": {"eventsPerSecond": 400}})).await;
    case.replaced("producer", &producers, 1).await;
    assert_eq!(case.pods("processor").await, processors);
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn suspended_pipeline_stops_and_continues_after_resume() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "suspend", json!({})).await;
    case.goes_on().await;
    case.change(json!({"suspend": true})).await;
    case.says("Ready", "True", "Suspended").await;
    eventually(&cluster.client, "no pod runs", async || {
        (case.pods("processor").await.is_empty() && case.pods("producer").await.is_empty()).then_some(())
    })
    .await;
    case.change(json!({"suspend": false})).await;
    case.says("Ready", "True", "UpToDate").await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn drifted_objects_are_restored_and_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "drift", json!({})).await;
    let files = Api::<ConfigMap>::namespaced(cluster.client.clone(), &case.namespace);
    let uid = |map: ConfigMap| map.metadata.uid;
    let first = uid(files.get("shop-pipeline").await.expect("it is there"));
    files.delete("shop-pipeline", &DeleteParams::default()).await.expect("it can be deleted");
    eventually(&cluster.client, "the ConfigMap is recreated", async || {
        (uid(files.get_opt("shop-pipeline").await.ok()??) != first).then_some(())
    })
    .await;
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), &case.namespace);
    let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch("shop-processor", &PatchParams::default(), &scale).await.expect("it can be changed");
    eventually(&cluster.client, "the Deployment is as declared", async || {
        (deployments.get("shop-processor").await.ok()?.spec?.replicas == Some(1)).then_some(())
    })
    .await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn partitions_added_under_load_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "grow", json!({})).await;
    case.goes_on().await;
    case.change(json!({"topic": {"partitions": 6}})).await;
    case.is_ready().await;
    let kafka = KafkaConnection::plain("kafka.default:9092");
    let seen = topic::observe(&kafka, &case.data).await.expect("Kafka answers").expect("the topic is there");
    assert_eq!(seen.description.partitions, 6);
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn topic_setting_changed_by_others_is_restored() {
    let cluster = Cluster::connect().await;
    let declared = |bytes: &str| json!({"config": {"max.message.bytes": bytes}});
    let case = Case::ready(&cluster, "setting", json!({"topic": declared("2000000")})).await;
    let kafka = KafkaConnection::plain("kafka.default:9092");
    let setting = async || {
        let seen = topic::observe(&kafka, &case.data).await.expect("Kafka answers").expect("the topic is there");
        seen.config.get("max.message.bytes").cloned()
    };
    assert_eq!(setting().await.as_deref(), Some("2000000"));
    let mut other = case.pipelines().get(&case.name).await.expect("the pipeline is there").spec.topic;
    other.config.insert("max.message.bytes".to_owned(), "3000000".to_owned());
    let changed = topic::ensure(&kafka, &other).await.expect("it can be changed");
    assert!(!changed.actions.is_empty(), "the setting has changed");
    eventually(&cluster.client, "the setting is as declared", async || {
        (setting().await.as_deref() == Some("2000000")).then_some(())
    })
    .await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn changed_view_and_function_are_restored_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "schema", json!({})).await;
    case.goes_on().await;
    let database = cluster.superuser().await;
    let schema = &case.data;
    // With this function every partition would be idle.
    let drift = format!(
        "DROP VIEW \"{schema}\".retail CASCADE;
         CREATE OR REPLACE FUNCTION \"{schema}\".is_idle(idle_until timestamptz, idle_timeout interval) RETURNS boolean
         LANGUAGE sql AS 'SELECT true'"
    );
    database.batch_execute(&drift).await.expect("it can be changed");
    let is_back = format!(
        "SELECT to_regclass('\"{schema}\".retail') IS NOT NULL AND NOT \"{schema}\".is_idle('epoch', '1 second')"
    );
    eventually(&cluster.client, "view and function are restored", async || {
        database.query_one(&is_back, &[]).await.ok()?.get::<_, bool>(0).then_some(())
    })
    .await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn topic_with_other_retention_is_reported_and_not_changed() {
    let cluster = Cluster::connect().await;
    let declared = json!({"topic": {"config": {"retention.ms": "604800000"}}});
    let case = Case::ready(&cluster, "config", declared).await;
    case.change(json!({"topic": {"config": {"retention.ms": "86400000"}}})).await;
    case.says("TopicReady", "True", "TopicDiffers").await;
    let kafka = KafkaConnection::plain("kafka.default:9092");
    let seen = topic::observe(&kafka, &case.data).await.expect("Kafka answers").expect("the topic is there");
    assert_eq!(seen.config.get("retention.ms").map(String::as_str), Some("604800000"));
    case.end().await;
}

#[tokio::test]
async fn changed_password_replaces_only_the_processors() {
    let cluster = Cluster::connect().await;
    let mut case = Case::new(&cluster, "secret").await;
    case.login = (case.data.clone(), "before".to_owned());
    let database = cluster.superuser().await;
    let role = &case.data;
    let sql = format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'before'; GRANT CREATE ON DATABASE retail TO \"{role}\"");
    database.batch_execute(&sql).await.expect("a role can be made");
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), &case.namespace);
    let login = |password: &str| Patch::Merge(json!({"stringData": {"username": role, "password": password}}));
    secrets.patch("login", &PatchParams::default(), &login("before")).await.expect("it can be changed");
    case.declare(json!({})).await;
    case.is_ready().await;
    case.goes_on().await;
    let (processors, producers) = (case.pods("processor").await, case.pods("producer").await);

    database.batch_execute(&format!("ALTER ROLE \"{role}\" PASSWORD 'after'")).await.expect("it can be changed");
    secrets.patch("login", &PatchParams::default(), &login("after")).await.expect("it can be changed");
    case.replaced("processor", &processors, 1).await;
    assert_eq!(case.pods("producer").await, producers);
    case.login.1 = "after".to_owned();
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn missing_secret_is_reported_until_it_exists() {
    let cluster = Cluster::connect().await;
    let case = Case::new(&cluster, "missing").await;
    case.declare(json!({"database": {"secret": {"name": "later"}}})).await;
    case.says("CredentialsReady", "False", "SecretAwaited").await;
    case.says("Reconciling", "True", "SecretAwaited").await;
    case.change(json!({"database": {"secret": {"name": "login"}}})).await;
    case.is_ready().await;
    case.end().await;
}

//! What is changed, and that nothing else is.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use retail_e2e::{Case, Cluster, eventually};
use retail_kafka::KafkaConnection;
use retail_kafka::topic;
use serde_json::json;

#[tokio::test]
async fn an_edit_replaces_only_the_pods_that_read_it() {
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
async fn a_suspended_pipeline_stops_and_goes_on_where_it_stopped() {
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
async fn objects_that_drift_are_put_back_and_the_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "drift", json!({})).await;
    let files = Api::<ConfigMap>::namespaced(cluster.client.clone(), &case.namespace);
    let uid = |map: ConfigMap| map.metadata.uid;
    let first = uid(files.get("shop-pipeline").await.expect("it is there"));
    files.delete("shop-pipeline", &DeleteParams::default()).await.expect("it can be deleted");
    eventually(&cluster.client, "the ConfigMap is made again", async || {
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
async fn a_topic_grows_with_its_declaration_and_the_rows_are_exact() {
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
async fn a_topic_setting_that_somebody_else_changed_is_put_back() {
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
    assert!(!changed.actions.is_empty(), "there is something to put back");
    eventually(&cluster.client, "the setting is as declared", async || {
        (setting().await.as_deref() == Some("2000000")).then_some(())
    })
    .await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn a_view_and_a_function_that_somebody_else_changed_are_put_back_and_the_rows_are_exact() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "schema", json!({})).await;
    case.goes_on().await;
    let database = cluster.superuser().await;
    let schema = &case.data;
    // It would call every partition idle.
    let drift = format!(
        "DROP VIEW \"{schema}\".retail CASCADE;
         CREATE OR REPLACE FUNCTION \"{schema}\".is_idle(idle_confirmed timestamptz, idle_timeout interval) RETURNS boolean
         LANGUAGE sql AS 'SELECT true'"
    );
    database.batch_execute(&drift).await.expect("it can be changed");
    let is_back = format!(
        "SELECT to_regclass('\"{schema}\".retail') IS NOT NULL AND NOT \"{schema}\".is_idle('epoch', '1 second')"
    );
    eventually(&cluster.client, "view and function are back", async || {
        database.query_one(&is_back, &[]).await.ok()?.get::<_, bool>(0).then_some(())
    })
    .await;
    case.is_ready().await;
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn a_topic_that_is_configured_otherwise_is_said_and_left_alone() {
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
async fn a_password_that_changes_replaces_the_processors_and_nothing_else() {
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
async fn a_secret_that_is_missing_is_said_and_made_up_for() {
    let cluster = Cluster::connect().await;
    let case = Case::new(&cluster, "missing").await;
    case.declare(json!({"database": {"secret": {"name": "later"}}})).await;
    case.says("CredentialsReady", "False", "SecretMissing").await;
    case.says("Stalled", "True", "SecretMissing").await;
    case.change(json!({"database": {"secret": {"name": "login"}}})).await;
    case.is_ready().await;
    case.end().await;
}

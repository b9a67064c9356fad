//! The chart: upgrade, uninstallation, and an operator for some namespaces.

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use retail_api::resource::RetailPipeline;
use retail_e2e::{Case, Cluster, eventually, run};
use serde_json::json;

/// Path of the chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/retail-pipeline");

async fn helm(arguments: &[&str]) -> String {
    run("helm", arguments).await
}

/// Upgrades the operator of all namespaces to a chart, and waits until it is ready.
async fn upgrade(chart: &str, more: &[&str]) {
    let (upgrade, release) = (["upgrade", "retail-operator", chart], ["-n", "retail-system"]);
    let options = ["--reset-then-reuse-values", "--wait", "--timeout", "240s"];
    helm(&[&upgrade[..], &release, &options, more].concat()).await;
}

/// Returns the image tag of the operator.
async fn tag(cluster: &Cluster) -> String {
    let deployments = Api::<Deployment>::namespaced(cluster.client.clone(), "retail-system");
    let operator = deployments.get("retail-operator").await.expect("the operator exists");
    let image = operator.spec.and_then(|spec| spec.template.spec?.containers.first()?.image.clone());
    image.and_then(|image| Some(image.rsplit_once(':')?.1.to_owned())).expect("the image has a tag")
}

#[tokio::test]
async fn operator_upgrade_without_changes_keeps_pipeline_pods() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "upgrade", json!({})).await;
    let pods = (case.pods("processor").await, case.pods("producer").await);
    let operators: Vec<_> = cluster.operators().await.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    // The log level differs from run to run, so that the upgrade changes the Deployment.
    let log = format!("log=info,e2e={}", case.data);
    upgrade(CHART, &["--set", &log.replace(',', "\\,")]).await;
    eventually(&cluster.client, "all operators are new", async || {
        let now = cluster.operators().await;
        now.iter().all(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| !operators.contains(uid))).then_some(())
    })
    .await;
    // The new operator reconciles this pipeline.
    case.change(json!({"processor": {"replicas": 2}})).await;
    eventually(&cluster.client, "two processors", async || (case.status().await?.replicas == 2).then_some(())).await;
    let now = case.pods("processor").await;
    assert!(pods.0.keys().all(|uid| now.contains_key(uid)), "{:?} became {now:?}", pods.0);
    assert_eq!(case.pods("producer").await, pods.1);
    case.is_exact().await;
    case.end().await;
}

/// Copies the chart without `producer.seed` in its CRD, like an earlier version. Returns its directory.
async fn earlier_chart(case: &Case) -> PathBuf {
    let place = std::env::temp_dir().join(&case.data);
    run("cp", &["-r", CHART, &place.display().to_string()]).await;
    let file = place.join("files/crd.yaml");
    let text = std::fs::read_to_string(&file).expect("the chart contains the CRD");
    let begin = text.find("                  seed:\n").expect("the CRD has producer.seed");
    let end = begin + text[begin..].find("                  speed:\n").expect("speed comes after seed");
    std::fs::write(&file, text[..begin].to_owned() + &text[end..]).expect("a file can be written");
    place
}

#[tokio::test]
async fn chart_upgrade_adds_new_fields_to_the_crd() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "definition", json!({})).await;
    let earlier = earlier_chart(&case).await;
    let seed = async |seed: u64| {
        case.change(json!({"producer": {"seed": seed}})).await;
        let pipelines = Api::<DynamicObject>::namespaced_with(
            cluster.client.clone(),
            &case.namespace,
            &ApiResource::erase::<RetailPipeline>(&()),
        );
        let pipeline = pipelines.get(&case.name).await.expect("the pipeline is there");
        pipeline.data["spec"]["producer"]["seed"].as_u64()
    };
    upgrade(&earlier.display().to_string(), &[]).await;
    eventually(&cluster.client, "the CRD has no producer.seed", async || seed(7).await.is_none().then_some(())).await;
    case.is_ready().await;
    let (processors, producers) = (case.pods("processor").await, case.pods("producer").await);
    upgrade(CHART, &[]).await;
    eventually(&cluster.client, "the CRD has producer.seed", async || (seed(8).await == Some(8)).then_some(())).await;
    case.replaced("producer", &producers, 1).await;
    assert_eq!(case.pods("processor").await, processors);
    case.is_exact().await;
    std::fs::remove_dir_all(earlier).expect("the directory exists");
    case.end().await;
}

#[tokio::test]
async fn chart_reinstall_adopts_pipelines_and_keeps_their_pods() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "uninstall", json!({})).await;
    let pods = (case.pods("processor").await, case.pods("producer").await);
    let tag = format!("image.tag={}", tag(&cluster).await);
    helm(&["uninstall", "retail-operator", "-n", "retail-system", "--wait", "--timeout", "240s"]).await;
    assert!(case.status().await.is_some(), "pipeline and CRD remain");
    case.is_exact().await;
    let install = [
        "install",
        "retail-operator",
        CHART,
        "-n",
        "retail-system",
        "--set",
        "replicas=2",
        "--wait",
        "--timeout",
        "240s",
    ];
    helm(&[&install[..], &["--set", &tag]].concat()).await;
    case.change(json!({"processor": {"replicas": 2}})).await;
    eventually(&cluster.client, "two processors", async || (case.status().await?.replicas == 2).then_some(())).await;
    case.is_ready().await;
    let now = case.pods("processor").await;
    assert!(pods.0.keys().all(|uid| now.contains_key(uid)), "{:?} became {now:?}", pods.0);
    assert_eq!(case.pods("producer").await, pods.1);
    case.is_exact().await;
    case.end().await;
}

#[tokio::test]
async fn namespaced_operator_ignores_others_without_cluster_role() {
    let cluster = Cluster::connect().await;
    let tag = format!("image.tag={}", tag(&cluster).await);
    let (one, two) = (Case::new(&cluster, "tenant").await, Case::new(&cluster, "subtenant").await);
    let other = Case::new(&cluster, "neighbour").await;
    // The operator of all namespaces would reconcile all three.
    cluster.scale_operator(0).await;
    let release = &one.data.replace('_', "-");
    let watch = format!("watchNamespaces={{{},{}}}", one.namespace, two.namespace);
    let install =
        ["install", release, CHART, "-n", &one.namespace, "--set", "crds.install=false", "--wait", "--timeout", "240s"];
    helm(&[&install[..], &["--set", &tag, "--set", &watch]].concat()).await;
    other.declare(json!({})).await;
    for ours in [&one, &two] {
        ours.declare(json!({})).await;
    }
    for ours in [&one, &two] {
        ours.is_ready().await;
        ours.is_exact().await;
    }
    assert_eq!(other.status().await, None, "no operator has reconciled it");
    let of_it = ListParams::default().labels(&format!("app.kubernetes.io/instance={release}"));
    let roles = Api::<ClusterRole>::all(cluster.client.clone()).list(&of_it).await.expect("roles can be listed");
    let bindings =
        Api::<ClusterRoleBinding>::all(cluster.client.clone()).list(&of_it).await.expect("bindings can be listed");
    assert_eq!((roles.items.len(), bindings.items.len()), (0, 0));
    helm(&["uninstall", release, "-n", &one.namespace, "--wait", "--timeout", "240s"]).await;
    cluster.scale_operator(2).await;
    other.is_ready().await;
    for case in [one, two, other] {
        case.end().await;
    }
}

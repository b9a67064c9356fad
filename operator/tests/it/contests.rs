//! Clients that change the objects of a pipeline again and again.

use std::time::Duration;

use retail_operator::settings::Settings;
use retail_operator::tenants::Tenants;
use retail_operator::watch::controller::{self, Context};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{Api, Key};
use crate::harness::Harness;

const DEPLOYMENT: (&str, &str) = ("deployments", "retail-processor");

fn patches(api: &Api) -> usize {
    let asked = api.asked();
    asked.iter().filter(|asked| asked.verb == "patch" && asked.resource == DEPLOYMENT.0).count()
}

/// Sets the replicas of the Deployment, as a HorizontalPodAutoscaler does.
fn scale(harness: &Harness) {
    let fields = json!({"f:spec": {"f:replicas": {}}});
    let manager = json!([{"manager": "kube-controller-manager", "subresource": "scale", "operation": "Update", "fieldsV1": fields}]);
    harness.api.change(|store| {
        store.edit(&Key::new(DEPLOYMENT.0, DEPLOYMENT.1), |object| {
            object["spec"]["replicas"] = json!(7);
            object["metadata"]["managedFields"] = manager;
        });
    });
}

fn message(harness: &Harness, name: &str, condition_type: &str) -> String {
    let status = harness.object("retailpipelines", name).unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == condition_type).unwrap();
    condition["message"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn repeated_scaling_of_the_deployment_is_contested() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let before = patches(&harness.api);
    for second in 0..600 {
        if second % 15 == 0 {
            scale(&harness);
        }
        harness.passes(1).await;
    }
    // Of forty changes, the first three were repaired at once.
    let repairs = patches(&harness.api) - before;
    assert!((5..=9).contains(&repairs), "{repairs}");
    harness.until("retail", "Contested", "True", "Contested").await;
    harness.until("retail", "Stalled", "True", "Contested").await;
    let message = message(&harness, "retail", "Ready");
    let expected = "kube-controller-manager (subresource scale) changes the processor Deployment (spec.replicas) again after each repair";
    assert!(message.starts_with(expected), "{message}");
    // An edit acts at once.
    scale(&harness);
    let began = Instant::now();
    harness.edit("retail", |spec| spec["processor"]["replicas"] = json!(3));
    let key = Key::new(DEPLOYMENT.0, DEPLOYMENT.1);
    harness.api.until("the edit", |store| store.get(&key).unwrap()["spec"]["replicas"] == 3).await;
    assert!(began.elapsed() <= Duration::from_secs(2), "after {:?}", began.elapsed());
    // Without further changes, it is contested no longer.
    harness.until_ready("retail").await;
    harness.until("retail", "Contested", "False", "UpToDate").await;
    let events = harness.events("retail");
    assert_eq!(events.iter().filter(|reason| *reason == "Contested").count(), 1, "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn topic_setting_that_two_pipelines_declare_is_contested() {
    let harness = Harness::start();
    harness.declare("retail", json!({"topic": {"name": "shared", "config": {"max.message.bytes": "100000"}}}));
    harness.until_ready("retail").await;
    let config = json!({"max.message.bytes": "200000", "cleanup.policy": "delete"});
    let topic = json!({"name": "shared", "management": "Adopt", "config": config});
    harness.declare("other", json!({"topic": topic}));
    let changes = harness.external.state().changes;
    harness.passes(3600).await;
    let changed = harness.external.state().changes - changes;
    assert!((6..=40).contains(&changed), "{changed}");
    for (name, value, partner) in [("retail", "100000", "shop/other"), ("other", "200000", "shop/retail")] {
        harness.until(name, "Contested", "True", "Contested").await;
        assert_eq!(harness.condition(name, "Ready"), ("False".to_owned(), "Contested".to_owned()));
        let message = message(&harness, name, "Contested");
        let expected = format!(
            "max.message.bytes={value} is declared for the topic, and another value by the RetailPipeline {partner};"
        );
        assert!(message.starts_with(&expected), "{message}");
    }
    // A new declaration is applied at once.
    harness.edit("other", |spec| spec["topic"]["config"] = json!({"max.message.bytes": "100000"}));
    harness.until("other", "Contested", "False", "UpToDate").await;
    harness.until("retail", "Contested", "False", "UpToDate").await;
    assert_eq!(harness.external.state().topics["shared"].topic.config["max.message.bytes"], "100000");
    // Without a partner that the operator knows.
    for _ in 0..40 {
        let set = |name: &str, value: &str| {
            let mut external = harness.external.state();
            external.topics.get_mut("shared").unwrap().topic.config.insert(name.to_owned(), value.to_owned());
        };
        set("max.message.bytes", "5");
        harness.passes(15).await;
    }
    let message = message(&harness, "retail", "Contested");
    assert!(message.starts_with("another client changes the topic (max.message.bytes=100000)"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn two_operators_with_two_images_are_contested() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let second = Context {
        settings: other_image(None),
        identity: "operator-2".to_owned(),
        readiness: std::sync::Arc::default(),
        ..harness.context.clone()
    };
    let before = patches(&harness.api);
    let second = tokio::spawn(controller::run(second, std::future::pending()));
    harness.passes(600).await;
    // Two Deployments and two operators.
    let repairs = patches(&harness.api) - before;
    assert!(repairs <= 2 * 2 * 9, "{repairs}");
    harness.until("retail", "Contested", "True", "Contested").await;
    let message = message(&harness, "retail", "Contested");
    let expected =
        ["another retail-operator changes", "the retail-operator with the lease other/retail-operator changes"];
    assert!(expected.iter().any(|expected| message.starts_with(expected)), "{message}");
    assert!(message.contains("spec.operatorClass"), "{message}");
    second.abort();
}

fn other_image(class: Option<&str>) -> Settings {
    let (image, lease) = ("retail-pipeline:other".to_owned(), Some("other/retail-operator".to_owned()));
    Settings { image, class: class.map(str::to_owned), lease, tenants: Tenants::default() }
}

#[tokio::test(start_paused = true)]
async fn operators_of_two_classes_share_no_pipeline() {
    let harness = Harness::start();
    let second = Context {
        settings: other_image(Some("canary")),
        readiness: std::sync::Arc::default(),
        ..harness.context.clone()
    };
    let second = tokio::spawn(controller::run(second, std::future::pending()));
    harness.declare("retail", json!({}));
    harness.declare("other", json!({"operatorClass": "canary"}));
    harness.declare("nobody", json!({"operatorClass": "none"}));
    for name in ["retail", "other"] {
        harness.until_ready(name).await;
    }
    harness.passes(300).await;
    let image = |name: &str| {
        let deployment = harness.object(DEPLOYMENT.0, &format!("{name}-processor")).unwrap();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    assert_eq!((image("retail"), image("other")), (json!("retail-pipeline:test"), json!("retail-pipeline:other")));
    assert_eq!(harness.object("retailpipelines", "nobody").unwrap()["status"], json!(null));
    let events = harness.events("retail");
    assert!(!events.contains(&"Applied".to_owned()), "{events:?}");
    second.abort();
}

/// An admission webhook that rewrites a declared field. After a restart, the operator does not know that.
#[tokio::test(start_paused = true)]
async fn restarted_operator_reports_no_change_that_it_did_not_make() {
    let mut harness = Harness::start();
    harness.api.change(|store| {
        store.admission = Some(|object| {
            if object["kind"] == "Deployment" {
                object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(7);
            }
        });
    });
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let (events, before) = (harness.events("retail"), patches(&harness.api));
    harness.restart();
    harness.passes(120).await;
    assert_eq!(patches(&harness.api), before + 2, "each Deployment is declared once");
    assert_eq!(harness.events("retail"), events);
}

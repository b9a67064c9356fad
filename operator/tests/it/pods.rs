//! The pods of a pipeline, and the messages about pods that do not start.

use retail_operator::preview::from_nothing;
use retail_operator::reconcile::step::Step;
use retail_operator::reconcile::validate::parse;
use retail_operator::resources::names::Child;
use serde_json::{Value, json};

use crate::api::{ApiRequest, Key};
use crate::fake_systems::postgres_unreachable;
use crate::harness::{Harness, pipeline, pipeline_key, settings};

/// The declared Deployments of processor and producer.
fn deployments(spec: Value) -> [Value; 2] {
    let mut pipeline = pipeline("retail", spec);
    pipeline["metadata"]["uid"] = json!("uid-1");
    let valid = parse(&pipeline.to_string()).unwrap_or_else(|invalid| panic!("{}", invalid.message));
    let plan = from_nothing(&valid, &settings());
    [Child::Processor, Child::Producer].map(|wanted| {
        let find = |step: &Step| {
            let Step::Apply { child, object, .. } = step else { return None };
            (*child == wanted).then(|| object.clone())
        };
        plan.steps.iter().find_map(find).unwrap()
    })
}

fn message(harness: &Harness, condition_type: &str) -> String {
    let status = harness.object("retailpipelines", "retail").unwrap()["status"].clone();
    let conditions = status["conditions"].as_array().unwrap().clone();
    let found = conditions.iter().find(|condition| condition["type"] == condition_type).unwrap();
    found["message"].as_str().unwrap().to_owned()
}

#[test]
fn every_field_of_a_template_is_on_the_pods() {
    let affinity =
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}});
    let toleration = json!({"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60});
    let csi = json!({"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true}});
    let mount = json!({"name": "vault", "mountPath": "/vault", "subPath": "a", "readOnly": true});
    let spread = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
    let template = json!({
        "labels": {"team": "sales"}, "annotations": {"example.com/note": "a"}, "nodeSelector": {"disk": "fast"},
        "tolerations": [toleration], "affinity": affinity, "topologySpreadConstraints": [spread],
        "priorityClassName": "high", "imagePullSecrets": [{"name": "registry"}], "serviceAccountName": "sales",
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
        "env": [{"name": "TZ", "value": "UTC"}, {"name": "EMPTY", "value": ""}, {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "volumes": [csi], "volumeMounts": [mount], "terminationGracePeriodSeconds": 30, "maxSurge": 0,
    });
    let declared = deployments(json!({
        "image": "registry/retail:canary", "logging": {"level": "Debug", "format": "JSON"},
        "processor": {"template": template}, "producer": {"template": template},
    }));
    for (deployment, component) in declared.iter().zip(["processor", "producer"]) {
        let metadata = &deployment["spec"]["template"]["metadata"];
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(
            (&metadata["labels"]["team"], &metadata["labels"]["app.kubernetes.io/component"]),
            (&json!("sales"), &json!(component))
        );
        assert_eq!(deployment["spec"]["selector"]["matchLabels"]["team"], Value::Null);
        assert_eq!(metadata["annotations"]["example.com/note"], "a");
        assert!(metadata["annotations"]["retailpipeline.dev/config-hash"].is_string());
        for (field, value) in [
            ("nodeSelector", json!({"disk": "fast"})),
            ("tolerations", json!([toleration])),
            ("affinity", affinity.clone()),
            ("priorityClassName", json!("high")),
            ("imagePullSecrets", json!([{"name": "registry"}])),
            ("serviceAccountName", json!("sales")),
            ("terminationGracePeriodSeconds", json!(30)),
            (
                "securityContext",
                json!({"runAsUser": 1000, "fsGroup": 2000, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
            ),
        ] {
            assert_eq!(pod[field], value, "{field} of {component}");
        }
        let mut spread = spread.clone();
        spread["labelSelector"] = json!({"matchLabels": deployment["spec"]["selector"]["matchLabels"]});
        assert_eq!(pod["topologySpreadConstraints"], json!([spread]));
        assert!(pod["volumes"].as_array().unwrap().contains(&csi) && pod["volumes"][0]["name"] == "pipeline");
        assert!(container["volumeMounts"].as_array().unwrap().contains(&mount));
        let env = container["env"].as_array().unwrap();
        for variable in [
            json!({"name": "TZ", "value": "UTC"}),
            json!({"name": "EMPTY"}),
            json!({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}),
            json!({"name": "RUST_LOG", "value": "debug"}),
            json!({"name": "RETAIL_LOG_FORMAT", "value": "json"}),
        ] {
            assert!(env.contains(&variable), "{variable} is not in {env:?}");
        }
        assert_eq!(container["image"], "registry/retail:canary");
        let rollout = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}});
        assert_eq!(deployment["spec"]["strategy"], rollout);
    }
}

#[test]
fn pods_have_bounds_and_no_surprises_by_default() {
    for (deployment, cpu) in deployments(json!({})).iter().zip(["2", "1"]) {
        let pod = &deployment["spec"]["template"]["spec"];
        let resources = &pod["containers"][0]["resources"];
        assert_eq!(resources["limits"]["cpu"], cpu);
        for amount in [&resources["requests"]["cpu"], &resources["requests"]["memory"], &resources["limits"]["memory"]]
        {
            assert!(amount.is_string(), "{resources}");
        }
        assert_eq!(pod["enableServiceLinks"], false);
        assert_eq!(
            (&pod["securityContext"]["runAsUser"], &pod["securityContext"]["runAsGroup"]),
            (&json!(65532), &json!(65532))
        );
        assert_eq!(
            deployment["spec"]["strategy"]["rollingUpdate"],
            json!({"maxSurge": "25%", "maxUnavailable": "25%"})
        );
    }
    let [processor, _] = deployments(json!({}));
    let container = &processor["spec"]["template"]["spec"]["containers"][0];
    // IPv4, too, where the node has it.
    assert_eq!(container["args"][3], "[::]:8080");
}

/// OpenShift assigns users and refuses any other.
#[test]
fn empty_security_context_leaves_the_user_to_the_cluster() {
    let [processor, _] = deployments(json!({"processor": {"template": {"securityContext": {}}}}));
    let security = &processor["spec"]["template"]["spec"]["securityContext"];
    assert_eq!(*security, json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
}

#[test]
fn quantities_are_declared_as_the_api_server_stores_them() {
    let declared = json!({"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": 1, "memory": "1.5Gi"}});
    let [processor, _] = deployments(json!({"processor": {"resources": declared}}));
    let stored = json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1536Mi"}});
    assert_eq!(processor["spec"]["template"]["spec"]["containers"][0]["resources"], stored);
}

#[test]
fn variable_of_a_template_replaces_the_level_of_the_log() {
    let env = json!([{"name": "RUST_LOG", "value": "info,retail_store=trace"}]);
    let [processor, _] = deployments(json!({"logging": {"level": "Error"}, "processor": {"template": {"env": env}}}));
    let container = &processor["spec"]["template"]["spec"]["containers"][0];
    let levels = container["env"].as_array().unwrap().iter().filter(|variable| variable["name"] == "RUST_LOG");
    assert_eq!(levels.collect::<Vec<_>>(), [&env[0]]);
}

fn refuse_affinity(asked: &ApiRequest, body: &Value) -> Option<(u16, &'static str)> {
    let is_refused = asked.resource == "deployments" && body["spec"]["template"]["spec"]["affinity"].is_object();
    is_refused.then_some((
        500,
        "failed to create typed patch object (shop/retail-processor; apps/v1, Kind=Deployment): \
         .spec.template.spec.affinity.nodeAfinity: field not declared in schema",
    ))
}

#[tokio::test(start_paused = true)]
async fn invalid_template_is_stalled_and_changes_nothing() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let before = harness.object("configmaps", "retail-pipeline").unwrap();
    harness.api.change(|store| store.refusal = Some(refuse_affinity));
    harness.edit("retail", |spec| {
        spec["trigger"] = json!("1m");
        spec["processor"]["template"] = json!({"affinity": {"nodeAfinity": {}}});
    });
    harness.until("retail", "Stalled", "True", "ObjectRefused").await;
    let said = message(&harness, "ProcessorReady");
    assert!(said.ends_with("nodeAfinity: field not declared in schema"), "{said}");
    assert!(!said.contains("Status"), "{said}");
    // Pods that restart read the files of their own template.
    assert_eq!(harness.object("configmaps", "retail-pipeline").unwrap(), before);
    harness.edit("retail", |spec| spec["processor"]["template"] = json!({}));
    harness.until_ready("retail").await;
    assert_ne!(harness.object("configmaps", "retail-pipeline").unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn final_answer_of_the_api_server_is_stalled_with_its_words() {
    let harness = Harness::start();
    let words = "Deployment.apps \"retail-processor\" is invalid: spec.template.spec.priorityClassName: Invalid value";
    harness.api.change(|store| {
        store.refusal = Some(|asked, _| {
            let words =
                "Deployment.apps \"retail-processor\" is invalid: spec.template.spec.priorityClassName: Invalid value";
            (asked.resource == "deployments").then_some((422, words))
        });
    });
    harness.declare("retail", json!({}));
    harness.until("retail", "Stalled", "True", "ObjectRefused").await;
    assert_eq!(message(&harness, "Ready"), format!("Deployment retail-processor cannot be applied: {words}"));
    // A quota may be raised: the operator waits.
    harness.api.change(|store| {
        store.refusal = Some(|asked, _| (asked.resource == "deployments").then_some((403, "exceeded quota: small")));
    });
    harness.until("retail", "Reconciling", "True", "ApplyFailed").await;
    harness.api.change(|store| store.refusal = None);
    harness.until_ready("retail").await;
}

#[tokio::test(start_paused = true)]
async fn paused_pipeline_is_observed_and_not_changed() {
    let harness = Harness::start();
    harness.declare("retail", json!({"paused": true}));
    harness.until("retail", "ProcessorReady", "False", "DependencyNotReady").await;
    assert_eq!(message(&harness, "TopicReady"), "not created or changed, because spec.paused is true");
    assert_eq!(message(&harness, "SchemaReady"), "not created or changed, because spec.paused is true");
    assert_eq!(message(&harness, "ProcessorReady"), "not created, because spec.paused is true");
    assert!(harness.external.state().topics.is_empty() && harness.object("configmaps", "retail-pipeline").is_none());
    harness.edit("retail", |spec| spec["paused"] = json!(false));
    harness.until_ready("retail").await;
    harness.edit("retail", |spec| {
        spec["paused"] = json!(true);
        spec["processor"]["replicas"] = json!(1);
    });
    harness.until("retail", "Ready", "True", "Paused").await;
    harness.passes(300).await;
    assert_eq!(harness.object("deployments", "retail-processor").unwrap()["spec"]["replicas"], 2);
    // The deletion does not wait.
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness.api.until("it is gone", |store| store.get(&Key::new("deployments", "retail-processor")).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn orphans_of_a_deleted_pipeline_are_adopted() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    // `kubectl delete --cascade=orphan`.
    harness.api.change(|store| {
        let owned = |object: &&Value| object["metadata"]["ownerReferences"].is_array();
        let keys: Vec<Key> =
            store.all().iter().filter(|(_, object)| owned(object)).map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), 6);
        for key in keys {
            store.edit(&key, |object| drop(object["metadata"].as_object_mut().unwrap().remove("ownerReferences")));
        }
        store.delete(&pipeline_key("retail")).unwrap();
    });
    harness.external.state().schemas.clear();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let uid = harness.object("retailpipelines", "retail").unwrap()["metadata"]["uid"].clone();
    let deployment = harness.object("deployments", "retail-processor").unwrap();
    assert_eq!(deployment["metadata"]["ownerReferences"][0]["uid"], uid);
}

#[tokio::test(start_paused = true)]
async fn service_account_made_beforehand_is_used_as_it_is() {
    let harness = Harness::start();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "imagePullSecrets": [{"name": "registry"}]});
    harness.api.change(|store| store.create(&Key::new("serviceaccounts", "retail-pipeline"), account).unwrap());
    let before = harness.object("serviceaccounts", "retail-pipeline");
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.passes(300).await;
    assert_eq!(harness.object("serviceaccounts", "retail-pipeline"), before);
}

#[tokio::test(start_paused = true)]
async fn children_with_a_rewritten_label_stay_visible() {
    let harness = Harness::start();
    harness.api.change(|store| {
        store.admission = Some(|object| {
            if object["metadata"]["labels"]["app.kubernetes.io/managed-by"].is_string() {
                object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("platform");
            }
        });
    });
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    harness.passes(60).await;
    let writes = harness.api.writes();
    harness.passes(3600).await;
    assert_eq!(harness.api.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn removed_label_of_the_watch_is_reported() {
    let harness = Harness::start();
    harness.api.change(|store| {
        store.admission = Some(|object| {
            if let Some(Value::Object(labels)) = object.pointer_mut("/metadata/labels") {
                labels.remove("retailpipeline.dev/pipeline");
            }
        });
    });
    harness.declare("retail", json!({}));
    harness.until("retail", "Ready", "False", "ApplyFailed").await;
    let said = message(&harness, "Ready");
    assert!(said.contains("an admission webhook changes or removes its label retailpipeline.dev/pipeline"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn paused_deployment_is_resumed_and_the_budget_can_be_disabled() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let processor = Key::new("deployments", "retail-processor");
    harness.api.change(|store| store.edit(&processor, |object| object["spec"]["paused"] = json!(true)));
    harness.api.until("it is resumed", |store| store.get(&processor).unwrap()["spec"]["paused"] == false).await;
    let budget = Key::new("poddisruptionbudgets", "retail-processor");
    assert!(harness.api.store().get(&budget).is_some());
    harness.edit("retail", |spec| spec["processor"]["disruptionBudget"] = json!(false));
    harness.api.until("no budget", |store| store.get(&budget).is_none()).await;
    harness.until_ready("retail").await;
    harness.passes(300).await;
    assert!(harness.api.store().get(&budget).is_none());
}

#[tokio::test(start_paused = true)]
async fn numbers_in_the_errors_of_a_server_do_not_change_the_status() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let fail = |seconds: u32| {
        let mut error = postgres_unreachable();
        error.message += &format!(": no answer in {seconds} s, at 2027-01-15T08:00:{seconds}Z");
        harness.external.state().postgres = Some(error);
    };
    fail(10);
    harness.until("retail", "SchemaReady", "False", "DatabaseUnreachable").await;
    let said = message(&harness, "SchemaReady");
    let reads = || harness.external.state().reads;
    let (writes, before) = (harness.api.writes(), reads());
    for seconds in 11..20 {
        fail(seconds);
        harness.passes(150).await;
    }
    assert!(reads() > before + 5);
    assert_eq!(harness.api.writes(), writes);
    assert_eq!(message(&harness, "SchemaReady"), said);
    // Another error is written.
    harness.external.state().postgres.as_mut().unwrap().message = "no route to host".to_owned();
    let is_written =
        |store: &crate::api::Store| store.get(&pipeline_key("retail")).unwrap().to_string().contains("no route");
    harness.api.until("the other error", is_written).await;
}

#[tokio::test(start_paused = true)]
async fn events_of_one_reason_keep_their_texts() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let is_about = |what: &str| {
        harness.event_texts("retail").iter().any(|text| text.starts_with("applied") && text.contains(what))
    };
    harness.api.change(|store| {
        store.edit(&Key::new("services", "retail-metrics"), |object| object["spec"]["clusterIP"] = json!("10.0.0.1"));
    });
    harness.eventually("the Service", || is_about("metrics Service")).await;
    harness.api.change(|store| {
        store.edit(&Key::new("configmaps", "retail-pipeline"), |object| object["data"]["processor.yaml"] = json!("x"));
    });
    harness.eventually("the ConfigMap", || is_about("ConfigMap")).await;
}

fn pod(status: &Value) -> Value {
    let labels = json!({
        "app.kubernetes.io/name": "retail-pipeline", "app.kubernetes.io/instance": "retail",
        "app.kubernetes.io/component": "processor",
    });
    let spec = json!({"containers": [{"name": "processor"}]});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels}, "spec": spec, "status": status})
}

#[tokio::test(start_paused = true)]
async fn cause_of_pods_that_do_not_start_is_in_the_condition() {
    let harness = Harness::start();
    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "registry/retail:2: not found"}});
    let status = json!({"containerStatuses": [{
        "name": "processor", "image": "registry/retail:2", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
    }]});
    let key = Key::new("pods", "retail-processor-1");
    harness.api.change(|store| {
        store.pods_start = false;
        store.create(&key, pod(&status)).unwrap();
    });
    harness.declare("retail", json!({}));
    let said = |words: &'static str| {
        move |store: &crate::api::Store| {
            store.get(&pipeline_key("retail")).unwrap()["status"].to_string().contains(words)
        }
    };
    harness
        .api
        .until("the image", said("image registry/retail:2 cannot be pulled: registry/retail:2: not found"))
        .await;
    // The status of a pod that waits for a volume shows nothing: its events do.
    let uid = harness.api.change(|store| {
        store.edit(&key, |object| object["status"] = json!({"phase": "Pending"}));
        store.get(&key).unwrap()["metadata"]["uid"].clone()
    });
    let event = json!({
        "metadata": {}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning", "reason": "FailedMount",
        "note": "secret tls not found", "regarding": {"uid": uid},
    });
    harness.api.change(|store| store.create(&Key::new("events", "retail-processor-1.1"), event).unwrap());
    harness.api.until("the event", said("a pod waits (FailedMount): secret tls not found")).await;
    // A complete Deployment costs no requests.
    harness.api.change(|store| {
        store.pods_start = true;
        for name in ["retail-processor", "retail-producer"] {
            store.edit(&Key::new("deployments", name), |object| {
                object["metadata"]["annotations"]["touched"] = json!("1");
            });
        }
    });
    harness.until_ready("retail").await;
    let reads = || harness.api.asked().iter().filter(|asked| asked.resource == "pods").count();
    let before = reads();
    harness.passes(300).await;
    assert_eq!(reads(), before);
}

#[tokio::test(start_paused = true)]
async fn conditions_are_metrics_until_the_pipeline_is_gone() {
    let harness = Harness::start();
    harness.declare("retail", json!({}));
    harness.until_ready("retail").await;
    let line = |kind: &str, status: &str, reason: &str| {
        format!(
            "retail_pipeline_condition{{namespace=\"shop\",pipeline=\"retail\",type=\"{kind}\",status=\"{status}\",reason=\"{reason}\"}} 1"
        )
    };
    let metrics = || harness.context.metrics.render();
    assert!(metrics().contains(&line("Ready", "True", "UpToDate")), "{}", metrics());
    harness.external.state().postgres = Some(postgres_unreachable());
    harness.until("retail", "Ready", "False", "DatabaseUnreachable").await;
    assert!(metrics().contains(&line("Reconciling", "True", "DatabaseUnreachable")), "{}", metrics());
    assert!(!metrics().contains(&line("Ready", "True", "UpToDate")), "{}", metrics());
    harness.api.change(|store| store.delete(&pipeline_key("retail")).unwrap());
    harness.eventually("no series", || !metrics().contains("pipeline=\"retail\"")).await;
}

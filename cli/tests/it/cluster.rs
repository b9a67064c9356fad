//! `retail doctor` with a kubectl that prints the objects of a cluster.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::jiff::Timestamp;
use retail_api::crd;
use serde_json::{Value, json};

use crate::RETAIL;

/// The objects, by the resource that `kubectl get` names; the others do not exist.
struct Cluster {
    resource: Value,
    crd: Value,
    leases: Value,
    pods: Value,
    events: Value,
}

/// Prints the file of a resource. `kubectl` without a cluster has no directory of objects.
const KUBECTL: &str = "#!/bin/sh\ncat \"${0%/*}/$2.json\" 2>/dev/null || \
                       { echo \"Error from server (NotFound): $2 not found\" >&2; exit 1; }\n";

impl Cluster {
    /// A pipeline that is ready, with one pod.
    fn healthy() -> Self {
        let version = json!({"name": "v1alpha1", "served": true, "schema": {"openAPIV3Schema": crd::schema()}});
        Self {
            resource: json!({"metadata": {"name": "shop", "namespace": "shops", "generation": 3}, "spec": {}, "status":
                {"observedGeneration": 3, "conditions": [{"type": "Ready", "status": "True", "reason": "UpToDate", "message": ""}]}}),
            crd: json!({"spec": {"versions": [version]}}),
            leases: json!({"items": [
                {"metadata": {"name": "other", "namespace": "kube-system"}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}},
                {"metadata": {"name": "retail-operator", "namespace": "retail-system", "annotations": {"retailpipeline.dev/watched-namespaces": ""}},
                 "spec": {"holderIdentity": "operator-1", "renewTime": format!("{:.6}", Timestamp::now())}}]}),
            pods: json!({"items": [{"metadata": {"name": "shop-processor-1"}, "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"ready": true}]}}]}),
            events: json!({"items": []}),
        }
    }

    /// The checks of the cluster, as `OUTCOME NAME: DETAIL`.
    fn checks(&self, directory: &Path) -> Vec<String> {
        std::fs::create_dir_all(directory).unwrap();
        let Self { resource, crd, leases, pods, events } = self;
        for (name, object) in [
            ("retailpipelines.retailpipeline.dev", resource),
            ("customresourcedefinitions", crd),
            ("leases", leases),
            ("pods", pods),
            ("events", events),
        ] {
            std::fs::write(directory.join(name).with_added_extension("json"), object.to_string()).unwrap();
        }
        diagnose(directory)
    }
}

/// The checks with a kubectl that prints the files of a directory.
fn diagnose(directory: &Path) -> Vec<String> {
    let kubectl = directory.join("kubectl");
    std::fs::write(&kubectl, KUBECTL).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.join("shop.yaml");
    let yaml = "apiVersion: retailpipeline.dev/v1alpha1\nkind: RetailPipeline\nmetadata: {name: shop}\nspec:\n  kafka: \
                {bootstrapServers: \"127.0.0.1:1\"}\n  topic: {name: t}\n  database: {host: 127.0.0.1, port: 1, name: d}\n";
    std::fs::write(&file, yaml).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    let output = Command::new(RETAIL).args(["doctor", "--json", "-f"]).arg(file).env("PATH", path).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let text = |check: &Value| {
        let [outcome, name, detail] =
            ["outcome", "name", "detail"].map(|field| check[field].as_str().unwrap().to_owned());
        format!("{outcome} {name}: {detail}")
    };
    let of_cluster = ["kubernetes", "crd", "operator", "conditions", "pods"];
    let checks = said["checks"].as_array().unwrap().iter();
    checks.filter(|check| of_cluster.contains(&check["name"].as_str().unwrap())).map(text).collect()
}

fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster").join(name);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

#[test]
fn applied_pipeline_is_checked_in_the_cluster_of_kubectl() {
    let healthy = Cluster::healthy();
    assert_eq!(
        healthy.checks(&directory("healthy")),
        [
            "ok crd: the CRD has the fields of this program",
            "ok operator: operator-1 -n retail-system runs, and has observed generation 3",
            "ok conditions: the resource is Ready",
            "ok pods: 1 run",
        ]
    );
    let mut ill = Cluster::healthy();
    let spec = &mut ill.crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["kafka"]["properties"].as_object_mut().unwrap().remove("tls");
    spec.as_object_mut().unwrap().remove("rollups");
    ill.resource["status"]["observedGeneration"] = json!(2);
    ill.leases["items"][1]["spec"]["renewTime"] = json!("2026-01-01T00:00:00.000000Z");
    ill.resource["status"]["conditions"] = json!([
        {"type": "Ready", "status": "False", "reason": "DatabaseUnreachable", "message": "a part is not ready"},
        {"type": "DatabaseReady", "status": "False", "reason": "DatabaseUnreachable", "message": "cannot reach postgres"}]);
    ill.pods["items"] = json!([
        {"metadata": {"name": "ends", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Pending"}},
        {"metadata": {"name": "shop-processor-1"}, "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}],
         "containerStatuses": [{"ready": false, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no \u{1b}such image"}}}]}}]);
    ill.events["items"] = json!([
        {"lastTimestamp": "2026-01-01T00:00:02Z", "reason": "Failed", "message": "cannot pull"},
        {"lastTimestamp": "2026-01-01T00:00:01Z", "reason": "Scheduled", "message": "old"}]);
    let checks = ill.checks(&directory("ill"));
    let (operator, others) = (checks[1].clone(), [&checks[..1], &checks[2..]].concat());
    assert!(
        operator.starts_with("fail operator: no operator runs: the lease of operator-1 -n retail-system was not"),
        "{operator}"
    );
    assert_eq!(
        others,
        [
            "warn crd: the CRD is older than this program: the API server drops spec.kafka.tls, spec.rollups",
            "fail conditions: DatabaseReady is False (DatabaseUnreachable): cannot reach postgres",
            r"fail pods: shop-processor-1: ImagePullBackOff: no \u{1b}such image; newest event Failed: cannot pull",
        ]
    );
    let mut elsewhere = Cluster::healthy();
    elsewhere.leases["items"][1]["metadata"]["annotations"]["retailpipeline.dev/watched-namespaces"] = json!("a,b");
    assert_eq!(elsewhere.checks(&directory("elsewhere"))[1], "fail operator: no operator watches namespace shops");

    let absent = diagnose(&directory("without-objects"));
    assert_eq!(
        absent,
        ["skip kubernetes: the pipeline is not applied in the cluster of kubectl: Error from server (NotFound): \
                         retailpipelines.retailpipeline.dev not found"]
    );
}

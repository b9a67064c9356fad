//! `spec.verify`: Jobs of the CronJob record proofs and differences.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use retail_e2e::{Case, Cluster, eventually};
use serde_json::json;

/// Starts a Job of the CronJob at once, as `kubectl create job --from` does, and returns whether it succeeded.
async fn verified(case: &Case, name: &str) -> bool {
    let client = &case.cluster.client;
    let cron_jobs = Api::<CronJob>::namespaced(client.clone(), &case.namespace);
    let template = eventually(client, "the CronJob exists", async || {
        cron_jobs.get_opt("shop-verify").await.ok()??.spec.map(|spec| spec.job_template)
    })
    .await;
    let labels = template.metadata.and_then(|metadata| metadata.labels);
    let metadata = ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() };
    let jobs = Api::<Job>::namespaced(client.clone(), &case.namespace);
    let job = Job { metadata, spec: template.spec, status: None };
    jobs.create(&PostParams::default(), &job).await.expect("the Job can be created");
    eventually(client, &format!("the Job {name} of {} ends", case.namespace), async || {
        let conditions = jobs.get(name).await.ok()?.status?.conditions?;
        let ended = conditions.into_iter().filter(|condition| condition.status == "True");
        ended.map(|condition| condition.type_).find_map(|type_| match &*type_ {
            "Complete" => Some(true),
            "Failed" => Some(false),
            _ => None,
        })
    })
    .await
}

#[tokio::test]
async fn jobs_record_a_proof_and_then_a_difference() {
    let cluster = Cluster::connect().await;
    let case = Case::ready(&cluster, "verify", json!({"verify": {"every": "10m"}})).await;
    case.goes_on().await;
    assert!(verified(&case, "equal").await);
    case.says("Verified", "True", "ProofRecorded").await;
    let proof = case.status().await.and_then(|status| status.proof).expect("the proof is reported");
    assert!(proof.number > 0 && proof.hash.len() == 64, "{proof:?}");

    let change = format!("UPDATE \"{}\".dead_letter SET payload = '\\x00' WHERE reason = 'malformed_json'", case.data);
    let changed = cluster.superuser().await.execute(&change, &[]).await.expect("Postgres answers");
    assert!(changed > 0, "the producer writes malformed records");
    assert!(!verified(&case, "different").await);
    case.says("Verified", "False", "DifferencesFound").await;
    case.is_ready().await;

    case.change(json!({"verify": null})).await;
    let cron_jobs = Api::<CronJob>::namespaced(cluster.client.clone(), &case.namespace);
    eventually(&cluster.client, "the CronJob is deleted", async || {
        cron_jobs.get_opt("shop-verify").await.ok()?.is_none().then_some(())
    })
    .await;
    case.end().await;
}

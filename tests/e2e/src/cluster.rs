//! The cluster, and what is done to it as a whole.

use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::process::Command;

use crate::dump::dump;

/// Where the chart is installed.
const OPERATOR_NAMESPACE: &str = "retail-system";

/// The release of the chart, and the name of its Deployment and of its lease.
const OPERATOR: &str = "retail-operator";

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// How often is asked.
const PAUSE: Duration = Duration::from_millis(250);

/// A cluster that everything is on.
#[derive(Clone)]
pub struct Cluster {
    /// As somebody who may do everything.
    pub client: Client,
}

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// After four minutes, with all there is to see in the cluster: `what` did not happen.
pub async fn eventually<T>(client: &Client, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        if Instant::now() > deadline {
            dump(client).await;
            panic!("this did not happen within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Cluster {
    /// The cluster that KUBECONFIG names, whole, whatever a test that failed may have left.
    pub async fn connect() -> Self {
        // Whoever was first has done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster: run this with `make e2e`");
        let cluster = Self { client };
        tokio::join!(cluster.scale_server("kafka", 1), cluster.scale_server("postgres", 1), cluster.scale_operator(2));
        cluster
    }

    /// The names and uids of the operator's pods.
    pub async fn operators(&self) -> Vec<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let ours = ListParams::default().labels("app.kubernetes.io/name=retail-operator");
        pods.list(&ours).await.expect("pods can be listed").items
    }

    /// The pod that leads.
    pub async fn leader(&self) -> Option<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let lease = leases.get_opt(OPERATOR).await.expect("the lease can be read")?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// Deletes a pod, without asking it to end in order.
    pub async fn kill(&self, namespace: &str, pod: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        Api::<Pod>::namespaced(self.client.clone(), namespace)
            .delete(pod, &at_once)
            .await
            .expect("the pod can be deleted");
    }

    /// Has a StatefulSet of the namespace `default` run that many pods, and waits until it does.
    pub async fn scale_server(&self, name: &str, replicas: i32) {
        let sets = Api::<StatefulSet>::namespaced(self.client.clone(), "default");
        let scale = json!({"spec": {"replicas": replicas}});
        sets.patch_scale(name, &PatchParams::default(), &Patch::Merge(scale)).await.expect("it can be scaled");
        eventually(&self.client, &format!("{name} has {replicas} ready pods"), async || {
            let status = sets.get(name).await.ok()?.status?;
            (status.replicas == replicas && status.ready_replicas.unwrap_or(0) == replicas).then_some(())
        })
        .await;
    }

    /// Has that many operators run, and waits until they do.
    pub async fn scale_operator(&self, replicas: i32) {
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let scale = json!({"spec": {"replicas": replicas}});
        deployments
            .patch_scale(OPERATOR, &PatchParams::default(), &Patch::Merge(scale))
            .await
            .expect("it can be scaled");
        eventually(&self.client, &format!("{replicas} operators are ready, and no others are there"), async || {
            let ready = deployments.get(OPERATOR).await.ok()?.status?.ready_replicas.unwrap_or(0);
            (ready == replicas && self.operators().await.len() == replicas as usize).then_some(())
        })
        .await;
    }

    /// Kills one of Kubernetes' own programs, which is started again.
    pub async fn kill_program(&self, name: &str) {
        run(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/cluster"), &["kill", name]).await;
    }

    /// A Postgres session as somebody who may do everything.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        let url = "postgres://postgres:postgres@postgres.default/retail";
        eventually(&self.client, "Postgres lets us in", async || {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            Some(client)
        })
        .await
    }
}

/// Runs a program, and gives what it printed.
///
/// # Panics
///
/// If it fails, with its words.
pub async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| panic!("{program} can be run: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {} failed: {out}{err}", arguments.join(" "));
    out.into_owned()
}

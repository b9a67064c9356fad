//! The cluster: its servers, operators and own programs.

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

/// Namespace of the operator.
const OPERATOR_NAMESPACE: &str = "retail-system";

/// Name of the Helm release, the Deployment and the lease.
const OPERATOR: &str = "retail-operator";

/// Timeout of a wait. A busy machine needs far less.
const PATIENCE: Duration = Duration::from_secs(240);

/// Interval between two requests.
const PAUSE: Duration = Duration::from_millis(250);

/// A cluster with operator, Kafka and Postgres.
#[derive(Clone)]
pub struct Cluster {
    /// A client with the rights of an administrator.
    pub client: Client,
}

/// Repeats `ask` until it returns a value.
///
/// # Panics
///
/// After four minutes, with `what` in the message and the state of the cluster on standard error.
pub async fn eventually<T>(client: &Client, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        if Instant::now() > deadline {
            dump(client).await;
            panic!("timeout after {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Cluster {
    /// Connects to the cluster of KUBECONFIG, and restores the servers and operators that a failed test may have stopped.
    pub async fn connect() -> Self {
        // An error means that another test of this process has installed the provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names a cluster: run this with `make e2e`");
        let cluster = Self { client };
        tokio::join!(cluster.scale_server("kafka", 1), cluster.scale_server("postgres", 1), cluster.scale_operator(2));
        cluster
    }

    /// Returns the pods of the operator.
    pub async fn operators(&self) -> Vec<Pod> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let ours = ListParams::default().labels("app.kubernetes.io/name=retail-operator");
        pods.list(&ours).await.expect("pods can be listed").items
    }

    /// Returns the holder of the lease.
    pub async fn leader(&self) -> Option<String> {
        let leases = Api::<Lease>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let lease = leases.get_opt(OPERATOR).await.expect("the lease can be read")?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// Kills a pod: deletes it without a grace period.
    pub async fn kill(&self, namespace: &str, pod: &str) {
        let at_once = DeleteParams::default().grace_period(0);
        Api::<Pod>::namespaced(self.client.clone(), namespace)
            .delete(pod, &at_once)
            .await
            .expect("the pod can be deleted");
    }

    /// Scales a StatefulSet of the namespace `default`, and waits until its pods are ready.
    pub async fn scale_server(&self, name: &str, replicas: i32) {
        let sets = Api::<StatefulSet>::namespaced(self.client.clone(), "default");
        let scale = json!({"spec": {"replicas": replicas}});
        sets.patch_scale(name, &PatchParams::default(), &Patch::Merge(scale)).await.expect("the object can be scaled");
        eventually(&self.client, &format!("{name} has {replicas} ready pods"), async || {
            let status = sets.get(name).await.ok()?.status?;
            (status.replicas == replicas && status.ready_replicas.unwrap_or(0) == replicas).then_some(())
        })
        .await;
    }

    /// Scales the operator, and waits until its pods are ready.
    pub async fn scale_operator(&self, replicas: i32) {
        let deployments = Api::<Deployment>::namespaced(self.client.clone(), OPERATOR_NAMESPACE);
        let scale = json!({"spec": {"replicas": replicas}});
        deployments
            .patch_scale(OPERATOR, &PatchParams::default(), &Patch::Merge(scale))
            .await
            .expect("the object can be scaled");
        eventually(&self.client, &format!("exactly {replicas} operators exist and are ready"), async || {
            let ready = deployments.get(OPERATOR).await.ok()?.status?.ready_replicas.unwrap_or(0);
            (ready == replicas && self.operators().await.len() == replicas as usize).then_some(())
        })
        .await;
    }

    /// Kills a program of Kubernetes, which is started again.
    pub async fn kill_program(&self, name: &str) {
        run(concat!(env!("CARGO_MANIFEST_DIR"), "/../../dev/cluster"), &["kill", name]).await;
    }

    /// Opens a Postgres session as superuser.
    pub async fn superuser(&self) -> tokio_postgres::Client {
        let url = "postgres://postgres:postgres@postgres.default/retail";
        eventually(&self.client, "Postgres accepts a superuser session", async || {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.ok()?;
            tokio::spawn(connection);
            Some(client)
        })
        .await
    }
}

/// Runs a program, and returns its standard output.
///
/// # Panics
///
/// If it fails, with its output.
pub async fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().await;
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {} failed: {out}{err}", arguments.join(" "));
    out.into_owned()
}

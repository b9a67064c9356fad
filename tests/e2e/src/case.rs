//! A pipeline in its own namespace.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use retail_api::resource::RetailPipeline;
use retail_api::status::RetailPipelineStatus;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::cluster::{Cluster, eventually};

/// The pods of one component, by uid. Equal values mean that no pod was replaced.
pub type Pods = BTreeMap<String, String>;

/// A pipeline in its own namespace, which admits only pods of the restricted Pod Security Standard.
pub struct Case {
    /// The cluster.
    pub cluster: Cluster,
    /// The namespace.
    pub namespace: String,
    /// The name of the pipeline.
    pub name: String,
    /// Name of topic and schema, unique among all tests and runs.
    pub data: String,
    /// User and password for Postgres.
    pub login: (String, String),
    /// Additional environment variables for `retail verify`.
    pub environment: Vec<(&'static str, String)>,
}

impl Case {
    /// Creates a namespace with a Secret and without a pipeline.
    pub async fn new(cluster: &Cluster, name: &str) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").as_millis();
        let case = Self {
            cluster: cluster.clone(),
            namespace: format!("e2e-{name}-{since}"),
            name: "shop".to_owned(),
            data: format!("e2e_{}_{since}", name.replace('-', "_")),
            login: ("retail".to_owned(), "retail".to_owned()),
            environment: Vec::new(),
        };
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": case.namespace, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted", "retail-e2e": "true",
            }},
        });
        create::<Namespace>(&Api::all(cluster.client.clone()), namespace).await;
        let (username, password) = &case.login;
        case.secret("login", json!({"username": username, "password": password})).await;
        case
    }

    /// Creates a Secret in the namespace.
    pub async fn secret(&self, name: &str, data: Value) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        create::<Secret>(&Api::namespaced(self.cluster.client.clone(), &self.namespace), secret).await;
    }

    /// Creates the pipeline: four partitions, and 300 purchases per second with all kinds of faults. `more` is merged into the
    /// spec.
    pub async fn declare(&self, more: Value) {
        let mut spec = json!({
            "kafka": {"bootstrapServers": "kafka.default:9092"},
            "topic": {"name": self.data, "partitions": 4},
            "trigger": "500ms",
            "database": {"host": "postgres.default", "name": "retail", "schema": self.data, "secret": {"name": "login"}},
            "producer": {
                "eventsPerSecond": 300, "speed": 60,
                "faults": {"tooLate": 2, "malformed": 1, "future": 1, "duplicated": 1},
            },
            "printRows": false,
        });
        merge(&mut spec, more);
        let resource = json!({
            "apiVersion": "retailpipeline.dev/v1alpha1", "kind": "RetailPipeline",
            "metadata": {"name": self.name}, "spec": spec,
        });
        create(&self.pipelines(), resource).await;
    }

    /// Creates a namespace and a pipeline, and waits until it is Ready.
    pub async fn ready(cluster: &Cluster, name: &str, more: Value) -> Self {
        let case = Self::new(cluster, name).await;
        case.declare(more).await;
        case.is_ready().await;
        case
    }

    /// Returns the API for pipelines of the namespace.
    pub fn pipelines(&self) -> Api<RetailPipeline> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }

    /// Changes the pipeline by a merge patch of its spec.
    pub async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.pipelines().patch(&self.name, &PatchParams::default(), &patch).await.expect("the pipeline can be changed");
    }

    /// Returns the status of the pipeline.
    pub async fn status(&self) -> Option<RetailPipelineStatus> {
        self.pipelines().get_opt(&self.name).await.ok().flatten()?.status
    }

    /// Waits until a condition has one of the statuses in `status`, separated by `|`, and a reason that begins with `reason`, for
    /// the current generation of the spec.
    pub async fn says(&self, condition: &str, status: &str, reason: &str) {
        let what = format!("{}/{} has the condition {condition}={status} {reason}", self.namespace, self.name);
        eventually(&self.cluster.client, &what, async || {
            let pipeline = self.pipelines().get_opt(&self.name).await.ok().flatten()?;
            let said = pipeline.status?;
            let about_this = said.observed_generation == pipeline.metadata.generation;
            let found = said.conditions.iter().find(|said| said.type_ == condition)?;
            (about_this && status.split('|').any(|status| found.status == status) && found.reason.starts_with(reason))
                .then_some(())
        })
        .await;
    }

    /// Waits until the pipeline is Ready.
    pub async fn is_ready(&self) {
        self.says("Ready", "True", "").await;
    }

    /// Returns the pods of a component, without terminating ones.
    pub async fn pods(&self, component: &str) -> Pods {
        let ours = format!("app.kubernetes.io/instance={},app.kubernetes.io/component={component}", self.name);
        let pods = Api::<Pod>::namespaced(self.cluster.client.clone(), &self.namespace);
        let found = pods.list(&ListParams::default().labels(&ours)).await.expect("pods can be listed");
        let stay = found.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        stay.map(|pod| (pod.metadata.uid.unwrap_or_default(), pod.metadata.name.unwrap_or_default())).collect()
    }

    /// Waits until a component has `count` pods, all of them new since `before`, and the pipeline is Ready.
    pub async fn replaced(&self, component: &str, before: &Pods, count: usize) -> Pods {
        let what = format!("{}/{component} has {count} new pods", self.namespace);
        let pods = eventually(&self.cluster.client, &what, async || {
            let pods = self.pods(component).await;
            (pods.len() == count && pods.keys().all(|uid| !before.contains_key(uid))).then_some(pods)
        })
        .await;
        self.is_ready().await;
        pods
    }

    /// Returns the number of consumed offsets, from the tables of the pipeline.
    pub async fn judged(&self) -> Option<i64> {
        let database = self.cluster.superuser().await;
        let sql = format!("SELECT sum(next_offset - start_offset)::bigint FROM \"{}\".partition_progress", self.data);
        database.query_one(&sql, &[]).await.ok()?.get(0)
    }

    /// Waits until the pipeline has consumed 1,000 more records.
    pub async fn goes_on(&self) {
        let before = self.judged().await.unwrap_or(0);
        eventually(
            &self.cluster.client,
            &format!("{} consumes more than {before} records", self.namespace),
            async || (self.judged().await? > before + 1000).then_some(()),
        )
        .await;
    }

    /// Waits until the pipeline has consumed more records, then runs `retail verify`.
    ///
    /// # Panics
    ///
    /// If a row, a counter or a dead letter differs from the replay.
    pub async fn is_exact(&self) {
        self.goes_on().await;
        self.verify().await;
    }

    /// Runs `retail verify`, which replays the topic and compares the result.
    ///
    /// # Panics
    ///
    /// If a row, a counter or a dead letter differs from the replay.
    pub async fn verify(&self) {
        let mut pipeline = self.pipelines().get(&self.name).await.expect("the pipeline exists");
        (pipeline.status, pipeline.metadata.managed_fields) = (None, None);
        let metadata = json!({"name": self.name, "namespace": self.namespace});
        let mut file = serde_json::to_value(&pipeline).expect("a pipeline is JSON");
        file["metadata"] = metadata;
        let path = std::env::temp_dir().join(format!("{}.yaml", self.data));
        std::fs::write(&path, file.to_string()).expect("a file can be written");
        let (user, password) = &self.login;
        // While a kubelet restarts, the pods of its node are not ready and their Services have no address.
        let output = eventually(&self.cluster.client, "retail verify reaches Kafka and Postgres", async || {
            let verify = Command::new(retail())
                .args(["verify", "-f"])
                .arg(&path)
                .env("PGUSER", user)
                .env("PGPASSWORD", password)
                .envs(self.environment.iter().cloned())
                .output();
            let output = verify.await.expect("retail can be run");
            (!String::from_utf8_lossy(&output.stderr).contains("cannot reach")).then_some(output)
        })
        .await;
        std::fs::remove_file(&path).expect("the file exists");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the rows of {} differ from the topic: {out}{err}", self.namespace);
    }

    /// Deletes the pipeline, and waits until it no longer exists.
    pub async fn delete(&self) {
        self.pipelines().delete(&self.name, &DeleteParams::default()).await.expect("the object can be deleted");
        eventually(&self.cluster.client, &format!("{} is deleted", self.namespace), async || {
            self.pipelines().get_opt(&self.name).await.ok()?.is_none().then_some(())
        })
        .await;
    }

    /// Deletes the namespace without waiting. Kafka and Postgres of the cluster keep the data.
    pub async fn end(&self) {
        let namespaces = Api::<Namespace>::all(self.cluster.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.expect("the object can be deleted");
    }

    /// Deletes the namespace, and waits until it no longer exists.
    pub async fn is_gone(&self) {
        self.end().await;
        let namespaces = Api::<Namespace>::all(self.cluster.client.clone());
        eventually(&self.cluster.client, &format!("{} is deleted", self.namespace), async || {
            namespaces.get_opt(&self.namespace).await.ok()?.is_none().then_some(())
        })
        .await;
    }
}

/// Returns the path of the program built by `make e2e`.
fn retail() -> PathBuf {
    std::env::var_os("RETAIL").expect("RETAIL names the program: run this with `make e2e`").into()
}

async fn create<K>(api: &Api<K>, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("the JSON is a valid object");
    api.create(&PostParams::default(), &object).await.expect("the object can be created");
}

/// Merges objects recursively, and replaces other values.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

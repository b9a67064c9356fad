//! The harness: the operator with an API server in memory, in virtual time, and a Secret for its pipelines.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use retail_operator::settings::Settings;
use retail_operator::tenants::Tenants;
use retail_operator::watch::controller::{self, Context};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::api::{Api, Fault, Key, PATIENCE, Store};
use crate::fake_systems::FakeSystems;

/// The clock of a test: a fixed start plus virtual time.
pub(crate) fn now() -> Timestamp {
    thread_local!(static BEGAN: OnceCell<Instant> = const { OnceCell::new() });
    let passed = BEGAN.with(|began| began.get_or_init(Instant::now).elapsed());
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::try_from(passed).unwrap()
}

/// The operator and its environment.
pub(crate) struct Harness {
    pub(crate) api: Api,
    pub(crate) external: FakeSystems,
    pub(crate) context: Context<FakeSystems>,
    operator: JoinHandle<()>,
}

impl Harness {
    /// An operator of all namespaces, with the pipelines' Secret in each.
    pub(crate) fn start() -> Self {
        Self::watching(&[])
    }

    /// An operator of some namespaces.
    pub(crate) fn watching(namespaces: &[&str]) -> Self {
        let (api, external) = (Api::default(), FakeSystems::default());
        api.change(|store| {
            for namespace in ["shop", "office", "attic"] {
                store.create(&Key::new("secrets", &format!("{namespace}/retail-db")), secret("wonderful")).unwrap();
                store.create(&Key::new("namespaces", &format!("/{namespace}")), json!({})).unwrap();
            }
        });
        let namespaces = namespaces.iter().map(ToString::to_string).collect();
        let context = Context { namespaces, ..context(&api, external.clone()) };
        let operator = operate(&context);
        Self { api, external, context, operator }
    }

    /// Stops the operator and starts another one with an empty cache.
    pub(crate) fn restart(&mut self) {
        self.operator.abort();
        self.context.readiness = Arc::default();
        self.operator = operate(&self.context);
    }

    /// The watch of pipelines delivers no more changes.
    pub(crate) fn watches_lag(&self) {
        self.api.fail("watch", "retailpipelines", 1_000_000, Fault::Code(503));
        self.api.change(Store::close_watches);
    }

    /// Creates a pipeline. Fields of `spec` replace the default ones.
    pub(crate) fn declare(&self, name: &str, spec: Value) {
        self.api.change(|store| store.create(&pipeline_key(name), pipeline(name, spec)).unwrap());
    }

    /// Edits a pipeline's spec.
    pub(crate) fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        self.api.change(|store| store.edit(&pipeline_key(name), |object| edit(&mut object["spec"])));
    }

    /// A condition of a pipeline: its status and its reason.
    pub(crate) fn condition(&self, name: &str, condition_type: &str) -> (String, String) {
        condition(&self.api.store(), name, condition_type).unwrap_or_default()
    }

    /// Waits for a condition to have a status and a reason.
    pub(crate) async fn until(&self, name: &str, condition_type: &str, status: &str, reason: &str) {
        let expected = (status.to_owned(), reason.to_owned());
        let what = format!("{condition_type} of {name} is {status}, {reason}");
        self.api.until(&what, |store| condition(store, name, condition_type).as_ref() == Some(&expected)).await;
    }

    /// Waits for a pipeline to be ready.
    pub(crate) async fn until_ready(&self, name: &str) {
        self.until(name, "Ready", "True", "UpToDate").await;
    }

    /// Advances virtual time, which takes no real time.
    pub(crate) async fn passes(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Waits for a fact that is not in the API server.
    pub(crate) async fn eventually(&self, what: &str, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() {
                self.passes(1).await;
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "timeout: {what}");
    }

    /// Waits until the operator is unready for a reason, or ready.
    pub(crate) async fn until_unready(&self, what: Option<&str>) {
        let says = || self.context.readiness.unready();
        let is_so = || match (what, says()) {
            (None, said) => said.is_none(),
            (Some(what), said) => said.is_some_and(|said| said.contains(what)),
        };
        self.eventually(what.unwrap_or("ready"), is_so).await;
    }

    /// An object of the cluster.
    pub(crate) fn object(&self, resource: &str, name: &str) -> Option<Value> {
        self.api.store().get(&Key::new(resource, name)).cloned()
    }

    /// The reasons of all events about a pipeline, in order.
    pub(crate) fn events(&self, name: &str) -> Vec<String> {
        self.events_by(name, "reason")
    }

    /// The messages of all events about a pipeline, in order.
    pub(crate) fn event_texts(&self, name: &str) -> Vec<String> {
        self.events_by(name, "note")
    }

    fn events_by(&self, name: &str, field: &str) -> Vec<String> {
        let store = self.api.store();
        let mut events: Vec<(u64, String)> = store
            .all()
            .iter()
            .filter(|(key, object)| key.resource == "events" && object["regarding"]["name"] == name)
            .map(|(_, object)| {
                let uid = object["metadata"]["uid"].as_str().unwrap().trim_start_matches("uid-").parse().unwrap();
                (uid, object[field].as_str().unwrap().to_owned())
            })
            .collect();
        events.sort();
        events.into_iter().map(|(_, text)| text).collect()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.operator.abort();
    }
}

fn operate(context: &Context<FakeSystems>) -> JoinHandle<()> {
    tokio::spawn(controller::run(context.clone(), std::future::pending()))
}

pub(crate) fn context<O>(api: &Api, external: O) -> Context<O> {
    Context {
        client: api.client(),
        watch_client: api.watching_client(),
        namespaces: BTreeSet::new(),
        identity: "operator-1".to_owned(),
        external,
        settings: settings(),
        metrics: Arc::default(),
        readiness: Arc::default(),
        now,
    }
}

pub(crate) fn settings() -> Settings {
    Settings { image: "retail-pipeline:test".to_owned(), class: None, lease: None, tenants: Tenants::default() }
}

pub(crate) fn pipeline_key(name: &str) -> Key {
    Key::new("retailpipelines", name)
}

pub(crate) fn secret(password: &str) -> Value {
    let base64 = |text: &str| json!(k8s_openapi::ByteString(text.as_bytes().to_vec()));
    json!({"apiVersion": "v1", "kind": "Secret", "data": {"username": base64("retail"), "password": base64(password)}})
}

/// A pipeline with all components.
pub(crate) fn pipeline(name: &str, spec: Value) -> Value {
    let mut pipeline = json!({
        "apiVersion": "retailpipeline.dev/v1alpha1",
        "kind": "RetailPipeline",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "kafka": {"bootstrapServers": "kafka:9092"},
            "topic": {"name": name.replace('/', "-")},
            "database": {"host": "postgres", "name": "retail", "secret": {"name": "retail-db"}},
            "producer": {"eventsPerSecond": 10},
            "processor": {"replicas": 2},
        },
    });
    if let Value::Object(fields) = spec {
        pipeline["spec"].as_object_mut().unwrap().extend(fields);
    }
    pipeline
}

fn condition(store: &Store, name: &str, condition_type: &str) -> Option<(String, String)> {
    let object = store.get(&pipeline_key(name))?;
    let conditions = object["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == condition_type)?;
    Some((condition["status"].as_str()?.to_owned(), condition["reason"].as_str()?.to_owned()))
}

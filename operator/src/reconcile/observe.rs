//! Observes the state of a pipeline: its objects from the watches, everything else by requests. Writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use retail_api::Pipeline;
use retail_kafka::{KafkaConnection, KafkaError};
use retail_registry::{RegistryConnection, RegistryError};
use retail_store::progress::Progress;
use retail_store::{DatabaseConnection, DatabaseError};

use crate::external::address::with_qualified_hosts;
use crate::external::credentials::{Credentials, SecretProblem};
use crate::external::guarded::{Asker, GuardedSystems};
use crate::external::inquiry::Known;
use crate::external::secrets::{self, Connections};
use crate::external::server_health::{PROMPT, Server};
use crate::external::systems::{ExternalSystems, ObservedTopic};
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::pod_reader::pod_problems;
use crate::reconcile::question::Question;
use crate::reconcile::turn::Turn;
use crate::reconcile::validate::{Invalid, Valid};
use crate::resources::cached_object::CachedObject;
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;
use crate::tenants::Tenants;

/// The stores of the watches, by plural of the kind.
pub(crate) type Children = BTreeMap<&'static str, Store<CachedObject>>;

/// The children of a pipeline, from the watches, with the API server's last answers.
pub(crate) fn children(seen: &Children, meta: &PipelineMeta, cache: &ReconcileCache) -> BTreeMap<Child, LiveObject> {
    let mut found = BTreeMap::new();
    for child in Child::ALL {
        let key = ObjectRef::new_with(&child.name(&meta.name), child.resource()).within(&meta.namespace);
        let Some(object) = seen.get(child.plural()).and_then(|store| store.get(&key)) else { continue };
        // An object with the same name and another owner is detected when the declaration is applied.
        if object.owner() == Some(&meta.uid) {
            found.insert(child, LiveObject::new(object.text().clone(), cache.answer(&meta.uid, child)));
        }
    }
    found
}

/// Why a pipeline cannot be observed.
pub(crate) enum ObserveError {
    /// A request to the API server failed.
    Api(kube::Error),
    /// A request to another server panicked with this message.
    Panicked(String),
}

/// The clients and the pipeline of one observation.
pub(crate) struct Observer<'a, O> {
    /// Client of the API server.
    pub(crate) client: &'a Client,
    /// Kafka and Postgres.
    pub(crate) external: &'a Arc<GuardedSystems<O>>,
    /// State kept between passes.
    pub(crate) cache: &'a ReconcileCache,
    /// The resource.
    pub(crate) meta: &'a PipelineMeta,
    /// The result of its validation.
    pub(crate) validated: &'a Arc<Result<Valid, Invalid>>,
    /// The pipeline as the sender of requests.
    pub(crate) asker: &'a Asker,
    /// The turn of the pass.
    pub(crate) turn: &'a Turn<'a>,
    /// The servers that the namespace may use.
    pub(crate) tenants: &'a Tenants,
}

impl<O: ExternalSystems> Observer<'_, O> {
    /// Observes the dependencies of a valid pipeline: Secrets, topic, schema, namespace.
    pub(crate) async fn observe(
        &self,
        pipeline: &Pipeline,
        children: BTreeMap<Child, LiveObject>,
    ) -> Result<(ObservedState, Connections), ObserveError> {
        let Self { client, cache, meta, .. } = *self;
        let namespace_terminating = match meta.deleting_for {
            Some(_) => namespace_terminating(client, &meta.namespace).await.map_err(ObserveError::Api)?,
            None => false,
        };
        let seen = with_qualified_hosts(pipeline);
        let secrets = secrets::read(client, &cache.secrets, &meta.namespace, pipeline).await;
        let secrets = secrets.map_err(ObserveError::Api)?;
        let (kafka_login, kafka) = secrets.kafka(&seen);
        let (database_login, _) = self.allowed(secrets.database(&seen));
        let (owner_login, database) = self.allowed(secrets.owner(&seen));
        let owner_login = if seen.database.owner_secret.is_some() { owner_login } else { Credentials::NotNamed };
        let (registry_login, registry) = secrets.registry(&seen);
        let mut observed = ObservedState {
            kafka_login,
            database_login,
            owner_login,
            registry_login,
            pod_problems: pod_problems(client, meta, &children).await,
            children,
            namespace_terminating,
            ..ObservedState::empty()
        };
        // The deletion of a pipeline does not depend on the state of topic and schema.
        if meta.deleting_for.is_none() {
            let answers = future::join3(
                self.topic(kafka.as_ref()),
                self.schema(database.as_ref()),
                self.registry(registry.as_ref()),
            );
            let (topic, schema, registry) = self.turn.wait_for(answers).await;
            (observed.topic, observed.is_current.topic) = observation(topic)?;
            (observed.schema, observed.is_current.schema) = observation(schema)?;
            // Nothing is changed because of a registry's answer, so that an earlier one is as good.
            (observed.registry, _) = observation(registry)?;
        }
        Ok((observed, Connections { kafka, database }))
    }

    /// Refuses the server of a connection URI, which only the Secret contains.
    fn allowed(
        &self,
        (login, connection): (Credentials, Option<DatabaseConnection>),
    ) -> (Credentials, Option<DatabaseConnection>) {
        let refused = connection.as_ref().and_then(|connection| {
            self.tenants.refuses_server(&self.meta.namespace, connection.server_addresses().split(','))
        });
        match refused {
            Some(refused) => (Credentials::Unusable(SecretProblem::Invalid(refused)), None),
            None => (login, connection),
        }
    }

    async fn topic(&self, kafka: Option<&KafkaConnection>) -> Option<Known<Result<Option<ObservedTopic>, KafkaError>>> {
        let server = self.external.kafka(kafka?);
        let send = || {
            let (external, server, asker) = (Arc::clone(self.external), Arc::clone(&server), self.asker.clone());
            let validated = Arc::clone(self.validated);
            async move {
                let valid = Result::as_ref(&validated).expect("only a valid pipeline is observed");
                external.observe_topic(&asker, &server, &valid.pipeline.topic).await
            }
        };
        let question = Question::new(&server, self.validated);
        let (uid, wake, patience) = (&self.meta.uid, &self.asker.wake, patience(&server));
        Some(self.cache.topics.ask(uid, question, Question::has_server_of, patience, wake, send).await)
    }

    async fn schema(
        &self,
        database: Option<&DatabaseConnection>,
    ) -> Option<Known<Result<Option<Progress>, DatabaseError>>> {
        let database = database?;
        let server = self.external.database(database);
        let send = || {
            let (external, server, asker) = (Arc::clone(self.external), Arc::clone(&server), self.asker.clone());
            let (validated, database) = (Arc::clone(self.validated), database.clone());
            async move {
                let valid = Result::as_ref(&validated).expect("only a valid pipeline is observed");
                external.observe_schema(&asker, &server, &database, &valid.pipeline).await
            }
        };
        let question = Question::new(&server, self.validated);
        let (uid, wake, patience) = (&self.meta.uid, &self.asker.wake, patience(&server));
        Some(self.cache.schemas.ask(uid, question, Question::has_server_of, patience, wake, send).await)
    }

    async fn registry(&self, registry: Option<&RegistryConnection>) -> Option<Known<Result<(), RegistryError>>> {
        let server = self.external.registry(registry?);
        let send = || {
            let (external, server, asker) = (Arc::clone(self.external), Arc::clone(&server), self.asker.clone());
            async move { external.observe_registry(&asker, &server).await }
        };
        let question = Question::new(&server, self.validated);
        let (uid, wake, patience) = (&self.meta.uid, &self.asker.wake, patience(&server));
        Some(self.cache.registries.ask(uid, question, Question::has_server_of, patience, wake, send).await)
    }
}

/// How long a pass waits for an answer: not at all, if no prompt one is expected.
fn patience<C, E: Clone>(server: &Server<C, E>) -> Duration {
    if server.is_prompt() { PROMPT } else { Duration::ZERO }
}

/// The observation, and whether it is current.
fn observation<T, E>(known: Option<Known<Result<T, E>>>) -> Result<(Observation<T, E>, bool), ObserveError> {
    let (answer, is_current) = match known {
        None => return Ok((Observation::NotRequested, true)),
        Some(Known::Nothing) => return Ok((Observation::Waiting, false)),
        Some(Known::Panicked(panic)) => return Err(ObserveError::Panicked(panic)),
        Some(Known::Outdated(answer)) => (answer, false),
        Some(Known::Current(answer)) => (answer, true),
    };
    let observation = match answer {
        Ok(seen) => Observation::Observed(seen),
        Err(error) => Observation::Failed(error),
    };
    Ok((observation, is_current))
}

async fn namespace_terminating(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        // Without this permission, the longer deadline applies.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        namespace => Ok(namespace?.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
    }
}

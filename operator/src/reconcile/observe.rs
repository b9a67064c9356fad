//! Observes the state of a pipeline: its objects from the watches, everything else by requests. Writes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use retail_api::Pipeline;

use crate::external::address::with_qualified_hosts;
use crate::external::credentials::Credentials;
use crate::external::secrets::{self, Connections, SecretCache};
use crate::external::systems::ExternalSystems;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::pod_reader::pod_problems;
use crate::resources::cached_object::CachedObject;
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

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

/// Observes the dependencies of a valid pipeline: Secrets, topic, schema, namespace.
pub(crate) async fn observe<O: ExternalSystems>(
    client: &Client,
    external: &O,
    recent: &SecretCache,
    meta: &PipelineMeta,
    pipeline: &Pipeline,
    children: BTreeMap<Child, LiveObject>,
) -> Result<(ObservedState, Connections), kube::Error> {
    let namespace_terminating = match meta.deleting_for {
        Some(_) => namespace_terminating(client, &meta.namespace).await?,
        None => false,
    };
    let seen = with_qualified_hosts(pipeline);
    let secrets = secrets::read(client, recent, &meta.namespace, pipeline).await?;
    let (kafka_login, kafka) = secrets.kafka(&seen);
    let (database_login, _) = secrets.database(&seen);
    let (owner_login, database) = secrets.owner(&seen);
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
        (observed.topic, observed.schema, observed.registry) = tokio::join!(
            async {
                match &kafka {
                    Some(kafka) => observation(external.observe_topic(kafka, &pipeline.topic).await),
                    None => Observation::NotRequested,
                }
            },
            async {
                match &database {
                    Some(database) => observation(external.observe_schema(database, pipeline).await),
                    None => Observation::NotRequested,
                }
            },
            async {
                match &registry {
                    Some(registry) => observation(external.observe_registry(registry).await),
                    None => Observation::NotRequested,
                }
            }
        );
    }
    Ok((observed, Connections { kafka, database }))
}

fn observation<T, E>(result: Result<T, E>) -> Observation<T, E> {
    match result {
        Ok(seen) => Observation::Observed(seen),
        Err(error) => Observation::Failed(error),
    }
}

async fn namespace_terminating(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        // Without this permission, the longer deadline applies.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        namespace => Ok(namespace?.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
    }
}

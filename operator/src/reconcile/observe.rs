//! Looks at the world. The pipeline's objects come from watches, the rest is asked for; nothing is written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use retail_api::Pipeline;

use crate::external::address::with_qualified_hosts;
use crate::external::secrets::{self, Connections, SecretCache};
use crate::external::systems::ExternalSystems;
use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::resources::cached_object::CachedObject;
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

/// The objects that the watches have seen, by kind in a URL.
pub type Children = BTreeMap<&'static str, Store<CachedObject>>;

/// The children of a pipeline, as the watches have them and as they were answered last.
pub fn children(seen: &Children, meta: &PipelineMeta, cache: &ReconcileCache) -> BTreeMap<Child, LiveObject> {
    let mut found = BTreeMap::new();
    for child in Child::ALL {
        let key = ObjectRef::new_with(&child.name(&meta.name), child.resource()).within(&meta.namespace);
        let Some(object) = seen.get(child.plural()).and_then(|store| store.get(&key)) else { continue };
        // What has the name and our label, and another owner, is found by whoever applies.
        if object.owner() == Some(&meta.uid) {
            found.insert(child, LiveObject::new(object.text().clone(), cache.answer(&meta.uid, child)));
        }
    }
    found
}

/// Looks at all that a valid pipeline stands on.
pub async fn observe<O: ExternalSystems>(
    client: &Client,
    external: &O,
    recent: &SecretCache,
    meta: &PipelineMeta,
    pipeline: &Pipeline,
    children: BTreeMap<Child, LiveObject>,
) -> Result<(ObservedState, Connections), kube::Error> {
    let namespace_ends = match meta.deleting_for {
        Some(_) => namespace_ends(client, &meta.namespace).await?,
        None => false,
    };
    let seen = with_qualified_hosts(pipeline);
    let secrets = secrets::read(client, recent, &meta.namespace, pipeline).await?;
    let (kafka_login, kafka) = secrets.kafka(&seen);
    let (database_login, database) = secrets.database(&seen);
    let mut observed =
        ObservedState { kafka_login, database_login, children, namespace_ends, ..ObservedState::empty() };
    // While the pipeline goes, it does not matter what topic and schema are like.
    if meta.deleting_for.is_none() {
        (observed.topic, observed.schema) = tokio::join!(
            async {
                match &kafka {
                    Some(kafka) => sight(external.observe_topic(kafka, &pipeline.topic).await),
                    None => Observation::NotRequested,
                }
            },
            async {
                match &database {
                    Some(database) => sight(external.observe_schema(database, pipeline).await),
                    None => Observation::NotRequested,
                }
            }
        );
    }
    Ok((observed, Connections { kafka, database }))
}

fn sight<T, E>(result: Result<T, E>) -> Observation<T, E> {
    match result {
        Ok(seen) => Observation::Observed(seen),
        Err(error) => Observation::Failed(error),
    }
}

async fn namespace_ends(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        // Then it is tried for as long as elsewhere.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        namespace => Ok(namespace?.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
    }
}

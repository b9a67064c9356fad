//! Looks at the world. The pipeline's objects come from watches, the rest is asked for; nothing is written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client};
use retail_api::Pipeline;

use crate::external::address::seen_from_elsewhere;
use crate::external::secrets::{self, Connections, Recent};
use crate::external::systems::Outside;
use crate::reconcile::cache::Memory;
use crate::reconcile::observed_state::{Sight, World};
use crate::reconcile::pipeline_meta::Subject;
use crate::resources::cached_object::Watched;
use crate::resources::difference::Live;
use crate::resources::names::Child;

/// The objects that the watches have seen, by kind in a URL.
pub type Children = BTreeMap<&'static str, Store<Watched>>;

/// The children of a pipeline, as the watches have them and as they were answered last.
pub fn children(seen: &Children, subject: &Subject, memory: &Memory) -> BTreeMap<Child, Live> {
    let mut found = BTreeMap::new();
    for child in Child::ALL {
        let key = ObjectRef::new_with(&child.name(&subject.name), child.resource()).within(&subject.namespace);
        let Some(object) = seen.get(child.plural()).and_then(|store| store.get(&key)) else { continue };
        // What has the name and our label, and another owner, is found by whoever applies.
        if object.owner() == Some(&subject.uid) {
            found.insert(child, Live::new(object.text().clone(), memory.answer(&subject.uid, child)));
        }
    }
    found
}

/// Looks at all that a valid pipeline stands on.
pub async fn observe<O: Outside>(
    client: &Client,
    outside: &O,
    recent: &Recent,
    subject: &Subject,
    pipeline: &Pipeline,
    children: BTreeMap<Child, Live>,
) -> Result<(World, Connections), kube::Error> {
    let namespace_ends = match subject.deleting_for {
        Some(_) => namespace_ends(client, &subject.namespace).await?,
        None => false,
    };
    let seen = seen_from_elsewhere(pipeline);
    let secrets = secrets::read(client, recent, &subject.namespace, pipeline).await?;
    let (kafka_login, kafka) = secrets.kafka(&seen);
    let (database_login, database) = secrets.database(&seen);
    let mut world = World { kafka_login, database_login, children, namespace_ends, ..World::empty() };
    // While the pipeline goes, it does not matter what topic and schema are like.
    if subject.deleting_for.is_none() {
        (world.topic, world.schema) = tokio::join!(
            async {
                match &kafka {
                    Some(kafka) => sight(outside.topic(kafka, &pipeline.topic).await),
                    None => Sight::NotAsked,
                }
            },
            async {
                match &database {
                    Some(database) => sight(outside.schema(database, pipeline).await),
                    None => Sight::NotAsked,
                }
            }
        );
    }
    Ok((world, Connections { kafka, database }))
}

fn sight<T, E>(result: Result<T, E>) -> Sight<T, E> {
    match result {
        Ok(seen) => Sight::Seen(seen),
        Err(error) => Sight::Failed(error),
    }
}

async fn namespace_ends(client: &Client, namespace: &str) -> Result<bool, kube::Error> {
    match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        // Then it is tried for as long as elsewhere.
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(false),
        namespace => Ok(namespace?.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some())),
    }
}

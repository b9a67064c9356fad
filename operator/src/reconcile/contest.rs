//! Holds back repairs of fields that another client changes again and again, and finds its name.

use kube::{Api, Client};
use serde_json::Value;
use tokio::time::Instant;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::Plan;
use crate::reconcile::step::Step;
use crate::resources::cached_object::CachedObject;
use crate::resources::difference::Difference;
use crate::resources::managers::other_manager;
use crate::resources::names::{Child, DECLARED_HASH, FIELD_MANAGER};

/// Removes repairs that are not due from the plan, and adds the contested fields to it.
pub(crate) async fn hold_back(
    client: &Client,
    cache: &ReconcileCache,
    meta: &PipelineMeta,
    observed: &ObservedState,
    plan: &mut Plan,
) -> Result<(), kube::Error> {
    let now = Instant::now();
    let mut repaired = Vec::new();
    for step in &plan.steps {
        let Some((child, declaration, differences)) = repair(step) else { continue };
        repaired.push(child);
        let is_repeated = cache.with_repairs(&meta.uid, child, |repairs| {
            repairs.manager.is_none() && repairs.is_repeated(declaration, paths(differences))
        });
        if is_repeated {
            let manager = manager(client, meta, child, differences).await?;
            cache.with_repairs(&meta.uid, child, |repairs| repairs.manager = Some(manager));
        }
    }
    plan.steps.retain(|step| {
        repair(step).is_none_or(|(child, declaration, differences)| {
            cache.with_repairs(&meta.uid, child, |repairs| repairs.is_due(declaration, paths(differences), now))
        })
    });
    plan.contests = cache.contests(&meta.uid, |child| {
        let is_as_declared = observed.children.contains_key(&child) && !repaired.contains(&child);
        is_as_declared.then_some(now)
    });
    Ok(())
}

/// Stores an executed repair.
pub(crate) fn record(cache: &ReconcileCache, meta: &PipelineMeta, step: &Step) {
    if let Some((child, declaration, differences)) = repair(step) {
        let now = Instant::now();
        cache.with_repairs(&meta.uid, child, |repairs| repairs.record(declaration, paths(differences), now));
    }
}

/// The child, the hash of its declaration and its differences, if the step changes an existing object.
fn repair(step: &Step) -> Option<(Child, &str, &[Difference])> {
    match step {
        Step::Apply { child, object, differences: Some(differences), .. } => {
            let declaration = object["metadata"]["annotations"][DECLARED_HASH].as_str().unwrap_or_default();
            Some((*child, declaration, differences))
        }
        Step::Apply { differences: None, .. }
        | Step::AddFinalizer
        | Step::RemoveFinalizer
        | Step::Topic { .. }
        | Step::Schema { .. }
        | Step::Delete(_)
        | Step::DropSchema
        | Step::DeleteTopic { .. } => None,
    }
}

fn paths(differences: &[Difference]) -> impl Iterator<Item = &str> {
    differences.iter().map(|difference| difference.path.as_str())
}

/// The name of the client that changes the object. The watches do not keep the managers of fields.
async fn manager(
    client: &Client,
    meta: &PipelineMeta,
    child: Child,
    differences: &[Difference],
) -> Result<String, kube::Error> {
    let objects = Api::<CachedObject>::namespaced_with(client.clone(), &meta.namespace, &child.resource());
    let live = objects.get_metadata_opt(&child.name(&meta.name)).await?;
    let entries = live.and_then(|live| live.metadata.managed_fields).unwrap_or_default();
    let other = paths(differences).find_map(|path| other_manager(&entries, FIELD_MANAGER, path));
    Ok(other.unwrap_or_else(|| another_operator(differences)))
}

/// Without another manager, the other client uses the name of this one.
fn another_operator(differences: &[Difference]) -> String {
    let operator = differences.iter().find(|difference| difference.path.ends_with(crate::resources::names::OPERATOR));
    match operator.and_then(|difference| difference.is.as_ref()).and_then(Value::as_str) {
        Some(name) => format!("the retail-operator with the lease {name}"),
        None => "another retail-operator".to_owned(),
    }
}

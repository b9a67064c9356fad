//! What is done when a pipeline is deleted. Comes before everything else, and always ends.
//!
//! Data goes only if deletionPolicy says so and it is proven ours: the topic by the id that was recorded when we made it,
//! the schema by the uid in its comment. First the pods stop, or they would write into what is being deleted.

use std::time::Duration;

use retail_api::resource::DeletionPolicy;

use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::Plan;
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::names::{Child, RELEASE};

/// How long deleting data is tried before it is said that it is blocked. A broker that restarts is back by then.
pub const LIMIT: Duration = Duration::from_secs(600);

/// The same where the namespace goes: Secrets may be gone already, and nothing may keep a namespace.
pub const NAMESPACE_LIMIT: Duration = Duration::from_secs(60);

/// Decides what must be done about a pipeline that is being deleted. Without a valid spec nothing is known to be ours.
pub fn plan(meta: &PipelineMeta, valid: Option<&Valid>, observed: &ObservedState) -> Plan {
    let mut plan = Plan::default();
    let Some(waited) = meta.deleting_for.filter(|_| meta.has_finalizer()) else { return plan };
    let removals = valid.map(|valid| removals(meta, valid)).unwrap_or_default();
    let too_long = observed.namespace_ends && waited >= NAMESPACE_LIMIT;
    if meta.released || removals.is_empty() || too_long {
        plan.steps.push(Step::RemoveFinalizer);
        return plan;
    }
    if waited >= LIMIT {
        plan.blocked = Some(format!(
            "the data could not be deleted in {} minutes, and is still tried: to let the resource go and keep the data, \
             annotate it with {RELEASE}=true",
            LIMIT.as_secs() / 60
        ));
    }
    let pods = [Child::Processor, Child::Producer]
        .into_iter()
        .filter_map(|child| Some((child, observed.children.get(&child)?)));
    let mut stopped = true;
    for (child, live) in pods {
        stopped = false;
        // It is there until the last of its pods is gone.
        if live.object()["metadata"]["deletionTimestamp"].is_null() {
            plan.steps.push(Step::Delete(child));
        }
    }
    if stopped {
        plan.steps.extend(removals);
        plan.steps.push(Step::RemoveFinalizer);
    }
    plan
}

/// What goes with the resource.
fn removals(meta: &PipelineMeta, valid: &Valid) -> Vec<Step> {
    let mut removals = Vec::new();
    if valid.deletion_policy.database == DeletionPolicy::Delete {
        removals.push(Step::DropSchema);
    }
    let topic = meta.recorded.topic.as_ref().filter(|topic| topic.created);
    if let Some(topic) = topic.filter(|_| valid.deletion_policy.topic == DeletionPolicy::Delete) {
        removals.push(Step::DeleteTopic { id: topic.id.clone() });
    }
    removals
}

//! The planner for a pipeline that is being deleted. Such a plan has no other steps, and the deletion always ends. Pure.
//!
//! Data is deleted only if deletionPolicy selects it and ownership is proven: of the topic by the id recorded at its creation,
//! of the schema by the uid in its comment. The pods stop first, because they write to both.

use std::time::Duration;

use retail_api::resource::{DeletionPolicies, DeletionPolicy};

use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::Plan;
use crate::reconcile::step::Step;
use crate::reconcile::validate::Valid;
use crate::resources::names::{Child, RELEASE};

/// Time after which a failing deletion is reported as blocked: longer than the restart of a broker.
const DEADLINE: Duration = Duration::from_secs(600);

/// Time after which a failing deletion is given up if the namespace is being deleted too: its Secrets may be deleted already, and
/// a pipeline must not block the deletion of its namespace.
const NAMESPACE_DEADLINE: Duration = Duration::from_secs(60);

/// Plans the deletion. Without a valid spec, no data is selected.
pub(crate) fn plan(meta: &PipelineMeta, valid: Option<&Valid>, observed: &ObservedState) -> Plan {
    let mut plan = Plan::default();
    let Some(waited) = meta.deleting_for.filter(|_| meta.has_finalizer()) else { return plan };
    let removals = valid.map(|valid| removals(meta, valid)).unwrap_or_default();
    let too_long = observed.namespace_terminating && waited >= NAMESPACE_DEADLINE;
    if meta.released || removals.is_empty() || too_long {
        plan.steps.push(Step::RemoveFinalizer);
        return plan;
    }
    if waited >= DEADLINE {
        plan.blocked = Some(format!(
            "the data could not be deleted within {} minutes, and the operator retries: to remove the resource and keep the data, \
             annotate it with {RELEASE}=true",
            DEADLINE.as_secs() / 60
        ));
    }
    let pods = Child::ALL
        .into_iter()
        .filter(|child| child.runs_pods())
        .filter_map(|child| Some((child, observed.children.get(&child)?)));
    let mut stopped = true;
    for (child, live) in pods {
        stopped = false;
        // Foreground deletion: the object exists until its last pod is gone.
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

/// Steps that delete the selected data.
fn removals(meta: &PipelineMeta, valid: &Valid) -> Vec<Step> {
    let mut removals = Vec::new();
    let DeletionPolicies { topic: topic_policy, database } = &valid.deletion_policy;
    if *database == DeletionPolicy::Delete {
        removals.push(Step::DropSchema);
    }
    let topic = meta.recorded.topic.as_ref().filter(|topic| topic.created);
    if let Some(topic) = topic.filter(|_| *topic_policy == DeletionPolicy::Delete) {
        removals.push(Step::DeleteTopic { id: topic.id.clone() });
    }
    removals
}

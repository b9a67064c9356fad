//! Holds back changes of topic settings that another client changes again and again, and names pipelines that declare them.

use retail_api::Pipeline;
use retail_kafka::topic::{Action, Setting};
use tokio::time::Instant;

use crate::reconcile::cache::ReconcileCache;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::plan::{Plan, TopicContest};
use crate::reconcile::repairs::Repairs;
use crate::reconcile::step::Step;

/// Removes changes that are not due from the plan, and adds the contested settings to it.
pub(crate) fn hold_back(
    cache: &ReconcileCache,
    uid: &str,
    pipeline: &Pipeline,
    observed: &ObservedState,
    plan: &mut Plan,
) {
    let now = Instant::now();
    let wanted = settings(plan.topic_actions());
    let is_as_declared =
        observed.is_current.topic && matches!(observed.topic, Observation::Observed(Some(_))) && wanted.is_empty();
    let (is_due, contested) = cache.with_topic_repairs(uid, |repairs| {
        if is_as_declared {
            repairs.settle(now);
        }
        (repairs.is_due("", wanted.iter().map(String::as_str), now), repairs.contested())
    });
    if !wanted.is_empty() && !is_due {
        plan.steps.retain_mut(|step| {
            let Step::Topic { actions, .. } = step else { return true };
            actions.retain(|action| !matches!(action, Action::Alter(_)));
            !actions.is_empty()
        });
    }
    plan.topic_contest = (!contested.is_empty()).then(|| {
        let names: Vec<&str> = contested.iter().filter_map(|setting| setting.split('=').next()).collect();
        let pipelines = cache.pipelines_that_declare(uid, pipeline, &names);
        TopicContest { settings: contested, pipelines }
    });
}

/// Stores executed changes.
pub(crate) fn record(cache: &ReconcileCache, uid: &str, actions: &[Action]) {
    let changed = settings(actions);
    if !changed.is_empty() {
        cache.with_topic_repairs(uid, |repairs: &mut Repairs| {
            repairs.record("", changed.iter().map(String::as_str), Instant::now());
        });
    }
}

/// The settings that the actions change. With the declared value, so that another declaration is applied at once.
fn settings(actions: &[Action]) -> Vec<String> {
    let changed = actions.iter().flat_map(|action| match action {
        Action::Alter(settings) => settings.as_slice(),
        Action::Create | Action::Grow { .. } => &[],
    });
    changed.map(|Setting { name, declared, .. }| format!("{name}={declared}")).collect()
}

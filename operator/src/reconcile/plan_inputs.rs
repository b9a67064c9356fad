//! The inputs of the planner, compared to reuse the last plan.
//!
//! Most passes observe an unchanged state and have nothing to do. Building and comparing all objects again would then cost ten
//! times as much as observing them.

use std::sync::Arc;

use retail_api::status::{DatabaseStatus, TopicStatus};
use retail_store::progress::Progress;

use crate::reconcile::autoscaling::Decision;
use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::planner;
use crate::reconcile::validate::{Invalid, Valid};

/// The inputs of [`plan`](crate::reconcile::planner::plan). An empty plan of a pipeline that is not being deleted depends on nothing else.
#[derive(Clone, Debug)]
pub(crate) struct PlanInputs {
    valid: Arc<Result<Valid, Invalid>>,
    finalizers: Vec<String>,
    topic: Option<TopicStatus>,
    schema: Option<String>,
    database: Option<DatabaseStatus>,
    autoscaling: Option<Decision>,
    observed: ObservedState,
}

impl PlanInputs {
    /// The inputs for a pipeline; `None` if it is being deleted, because that plan also depends on time.
    pub(crate) fn of(
        meta: &PipelineMeta,
        valid: &Arc<Result<Valid, Invalid>>,
        observed: &ObservedState,
    ) -> Option<Self> {
        if meta.deleting_for.is_some() {
            return None;
        }
        let autoscaling = Result::as_ref(&**valid).ok().and_then(|valid| planner::autoscaling(meta, valid, observed));
        let mut observed = observed.clone();
        // The rest of the progress, and pods, do not influence the plan.
        if let Observation::Observed(Some(progress)) = &mut observed.schema {
            let consumer_group = std::mem::take(&mut progress.consumer_group);
            *progress = Progress { consumer_group, ..Progress::default() };
        }
        observed.pod_problems.clear();
        if let Observation::Observed(Some(seen)) = &mut observed.topic {
            seen.log_ends.clear();
        }
        // Pods run without a registry: only records with new schemas wait.
        observed.registry = Observation::NotRequested;
        Some(Self {
            valid: Arc::clone(valid),
            finalizers: meta.finalizers.clone(),
            topic: meta.recorded.topic.clone(),
            schema: meta.recorded.schema.clone(),
            database: meta.recorded.database.clone(),
            autoscaling,
            observed,
        })
    }
}

impl PartialEq for PlanInputs {
    /// Compares the spec by pointer: the cache returns the same value for an equal spec.
    fn eq(&self, other: &Self) -> bool {
        let Self { valid, finalizers, topic, schema, database, autoscaling, observed } = self;
        Arc::ptr_eq(valid, &other.valid)
            && (finalizers, topic, schema) == (&other.finalizers, &other.topic, &other.schema)
            && (database, autoscaling, observed) == (&other.database, &other.autoscaling, &other.observed)
    }
}

//! Everything that a plan is decided from, to know without deciding it that it would be the same one.
//!
//! A pass looks at the world each time. But nearly always the world is what it was, and nothing is to be done: then declaring
//! all objects once more, to compare them with those that are there, would cost ten times as much as looking.

use std::sync::Arc;

use retail_api::status::TopicStatus;
use retail_store::progress::Progress;

use crate::reconcile::observed_state::{Observation, ObservedState};
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::validate::{Invalid, Valid};

/// What [`plan`](crate::reconcile::planner::plan) knows. A plan that nothing is done by depends on no more of a pipeline that stays.
#[derive(Clone, Debug)]
pub struct PlanInputs {
    valid: Arc<Result<Valid, Invalid>>,
    finalizers: Vec<String>,
    topic: Option<TopicStatus>,
    schema: Option<String>,
    observed: ObservedState,
}

impl PlanInputs {
    /// What is known of a pipeline; nothing if it is being deleted, where time counts too.
    pub fn of(meta: &PipelineMeta, valid: &Arc<Result<Valid, Invalid>>, observed: &ObservedState) -> Option<Self> {
        if meta.deleting_for.is_some() {
            return None;
        }
        let mut observed = observed.clone();
        // How far it is decides nothing.
        if let Observation::Observed(Some(progress)) = &mut observed.schema {
            *progress = Progress::default();
        }
        if let Observation::Observed(Some(seen)) = &mut observed.topic {
            seen.log_ends.clear();
        }
        Some(Self {
            valid: Arc::clone(valid),
            finalizers: meta.finalizers.clone(),
            topic: meta.recorded.topic.clone(),
            schema: meta.recorded.schema.clone(),
            observed,
        })
    }
}

impl PartialEq for PlanInputs {
    /// A spec that means the same is the same value, as long as it is remembered.
    fn eq(&self, other: &Self) -> bool {
        let Self { valid, finalizers, topic, schema, observed } = self;
        Arc::ptr_eq(valid, &other.valid)
            && (finalizers, topic, schema, observed)
                == (&other.finalizers, &other.topic, &other.schema, &other.observed)
    }
}

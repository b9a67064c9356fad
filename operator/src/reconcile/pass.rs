//! One pass as a value: the input of status, conditions and events.

use serde_json::Value;

use crate::reconcile::apply_result::ApplyResult;
use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::Plan;
use crate::reconcile::validate::{Invalid, Valid};
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

/// One pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// The resource.
    pub(crate) meta: &'a PipelineMeta,
    /// The valid pipeline, or why the spec is invalid.
    pub(crate) valid: Result<&'a Valid, &'a Invalid>,
    /// The observed state.
    pub(crate) observed: &'a ObservedState,
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// The result of the plan.
    pub(crate) result: &'a ApplyResult,
    /// The id of the topic that this process created, in this pass or in one whose report failed.
    pub(crate) created_topic: Option<&'a str>,
}

impl Pass<'_> {
    /// A child after this pass.
    pub(crate) fn child(&self, child: Child) -> Option<&Value> {
        match self.result.children.get(&child) {
            Some(Ok(answer)) => Some(answer),
            Some(Err(_)) | None => self.observed.children.get(&child).map(LiveObject::object),
        }
    }
}

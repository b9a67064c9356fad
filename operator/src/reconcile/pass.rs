//! One pass as values: all that a status is made from.

use serde_json::Value;

use crate::reconcile::apply_result::ApplyResult;
use crate::reconcile::observed_state::ObservedState;
use crate::reconcile::pipeline_meta::PipelineMeta;
use crate::reconcile::plan::Plan;
use crate::reconcile::validate::{Invalid, Valid};
use crate::resources::difference::LiveObject;
use crate::resources::names::Child;

/// All that a status is made from.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Which resource.
    pub meta: &'a PipelineMeta,
    /// What it declares, or why that is nothing.
    pub valid: Result<&'a Valid, &'a Invalid>,
    /// What was seen.
    pub observed: &'a ObservedState,
    /// What was to be done.
    pub plan: &'a Plan,
    /// What became of it.
    pub result: &'a ApplyResult,
    /// The id of the topic that this process made, in this pass or in one whose report failed.
    pub created_topic: Option<&'a str>,
}

impl Pass<'_> {
    /// A child as it is after this pass.
    pub(crate) fn child(&self, child: Child) -> Option<&Value> {
        match self.result.children.get(&child) {
            Some(Ok(answer)) => Some(answer),
            Some(Err(_)) | None => self.observed.children.get(&child).map(LiveObject::object),
        }
    }
}

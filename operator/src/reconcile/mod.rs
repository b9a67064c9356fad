//! One pass over one pipeline, in five steps: `observe`, `validate`, plan (`planner`, `cleanup`), `apply`, report
//! (`report`). `reconciler` runs them in this order.
//!
//! Values between the steps: `pipeline_meta` and `observed_state` go into the `planner`, a `plan` of `step`s comes out,
//! and an `apply_result` comes out of `apply`. All of them together are a `pass`, from which `status`, `conditions`
//! and `events` are derived. `pod_reader` reads the pods of an incomplete `rollout`, and `pod_problems` finds their cause. The `cache` saves work between two passes: with equal `plan_inputs`, the plan is reused.

pub(crate) mod apply;
pub(crate) mod apply_result;
pub(crate) mod autoscaling;
pub(crate) mod cache;
pub(crate) mod cleanup;
pub(crate) mod condition_draft;
pub(crate) mod conditions;
pub(crate) mod contest;
pub(crate) mod database_move;
pub(crate) mod events;
pub(crate) mod observe;
pub(crate) mod observed_state;
pub(crate) mod part_conditions;
pub(crate) mod pass;
pub(crate) mod pipeline_meta;
pub mod plan;
pub(crate) mod plan_inputs;
pub(crate) mod planner;
pub(crate) mod pod_problems;
pub(crate) mod pod_reader;
pub(crate) mod question;
pub mod reason;
pub(crate) mod reconciler;
pub(crate) mod registry_conditions;
pub(crate) mod repairs;
pub(crate) mod report;
pub(crate) mod rollout;
pub(crate) mod status;
pub mod step;
pub(crate) mod topic_contest;
pub(crate) mod topic_users;
pub(crate) mod turn;
pub mod validate;
pub(crate) mod verification_conditions;

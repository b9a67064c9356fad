//! One pass over one pipeline, in five steps: [`observe`], [`validate`], plan ([`planner`], [`cleanup`]), [`apply`], report
//! ([`report`]). [`reconciler`] runs them in this order.
//!
//! Values between the steps: [`pipeline_meta`] and [`observed_state`] go into the [`planner`], a [`plan`] of [`step`]s comes out,
//! and an [`apply_result`] comes out of [`apply`]. All of them together are a [`pass`], from which [`status`], [`conditions`]
//! and [`events`] are derived. The [`cache`] saves work between two passes: with equal [`plan_inputs`], the plan is reused.

pub mod apply;
pub mod apply_result;
pub mod cache;
pub mod cleanup;
pub mod conditions;
pub mod events;
pub mod observe;
pub mod observed_state;
pub mod pass;
pub mod pipeline_meta;
pub mod plan;
pub mod plan_inputs;
pub mod planner;
pub mod reason;
pub mod reconciler;
pub mod report;
pub mod status;
pub mod step;
pub mod validate;

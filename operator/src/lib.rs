//! The operator: makes a RetailPipeline true on Kubernetes, and keeps it so.
//!
//! ```text
//!   watches ──► reconcile ─┬─ observe   looks: objects, Secret, topic, schema          (a client)
//!                          ├─ validate  the spec as a pipeline that cannot be wrong
//!                          ├─ plan      what must be done; cleanup, when it is deleted
//!                          ├─ apply     does it                                         (a client)
//!                          └─ report    status where it differs, an event for a change  (a client)
//! ```
//!
//! What decides is a function of values: [`validate`], [`address`], [`plan`], [`cleanup`], [`difference`], [`status`], [`conditions`], and
//! what they are made from, [`children`]. A plan can be printed; `retail plan` does, from [`offline`]. One that would be the
//! same as before is not made again: [`basis`].

pub mod address;
pub mod apply;
pub mod basis;
pub mod children;
pub mod cleanup;
pub mod conditions;
pub mod controller;
pub mod difference;
mod hash;
pub mod leader;
pub mod lease;
pub mod memory;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod offline;
pub mod outside;
pub mod plan;
mod print;
pub mod program;
pub mod rbac;
pub mod readiness;
pub mod reason;
pub mod reconcile;
pub mod report;
pub mod run;
pub mod secrets;
pub mod settings;
pub mod shared;
pub mod status;
pub mod validate;
pub mod watched;
pub mod world;

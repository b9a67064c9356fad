//! The RetailPipeline: the custom resource, its status, and its validation.
//!
//! This crate does not connect to Kafka, Postgres or Kubernetes.

pub mod adopt;
pub mod autoscaling;
pub mod crd;
pub mod duration;
pub mod events;
mod fixed;
mod layout;
pub mod logging;
mod mapping;
mod pipeline;
mod problem;
pub mod quantity;
pub mod resource;
mod resources;
mod rollup;
mod secrets;
pub mod status;
mod structure;
pub mod template;
pub mod topic;
pub mod validate;
pub mod verify;
mod yaml;

pub use layout::{Layout, MAX_DIMENSIONS, MAX_NAME, MAX_SUMS};
pub use mapping::EventMapping;
pub use pipeline::{Pipeline, ReadError};
pub use rollup::{Over, Rollup};
pub use verify::{Interval, Verification};
pub use yaml::Position;

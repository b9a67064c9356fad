//! What a RetailPipeline is: the custom resource, its status, and the rules that make one valid.
//!
//! Nothing in here talks to Kafka, Postgres or Kubernetes.

pub mod crd;
pub mod duration;
mod pipeline;
pub mod resource;
pub mod status;
mod structure;
pub mod validate;
mod yaml;

pub use pipeline::{Pipeline, ReadError};
pub use yaml::Position;

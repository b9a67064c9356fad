//! A real Kubernetes for tests: pipelines in namespaces of their own, what is done to them, and what is waited for.
//!
//! The cluster is that of `make cluster-up`, with Kafka, Postgres and the operator on it. Nothing here looks at a clock but to give
//! up, and whoever gives up says what there was to see.

mod case;
mod cluster;
mod dump;

pub use case::{Case, Pods};
pub use cluster::{Cluster, eventually, run};

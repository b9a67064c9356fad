//! Test support for a real Kubernetes: pipelines in their own namespaces, edits, faults, and waits for conditions.
//!
//! The cluster is the one of `make cluster-up`, with Kafka, Postgres and the operator. Tests wait for conditions; a timeout prints
//! the state of the cluster.

mod case;
mod cluster;
mod dump;

pub use case::{Case, Pods};
pub use cluster::{Cluster, eventually, run};

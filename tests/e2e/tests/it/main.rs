//! Tests of the operator on a real Kubernetes, with real Kafka and Postgres in pods. `make e2e` runs them.
//!
//! They run one after the other, because some of them stop the shared Kafka, Postgres or operator.

mod chart;
mod deletion;
mod edits;
mod faults;
mod install;
mod secured;
mod verification;

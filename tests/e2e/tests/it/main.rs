//! What the operator promises, on a real Kubernetes with real Kafka and Postgres in pods. `make e2e` runs it.
//!
//! One after the other: some of these take Kafka, Postgres or the operator away from everybody.

mod chart;
mod deletion;
mod edits;
mod faults;
mod install;
mod secured;

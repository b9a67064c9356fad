//! Tests of the operator with an API server in memory, and with fake or real Kafka and Postgres.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod api;
mod autoscaling;
mod client_sharing;
mod contests;
mod convergence;
mod dead_servers;
mod deletion;
mod election;
mod fake_systems;
mod faults;
mod harness;
mod namespaces;
mod owner;
mod plans;
mod pods;
mod program;
mod random;
mod readiness;
mod real_servers;
mod registries;
mod rights;
mod secured;
mod tenants;
mod topic_actions;
mod verification;

//! The operator on an API server in memory, with a Kafka and a Postgres that count and fail as they are told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod convergence;
mod deletion;
mod election;
mod faults;
mod namespaces;
mod outside;
mod plans;
mod program;
mod random;
mod readiness;
mod real;
mod rights;
mod secured;
mod sharing;
mod stage;

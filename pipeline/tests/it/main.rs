//! What a pipeline is, held to real Kafka and real Postgres.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod close;
mod commit;
mod compatibility;
mod cost;
mod crd;
mod delta_log;
mod feeder;
mod progress;
mod rules;
mod schema;
mod tls;
mod topic;
mod validation;
mod verification;

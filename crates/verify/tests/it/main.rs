//! Verification against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod details;
mod proofs;
mod questions;
mod verification;

//! `retail-processor` against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod processing;
mod programs;
mod rebalance;
mod topics;

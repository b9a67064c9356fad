//! `retail-processor` against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod chaos;
mod crashes;
mod outages;
mod processing;
mod programs;
mod rebalance;
mod topics;

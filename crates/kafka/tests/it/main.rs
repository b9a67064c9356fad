//! Topics, records and log-ins on a real Kafka.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod records;
mod tail;
mod tls;
mod topic;

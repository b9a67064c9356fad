//! `retail-producer` against a real Kafka.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod sending;

//! Kafka: connections, requests, topics, and errors with their fixes.
//!
//! - `connection`, `security`: where Kafka is, and the settings of a client.
//! - `admin`: requests about topics and log ends. `native` makes the calls of librdkafka that rust-rdkafka lacks.
//! - `records`: whether a log still contains the processed records.
//! - `tail`: the newest records of a topic.
//! - `topic`: the topic of a pipeline: observe, plan, execute. `record_time`: who sets the timestamps of its records.
//! - `events`, `error`, `look`: what went wrong, in one sentence with the fix.
//! - `rights`: the operations that the ACLs allow.
#![expect(clippy::wildcard_enum_match_arm, reason = "librdkafka has two hundred error codes")]

mod admin;
mod connection;
pub mod deduplication;
mod digest;
mod error;
mod events;
mod look;
pub mod native;
pub mod record_time;
pub mod records;
mod rights;
mod security;
pub mod tail;
pub mod topic;

pub use admin::KafkaAdmin;
pub use connection::KafkaConnection;
pub use error::KafkaError;
pub use events::ClientEvents;
pub use native::{Broker, LogOffset, TopicDescription};
pub use rights::{Allowed, Operation, Rights};
pub use security::{SaslLogin, Security};

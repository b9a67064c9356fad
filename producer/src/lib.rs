//! Sends simulated purchases of a cosmetics shop to Kafka: those of the tutorial and, if configured, faulty ones.
//!
//! [`plan`] combines the pipeline and the flags, `purchases` generates the purchases from seed and number, and [`run`] sends
//! them. With `speed`, event time goes on from the `newest` event of the topic.

mod catalogue;
mod newest;
pub mod plan;
pub mod program;
mod purchases;
pub mod run;
mod time;

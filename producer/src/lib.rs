//! Sends simulated purchases of a cosmetics shop to Kafka: those of the tutorial or, with `spec.events`, records with the mapped
//! fields, and faulty ones if configured. Or it sends the lines of a file.
//!
//! [`plan`] combines the pipeline and the flags, `purchases` generates the purchases from seed and number (`tutorial` and
//! `mapped` write them), and [`run`] and [`lines`] send them through `sender`. With `speed`, event time goes on from the
//! `newest` event of the topic. `schemas` registers the schema of the records.

mod catalogue;
mod draft;
pub mod lines;
mod mapped;
mod newest;
pub mod plan;
pub mod program;
mod purchases;
mod random;
pub mod run;
mod schemas;
mod sender;
mod summary;
mod text;
mod time;
mod tutorial;

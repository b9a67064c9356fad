//! Simulated purchases of a cosmetics shop, into Kafka: those of the tutorial, and, if asked for, what goes wrong with them.
//!
//! [`plan`] says what will be made, from the pipeline and the flags; [`purchases`] makes it, a function of seed and number
//! alone; [`run`] sends it.

mod catalogue;
pub mod plan;
pub mod program;
pub mod purchases;
pub mod run;
mod time;

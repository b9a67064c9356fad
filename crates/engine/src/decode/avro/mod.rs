//! Reads records in Avro: the schema of a writer and the mapping are compiled to a plan (`plan`), which reads the wanted values and
//! skips the others (`read`).
//!
//! A reader has no schema of its own: fields that a writer lacks are missing, and each writer's types are read as they are.
//!
//! Of a value that is skipped, only what leads to the next value is checked.

mod plan;
mod read;
mod schema;

pub(super) use plan::Plan as AvroPlan;

//! What a RetailPipeline is.
pub mod args;
pub mod crd;
mod duration;
pub mod kafka;
mod pipeline;
pub mod postgres;
pub mod resource;
mod structure;
pub mod validate;
pub mod verify;
mod yaml;

pub use pipeline::{Pipeline, ReadError};
pub use yaml::Position;

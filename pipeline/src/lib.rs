//! What a RetailPipeline is.
pub mod args;
pub mod certificates;
pub mod crd;
pub mod duration;
pub mod kafka;
pub mod login;
mod pipeline;
pub mod postgres;
pub mod process;
pub mod resource;
pub mod status;
mod structure;
pub mod validate;
pub mod verify;
mod yaml;

pub use pipeline::{Pipeline, ReadError};
pub use yaml::Position;

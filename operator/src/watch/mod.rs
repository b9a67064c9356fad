//! Watches pipelines and their objects, and starts a pass for each change.

pub mod controller;
pub mod readiness;
mod streams;

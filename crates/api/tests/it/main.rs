//! The resource, its schema and its validation.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod compatibility;
mod crd;
mod events;
mod rules;
mod validation;

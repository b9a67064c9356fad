//! Tests of the client on a registry that answers as a test tells it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fake;
mod hostile;
mod schemas;
mod tls;

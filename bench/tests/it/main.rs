//! Tests of the program `retail-bench`.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

#[cfg(target_os = "linux")]
mod allocating;
mod measuring;
mod racing;
mod sql;

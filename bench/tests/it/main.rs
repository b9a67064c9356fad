//! `retail-bench`, as it is started.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod measuring;
mod racing;

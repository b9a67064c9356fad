//! The campaign itself, in the length that fits `make test`.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod oracle;
mod results;
mod slice;

//! Shared by all programs: flags and credentials, logs and output, signals and exit codes, the HTTP server, descriptions of metrics.

pub mod args;
mod backoff;
pub mod http;
mod json_log;
pub mod login;
pub mod markdown;
pub mod metrics;
pub mod output;
pub mod process;

pub use backoff::Backoff;

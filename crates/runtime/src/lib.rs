//! Shared by all programs: flags and credentials, logs, signals and exit codes, the HTTP server.

pub mod args;
mod backoff;
pub mod http;
pub mod login;
pub mod process;

pub use backoff::Backoff;

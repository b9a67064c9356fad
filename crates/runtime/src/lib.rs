//! What every program does the same way: its flags and log-ins, its logs, signals and exit codes, its HTTP server.

pub mod args;
pub mod http;
pub mod login;
pub mod process;

//! The web page of a pipeline.
//!
//! One task reads a snapshot of Postgres and the log ends of Kafka each second while clients are connected ([`poller`]), and renders
//! the parts of the page ([`render`]). All clients get the same parts: at first the whole page, then the parts that have changed.
//! The page is read-only, loads nothing from elsewhere, and answers only requests whose Host is an address or localhost.

mod args;
mod format;
mod history;
mod host;
mod lateness;
mod parts;
mod poller;
mod problems;
mod render;
mod server;
mod state;

pub use args::PageArgs;
pub use server::serve;

//! The schema, claims, commits and the closing of windows on a real Postgres.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adopt;
mod amounts;
mod cancel;
mod close;
mod commit;
mod cost;
mod delta_log;
mod groups;
mod hold;
mod hostile;
mod identity;
mod layouts;
mod letters;
mod locks;
mod log_in;
mod milestones;
mod months;
mod plans;
mod pooler;
mod progress;
mod rejection;
mod rollups;
mod runtime_role;
mod schema;
mod schemas;
mod session;
mod silence;
mod snapshot;
mod spans;
mod steps;
mod tls;
mod views;

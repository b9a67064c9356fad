//! From a Kafka topic to right rows in Postgres, exactly once.
//!
//! ```text
//!  supervisor   is everything there, and ours? then starts what is below, and starts it again when it fails
//!   ├─ scout    one thread: log ends and topic id, for everybody
//!   └─ worker   one thread each, with a consumer of its own: records into the engine, batches out of it
//!       └─ committer   one task each, with a Postgres connection of its own: claims, commits, closes windows
//! ```
//!
//! A worker never waits for Postgres, and a committer never for Kafka: while one batch is on its way, the next fills.
//! What decides is in small modules without a client: `idle`, `watchdog`, `pace`, `table`.

pub mod args;
mod committer;
mod consumer;
mod cores;
mod idle;
mod metrics;
mod pace;
pub mod program;
mod scout;
pub mod state;
pub mod supervisor;
mod table;
mod watchdog;
mod worker;

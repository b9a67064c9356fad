//! Aggregates the purchases of a Kafka topic into Postgres, exactly once.
//!
//! ```text
//!  supervisor           checks topic and schema, starts the rest, and starts it again after a failure
//!   ├─ log_end_poller   one thread: log ends and topic id, for all workers
//!   ├─ record_checks    one thread: reads the last committed records again, for all workers
//!   ├─ schema_service   one task: the schemas of records, for all workers
//!   └─ worker_pool
//!       └─ worker       one thread each, with its own consumer: records into the engine, batches out of it
//!           └─ committer   one task each, with its own Postgres connection: claims, commits, closes windows
//! ```
//!
//! A worker never waits for Postgres: while one batch is being committed, the worker fills the next. `assignment` decides which
//! partitions a worker owns and its next step; `commit_schedule`, `idle`, `last_records`, `reading_again`,
//! `schema_lookup`, `watchdog` and `table` decide the rest. These modules have neither client nor clock.

mod after_commit;
mod again_report;
pub mod args;
mod assignment;
mod catch_up;
mod closing;
mod commit_schedule;
mod commit_seconds;
mod committer;
mod consumer;
mod cores;
mod due;
pub mod error;
mod expiry;
mod held;
mod hold;
mod id_memory;
mod idle;
mod last_records;
mod load;
mod log_end_poller;
pub mod metrics;
mod observer;
pub mod program;
mod reader;
mod reading_again;
mod record_checks;
mod rejections;
mod retention;
mod schema_lookup;
mod schema_service;
mod standstill;
mod start_position;
pub mod state;
pub mod supervisor;
mod table;
mod watchdog;
mod worker;
mod worker_pool;

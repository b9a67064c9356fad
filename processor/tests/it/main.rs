//! `retail-processor` against a real Kafka and a real Postgres.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is test code")]

mod chaos;
mod copies;
mod crashes;
mod duplicates;
mod failover;
mod formats;
mod holds;
mod lost_records;
mod outages;
mod outputs;
mod own_events;
mod poolers;
mod processing;
mod programs;
mod rebalance;
mod retention;
mod serializers;
mod static_members;
mod topics;
mod workers;

/// With MIMALLOC_SHOW_STATS, mimalloc prints statistics when the program ends. Without mimalloc, a processor needs a third more
/// CPU time, and no other test would fail.
#[test]
#[cfg(target_os = "linux")]
fn processor_allocates_with_mimalloc() {
    let mut processor = std::process::Command::new(programs::PROCESSOR);
    let done = processor.arg("--version").env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&done.stderr).contains("arenas"), "{done:?}");
}
